//! Checks of the zonal workspace. Each subcommand is one check, each check one module; `ci` runs them all.
//!
//! Exit status: 0 when what was asked holds, 1 when it does not, 2 when it could not be found out.

mod bare_metal;
mod caches;
mod ci;
mod command;
mod crates;
mod flavour;
mod fuzz;
mod golden;
mod layers;
mod lengths;
mod models;
mod mutants;
mod outcome;
mod sequences;
mod source;
mod storms;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::flavour::Faults;
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// Checks of the zonal workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    check: Check,
}

#[derive(Subcommand)]
enum Check {
    /// Every check, a line each; ends with the totals.
    Ci(ci::Options),
    /// The layer diagram of ARCHITECTURE.md, the crates' dependencies, the lengths of files and functions.
    Layers,
    /// Instructions and locked operations of the fast paths against golden/fast-paths.txt.
    Golden(golden::Options),
    /// The loom and shuttle models of the core.
    Loom,
    /// The core built with nothing but `core` to link to, and for each bare-metal target that is installed.
    BareMetal,
    /// The restartable sequences of every processor, assembled.
    Sequences,
    /// The planted faults of zonal/mutants.toml: each must be caught by its check.
    Mutants(mutants::Options),
    /// The fuzz targets of fuzz/ for some seconds each, from the committed corpus.
    Fuzz(fuzz::Options),
    /// What CPUs cache by other rules than the one that is built in, on a recording: `zonal caches` for each.
    Caches(caches::Options),
    /// Every storm of the program, and each of its faults once.
    Storms,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.check) {
        Ok(outcome) if outcome.holds() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(check: &Check) -> Result<Outcome> {
    let workspace = Workspace::of_this_program()?;
    let outcome = match check {
        Check::Ci(options) => return Ok(ci::run(&workspace, options)),
        Check::Layers => structure(&workspace)?,
        Check::Golden(options) => golden::run(&workspace, options)?,
        Check::Loom => models::run(&workspace, Faults::Absent)?,
        Check::BareMetal => bare_metal::run(&workspace)?,
        Check::Sequences => sequences::run(&workspace)?,
        Check::Mutants(options) => mutants::run(&workspace, options)?,
        Check::Fuzz(options) => fuzz::run(&workspace, options)?,
        Check::Caches(options) => caches::run(&workspace, options)?,
        Check::Storms => storms::run(&workspace)?,
    };
    outcome.report_findings();
    eprintln!("{outcome}");
    Ok(outcome)
}

/// What holds the house together: layers, crates, lengths.
fn structure(workspace: &Workspace) -> Result<Outcome> {
    Ok(layers::run(workspace)?.and(crates::run(workspace)?).and(lengths::run(workspace)?))
}
