//! `zonal` and `zonal replay`: a recorded kernel's page allocations, served again by our allocator.
//!
//! Read (`trace`, `ledger`) into a plan, choose the machine (`setting`), carry the plan out (`engine`, on `threads`,
//! with `stamp`s and a `stopwatch`), look, free what is left, audit, report. Invariant: the report's `audit` is empty
//! and `lost` is 0 if and only if every frame was its owner's alone and came back.

pub(crate) mod bundled;
#[cfg(test)]
mod canary;
mod engine;
mod report;
mod setting;
mod stamp;
mod stopwatch;
mod threads;

use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zonal::{PageAllocator, Platform};
use zonal_linux::{CpuSource, Pages, Pool, SimulatedPlatform, Simulation};

use crate::ledger::Ledger;
use crate::output::{Format, Verdict, explain, print_json};
use crate::picture::{Colours, Scene};
use crate::plan::Plan;
use crate::progress::{Progress, Unit};
use crate::trace::{self, Fault, Recording};
use engine::{Engine, Tally};
use report::Report;
use setting::Setting;
use stamp::{STAMP, Stamps, Table};
use stopwatch::Stopwatch;

/// Findings listed; further ones are only counted.
const FINDINGS: usize = 100;
/// Threads that can be asked for.
const MAX_THREADS: u64 = 1024;

/// Replay recordings of a kernel's page allocator.
///
/// Reads perf.data, and perf script, ftrace and trace-cmd text; plain, .gz, .xz or .zst, told by content. Several FILEs
/// are the parts of one recording, in this order. Only mm_page_alloc and mm_page_free act; everything else is counted in
/// `other_events`. A packed perf.data is unpacked into a temporary file.
///
/// An allocation over frames that are still held proves missing frees: what is left of each allocation it meets is
/// freed first, and each is one of `missed_frees`. `free_order9_at_end` counts wholly free blocks after the last event,
/// when the caches were drained and before what the recording never freed is freed too. `ns_per_op` is the mean over all
/// alloc and free calls, without the clock's own cost, on frames that are written in between.
///
/// Without --machine there are two nodes, each of twice the recording's peak, with marks of 0; there a refused request
/// is a broken promise (exit 1), on a given machine it is only counted in `failed`. Frames are real memory, each stamped
/// and checked, if the machine is no larger than half of this one's memory; else stamps are kept beside a simulation.
#[derive(clap::Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The machine to replay on, described in TOML.
    #[arg(long, value_name = "M.toml")]
    machine: Option<PathBuf>,
    /// Threads; the recorded order of each frame is kept.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_THREADS))]
    threads: u64,
}

/// `zonal replay`.
pub(crate) fn run(args: ReplayArgs, format: Format) -> Result<Verdict> {
    let recordings: Vec<Recording> = args.files.into_iter().map(Recording::File).collect();
    let plan = plan(&recordings)?;
    let setting = match &args.machine {
        Some(path) => Setting::given(path)?,
        None => Setting::fitting(&plan)?,
    };
    let threads = NonZero::new(args.threads as usize).unwrap_or(NonZero::<usize>::MIN);
    conclude(&replay(&plan, &setting, threads)?, &setting, format)
}

/// `zonal`: the bundled recording.
pub(crate) fn run_bundled(format: Format) -> Result<Verdict> {
    let plan = plan(&[bundled::recording()])?;
    let setting = Setting::fitting(&plan)?;
    conclude(&replay(&plan, &setting, NonZero::<usize>::MIN)?, &setting, format)
}

