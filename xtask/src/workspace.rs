//! Where things are: the repository's root, its build directories, and how cargo is called in it.
//!
//! Never builds or writes anything itself.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The repository this program was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    /// The build directory of everything that ships.
    target: PathBuf,
}

impl Workspace {
    /// The workspace that holds this crate: as `cargo run` names it now, else as it was when this was compiled (two
    /// checkouts may share one build directory).
    ///
    /// # Errors
    /// If the crate lies in no directory.
    pub(crate) fn of_this_program() -> Result<Self> {
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let here = PathBuf::from(here);
        let root = here.parent().with_context(|| format!("{} has no parent", here.display()))?.to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Self { root, target })
    }

    /// A file or directory, named from the root.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The root itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The build directory of everything that ships.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The build directory beside the usual one for a build with other flags: `target-loom`.
    pub(crate) fn target_for(&self, name: &str) -> PathBuf {
        let mut path = OsString::from(&self.target);
        path.push("-");
        path.push(name);
        PathBuf::from(path)
    }

    /// A path as it is written in messages: from the root where it lies inside.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Cargo for the release profile, but for what makes it build for minutes: link-time optimization in one unit.
    pub(crate) fn cargo_release(&self, words: &str) -> Command {
        let mut command = self.cargo(words);
        command.arg("--release").env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        command
    }

    /// `cargo` in the root, the same cargo that started this program, with these words as arguments.
    pub(crate) fn cargo(&self, words: &str) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(words.split_whitespace()).env("CARGO_TARGET_DIR", &self.target);
        command
    }
}
