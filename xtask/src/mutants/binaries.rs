//! The test binaries with the planted faults, each built once and used for every mutant.
//!
//! Never runs a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Message, TargetKind};

use crate::command::finish;
use crate::flavour::{Atomics, Faults, Flavour};
use crate::mutants::catalogue::Check;
use crate::workspace::Workspace;

/// What identifies a test binary.
type Key = (Atomics, String, String);

/// Executables by build, package and target.
#[derive(Debug, Default)]
pub(crate) struct Binaries {
    executables: BTreeMap<Key, PathBuf>,
}

impl Binaries {
    /// Builds every binary that one of the checks is in.
    ///
    /// # Errors
    /// If one does not build.
    pub(crate) fn build<'a>(workspace: &Workspace, checks: impl Iterator<Item = &'a Check>) -> Result<Self> {
        let mut wanted: BTreeMap<(Atomics, String), BTreeSet<String>> = BTreeMap::new();
        for check in checks {
            wanted.entry((check.build, check.package.clone())).or_default().insert(check.target.clone());
        }
        let mut binaries = Self::default();
        for ((atomics, package), targets) in wanted {
            binaries.build_package(workspace, atomics, &package, &targets)?;
        }
        Ok(binaries)
    }

    /// The executable that holds the check.
    ///
    /// # Errors
    /// If it was not among those built.
    pub(crate) fn of(&self, check: &Check) -> Result<&PathBuf> {
        let key = (check.build, check.package.clone(), check.target.clone());
        self.executables
            .get(&key)
            .with_context(|| format!("{} has no test target {}", check.package, check.target))
    }

    fn build_package(
        &mut self,
        workspace: &Workspace,
        atomics: Atomics,
        package: &str,
        targets: &BTreeSet<String>,
    ) -> Result<()> {
        let flavour = Flavour { atomics, faults: Faults::Planted };
        eprintln!("building {package} with its planted faults ({flavour})");
        let mut cargo = flavour.cargo_test(workspace);
        cargo.args(["--no-run", "--message-format=json-render-diagnostics", "--package", package]);
        for target in targets {
            match target.as_str() {
                "lib" => cargo.arg("--lib"),
                name => cargo.args(["--test", name]),
            };
        }
        let finished = finish(&mut cargo)?;
        ensure!(finished.status.success(), finished.account(&cargo));
        for message in Message::parse_stream(finished.stdout.as_bytes()) {
            let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")? else {
                continue;
            };
            let Some(executable) = artifact.executable else { continue };
            let is_library = artifact.target.kind.contains(&TargetKind::Lib);
            let target = if is_library { "lib".to_owned() } else { artifact.target.name };
            self.executables.insert((atomics, package.to_owned(), target), executable.into());
        }
        Ok(())
    }
}