/// Shows the allocator as the bundled recording leaves it, before what was never freed there is freed too. Nothing is
/// stamped in frames: there are none.
pub(crate) fn after_bundled<T>(
    machine: Option<&Path>,
    look: impl FnOnce(&PageAllocator<'_, SimulatedPlatform>) -> Result<T>,
) -> Result<T> {
    let plan = plan(&[bundled::recording()])?;
    let setting = match machine {
        Some(path) => Setting::given(path)?,
        None => Setting::fitting(&plan)?,
    };
    let simulation = Simulation::build(&setting.machine, CpuSource::Thread)?;
    let (stamps, stopwatch) = (Table::of(setting.machine.memory()), Stopwatch::new());
    let engine = Engine::new(simulation.allocator(), &stamps, &plan, &setting, &stopwatch);
    let progress = Progress::new(plan.ops.len(), Unit::Operations);
    engine.recorded(&threads::shares(&plan, NonZero::<usize>::MIN), &progress)?;
    progress.finish();
    look(simulation.allocator())
}

/// What a replay leaves.
struct Outcome {
    report: Report,
    /// After the last event.
    scene: Scene,
    /// The first refusals, in words.
    refusals: Vec<String>,
}

fn plan(recordings: &[Recording]) -> Result<Plan, Fault> {
    let mut ledger = Ledger::default();
    for recording in recordings {
        let lost = trace::read(recording, |event| ledger.event(event))?;
        ledger.lost(lost);
    }
    Ok(ledger.finish())
}

/// On real memory if there is enough, else in a simulation.
fn replay(plan: &Plan, setting: &Setting, threads: NonZero<usize>) -> Result<Outcome> {
    let machine = &setting.machine;
    if machine.bytes() <= rustix::system::sysinfo().totalram as u64 / 2 {
        let pool = Pool::build(machine, Pages::Lazy)?;
        return perform(pool.allocator(), &pool, plan, setting, threads);
    }
    let (stamps, memory) = (plan.counts.peak_frames * STAMP, rustix::system::sysinfo().totalram as u64 / 2);
    if stamps > memory {
        bail!(
            "the stamps of {} frames are {stamps} bytes, over half of this machine's memory",
            plan.counts.peak_frames
        );
    }
    let simulation = Simulation::build(machine, CpuSource::Thread)?;
    perform(simulation.allocator(), &Table::of(machine.memory()), plan, setting, threads)
}

fn perform<P: Platform + Sync, S: Stamps>(
    allocator: &PageAllocator<'_, P>,
    stamps: &S,
    plan: &Plan,
    setting: &Setting,
    threads: NonZero<usize>,
) -> Result<Outcome> {
    let stopwatch = Stopwatch::new();
    let engine = Engine::new(allocator, stamps, plan, setting, &stopwatch);
    let progress = Progress::new(plan.ops.len(), Unit::Operations);
    let shares = threads::shares(plan, threads);
    let recorded = engine
        .recorded(&shares, &progress)
        .with_context(|| format!("{} threads cannot be started", shares.len()))?;
    progress.finish();

    let mut report = Report::of(plan.counts);
    allocator.drain_all();
    let scene = Scene::of(allocator);
    report.free_order9_at_end = scene.free_blocks();
    report.ns_per_op = (stopwatch.ns_per_call(recorded.spent) * 100.0).round() / 100.0;
    audit(allocator, recorded.held, &mut report.audit);

    let leftovers = engine.leftovers();
    allocator.drain_all();
    report.lost = audit(allocator, recorded.held + leftovers.held, &mut report.audit);
    Ok(Outcome { refusals: tell(recorded, leftovers, &mut report), report, scene })
}

/// Recounts, notes disagreements, and returns the frames that neither the allocator has nor anybody holds.
fn audit<P: Platform>(allocator: &PageAllocator<'_, P>, held: i64, findings: &mut Vec<String>) -> u64 {
    let mut more = 0;
    let summary = allocator.audit(&mut |finding| {
        if findings.len() < FINDINGS {
            findings.push(finding.to_string());
        } else {
            more += 1;
        }
    });
    if more > 0 {
        findings.push(format!("and {more} more"));
    }
    let held = u64::try_from(held).unwrap_or(0);
    if summary.allocated < held {
        findings.push(format!("{held} frames are held, the allocator knows of {}", summary.allocated));
    }
    summary.allocated.saturating_sub(held)
}

/// Adds what both passes met to the report; returns the refusals in words.
fn tell(recorded: Tally, leftovers: Tally, report: &mut Report) -> Vec<String> {
    report.failed = recorded.failed;
    report.double = recorded.double + leftovers.double;
    let disagreements = recorded.disagreements.iter().chain(&leftovers.disagreements);
    report.audit.extend(disagreements.map(ToString::to_string));
    recorded.refusals.into_iter().chain(leftovers.refusals).collect()
}

/// Shows the outcome. What was found is said even if nobody reads stdout.
fn conclude(outcome: &Outcome, setting: &Setting, format: Format) -> Result<Verdict> {
    let broken = outcome.report.broken(setting.origin);
    let shown = outcome.show(format);
    explain("refused", &outcome.refusals);
    explain("broken", &broken);
    if !broken.is_empty() {
        return Ok(Verdict::Broken);
    }
    shown?;
    Ok(Verdict::Holds)
}

impl Outcome {
    fn show(&self, format: Format) -> Result<()> {
        let Self { report, scene, .. } = self;
        if format == Format::Json {
            return print_json(report);
        }
        let out = &mut anstream::stdout().lock();
        scene.draw(out, Colours::of(&std::io::stdout()))?;
        writeln!(out)?;
        scene.buddyinfo(out)?;
        writeln!(out)?;
        scene.figures(out)?;
        writeln!(out)?;
        report.write(out)?;
        Ok(report.write_audit(out)?)
    }
}
