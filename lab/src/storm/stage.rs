//! What all threads of a storm share: the allocator, who holds what, places to leave runs, and how much each may hold.
//!
//! A round is *roomy* or *tight*. In a roomy one the threads hold so little that a single frame can always be had, whatever
//! all of them have in their hands at once: a refusal breaks a promise. In a tight one they take all there is, and only
//! what is refused at a standstill is judged. Invariant of a roomy round:
//! `held + contexts x HIDDEN + credits x (CREDIT + WORDS, if owned) + SHELF x GROUP_FRAMES + marks <= frames`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, AtomicU64};

use anyhow::Result;
use zonal::{FrameRange, GROUP_FRAMES, PageAllocator, ZoneId};
use zonal_linux::{CpuSource, Machine, SimulatedPlatform, Simulation};
use zonal_testkit::Leaves;

use super::cpus::Cpus;
use super::owners::{Owners, Run};

/// Frames that a CPU keeps as its credit for a zone at most; who collects it may lose it to another's step each time.
const CREDIT: u64 = 1024;
/// Frames that one context's operation hides from others at most: a credit that it collects, 512 frames that a bulk call
/// takes or a block that it isolates, and a run of order 10 or two of order 9 that it was asked for.
const HIDDEN: u64 = CREDIT + 512 + 1024;
/// Frames in the words that a CPU owns of a zone at most: without a barrier nobody else has them.
const WORDS: u64 = 18 * GROUP_FRAMES;
/// Places to leave runs of at most a group.
const SHELF: usize = 64;

/// How much memory a round's threads leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// Enough for every request of a single frame.
    Roomy,
    /// None.
    Tight,
}

/// A zone as its storm sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub(super) id: ZoneId,
    pub(super) span: FrameRange,
    pub(super) mark: u64,
    /// What atomic requests leave of the mark.
    pub(super) floor: u64,
}

/// What others may see of a thread; on a line of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Seat {
    /// Calls of the allocator it completed, in all its contexts.
    pub(super) calls: AtomicU64,
    /// The `Call` it is in.
    pub(super) inside: AtomicU8,
}

/// What all threads share.
pub(super) struct Stage {
    simulation: Simulation,
    pub(super) owners: Owners,
    pub(super) zones: Vec<Ground>,
    pub(super) frames: u64,
    shelf: [AtomicU64; SHELF],
    /// What stays free in a roomy round.
    spare: u64,
    mains: u64,
    pub(super) cpus: Cpus,
    /// A seat for each thread, and one for the judge.
    pub(super) seats: Vec<Seat>,
}

impl Stage {
    /// For `mains` threads that hold runs, in `contexts` contexts altogether.
    pub(super) fn build(machine: &Machine, mains: usize, contexts: usize) -> Result<Self> {
        let cpus = Cpus::of(machine.words(), machine.cpus().len())?;
        let source = if cpus.own() { CpuSource::Thread } else { CpuSource::Played };
        let simulation = Simulation::build(machine, source)?;
        let ground = |zone: zonal::ZoneInfo| Ground {
            id: zone.id,
            span: zone.span,
            mark: zone.marks.min,
            floor: Leaves::ThreeEighths.of(zone.marks.min),
        };
        let zones: Vec<Ground> = simulation.allocator().zones().map(ground).collect();
        let marks: u64 = zones.iter().map(|zone| zone.mark).sum();
        // A CPU has a credit for each zone of its own node.
        let local = |zone: zonal::ZoneInfo| machine.cpus().iter().filter(|&&node| node == zone.node).count();
        let near = simulation.allocator().zones().map(local).sum::<usize>() as u64;
        let kept = near * (CREDIT + if cpus.own() { WORDS } else { 0 });
        Ok(Self {
            owners: Owners::of(machine.memory()),
            frames: machine.memory().iter().map(|memory| memory.range.frames()).sum(),
            zones,
            cpus,
            simulation,
            shelf: [const { AtomicU64::new(0) }; SHELF],
            spare: contexts as u64 * HIDDEN + kept + SHELF as u64 * GROUP_FRAMES + marks,
            mains: mains as u64,
            seats: (0..=mains).map(|_| Seat::default()).collect(),
        })
    }

    pub(super) fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.simulation.allocator()
    }

    /// Frames that each of the threads may hold.
    pub(super) fn limit(&self, room: Room) -> u64 {
        match room {
            Room::Roomy => self.frames.saturating_sub(self.spare) / self.mains,
            Room::Tight => self.frames,
        }
    }

    /// Frames beyond the marks that a roomy round leaves when every context holds what it can.
    pub(super) fn spare(&self) -> u64 {
        self.spare
    }

    /// Leaves a run in a place, and takes what was left there; one longer than a group comes back. AcqRel: a run travels with
    /// what its holder wrote.
    pub(super) fn trade(&self, place: usize, run: Option<Run>) -> Option<Run> {
        if run.is_some_and(|run| run.frames() > GROUP_FRAMES) {
            return run;
        }
        let place = &self.shelf[place % SHELF];
        if run.is_none() && place.load(Relaxed) == 0 {
            return None; // Relaxed: only a hint that there is nothing
        }
        Run::from_word(place.swap(run.map_or(0, Run::word), AcqRel))
    }

    /// Takes everything off the shelf.
    pub(super) fn clear_shelf(&self) -> impl Iterator<Item = Run> {
        self.shelf
            .iter()
            .filter(|place| place.load(Acquire) != 0)
            .filter_map(|place| Run::from_word(place.swap(0, AcqRel)))
    }

    /// Calls of the allocator that all threads completed. Each is read once.
    pub(super) fn calls(&self) -> u64 {
        self.seats.iter().map(|seat| seat.calls.load(Relaxed)).sum()
    }

    /// Frames that somebody holds. Exact at a standstill.
    pub(super) fn held(&self) -> u64 {
        self.frames - self.zones.iter().map(|zone| self.owners.free(zone.span)).sum::<u64>()
    }
}
