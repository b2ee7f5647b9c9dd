//! The fast paths counted: instructions and locked read-modify-writes per operation, against golden/fast-paths.txt.
//!
//! `zonal/examples/fast_paths.rs` runs an operation N times under callgrind, for two values of N; the difference
//! leaves what the operation costs and nothing of the set-up. Counts repeat, so they guard what clocks cannot. Locked
//! operations are those of the program itself: addresses from its disassembly, executions from the profile.

mod disassembly;
mod profile;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use clap::Args;

use crate::command::{finish, is_installed};
use crate::golden::disassembly::locked_instructions;
use crate::golden::profile::Profile;
use crate::golden::table::{Bound, Cost, Row};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const TABLE: &str = "golden/fast-paths.txt";
const PROGRAM: &str = "fast_paths";

/// What is measured, and what the contract says of it.
const OPERATIONS: [(&str, Option<Bound>); 7] = [
    ("pair-0", Some(Bound { instructions: 120.0, locked: 2.0 })),
    ("pair-3", None),
    ("pair-9", None),
    ("hold-alloc", None),
    ("hold-free", None),
    ("hold-free-random", None),
    ("bulk", None),
];
/// The two run lengths: whole numbers of 512 frames, so that refills and evictions divide out.
const FEW: u32 = 16_384;
const MANY: u32 = 49_152;

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
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(Outcome::skipped("golden counts are for x86-64"));
    }
    if let Some(tool) = ["valgrind", "objdump"].into_iter().find(|tool| !is_installed(tool)) {
        return Ok(Outcome::skipped(format!("golden needs {tool}, which is not installed")));
    }
    let measurer = Measurer::new(workspace)?;
    let rows = OPERATIONS.iter().map(|(name, _)| measurer.row(name)).collect::<Result<Vec<_>>>()?;
    let path = workspace.path(TABLE);
    if options.bless {
        return bless(&path, &rows);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{TABLE}: make it by --bless"))?;
    let committed = table::parse(&text)?;
    let judged = rows.iter().zip(OPERATIONS).map(|(row, (_, bound))| table::judge(row, &committed, bound));
    let outcome = judged.map(Outcome::of_findings).fold(Outcome::default(), Outcome::and);
    if !outcome.holds() {
        let compiler = compiler()?;
        eprint!("{}", table::write(&[&format!("measured with {compiler}")], &rows));
        eprintln!(
            "golden was {}",
            text.lines().find(|line| line.contains("rustc")).unwrap_or("# of unknown origin")
        );
    }
    Ok(outcome)
}

fn bless(path: &Path, rows: &[Row]) -> Result<Outcome> {
    let compiler = compiler()?;
    let header = [
        "What the fast paths cost per operation; a pair is one alloc and one free, the loop around them included.",
        "Written by `cargo xtask golden --bless`, checked by `cargo xtask golden` (instructions to 2 %).",
        &format!("measured with {compiler}"),
    ];
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    fs::write(path, table::write(&header, rows)).with_context(|| format!("writing {}", path.display()))?;
    let broken =
        rows.iter().zip(OPERATIONS).map(|(row, (_, bound))| bound.map(|bound| table::broken(row, bound)));
    Ok(broken
        .map(|findings| Outcome::of_findings(findings.unwrap_or_default()))
        .fold(Outcome::default(), Outcome::and))
}

fn compiler() -> Result<String> {
    Ok(finish(Command::new("rustc").arg("--version"))?.stdout.trim().to_owned())
}

/// The built program, ready to be measured.
#[derive(Debug)]
struct Measurer {
    program: PathBuf,
    locked: BTreeSet<u64>,
    scratch: PathBuf,
}

impl Measurer {
    fn new(workspace: &Workspace) -> Result<Self> {
        let program = build(workspace)?;
        let mut objdump = Command::new("objdump");
        let listing = finish(objdump.args(["--disassemble", "--no-show-raw-insn"]).arg(&program))?;
        ensure!(listing.status.success(), listing.account(&objdump));
        let locked = locked_instructions(&listing.stdout);
        Ok(Self { program, locked, scratch: workspace.target().join("callgrind") })
    }

    fn row(&self, operation: &str) -> Result<Row> {
        let (few, many) = (self.counts(operation, FEW)?, self.counts(operation, MANY)?);
        let per_operation = |few: u64, many: u64| many.saturating_sub(few) as f64 / f64::from(MANY - FEW);
        let cost = Cost { instructions: per_operation(few.0, many.0), locked: per_operation(few.1, many.1) };
        Ok(Row { operation: operation.to_owned(), cost })
    }

    /// Instructions, and those of them that are locked, of a whole run.
    fn counts(&self, operation: &str, iterations: u32) -> Result<(u64, u64)> {
        let output = self.scratch.with_extension(format!("{operation}.{iterations}"));
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", output.display()));
        valgrind.arg(&self.program).arg(operation).arg(iterations.to_string());
        let finished = finish(&mut valgrind)?;
        ensure!(finished.status.success(), finished.account(&valgrind));
        let text = fs::read_to_string(&output).with_context(|| format!("reading {}", output.display()))?;
        fs::remove_file(&output).with_context(|| format!("removing {}", output.display()))?;
        let profile = Profile::parse(&text, &format!("/{PROGRAM}"))?;
        let locked = self.locked.iter().filter_map(|address| profile.executions.get(address)).sum();
        Ok((profile.total, locked))
    }
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build --release --package zonal --example");
    let finished = finish(cargo.args([PROGRAM, "--message-format=json-render-diagnostics"]))?;
    ensure!(finished.status.success(), finished.account(&cargo));
    let messages = Message::parse_stream(finished.stdout.as_bytes()).filter_map(Result::ok);
    let mut executables = messages.filter_map(|message| match message {
        Message::CompilerArtifact(artifact) if artifact.target.name == PROGRAM => artifact.executable,
        _ => None,
    });
    executables.next().map(PathBuf::from).with_context(|| format!("cargo built no {PROGRAM}"))
}
