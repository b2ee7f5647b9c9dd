//! The storms of the program `zonal`: each runs clean as it ships, some on both kinds of words, and notices each of its planted
//! faults.
//!
//! The faults are compiled in by a feature, into a build directory beside the usual one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::{finish, finish_within, succeeds};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// How long a storm rages that nothing is wrong with.
const SECONDS: &str = "1";
/// The storms that rage once more on words that their CPUs own, and for how long: those that change words in a way of their own.
const OWNED: [&str; 10] = [
    "churn",
    "drain",
    "signals",
    "cross-cpu",
    "nolock",
    "pressure",
    "cpuset",
    "hotplug",
    "everything",
    "kfree-rcu",
];
const OWNED_SECONDS: &str = "1";
/// What a storm says where words cannot be owned.
const UNOWNABLE: &str = "words cannot be their CPUs' own here";
/// How long one may take in all: it is to notice by itself that something hangs, and says so sooner.
const TIME_LIMIT: Duration = Duration::from_secs(100);
/// Where the program is in a build directory.
const PROGRAM: &str = "release/zonal";

/// A line of `zonal storm --list --json`.
#[derive(Deserialize)]
struct Listed {
    storm: String,
    faults: Vec<String>,
}

/// Runs every storm without a fault and once with each of its faults.
///
/// # Errors
/// If a program does not build or cannot be started.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let built = succeeds(&mut workspace.cargo_release("build --quiet --package lab"))?;
    let with_faults = workspace.target_for("faults");
    let mut build =
        workspace.cargo_release("build --quiet --package lab --no-default-features --features faults");
    build.env("CARGO_TARGET_DIR", &with_faults);
    let built = built.and(succeeds(&mut build)?);
    if !built.holds() {
        return Ok(built);
    }
    let (shipped, faulty) = (workspace.target().join(PROGRAM), with_faults.join(PROGRAM));
    let mut outcome = Outcome::default();
    for listed in list(&shipped)? {
        outcome = outcome.and(clean(&shipped, &[&listed.storm, "--seconds", SECONDS])?);
        if OWNED.contains(&listed.storm.as_str()) {
            let owned = [&listed.storm, "--seconds", OWNED_SECONDS, "--words", "owned"];
            outcome = outcome.and(clean(&shipped, &owned)?);
        }
        for fault in &listed.faults {
            outcome = outcome.and(noticed(&faulty, &listed.storm, fault)?);
        }
    }
    Ok(outcome)
}

fn list(program: &Path) -> Result<Vec<Listed>> {
    let listed = finish(Command::new(program).args(["storm", "--list", "--json"]))?;
    let storms = listed.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Listed>, _>>();
    let storms = storms.context("zonal storm --list --json")?;
    ensure!(!storms.is_empty(), "zonal storm --list --json lists nothing");
    Ok(storms)
}

/// One thing: the storm finds nothing.
fn clean(program: &Path, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new(program);
    let finished = finish_within(TIME_LIMIT, command.arg("storm").args(arguments))?;
    if finished.status.success() {
        return Ok(Outcome::passed(1));
    }
    if finished.stderr.contains(UNOWNABLE) {
        return Ok(Outcome::skipped(format!("{}: {UNOWNABLE}", arguments.join(" "))));
    }
    Ok(Outcome::failed(finished.account(&command)))
}

/// One thing: the storm finds the fault and names a promise.
fn noticed(program: &Path, storm: &str, fault: &str) -> Result<Outcome> {
    let mut command = Command::new(program);
    let finished = finish_within(TIME_LIMIT, command.args(["storm", storm, "--fault", fault]))?;
    if finished.status.code() == Some(1) && finished.stderr.contains("broken: P") {
        return Ok(Outcome::passed(1));
    }
    Ok(Outcome::failed(format!("{storm} does not notice {fault}: {}", finished.account(&command))))
}
