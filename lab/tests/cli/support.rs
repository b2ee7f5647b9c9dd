//! Runs the program as a user does, on texts written for the occasion.

use std::fs;
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
