//! The fast paths counted: instructions and locked read-modify-writes per operation, against golden/fast-paths.txt.
//!
//! `zonal/examples/fast_paths.rs`, built for x86-64-v2 on a platform of one fixed CPU, prepares an allocator and runs an
//! operation N times. Both are counted for two values of N; the difference leaves what the operation costs and nothing of
//! the set-up. Instructions: callgrind. Locked operations: the program steps itself by the trap flag, which needs no other
//! tool. Libraries are left out of both. Counts repeat, so they guard what clocks cannot.

mod profile;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use clap::Args;

use crate::command::{finish, is_installed};
use crate::golden::profile::instructions_of;
use crate::golden::table::{Bound, Cost, Row};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const TABLE: &str = "golden/fast-paths.txt";
const PROGRAM: &str = "fast_paths";
/// Fixed, so that neither the machine nor a default decides which instructions there are.
const FLAGS: &str = "-C target-cpu=x86-64-v2";

/// An operation that is measured, how often it runs, and what the contract says of it.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    runs: Runs,
    bound: Option<Bound>,
}

/// How often an operation runs to be counted.
#[derive(Clone, Copy)]
enum Runs {
    /// Once, from a state made for it.
    Once,
    /// So often that rare steps (refills, evictions) have their share: whole numbers of 512 frames, so that they divide
    /// out.
    Often,
}

impl Runs {
    /// The two counts whose difference callgrind shows.
    fn profiled(self) -> (u32, u32) {
        match self {
            Self::Once => (0, 1),
            Self::Often => (16_384, 49_152),
        }
    }

    /// The two counts whose difference is stepped: fewer, since a step costs as much as thousands of instructions.
    fn stepped(self) -> (u32, u32) {
        match self {
            Self::Once => (0, 1),
            Self::Often => (512, 1024),
        }
    }
}

const fn once(name: &'static str) -> Operation {
    Operation { name, runs: Runs::Once, bound: None }
}

const fn often(name: &'static str) -> Operation {
    Operation { name, runs: Runs::Often, bound: None }
}

const OPERATIONS: [Operation; 18] = [
    Operation { bound: Some(Bound { instructions: 120.0, locked: 2.0 }), ..often("pair-0") },
    often("pair-3"),
    often("pair-9"),
    often("hold-alloc"),
    often("hold-free"),
    often("hold-free-random"),
    often("bulk"),
    often("churn"),
    often("refuse-0"),
    often("refuse-9"),
    often("refuse-9-frag"),
    once("alloc-hit"),
    once("alloc-miss"),
    once("free-hit"),
    once("free-miss"),
    once("free-evict"),
    once("drain-empty"),
    once("drain-full"),
];

/// What to do with the counts.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Commit the present counts as the golden ones (the contract is still checked).
    #[arg(long)]
    bless: bool,
}

/// Measures every operation and compares or commits the table.
///
/// # Errors
/// If the program cannot be built or measured, or the table cannot be read or written.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return Ok(Outcome::skipped("golden counts are for x86-64 Linux"));
    }
    let measurer = Measurer::new(workspace)?;
    let rows = OPERATIONS.iter().map(|operation| measurer.row(operation)).collect::<Result<Vec<_>>>()?;
    let path = workspace.path(TABLE);
    if options.bless {
        ensure!(measurer.has_valgrind, "blessing needs valgrind, which is not installed");
        return bless(&path, &rows);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{TABLE}: make it by --bless"))?;
    let committed = table::parse(&text)?;
    let judged =
        rows.iter().zip(OPERATIONS).map(|(row, operation)| table::judge(row, &committed, operation.bound));
    let outcome = judged.map(Outcome::of_findings).fold(Outcome::default(), Outcome::and);
    if !outcome.holds() {
        let compiler = compiler()?;
        eprint!("{}", table::write(&[&format!("measured with {compiler}")], &rows));
        eprintln!(
            "golden was {}",
            text.lines().find(|line| line.contains("rustc")).unwrap_or("# of unknown origin")
        );
    }
    Ok(match measurer.has_valgrind {
        true => outcome,
        false => outcome.and(Outcome::skipped("golden: instructions need valgrind, which is not installed")),
    })
}

