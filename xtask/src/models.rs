//! The models of the core: tests named `loom_*` under loom, `shuttle_*` under shuttle, on the shipping modules.
//!
//! Never counts an empty run as a pass.

use anyhow::Result;

use crate::command::tests_pass;
use crate::flavour::{Atomics, Faults, Flavour};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// Runs both kinds of model, of the code as it ships or with its planted faults compiled in and none of them awake.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn run(workspace: &Workspace, faults: Faults) -> Result<Outcome> {
    let run_one = |atomics, filter| run_one(workspace, Flavour { atomics, faults }, filter);
    Ok(run_one(Atomics::Loom, "loom_")?.and(run_one(Atomics::Shuttle, "shuttle_")?))
}

fn run_one(workspace: &Workspace, flavour: Flavour, filter: &str) -> Result<Outcome> {
    tests_pass(flavour.cargo_test(workspace).args(["--package", "zonal", "--lib", filter]))
}
