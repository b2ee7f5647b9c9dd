//! The recording in the program: the start of a `cargo build` on a 2-CPU machine, as perf script printed it.

use crate::trace::Recording;

/// 150,000 events, cut at a line.
const TEXT: &[u8] = include_bytes!("../../data/cargo-build.perf-script.txt.xz");

/// The bundled recording.
pub(crate) fn recording() -> Recording {
    Recording::Bundled("(bundled) cargo-build.perf-script.txt.xz", TEXT)
}
