//! `zonal caches` for other rules of how much a CPU caches than the one that is built in.
//!
//! A rule is two constants of the core: words a kind, and how often the groups of a refill double. They are changed in a copy
//! of the sources, so the core has no knob for it. Prints a line for each rule; says nothing about which is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{finish, succeeds};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// What is copied: the members that the program is built of, and what says so.
const COPIED: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "zonal", "zonal-testkit", "zonal-linux", "stepping", "lab", "xtask"];
/// Where the constants are.
const WORDS: (&str, &str) = ("zonal/src/cache/mod.rs", "const SLOTS: usize = ");
const DOUBLINGS: (&str, &str) = ("zonal/src/cache/room.rs", "const DOUBLINGS: u8 = ");
/// Words a kind with a group a refill, one after the other; beside the rule that is built in.
const FIXED: [u32; 4] = [3, 6, 8, 12];

/// Which recording.
#[derive(Args)]
pub(crate) struct Options {
    /// Text of perf script or ftrace, the parts of one recording; without one it is the bundled recording.
    files: Vec<PathBuf>,
}

/// Measures each rule.
///
/// # Errors
/// If the sources cannot be copied, or a program not be built or started.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let files: Vec<PathBuf> =
        options.files.iter().map(fs::canonicalize).collect::<Result<_, _>>().context("a recording")?;
    let mut outcome = measured(workspace, None, &files)?;
    for words in FIXED {
        outcome = outcome.and(measured(workspace, Some(words), &files)?);
    }
    Ok(outcome)
}

fn measured(workspace: &Workspace, words: Option<u32>, files: &[PathBuf]) -> Result<Outcome> {
    let copy = workspace.target_for("caches").join("sources");
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    for name in COPIED {
        copy_over(&workspace.root().join(name), &copy.join(name))?;
    }
    let rule = match words {
        None => "as built in".to_owned(),
        Some(words) => {
            set(&copy, WORDS, words)?;
            set(&copy, DOUBLINGS, 0)?;
            format!("{words} words a kind, a group a refill")
        }
    };
    let target = workspace.target_for("caches").join("build");
    let mut build = workspace.cargo("build --quiet --package lab --no-default-features");
    let built = succeeds(build.current_dir(&copy).env("CARGO_TARGET_DIR", &target))?;
    if !built.holds() {
        return Ok(built);
    }
    let mut program = Command::new(target.join("debug/zonal"));
    let finished = finish(program.arg("caches").args(files))?;
    println!("{rule}\n{}", finished.stdout.trim_end());
    match finished.status.success() {
        true => Ok(Outcome::passed(1)),
        false => Ok(Outcome::failed(finished.account(&program))),
    }
}

/// Copies a file or a folder, what has not changed left as it is: cargo goes by its time.
fn copy_over(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_over(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let text = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(to, text).with_context(|| to.display().to_string())
}

/// Gives a constant of the copy another value.
fn set(copy: &Path, (file, before): (&str, &str), value: u32) -> Result<()> {
    let path = copy.join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, tail) = text.split_once(before).with_context(|| format!("{file} has no `{before}`"))?;
    let end = tail.find(';').context("a constant ends with a semicolon")?;
    ensure!(tail[..end].parse::<u32>().is_ok(), "{file}: `{before}` is no number");
    let changed = format!("{head}{before}{value}{}", &tail[end..]);
    fs::write(&path, changed).with_context(|| path.display().to_string())
}
