//! The models of the core: tests named `loom_*` under loom, `shuttle_*` under shuttle, on the shipping modules.
//!
//! Never counts an empty run as a pass.

use anyhow::Result;

use crate::command::tests_pass;
use crate::flavour::{Atomics, Faults, Flavour};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// Runs both kinds of model.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    Ok(run_one(workspace, Atomics::Loom, "loom_")?.and(run_one(workspace, Atomics::Shuttle, "shuttle_")?))
}

fn run_one(workspace: &Workspace, atomics: Atomics, filter: &str) -> Result<Outcome> {
    let flavour = Flavour { atomics, faults: Faults::Absent };
    tests_pass(flavour.cargo_test(workspace).args(["--package", "zonal", "--lib", filter]))
}
