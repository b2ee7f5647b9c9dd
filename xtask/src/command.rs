//! Runs another program to its end, or to a limit of time, and makes an outcome of it.
//!
//! Never shows the output of a program that succeeded. Never waits for ever: who hangs is stopped with all it started, and
//! has failed.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use wait_timeout::ChildExt;

use crate::outcome::Outcome;

/// How a program ends that is stopped.
const SIGKILL: i32 = 9;
/// How long a program may take if nothing else is said: a build from nothing with its tests, on a slow machine.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

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
    /// As [`Finished::account`] of a run of tests: what those said that failed, too.
    fn account_of_tests(&self, command: &Command) -> String {
        let mut said = String::new();
        for part in self.stdout.split("\nfailures:\n").skip(1) {
            let (failures, _) = part.split_once("\ntest result:").unwrap_or((part, ""));
            said.extend(failures.lines().take(SHOWN_LINES).flat_map(|line| [line, "\n"]));
        }
        format!("{}\n{}", self.account(command), said.trim_end())
    }

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
    finish_within(TIME_LIMIT, command)
}

/// The same, for at most so long; one that hangs is stopped, which its status and its last line of errors tell.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn finish_within(limit: Duration, command: &mut Command) -> Result<Finished> {
    // Files, not pipes: nobody has to read them while the program runs.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let child = command.spawn().with_context(|| format!("starting {}", line_of(command)))?;
    let ended = end_within(limit, child).with_context(|| format!("waiting for {}", line_of(command)))?;
    let epitaph = match ended {
        Some(_) => String::new(),
        None => format!("\nstopped: it was still running after {} s", limit.as_secs()),
    };
    let status = ended.unwrap_or(ExitStatus::from_raw(SIGKILL));
    Ok(Finished { status, stdout: text_of(&mut stdout)?, stderr: text_of(&mut stderr)? + &epitaph })
}

/// Waits so long for a program. `None` if it had to be stopped, with all that it started where the system tells what that is.
///
/// # Errors
/// If it can be neither waited for nor stopped.
pub(crate) fn end_within(limit: Duration, mut child: Child) -> Result<Option<ExitStatus>> {
    if let Some(status) = child.wait_timeout(limit)? {
        return Ok(Some(status));
    }
    for descendant in descendants(child.id()) {
        Command::new("kill").args(["-KILL", &descendant]).status().context("kill")?;
    }
    child.kill().context("stopping a program that hangs")?;
    child.wait().context("waiting for a stopped program")?;
    Ok(None)
}

/// The processes that a process started, and those that these started; none where `/proc` does not tell.
fn descendants(process: u32) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), vec![process.to_string()]);
    while let Some(parent) = next.pop() {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<String> = children
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        next.extend(children.iter().cloned());
        found.extend(children);
    }
    found
}

fn text_of(file: &mut fs::File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .context("reading a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        findings.push(finished.account_of_tests(command));
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
    fn what_a_failed_test_said_is_told_whatever_came_after() {
        let script = r"printf 'F\nfailures:\n\n---- it stdout ----\n1 is not 2\n\n\nfailures:\n    it\n\ntest result: FAILED. 0 passed; 1 failed\n'
            seq 100; exit 101";
        let finished = finish(Command::new("sh").args(["-c", script])).unwrap();
        let shell = Command::new("sh"); // the script says it, too
        assert!(!finished.account(&shell).contains("1 is not 2"));
        let account = finished.account_of_tests(&shell);
        assert!(account.contains("1 is not 2") && account.ends_with("    it"), "{account}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_not_a_failure() {
        assert!(succeeds(&mut Command::new("no-such-program-here")).is_err());
        assert!(!is_installed("no-such-program-here"));
    }

    #[test]
    fn a_program_that_hangs_is_stopped_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; sleep 1000 & echo $!; wait"]);
        let finished = finish_within(Duration::from_millis(300), &mut command).unwrap();
        assert!(!finished.status.success());
        assert!(finished.stderr.ends_with("still running after 0 s"), "{finished:?}");
        let started = finished.stdout.strip_prefix("begun\n").unwrap().trim();
        let status = fs::read_to_string(format!("/proc/{started}/status")).unwrap_or_default();
        assert!(!status.contains("State:\tS"), "{started} sleeps on: {status}");
    }

    #[test]
    fn a_test_run_without_tests_fails() {
        let outcome = tests_pass(Command::new("echo").arg("test result: ok. 0 passed; 0 failed")).unwrap();
        assert!(!outcome.holds());
    }
}
