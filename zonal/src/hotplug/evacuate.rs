//! Emptying an isolated range: every run in use is moved elsewhere, or found in the way.
//!
//! The range's blocks are isolated, and the words of its groups have been made to forget them: what is freed lands in the rows
//! and stays there, so the blocks only ever get emptier. A pass looks at every frame that is not free: whoever holds it frees
//! it, or the platform moves it, or it is in the hands of an operation and comes to rest by itself.
//!
//! Bounds: passes end when everything is free, when nothing has got emptier in [`PATIENCE`] of them ([`PATIENCE_IN_FLIGHT`] where all
//! that is left is in the hands of operations), or when it is cancelled; in each a run is moved once at most.

use crate::allocator::PageAllocator;
use crate::error::{AllocError, IsolateError};
use crate::frame::{BLOCK_FRAMES, FrameRange, Order, Pfn};
use crate::gfp::Gfp;
use crate::hotplug::error::HotplugError;
use crate::hotplug::obstacle::{Obstacle, ObstacleCause};
use crate::mutant::{Mutant, planted};
use crate::platform::{Migration, Platform};
use crate::poison::Poisoned;
use crate::request::Request;
use crate::topology::Kind;
use crate::zone::{Block, Zone};

/// Passes without any effect before what is in the way is taken to stay there.
const PATIENCE: u32 = 8;
/// The same while nobody holds what is in the way: who has it in hand may not be running, and is waited for by pauses.
const PATIENCE_IN_FLIGHT: u32 = 64;

/// What offlining came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Offlined {
    /// Frames that are nobody's now.
    pub frames: u64,
    /// Frames whose content was moved elsewhere first.
    pub moved: u64,
    /// Passes over the range.
    pub passes: u32,
}

/// A range on its way out.
pub(in crate::hotplug) struct Evacuation<'a, 'm, P> {
    allocator: &'a PageAllocator<'m, P>,
    zone: &'m Zone<'m>,
    range: FrameRange,
    done: Offlined,
}

/// What became of a run in one pass.
enum Fate {
    Moved,
    /// It was freed just now, or its owner is at it.
    Gone,
    Stays(ObstacleCause),
}

impl<'a, 'm, P: Platform> Evacuation<'a, 'm, P> {
    pub(in crate::hotplug) fn new(
        allocator: &'a PageAllocator<'m, P>,
        zone: &'m Zone<'m>,
        (range, usable): (FrameRange, u64),
    ) -> Self {
        Self { allocator, zone, range, done: Offlined { frames: usable, ..Offlined::default() } }
    }

    /// Empties the range, or reports what stays.
    pub(in crate::hotplug) fn empty(
        mut self,
        report: &mut dyn FnMut(&Obstacle),
    ) -> Result<Offlined, HotplugError> {
        let (mut idle, mut before, mut patience) = (0, u64::MAX, PATIENCE);
        loop {
            let used = self.used();
            if used == 0 || planted(Mutant::UnplugUsed) {
                // Who put a frame into a word since the last look at the words, and has not looked at the block's entry
                // again yet, may leave the word a group without frames: it must not be found when the block is another zone's.
                if !planted(Mutant::EmptiedOnce) {
                    self.drain()?;
                }
                return Ok(self.done);
            }
            idle = if used < before { 0 } else { idle + 1 };
            before = used;
            let last = idle >= patience;
            let (mut in_hand, mut others) = (false, false);
            self.pass(&mut |obstacle: &Obstacle| {
                let is_in_hand = obstacle.cause == ObstacleCause::InFlight;
                (in_hand, others) = (in_hand || is_in_hand, others || !is_in_hand);
                if last {
                    report(obstacle);
                }
            })?;
            patience = if in_hand && !others { PATIENCE_IN_FLIGHT } else { PATIENCE };
            if last && idle >= patience && self.used() >= before {
                return Err(HotplugError::InTheWay { frames: before });
            }
            if idle > 0 {
                self.allocator.platform.pause();
            }
        }
    }

    /// Empties the words of the range's groups, and takes the groups from them.
    fn drain(&self) -> Result<(), HotplugError> {
        let drained = self.zone.drain_range(self.range);
        drained.refused.map_or(Ok(()), |cpu| Err(IsolateError::Undrained { cpu }.into()))
    }

    /// Frames of the range that are not free, or about to be asked for by a compaction.
    fn used(&self) -> u64 {
        self.zone.blocks_of(self.range).map(|block| used_in(self.zone, block)).sum()
    }

    /// Moves what can be moved.
    fn pass(&mut self, report: &mut dyn FnMut(&Obstacle)) -> Result<(), HotplugError> {
        self.done.passes += 1;
        self.drain()?;
        let (zone, mut next) = (self.zone, self.range.start);
        for block in zone.blocks_of(self.range).filter(|&block| used_in(zone, block) > 0) {
            let used = (0..BLOCK_FRAMES)
                .map(|at| block.start.add(at))
                .filter(|&pfn| !block.is_free(pfn) && zone.poison.state(pfn) != Some(Poisoned::Out))
                .filter(|&pfn| self.allocator.held_by_rows(pfn) == 0);
            let mut is_seen = next > block.start;
            for pfn in used {
                if pfn >= next {
                    // Before each run: to find room for one may take long.
                    if self.allocator.platform.cancelled() {
                        return Err(HotplugError::Cancelled);
                    }
                    next = self.look_at(block, pfn, report);
                }
                is_seen = true;
            }
            if !is_seen {
                // Claimed, but not taken yet; or a compaction has begun and has nothing yet.
                let (kind, cause) = (block.entry.load().kind(), ObstacleCause::InFlight);
                report(&Obstacle { pfn: block.start, order: Order::BLOCK, kind, owner: None, cause });
            }
        }
        Ok(())
    }

