//! One check run once, in a process of its own, with a time limit and at most one mutant awake.
//!
//! Never believes a run in which the check did not take place.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::{end_within, finish};
use crate::mutants::catalogue::Check;

/// How long a check may take; the core is meant to wait for nobody, so longer means it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The variable that wakes a mutant.
const VARIABLE: &str = "ZONAL_MUTANT";

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It found nothing wrong.
    Passed,
    /// It failed, or the process died.
    Failed(ExitStatus),
    /// It was still running at the time limit and was stopped.
    TimeLimit,
}

impl Ending {
    /// Whether the check noticed that something is wrong.
    pub(crate) fn is_caught(self) -> bool {
        self != Self::Passed
    }

    /// For the human reader: what happened.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Passed => "not noticed".into(),
            Self::Failed(status) if status.code() == Some(101) => "by panic".into(),
            Self::Failed(status) => format!("died ({status})"),
            Self::TimeLimit => "by time limit".into(),
        }
    }
}

/// A check's ending and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) ending: Ending,
    pub(crate) took: Duration,
}

/// Runs a check; `mutant` is the one to wake. What it prints goes to `log`.
///
/// # Errors
/// If the binary has no such test, or cannot be started.
pub(crate) fn run(binary: &Path, check: &Check, mutant: Option<&str>, log: &Path) -> Result<Verdict> {
    ensure!(has_test(binary, &check.test)?, "{} {} has no test {}", check.package, check.target, check.test);
    let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let errors = output.try_clone().context("sharing the log")?;
    let mut command = Command::new(binary);
    command.args(["--exact", "--include-ignored", &check.test]).env_remove(VARIABLE);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    if let Some(mutant) = mutant {
        command.env(VARIABLE, mutant);
    }
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
    let ending = match end_within(TIME_LIMIT, child).context("waiting for the check")? {
        Some(status) if status.success() => Ending::Passed,
        Some(status) => Ending::Failed(status),
        None => Ending::TimeLimit,
    };
    Ok(Verdict { ending, took: start.elapsed() })
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn has_test(binary: &Path, test: &str) -> Result<bool> {
    let mut command = Command::new(binary);
    let listed = finish(command.args(["--list", "--format", "terse", "--exact", test]).env_remove(VARIABLE))?;
    Ok(listed.stdout.lines().any(|line| line.strip_suffix(": test") == Some(test)))
}
