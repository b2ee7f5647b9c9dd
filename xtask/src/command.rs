//! Runs another program to its end and makes an outcome of it.
//!
//! Never shows the output of a program that succeeded.

use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use crate::outcome::Outcome;

/// Lines of a failed program's output that are worth showing, from each of its two streams.
const SHOWN_LINES: usize = 60;

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The command line, how it ended and the last lines it wrote.
    pub(crate) fn account(&self, command: &Command) -> String {
        let tail = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
        };
        let written = [tail(&self.stdout), tail(&self.stderr)].join("\n");
        format!("{} ended with {}\n{}", line_of(command), self.status, written.trim())
    }
}

/// Runs the command with its output captured.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn finish(command: &mut Command) -> Result<Finished> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", line_of(command)))?;
    Ok(Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// One thing checked: the command succeeds.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn succeeds(command: &mut Command) -> Result<Outcome> {
    let finished = finish(command)?;
    if finished.status.success() {
        return Ok(Outcome::passed(1));
    }
    Ok(Outcome::failed(finished.account(command)))
}

/// As many things as there are tests: each test of a `cargo test` passes, and there is at least one.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn tests_pass(command: &mut Command) -> Result<Outcome> {
    let finished = finish(command)?;
    let totals = Totals::of(&finished.stdout);
    let mut findings = Vec::new();
    if !finished.status.success() {
        findings.push(finished.account(command));
    } else if totals.passed == 0 {
        findings.push(format!("{} ran no test at all", line_of(command)));
    }
    let failed = totals.failed.max(usize::from(!findings.is_empty()));
    if totals.ignored > 0 {
        findings.push(format!("skipped: {} ignored tests of {}", totals.ignored, line_of(command)));
    }
    Ok(Outcome::of_tests(totals.passed, failed, totals.ignored, findings))
}

/// Whether a program of this name can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What the `test result:` lines of a test run add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Totals {
    fn of(output: &str) -> Self {
        let mut totals = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            let mut number = 0;
            for word in line.split([' ', ';', '.']).filter(|word| !word.is_empty()) {
                match word {
                    "passed" => totals.passed += number,
                    "failed" => totals.failed += number,
                    "ignored" => totals.ignored += number,
                    _ => number = word.parse().unwrap_or(0),
                }
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_several_test_binaries_add_up() {
        let output = "running 3 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; \
                      finished in 0.00s\ntest result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(Totals::of(output), Totals { passed: 7, failed: 2, ignored: 1 });
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_not_a_failure() {
        assert!(succeeds(&mut Command::new("no-such-program-here")).is_err());
        assert!(!is_installed("no-such-program-here"));
    }

    #[test]
    fn a_test_run_without_tests_fails() {
        let outcome = tests_pass(Command::new("echo").arg("test result: ok. 0 passed; 0 failed")).unwrap();
        assert!(!outcome.holds());
    }
}
