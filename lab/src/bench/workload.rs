//! The benches: what a thread does, and what of it is timed.
//!
//! Nothing is allocated from the heap while the clock runs. Invariant: after `work` the thread holds nothing.

use std::time::{Duration, Instant};

use zonal::{Group, Order, Pfn};

use super::engine::{BulkEngine, Engine};
use super::ground::{Checked, Ground};
use super::wrong::Wrong;

/// Frames each thread holds at most.
const HOLD_FRAMES: u64 = 1 << 16;
/// Pairs in a unit.
const PAIRS: u64 = 1024;
/// Runs that a thread of a bench which holds none takes for the check that they are distinct.
pub(super) const CHECKED_RUNS: u64 = 64;
/// Frames asked for in one bulk call, and room for the groups they may come in.
const BULK_FRAMES: u64 = 512;
/// Groups given back in one bulk call: as many frames where every group is half full.
const BULK_GROUPS: usize = 32;

/// What buffers are filled with before the clock runs, so that their pages are there: not zero, which an allocator of
/// heap memory may leave to the first touch.
const TOUCHED: Group = Group { base: Pfn::new(u64::MAX), mask: u32::MAX };

/// How often a bench's unit of work is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Units(pub(super) u64);

/// What a thread measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) elapsed: Duration,
    pub(super) operations: u64,
}

/// A bench on an engine.
pub(super) trait Workload: Sync {
    /// Does the work of one thread and times it.
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong>;

    /// Takes what the bench takes, for the check that no two threads get the same.
    fn hold(&self) -> Result<Vec<Pfn>, Wrong>;

    /// What the answers are checked against.
    fn ground(&self) -> &dyn Checked;
}

/// Runs of an order that a thread holds at most.
pub(super) fn runs_held(order: Order) -> u64 {
    (HOLD_FRAMES >> order.get()).max(1)
}

/// Allocates and frees one run, again and again.
pub(super) struct Pair<E> {
    ground: Ground<E>,
    held: u64,
}

impl<E: Engine> Pair<E> {
    pub(super) fn on(ground: Ground<E>, order: Order) -> Self {
        Self { ground, held: runs_held(order).min(CHECKED_RUNS) }
    }
}

impl<E: Engine> Workload for Pair<E> {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let engine = &self.ground.engine;
        let pairs = units.0 * PAIRS;
        let start = Instant::now();
        for _ in 0..pairs {
            let pfn = engine.alloc()?;
            // SAFETY: allocated in the line above, freed once.
            unsafe { engine.free(pfn) }?;
        }
        Ok(Timed { elapsed: start.elapsed(), operations: pairs })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        self.ground.hold(self.held)
    }

    fn ground(&self) -> &dyn Checked {
        &self.ground
    }
}

/// Which half of a hold is timed, and the order of its frees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The allocations.
    Alloc,
    /// The frees, first allocated first.
    Free,
    /// The frees, shuffled.
    FreeRandom,
    /// The allocations, and the frees, first allocated first.
    Both,
}

/// Allocates many runs, then frees all of them.
pub(super) struct Hold<E> {
    ground: Ground<E>,
    runs: u64,
    phase: Phase,
}

impl<E: Engine> Hold<E> {
    pub(super) fn on(ground: Ground<E>, runs: u64, phase: Phase) -> Self {
        Self { ground, runs, phase }
    }
}

impl<E: Engine> Workload for Hold<E> {
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let engine = &self.ground.engine;
        let mut shuffler = fastrand::Rng::with_seed(thread as u64);
        let mut held = vec![TOUCHED.base; self.runs as usize];
        let mut elapsed = Duration::ZERO;
        for _ in 0..units.0 {
            let start = Instant::now();
            for place in &mut held {
                *place = engine.alloc()?;
            }
            let allocated = start.elapsed();
            if self.phase == Phase::FreeRandom {
                shuffler.shuffle(&mut held);
            }
            let start = Instant::now();
            self.ground.release(&held)?;
            elapsed += match self.phase {
                Phase::Alloc => allocated,
                Phase::Free | Phase::FreeRandom => start.elapsed(),
                Phase::Both => allocated + start.elapsed(),
            };
        }
        Ok(Timed { elapsed, operations: units.0 * self.runs })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        self.ground.hold(self.runs)
    }

    fn ground(&self) -> &dyn Checked {
        &self.ground
    }
}

/// Allocates many frames by the group, then frees all of them by the group.
pub(super) struct Bulk<E> {
    ground: Ground<E>,
}

impl<E: BulkEngine> Bulk<E> {
    pub(super) fn on(ground: Ground<E>) -> Self {
        Self { ground }
    }

    /// Takes [`HOLD_FRAMES`] frames into `groups`; returns how many groups that made, and how many frames.
    fn fill(&self, groups: &mut [Group]) -> Result<(usize, u64), Wrong> {
        let (mut filled, mut frames) = (0, 0);
        while frames < HOLD_FRAMES {
            let rest = groups.get_mut(filled..).unwrap_or_default();
            let room = rest.len().min(BULK_FRAMES as usize);
            let asked = BULK_FRAMES.min(HOLD_FRAMES - frames);
            let got = self.ground.engine.alloc_groups(asked, rest.get_mut(..room).unwrap_or_default())?;
            frames += rest.iter().take(got).map(|group| u64::from(group.frames())).sum::<u64>();
            filled += got;
        }
        Ok((filled, frames))
    }
}

impl<E: BulkEngine> Workload for Bulk<E> {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let mut groups = vec![TOUCHED; HOLD_FRAMES as usize];
        let mut operations = 0;
        let mut elapsed = Duration::ZERO;
        for _ in 0..units.0 {
            let start = Instant::now();
            let (filled, frames) = self.fill(&mut groups)?;
            for call in groups.get(..filled).unwrap_or_default().chunks(BULK_GROUPS) {
                // SAFETY: the groups were filled just above, and each is in one chunk.
                unsafe { self.ground.engine.free_groups(call) }?;
            }
            elapsed += start.elapsed();
            operations += frames;
        }
        Ok(Timed { elapsed, operations })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        let mut groups = vec![TOUCHED; HOLD_FRAMES as usize];
        let (filled, _) = self.fill(&mut groups)?;
        Ok(groups.iter().take(filled).flat_map(|group| group.iter()).collect())
    }

    fn ground(&self) -> &dyn Checked {
        &self.ground
    }
}
