//! Storm `kill`: a process of several threads is killed at any instruction, and another goes on over the metadata it left in
//! a file. In between the judge recovers the allocator itself, and holds what it finds against the ledger, where every
//! thread wrote what it holds and what it was about to do.
//!
//! Invariant: a run that stands in the ledger is not free; what is neither free nor in the ledger was in the hands of calls
//! that never returned, for each at most what it was asked for and a group.

use std::collections::BTreeSet;
use std::env::current_exe;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zonal::{FrameRange, Recovery};
use zonal_linux::{CpuSource, Machine, MachineError, PoolError, Simulation, WordKind};

use super::engine::Run;
use super::ledger::{Ledger, Step};
use super::report::Report;
use super::words::Sense;
use super::worker::{PARENT, THREADS, WORKER};
use super::{Finding, Storm};

/// How long a process may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// Frames that a call may have in hand beyond what it was asked for.
const BEYOND: u64 = zonal::GROUP_FRAMES;

/// A process killed again and again.
pub(super) struct Kill;

/// 64 blocks, two CPUs.
pub(super) fn machine() -> Result<Machine, MachineError> {
    Machine::uniform(1, 128 << 20, 2)
}

/// The file with the metadata, for reading and writing.
pub(super) fn open_file(directory: &Path) -> std::io::Result<File> {
    let path = directory.join("metadata");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

impl Storm for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn about(&self) -> &'static str {
        "a process is killed at any instruction, and the next recovers the allocator from its file"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["RecoveryForgetsWords", "RecoveryTrustsCount"]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Locked, "words of a file are everybody's")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let directory = tempfile::tempdir().context("a directory for the metadata")?;
        let ledger = Ledger::open(directory.path(), THREADS)?;
        let (start, mut dice) = (Instant::now(), fastrand::Rng::with_seed(run.seed));
        let mut judged = Judged::default();
        while start.elapsed() < Duration::from_secs(run.seconds) && judged.broken.is_none() {
            ledger.clear_ready();
            let worker = start_worker(directory.path(), dice.u64(..))?;
            kill(worker, &ledger, Duration::from_micros(dice.u64(500..20_000)))?;
            judged.judge(directory.path(), &ledger)?;
        }
        let report = Report {
            storm: self.name(),
            seconds: start.elapsed().as_secs_f64(),
            rounds: judged.rounds,
            requests: ledger.calls(),
            lost: judged.lost,
            double: judged.double,
            interruptions: judged.rounds,
            audit: judged.audit,
            details: format!(
                "{} processes killed; given back: {} frames from words, {} claimed, {} of runs not completed, {} in hand\n",
                judged.rounds,
                judged.sum.cached,
                judged.sum.claimed,
                judged.sum.tentative,
                judged.sum.disowned
            ),
            ..Report::default()
        };
        Ok(Finding { report, broken: judged.broken })
    }
}

/// This program again, as a process to be killed.
fn start_worker(directory: &Path, seed: u64) -> Result<Child> {
    let mut command = Command::new(current_exe().context("this program's own file")?);
    command.env(WORKER, directory).env(PARENT, process::id().to_string()).args([
        "storm",
        "kill",
        "--seed",
        &seed.to_string(),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("this program again")
}

/// Kills the process so long after it has begun to work.
fn kill(mut worker: Child, ledger: &Ledger, after: Duration) -> Result<()> {
    let start = Instant::now();
    while !ledger.is_ready() {
        if worker.try_wait()?.is_some() {
            return ended(worker);
        }
        if start.elapsed() > PATIENCE {
            worker.kill()?;
            bail!("the process did not begin within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(after);
    if worker.try_wait()?.is_some() {
        return ended(worker);
    }
    worker.kill().context("kill")?;
    worker.wait().context("the killed process")?;
    Ok(())
}

/// The process ended before it was killed.
fn ended(worker: Child) -> Result<()> {
    let output = worker.wait_with_output()?;
    bail!("the process ended by itself ({}): {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// What the judge has found in all rounds.
#[derive(Default)]
struct Judged {
    rounds: u64,
    lost: u64,
    double: u64,
    audit: Vec<String>,
    sum: Recovery,
    broken: Option<String>,
}

impl Judged {
    /// Recovers the allocator and compares it with the ledger; afterwards nothing is in anybody's hands.
    fn judge(&mut self, directory: &Path, ledger: &Ledger) -> Result<()> {
        self.rounds += 1;
        let held: BTreeSet<u64> = ledger.held().flat_map(|run| run.start.get()..run.end.get()).collect();
        let owns = |run: FrameRange| held.range(run.start.get()..run.end.get()).next().is_some();
        let mut asked = BTreeSet::new();
        let owned = |run: FrameRange| {
            asked.extend(run.start.get()..run.end.get());
            owns(run)
        };
        // SAFETY: the one process that wrote to the file is dead.
        let opened =
            unsafe { Simulation::open(&machine()?, CpuSource::Played, open_file(directory)?, owned) };
        let (simulation, recovery) = match opened {
            Ok((simulation, Some(recovery))) => (simulation, recovery),
            Ok((_, None)) => bail!("nothing was left in the file"),
            Err(PoolError::Recovery(error)) => return self.break_with(format!("P5: recovery: {error}")),
            Err(error) => return Err(error.into()),
        };
        self.add(&recovery);
        if let Some(free) = held.iter().find(|frame| !asked.contains(frame)) {
            self.double += 1;
            return self.break_with(format!("P5: frame {free:#x} is held and free"));
        }
        let most: u64 = ledger.steps().map(Step::frames).map(|frames| frames + BEYOND).sum();
        if recovery.disowned > most {
            self.lost += recovery.disowned - most;
            let disowned = recovery.disowned;
            return self.break_with(format!("P5: {disowned} frames were in nobody's hands, {most} may be"));
        }
        let summary = simulation.allocator().audit(&mut |finding| self.audit.push(finding.to_string()));
        if let Some(finding) = self.audit.first() {
            let broken = format!("P5: audit: {finding}");
            return self.break_with(broken);
        }
        if summary.allocated != held.len() as u64 {
            let held = held.len();
            return self
                .break_with(format!("P5: {} frames are allocated, {held} are held", summary.allocated));
        }
        ledger.settle();
        Ok(())
    }

    fn break_with(&mut self, broken: String) -> Result<()> {
        self.broken = Some(broken);
        Ok(())
    }

    fn add(&mut self, found: &Recovery) {
        self.sum.cached += found.cached;
        self.sum.claimed += found.claimed;
        self.sum.tentative += found.tentative;
        self.sum.disowned += found.disowned;
    }
}
