//! Every check in a row: a line for each with its seconds, what failed, and the totals alone on the last line.
//!
//! A step that cannot be carried out has failed; one that needs what is not installed is skipped and says so.

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::command::{finish, succeeds, tests_pass};
use crate::flavour::Faults;
use crate::outcome::Outcome;
use crate::workspace::Workspace;
use crate::{bare_metal, crates, fuzz, golden, layers, lengths, models, mutants, sequences, storms};

/// How much is checked.
#[derive(Args)]
pub(crate) struct Options {
    /// Only what a change should wait for: at most three minutes with a warm build.
    #[arg(long)]
    fast: bool,
}

/// One check of the round.
struct Step {
    name: &'static str,
    check: fn(&Workspace) -> Result<Outcome>,
}

const fn step(name: &'static str, check: fn(&Workspace) -> Result<Outcome>) -> Step {
    Step { name, check }
}

/// Both rounds begin with these.
const FIRST: &[Step] = &[
    step("format", |workspace| succeeds(&mut workspace.cargo("fmt --all --check"))),
    step("layers", layers::run),
    step("crates", crates::run),
    step("lengths", lengths::run),
    step("clippy", |workspace| {
        succeeds(&mut workspace.cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    }),
    step("tests of xtask", |workspace| tests_pass(&mut workspace.cargo("test --quiet --package xtask"))),
];

const FAST: &[Step] = &[step("tests of the core crates", |workspace| {
    let core = "test --quiet --no-fail-fast --package zonal --package zonal-testkit --package zonal-linux";
    tests_pass(&mut workspace.cargo(core))
})];

const FULL: &[Step] = &[
    step("cargo test", |workspace| tests_pass(&mut workspace.cargo("test --quiet --no-fail-fast"))),
    step("release build", |workspace| succeeds(&mut workspace.cargo_release("build --quiet --package lab"))),
    step("replay of the bundled recording", replay),
    step("storms", storms::run),
    step("documentation", |workspace| {
        // The libraries only: the program has the core's name, and its page would lie over the core's.
        let libraries =
            "doc --quiet --no-deps --lib --package zonal --package zonal-testkit --package zonal-linux";
        succeeds(workspace.cargo(libraries).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    step("without std", bare_metal::run),
    step("sequences of every processor", sequences::run),
    step("golden", |workspace| golden::run(workspace, &golden::Options::default())),
    // Of the builds that the mutants need anyway.
    step("models", |workspace| models::run(workspace, Faults::Planted)),
    step("mutants", |workspace| mutants::run(workspace, &mutants::Options::default())),
    step("canary of mutants", canary),
    step("corpus of the fuzz targets", fuzz::corpus),
    step("fuzzing", |workspace| fuzz::run(workspace, &fuzz::Options::default())),
];

/// Runs the steps of a round and prints as it goes.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Outcome {
    let round = if options.fast { FAST } else { FULL };
    let mut total = Outcome::default();
    let mut failed = Vec::new();
    for step in FIRST.iter().chain(round) {
        let outcome = step.run(workspace);
        if !outcome.holds() {
            failed.push(step.name);
        }
        total = total.and(outcome);
    }
    // Once more at the end, where whoever is shown only the last lines finds it.
    if !failed.is_empty() {
        println!("FAILED: {}", failed.join(", "));
        total.report_findings();
    }
    println!("{total}");
    total
}

impl Step {
    fn run(&self, workspace: &Workspace) -> Outcome {
        let start = Instant::now();
        let outcome = (self.check)(workspace).unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
        let word = match (outcome.holds(), outcome.is_skipped()) {
            (false, _) => "FAILED",
            (true, true) => "skip",
            (true, false) => "ok",
        };
        println!("{word:<6} {:>7.1} s  {} ({outcome})", start.elapsed().as_secs_f64(), self.name);
        outcome.report_findings();
        outcome
    }
}

/// The program's main job ends with status 0 and its audit.
fn replay(workspace: &Workspace) -> Result<Outcome> {
    let mut program = workspace.cargo_release("run --quiet");
    let finished = finish(&mut program)?;
    let has_audit = finished.stdout.lines().any(|line| line.starts_with("audit:"));
    if finished.status.success() && has_audit {
        return Ok(Outcome::passed(1));
    }
    Ok(Outcome::failed(format!("no line begins `audit:`, or: {}", finished.account(&program))))
}

/// With no mutant awake, `mutants` must report a failure.
fn canary(workspace: &Workspace) -> Result<Outcome> {
    let outcome = mutants::run(workspace, &mutants::Options::of_canary())?;
    if outcome.holds() {
        return Ok(Outcome::failed("the unmutated code was taken for a caught mutant"));
    }
    Ok(Outcome::passed(1))
}
