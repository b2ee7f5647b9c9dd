//! `zonal caches`: how much CPUs cache by the rule that is built in, on recordings of kernels.
//!
//! Each call is replayed on the CPU that the recording names, on one node without marks. Counted are *trips*, the calls that
//! went to the blocks (the zones' free figure has changed: a refill, or frees that landed), and what all words held, as a mean
//! over the recording's time. Once with a pass over idle words each recorded second, once without. No clock is involved: the same
//! recording gives the same figures. `cargo xtask caches` runs it for other rules.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use zonal::{PageAllocator, Pfn, Platform, Request};
use zonal_linux::{CpuSource, Machine, Simulation, play_cpu};

use crate::ledger::Ledger;
use crate::output::{Format, Verdict, explain, print_json};
use crate::plan::{Op, Part, Plan, SlotId};
use crate::replay::bundled;
use crate::trace::{self, At, Recording};

/// Microseconds from one pass over idle words to the next.
const PASS: u64 = 1_000_000;
/// The largest order replayed: longer runs go past the words.
const LARGEST: u8 = 5;

/// How much CPUs cache, on recordings.
///
/// Trips are calls per 1,000 that went past the CPU's words to the blocks, held is the mean number of frames in all words over the
/// recorded time. FILEs are text as `replay` reads it, the parts of one recording; without one it is the bundled recording.
#[derive(clap::Args, Debug)]
pub(crate) struct CachesArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    /// Whether idle words were passed over each second.
    passes: bool,
    /// Allocs and frees.
    calls: u64,
    /// Those that went to the blocks, of 1,000.
    trips: f64,
    /// Frames in all words, a mean over time.
    held: f64,
    /// The most at once.
    most: u64,
}

/// A recording whose operations know when and where they were.
struct Timed {
    plan: Plan,
    /// Of each operation.
    places: Vec<At>,
}

/// `zonal caches`.
pub(crate) fn run(args: CachesArgs, format: Format) -> Result<Verdict> {
    let mut recordings: Vec<Recording> = args.files.into_iter().map(Recording::File).collect();
    if recordings.is_empty() {
        recordings.push(bundled::recording());
    }
    let timed = read(&recordings)?;
    let mut broken = Vec::new();
    for passes in [false, true] {
        let row = replay(&timed, passes, &mut broken)?;
        match format {
            Format::Json => print_json(&row)?,
            Format::Human => {
                let with = if passes { "a pass each second" } else { "no passes" };
                let Row { calls, trips, held, most, .. } = row;
                let out = &mut anstream::stdout().lock();
                writeln!(
                    out,
                    "{with:<20}{calls} calls, {trips:.1} trips of 1,000, {held:.0} frames held, {most} at most"
                )?;
            }
        }
    }
    explain("broken", &broken);
    Ok(if broken.is_empty() { Verdict::Holds } else { Verdict::Broken })
}

fn read(recordings: &[Recording]) -> Result<Timed> {
    let (mut ledger, mut places, mut unplaced) = (Ledger::default(), Vec::new(), false);
    for recording in recordings {
        let lost = trace::read_placed(recording, |place, event| {
            ledger.event(event);
            unplaced |= place.is_none();
            places.resize(ledger.operations(), place.unwrap_or_default());
        })?;
        ledger.lost(lost);
    }
    ensure!(!unplaced, "an entry does not say its CPU and time: text of perf script or ftrace does");
    Ok(Timed { plan: ledger.finish(), places })
}

