//! The core without a standard library: built for bare-metal targets where any is installed, and always against a
//! sysroot that holds `core` alone, where naming `std` or `alloc` cannot compile.
//!
//! Never counts a target that is not installed as passed. The sysroot is tried out first on a line that needs `std`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{finish, succeeds};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const BUILD: &str = "build --quiet --release --package zonal";

/// Builds the core in every way possible here.
///
/// # Errors
/// If a tool cannot be started or the sysroot cannot be laid out.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let targets = bare_targets()?;
    let mut outcome = core_alone(workspace)?;
    if targets.is_empty() {
        outcome = outcome.and(Outcome::skipped("no bare-metal target with 64-bit atomics is installed"));
    }
    for target in &targets {
        let mut build = workspace.cargo(BUILD);
        build.args(["--target", target]);
        outcome = outcome.and(succeeds(&mut build)?);
    }
    Ok(outcome)
}

/// Installed targets without an operating system that have the atomics the core needs.
fn bare_targets() -> Result<Vec<String>> {
    let Ok(listed) = finish(Command::new("rustup").args(["target", "list", "--installed"])) else {
        return Ok(Vec::new());
    };
    let mut targets = Vec::new();
    for target in listed.stdout.lines().filter(|target| target.contains("-none")) {
        let described = finish(Command::new("rustc").args(["--print", "cfg", "--target", target]))?;
        if described.stdout.lines().any(|cfg| cfg == "target_has_atomic=\"64\"") {
            targets.push(target.to_owned());
        }
    }
    Ok(targets)
}

/// Builds the core for this machine with nothing but `core` to link to.
fn core_alone(workspace: &Workspace) -> Result<Outcome> {
    let host = Host::find()?;
    let target_dir = workspace.target_for("core-alone");
    let sysroot = host.sysroot_of_core(&target_dir.join("sysroot"))?;
    if accepts_std(&sysroot, &target_dir)? {
        return Ok(Outcome::failed(
            "the sysroot of core alone compiles code that needs std: it proves nothing",
        ));
    }
    let mut build = workspace.cargo(BUILD);
    build.args(["--target", &host.triple]).env("CARGO_TARGET_DIR", &target_dir);
    build.env("CARGO_PROFILE_RELEASE_LTO", "off");
    build.env("CARGO_ENCODED_RUSTFLAGS", format!("--sysroot\u{1f}{}", sysroot.display()));
    succeeds(&mut build)
}

/// Whether a crate that needs `std` compiles against the sysroot.
fn accepts_std(sysroot: &Path, scratch: &Path) -> Result<bool> {
    let source = scratch.join("needs_std.rs");
    fs::write(&source, "//! Needs std.\npub fn f() -> std::string::String { std::string::String::new() }\n")?;
    let mut compile = Command::new("rustc");
    compile.args(["--crate-type=lib", "--emit=metadata", "--sysroot"]).arg(sysroot);
    Ok(finish(compile.arg("--out-dir").arg(scratch).arg(&source))?.status.success())
}

/// This machine's compiler.
#[derive(Debug)]
struct Host {
    triple: String,
    libraries: PathBuf,
}

impl Host {
    fn find() -> Result<Self> {
        let version = finish(Command::new("rustc").arg("-vV"))?.stdout;
        let triple = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?;
        let libraries = finish(Command::new("rustc").args(["--print", "target-libdir"]))?.stdout;
        Ok(Self { triple: triple.to_owned(), libraries: PathBuf::from(libraries.trim()) })
    }

    /// A directory that rustc takes for a sysroot and that holds `core` and the compiler's own routines only.
    fn sysroot_of_core(&self, directory: &Path) -> Result<PathBuf> {
        let libraries = directory.join("lib/rustlib").join(&self.triple).join("lib");
        if libraries.exists() {
            fs::remove_dir_all(&libraries).with_context(|| format!("emptying {}", libraries.display()))?;
        }
        fs::create_dir_all(&libraries).with_context(|| format!("creating {}", libraries.display()))?;
        let mut copied = 0;
        for entry in
            fs::read_dir(&self.libraries).with_context(|| format!("reading {}", self.libraries.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("libcore-") || name.starts_with("libcompiler_builtins-") {
                fs::copy(entry.path(), libraries.join(&name)).with_context(|| format!("copying {name}"))?;
                copied += 1;
            }
        }
        ensure!(copied > 0, "{} holds no core library", self.libraries.display());
        Ok(directory.to_path_buf())
    }
}
