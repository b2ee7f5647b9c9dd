//! The builds of the core: as it ships, or handed to a model checker; with or without its planted faults.
//!
//! One build directory for each, so that no build throws another's work away.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// Which atomics stand behind the core's `sync` module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Atomics {
    /// The machine's.
    Std,
    /// loom's: every interleaving of a small protocol.
    Loom,
    /// shuttle's: many random interleavings of a whole scenario.
    Shuttle,
}

/// Whether the planted faults are compiled in (each still waits for `ZONAL_MUTANT`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Faults {
    /// The code as it ships.
    Absent,
    /// `--cfg zonal_mutants`.
    Planted,
}

/// One way to build the tests of the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Flavour {
    pub(crate) atomics: Atomics,
    pub(crate) faults: Faults,
}

impl Flavour {
    /// `cargo test` of this flavour, in its own build directory.
    pub(crate) fn cargo_test(self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo("test --quiet");
        command.env("CARGO_TARGET_DIR", self.target(workspace)).env("RUSTFLAGS", self.rust_flags());
        if self.atomics != Atomics::Std {
            // Models run many thousand executions, so they are optimised; linking them slowly gains nothing.
            command.arg("--release").env("CARGO_PROFILE_RELEASE_LTO", "off");
            command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
            command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
        }
        command
    }

    /// Where this flavour is built.
    pub(crate) fn target(self, workspace: &Workspace) -> PathBuf {
        workspace.target_for(&self.to_string())
    }

    fn rust_flags(self) -> String {
        let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
        match self.atomics {
            Atomics::Std => {}
            Atomics::Loom => flags.push_str(" --cfg zonal_loom"),
            Atomics::Shuttle => flags.push_str(" --cfg zonal_shuttle"),
        }
        if self.faults == Faults::Planted {
            flags.push_str(" --cfg zonal_mutants");
        }
        flags
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let atomics = match self.atomics {
            Atomics::Std => "std",
            Atomics::Loom => "loom",
            Atomics::Shuttle => "shuttle",
        };
        match self.faults {
            Faults::Absent => f.write_str(atomics),
            Faults::Planted => write!(f, "mutants-{atomics}"),
        }
    }
}