fn bless(path: &Path, rows: &[Row]) -> Result<Outcome> {
    let compiler = compiler()?;
    let header = [
        "What the fast paths cost per operation; a pair is one alloc and one free, the loop around them included.",
        "Written by `cargo xtask golden --bless`, checked by `cargo xtask golden` (instructions to 2 %).",
        &format!("measured with {compiler}, {FLAGS}"),
    ];
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    fs::write(path, table::write(&header, rows)).with_context(|| format!("writing {}", path.display()))?;
    let broken = rows.iter().zip(OPERATIONS).map(|(row, operation)| match operation.bound {
        Some(bound) => table::broken(row, bound),
        None => Vec::new(),
    });
    Ok(broken.map(Outcome::of_findings).fold(Outcome::default(), Outcome::and))
}

fn compiler() -> Result<String> {
    Ok(finish(Command::new("rustc").arg("--version"))?.stdout.trim().to_owned())
}

/// The built program, ready to be measured.
#[derive(Debug)]
struct Measurer {
    program: PathBuf,
    scratch: PathBuf,
    has_valgrind: bool,
}

impl Measurer {
    fn new(workspace: &Workspace) -> Result<Self> {
        let program = build(workspace)?;
        let scratch = workspace.target_for("golden").join("callgrind");
        Ok(Self { program, scratch, has_valgrind: is_installed("valgrind") })
    }

    fn row(&self, operation: &Operation) -> Result<Row> {
        let Operation { name, runs, .. } = *operation;
        let instructions = match self.has_valgrind {
            true => Some(per_operation(runs.profiled(), |count| self.instructions(name, count))?),
            false => None,
        };
        let locked = per_operation(runs.stepped(), |count| self.locked(name, count))?;
        Ok(Row { operation: name.to_owned(), cost: Cost { instructions, locked } })
    }

    /// Instructions of a whole run, by callgrind.
    fn instructions(&self, operation: &str, count: u32) -> Result<u64> {
        let output = self.scratch.with_extension(format!("{operation}.{count}"));
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", output.display()));
        valgrind.arg(&self.program).arg(operation).arg(count.to_string());
        let finished = finish(&mut valgrind)?;
        ensure!(finished.status.success(), finished.account(&valgrind));
        let text = fs::read_to_string(&output).with_context(|| format!("reading {}", output.display()))?;
        fs::remove_file(&output).with_context(|| format!("removing {}", output.display()))?;
        instructions_of(&text, &format!("/{PROGRAM}"))
    }

    /// Locked operations of so many operations, by the program itself.
    fn locked(&self, operation: &str, count: u32) -> Result<u64> {
        let mut program = Command::new(&self.program);
        let finished = finish(program.args(["--locked", operation]).arg(count.to_string()))?;
        ensure!(finished.status.success(), finished.account(&program));
        let printed = finished.stdout.trim();
        printed.parse().with_context(|| format!("{printed:?} as a number of locked operations"))
    }
}

/// What one operation adds to a count that runs from `few` to `many` operations give.
fn per_operation((few, many): (u32, u32), count: impl Fn(u32) -> Result<u64>) -> Result<f64> {
    let more = count(many)?.saturating_sub(count(few)?);
    Ok(more as f64 / f64::from(many - few))
}

/// Builds the program in a directory of its own, since its flags are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build --release --package zonal --example");
    cargo.env("CARGO_TARGET_DIR", workspace.target_for("golden")).env("RUSTFLAGS", FLAGS);
    let finished = finish(cargo.args([PROGRAM, "--message-format=json-render-diagnostics"]))?;
    ensure!(finished.status.success(), finished.account(&cargo));
    let messages = Message::parse_stream(finished.stdout.as_bytes()).filter_map(Result::ok);
    let mut executables = messages.filter_map(|message| match message {
        Message::CompilerArtifact(artifact) if artifact.target.name == PROGRAM => artifact.executable,
        _ => None,
    });
    executables.next().map(PathBuf::from).with_context(|| format!("cargo built no {PROGRAM}"))
}
