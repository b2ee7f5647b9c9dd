//! Planting one of the core's faults, where the program was built with them.

use anyhow::{Result, bail};

use super::Storm;

/// Plants a fault that the storm must notice.
///
/// # Errors
/// If the storm has no such fault, or the program was built without faults.
pub(super) fn plant(storm: &dyn Storm, fault: &str) -> Result<()> {
    if !storm.faults().contains(&fault) {
        let (name, faults) = (storm.name(), storm.faults().join(", "));
        bail!("storm {name} has no fault {fault:?}: it has {faults}");
    }
    if !planted(fault) {
        bail!("--fault {fault} needs a program that has faults: cargo build --release --features faults");
    }
    Ok(())
}

#[cfg(feature = "faults")]
fn planted(fault: &str) -> bool {
    zonal::plant_fault(fault)
}

#[cfg(not(feature = "faults"))]
fn planted(_: &str) -> bool {
    false
}
