//! Where words go: JSON objects to stdout, one a line; what is said about a run to stderr.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs: only JSON objects on stdout.
    Json,
}

/// Whether what was asked for holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It does.
    Holds,
    /// A promise or an oracle was violated; what and where was said.
    Broken,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Holds => Self::SUCCESS,
            Verdict::Broken => Self::from(1),
        }
    }
}

/// Prints one object on a line of its own.
pub(crate) fn print_json(object: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(object)?;
    Ok(writeln!(stdout().lock(), "{line}")?)
}

/// Says each of these on stderr. Who closed stderr does not want to know.
pub(crate) fn explain(what: &str, details: &[String]) {
    for detail in details {
        let _ = writeln!(stderr(), "{what}: {detail}");
    }
}