    /// Deals with the run that a used frame belongs to; its end.
    fn look_at(&mut self, block: Block<'m>, pfn: Pfn, report: &mut dyn FnMut(&Obstacle)) -> Pfn {
        let entry = block.entry.load();
        let run = if entry.is_tentative() { None } else { self.run_of(pfn, entry.is_whole()) };
        let (start, order) = run.unwrap_or((pfn, Order::ZERO));
        let fate = match run {
            None => Fate::Stays(ObstacleCause::InFlight),
            Some(_) => self.move_out(start, order, entry.kind()),
        };
        match fate {
            Fate::Moved => self.done.moved += order.frames(),
            Fate::Gone => {}
            Fate::Stays(cause) => {
                let owner = self.allocator.state.owner_of(pfn);
                report(&Obstacle { pfn: start, order, kind: entry.kind(), owner, cause });
            }
        }
        start.add(order.frames())
    }

    /// The run that a used frame belongs to. `None` if it is nobody's yet, or no more.
    fn run_of(&self, pfn: Pfn, whole: bool) -> Option<(Pfn, Order)> {
        let state = &self.allocator.state;
        let alone = if whole { Order::BLOCK } else { Order::ZERO };
        let Some(tags) = state.tags() else {
            let known = self.allocator.platform.run_of(pfn);
            let start = Pfn::new(pfn.get() / alone.frames() * alone.frames());
            return known.filter(|&(start, order)| holds(start, order, pfn)).or(Some((start, alone)));
        };
        // Runs are aligned: the one that holds the frame begins where one of its length may.
        let starts = (0..=Order::MAX.get())
            .filter_map(Order::new)
            .map(|order| (Pfn::new(pfn.get() / order.frames() * order.frames()), order));
        starts.into_iter().find(|&(start, order)| tags.order(&state.map, start) == Some(order))
    }

    /// Has a run moved to another one just as long, and frees it.
    fn move_out(&self, from: Pfn, order: Order, kind: Kind) -> Fate {
        let allocator = self.allocator;
        let to = match self.target(order, kind) {
            Ok(to) => to,
            Err(error) => return Fate::Stays(ObstacleCause::NoTarget(error)),
        };
        // Before the move: its owner may free it as soon as it has it.
        let owner = allocator.state.owner_of(from);
        let name = |pfn, owner| {
            let names = allocator.state.names().into_iter();
            names.for_each(|names| names.set(&allocator.state.map, pfn, order, owner));
        };
        name(to, owner);
        let migration = allocator.platform.migrate_run(from, to, order);
        let unwanted = if migration == Migration::Moved { from } else { to };
        let tags = allocator.state.tags();
        // In checked mode a run that was freed in spite of the move is nobody's.
        if tags.is_none_or(|tags| tags.clear(&allocator.state.map, unwanted, order).is_ok()) {
            name(unwanted, None);
            allocator.free_own(unwanted, order);
        }
        match migration {
            Migration::Moved => Fate::Moved,
            Migration::Refused if self.is_free_now(from) => Fate::Gone,
            Migration::Refused => Fate::Stays(ObstacleCause::Refused),
            Migration::Unsupported => Fate::Stays(ObstacleCause::Immobile),
        }
    }

    /// A run elsewhere. What is movable may go to any zone, what is not stays out of Movable.
    fn target(&self, order: Order, kind: Kind) -> Result<Pfn, AllocError> {
        let usual = match kind {
            Kind::Movable => Gfp::HIGHUSER_MOVABLE,
            Kind::Unmovable => Gfp::KERNEL,
            Kind::Reclaimable => Gfp::KERNEL | Gfp::RECLAIMABLE,
        };
        let request = Request::order(order).gfp(usual | Gfp::RETRY_MAYFAIL | Gfp::NOWARN)?;
        self.allocator.alloc_raw(&request.node(self.zone.node))
    }

    fn is_free_now(&self, pfn: Pfn) -> bool {
        self.zone.block_of(pfn).is_some_and(|block| block.is_free(pfn))
    }
}

/// Frames of the block that are neither free nor poisoned; at least 1 while a compaction is at work there.
fn used_in<'m>(zone: &Zone<'m>, block: Block<'m>) -> u64 {
    let entry = block.entry.load();
    if entry.is_at_rest() {
        return 0;
    }
    let used = entry.managed().saturating_sub(entry.count()).saturating_sub(zone.poisoned_in(block));
    used.max(u64::from(entry.is_vacating()))
}

/// Whether the run holds the frame.
fn holds(start: Pfn, order: Order, pfn: Pfn) -> bool {
    FrameRange::new(start, start.add(order.frames())).contains(pfn)
}
