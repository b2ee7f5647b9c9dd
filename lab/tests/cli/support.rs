//! Runs the program as a user does, on texts written for the occasion.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// How a run ended.
pub(crate) struct Run {
    /// The exit status.
    pub(crate) status: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said besides.
    pub(crate) stderr: String,
}

impl Run {
    /// The one object on stdout.
    pub(crate) fn object(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs `zonal` with these arguments.
pub(crate) fn zonal(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_zonal")).args(arguments).output().unwrap();
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A file of these bytes, under a name that must be the test's own.
pub(crate) fn file(name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// `zonal replay --json` of a text.
pub(crate) fn replay(name: &str, bytes: impl AsRef<[u8]>) -> Run {
    zonal(&["replay", file(name, bytes).to_str().unwrap(), "--json"])
}

/// The run ended with exit status 2, said where and why, and printed nothing else.
#[track_caller]
pub(crate) fn refused(run: &Run, place: &str, reason: &str) {
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains(place) && run.stderr.contains(reason), "{}", run.stderr);
}

/// An .xz archive of these bytes.
pub(crate) fn xz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    all(liblzma::bufread::XzEncoder::new(bytes.as_ref(), 6))
}

/// A .gz archive.
pub(crate) fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    all(flate2::bufread::GzEncoder::new(bytes.as_ref(), flate2::Compression::default()))
}

/// A .zst archive with a checksum.
pub(crate) fn zst(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = zstd::stream::read::Encoder::with_buffer(bytes.as_ref(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    all(encoder)
}

/// What an .xz archive holds.
pub(crate) fn unxz(bytes: &[u8]) -> Vec<u8> {
    all(liblzma::bufread::XzDecoder::new(bytes))
}

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}
