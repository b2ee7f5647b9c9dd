//! The fuzz targets of `fuzz/`: built by cargo-fuzz with nightly's address sanitizer and debug assertions, each run for
//! a while from its committed corpus; and the corpus alone, replayed as tests with the usual toolchain.
//!
//! Never writes to the committed corpus. A run counts only with the executions that libFuzzer itself reports at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{end_within, finish, succeeds, tests_pass};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const PACKAGE: &str = "fuzz";
const TOOLCHAIN: &str = "+nightly";
/// The line of libFuzzer's last statistics with the executions.
const EXECUTIONS: &str = "stat::number_of_executed_units:";
/// How libFuzzer names a file with input that failed.
const ARTIFACT: &str = "Test unit written to ";
/// Targets that run at a time.
const AT_A_TIME: usize = 2;
/// How long a target may take to read its corpus, beyond its time.
const GRACE: Duration = Duration::from_secs(180);
/// Lines of a failed run's log that are shown.
const SHOWN_LINES: usize = 30;

/// How long, and which.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets.
    targets: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 60, targets: Vec::new() }
    }
}

/// The corpus with the usual toolchain: formatted, without warnings, every file of it accepted.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn corpus(workspace: &Workspace) -> Result<Outcome> {
    let cargo = |words: &str| {
        let mut cargo = workspace.cargo(words);
        cargo.current_dir(workspace.path(PACKAGE)).env("CARGO_TARGET_DIR", workspace.target());
        cargo
    };
    let form = succeeds(&mut cargo("fmt --check"))?;
    let lints = succeeds(&mut cargo("clippy --quiet --no-default-features --all-targets -- -D warnings"))?;
    Ok(form.and(lints).and(tests_pass(&mut cargo("test --quiet --no-default-features"))?))
}

/// Builds the targets and runs them, two at a time.
///
/// # Errors
/// If a target is unknown, does not build or cannot be started.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if !is_there(workspace) {
        return Ok(Outcome::skipped(
            "fuzzing needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz)",
        ));
    }
    let all = targets(workspace)?;
    for name in &options.targets {
        ensure!(all.contains(name), "there is no fuzz target {name:?}, only {}", all.join(", "));
    }
    let chosen: Vec<&String> =
        all.iter().filter(|name| options.targets.is_empty() || options.targets.contains(name)).collect();
    let mut build = cargo_fuzz(workspace, "build");
    let built = finish(&mut build)?;
    ensure!(built.status.success(), built.account(&build));
    let mut outcome = Outcome::default();
    for pair in chosen.chunks(AT_A_TIME) {
        let runs: Result<Vec<Run>> =
            pair.iter().map(|name| Run::start(workspace, name, options.seconds)).collect();
        for run in runs? {
            outcome = outcome.and(run.end()?);
        }
    }
    Ok(outcome)
}

fn is_there(workspace: &Workspace) -> bool {
    finish(&mut cargo_fuzz(workspace, "--version")).is_ok_and(|finished| finished.status.success())
}

/// `cargo fuzz` of nightly, by rustup's own cargo: the one that runs this program knows no toolchains.
fn cargo_fuzz(workspace: &Workspace, verb: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN.trim_start_matches('+'), "cargo", "fuzz", verb]);
    command.current_dir(workspace.root()).env("CARGO_TARGET_DIR", workspace.target_for(PACKAGE));
    // Set by the cargo that runs this program, for the toolchain it is of.
    command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let mut list = cargo_fuzz(workspace, "list");
    let listed = finish(&mut list)?;
    ensure!(listed.status.success(), listed.account(&list));
    Ok(listed.stdout.lines().map(str::to_owned).collect())
}

/// A target that is running.
struct Run {
    target: String,
    log: PathBuf,
    child: Child,
    limit: Duration,
}

impl Run {
    /// Starts from the committed corpus; what is found goes to a directory beside the build.
    fn start(workspace: &Workspace, target: &str, seconds: u32) -> Result<Self> {
        let place = workspace.target_for(PACKAGE).join("found").join(target);
        fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
        let log = place.with_extension("log");
        let file = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = cargo_fuzz(workspace, "run");
        let committed = workspace.path(PACKAGE).join("corpus").join(target);
        command.arg(target).arg(&place).arg(&committed).arg("--");
        command.arg(format!("-max_total_time={seconds}")).args(libfuzzer_options(workspace, target));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {target}"))?;
        let limit = Duration::from_secs(u64::from(seconds)) + GRACE;
        Ok(Self { target: target.to_owned(), log, child, limit })
    }

    fn end(self) -> Result<Outcome> {
        let ended =
            end_within(self.limit, self.child).with_context(|| format!("waiting for {}", self.target))?;
        let succeeded = ended.is_some_and(|status| status.success());
        let log = fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        let verdict = verdict(&self.target, succeeded, &String::from_utf8_lossy(&log));
        Ok(match verdict {
            Ok(executions) => {
                println!("{:<12} {executions:>10} executions", self.target);
                Outcome::passed(1)
            }
            Err(why) => Outcome::failed(why),
        })
    }
}

/// Lengths and limits that suit a target, and its dictionary if it has one.
fn libfuzzer_options(workspace: &Workspace, target: &str) -> Vec<String> {
    let mut options = vec!["-print_final_stats=1".into(), "-timeout=20".into()];
    let (length, memory) = match target {
        "operations" | "memory_maps" => (384, 2048),
        // A window of 2 GiB is one that archives may ask for.
        _ => (16_384, 6144),
    };
    options.extend([format!("-max_len={length}"), format!("-rss_limit_mb={memory}")]);
    let dictionary = workspace.path(PACKAGE).join(target).with_extension("dict");
    if Path::exists(&dictionary) {
        options.push(format!("-dict={}", dictionary.display()));
    }
    options
}

/// The executions of a run that found nothing; else the artefact and how to see it again.
fn verdict(target: &str, succeeded: bool, log: &str) -> Result<u64, String> {
    let executions = log.lines().rev().find_map(|line| line.strip_prefix(EXECUTIONS)?.trim().parse().ok());
    match executions {
        Some(executions) if succeeded && executions > 0 => return Ok(executions),
        _ => {}
    }
    let artifact = log.lines().rev().find_map(|line| Some(line.split_once(ARTIFACT)?.1.trim()));
    let again = artifact.map_or_else(
        || "no artefact was written".to_owned(),
        |file| format!("{file}; again: cargo +nightly fuzz run {target} {file}"),
    );
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    Err(format!("{target}: {again}\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_libfuzzers_own() {
        let log = "#7 DONE\nstat::number_of_executed_units: 714\nstat::average_exec_per_sec:     11\n";
        assert_eq!(verdict("t", true, log), Ok(714));
        assert!(verdict("t", false, log).is_err());
        assert!(verdict("t", true, "#7 DONE\n").is_err());
        assert!(verdict("t", true, "stat::number_of_executed_units: 0").is_err());
    }

    #[test]
    fn a_crash_is_told_with_its_artefact_and_the_command() {
        let log = "thread panicked\nartifact_prefix='/a/'; Test unit written to /a/crash-12\nBase64: x\n";
        let why = verdict("maps", false, log).unwrap_err();
        assert!(
            why.starts_with("maps: /a/crash-12; again: cargo +nightly fuzz run maps /a/crash-12\n"),
            "{why}"
        );
        assert!(verdict("maps", false, "killed").unwrap_err().contains("no artefact"));
    }
}