fn replay(timed: &Timed, passes: bool, broken: &mut Vec<String>) -> Result<Row> {
    let cpus = timed.places.iter().map(|place| place.cpu).max().context("no operation")? + 1;
    let machine = Machine::uniform(1, 4 << 30, cpus)?;
    let simulation = Simulation::build(&machine, CpuSource::Played)?;
    let mut replay = Replay {
        allocator: simulation.allocator(),
        plan: &timed.plan,
        bases: vec![None; timed.plan.slots.len()],
        calls: 0,
        trips: 0,
    };
    let (mut held, mut most) = (0u128, 0);
    let first = timed.places.first().map_or(0, |place| place.micros);
    let (mut now, mut pass) = (first, first + PASS);
    for (&op, place) in timed.plan.ops.iter().zip(&timed.places) {
        // What words held since the last call, passes in between included.
        while now < place.micros {
            let until = if passes { place.micros.min(pass) } else { place.micros };
            let cached = replay.cached();
            held += u128::from(cached) * u128::from(until - now);
            most = most.max(cached);
            now = until;
            if passes && now == pass {
                replay.allocator.age_caches();
                pass += PASS;
            }
        }
        play_cpu(place.cpu);
        replay.perform(op)?;
    }
    let (calls, trips) = (replay.calls, replay.trips);
    // Nobody freed these there.
    timed.plan.leftovers.iter().try_for_each(|&op| replay.perform(op))?;
    let left = replay.allocator.audit(&mut |finding| broken.push(finding.to_string())).allocated;
    if left > 0 {
        broken.push(format!("{left} frames are allocated at the end"));
    }
    let span = (now - first).max(1);
    let round = |figure: f64| (figure * 10.0).round() / 10.0;
    Ok(Row {
        passes,
        calls,
        trips: round(trips as f64 * 1000.0 / calls.max(1) as f64),
        held: round(held as f64 / span as f64),
        most,
    })
}

/// A recording on its way through an allocator.
struct Replay<'r, 'm, P: Platform> {
    allocator: &'r PageAllocator<'m, P>,
    plan: &'r Plan,
    /// What each slot got.
    bases: Vec<Option<Pfn>>,
    calls: u64,
    trips: u64,
}

impl<P: Platform> Replay<'_, '_, P> {
    fn perform(&mut self, op: Op) -> Result<()> {
        if self.plan.slot(op.slot()).recorded.order.get() > LARGEST {
            return Ok(());
        }
        match op {
            Op::Alloc(slot) => self.alloc(slot),
            Op::Split(slot) => self.split(slot),
            Op::Free(part) => self.free(part),
        }
    }

    fn alloc(&mut self, slot: SlotId) -> Result<()> {
        let recorded = self.plan.slot(slot);
        let request = Request::order(recorded.recorded.order).gfp(recorded.gfp)?;
        let pfn = self.counted(|allocator| allocator.alloc_raw(&request))?;
        self.bases[slot.index()] = Some(pfn);
        Ok(())
    }

    fn split(&mut self, slot: SlotId) -> Result<()> {
        let (base, recorded) = (self.base(slot)?, self.plan.slot(slot));
        // SAFETY: the run at `base` was allocated for this slot, and no part of it has been freed.
        Ok(unsafe { self.allocator.split_raw(base, recorded.recorded.order, recorded.piece) }?)
    }

    fn free(&mut self, Part { slot, offset, order }: Part) -> Result<()> {
        let (base, piece) = (self.base(slot)?, self.plan.slot(slot).piece);
        for at in (0..order.frames()).step_by(piece.frames() as usize) {
            let pfn = base.add(u64::from(offset) + at);
            // SAFETY: the frames are of the slot's run, which was split into pieces of this order if that is not its own; the
            // plan frees each frame once.
            self.counted(|allocator| unsafe { allocator.free_raw(pfn, piece) })?;
        }
        Ok(())
    }

    fn base(&self, slot: SlotId) -> Result<Pfn> {
        self.bases[slot.index()].ok_or_else(|| anyhow!("slot {slot:?} holds nothing"))
    }

    /// Makes a call, and counts it as a trip if frames left the blocks or came to them.
    fn counted<R>(&mut self, call: impl FnOnce(&PageAllocator<'_, P>) -> R) -> R {
        let before = self.in_blocks();
        let result = call(self.allocator);
        self.calls += 1;
        self.trips += u64::from(self.in_blocks() != before);
        result
    }

    fn in_blocks(&self) -> u64 {
        self.allocator.zones().map(|zone| zone.free).sum()
    }

    fn cached(&self) -> u64 {
        self.allocator.zones().map(|zone| zone.cached).sum()
    }
}
