//! Compaction: making a run by moving out what is in its way.
//!
//! A compaction is an allocation of a run that is not free. It claims the run's frames from the zone's count above the
//! requester's floor, as any request does, and then makes the run its own, frame by frame: free frames it takes, used ones it
//! has moved by [`Platform::migrate`] into other blocks, the fullest first. What it has is allocated, what it has not is as it
//! was; there is no state in between, nothing is isolated, and no other operation knows of it. If something cannot be moved it
//! frees what it got and tries the next place.
//!
//! It never waits for anybody, is called in task context only (the platform's `migrate` may block), and never has more than
//! the run and one frame to move to. Announced in the transit word is what it was asked for.
//!
//! Bounds: each place is looked at once a pass; of those tried each frame in the way is moved once at most, at the cost of a
//! locked step or two a frame besides the platform's; to see whether there is room for them one block is looked at for each at
//! most, and each of the zone's is at most once tried for each kind of goal (`goals`).

mod goals;
mod priority;

use core::ops::RangeInclusive;

use crate::compact::goals::Goals;
pub(crate) use crate::compact::priority::Priority;
use crate::compact::priority::SHARES;
use crate::frame::{BLOCK_FRAMES, BlockIndex, FrameRange, Order, Pfn, SECTION_BLOCKS};
use crate::mutant::{Mutant, planted};
use crate::platform::{Migration, Platform, Step};
use crate::state::State;
use crate::sync::Ordering;
use crate::topology::Kind;
use crate::zone::runs::blocks_in;
use crate::zone::vacate::Part;
use crate::zone::{Block, Want, Zone};

/// What came of a compaction.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The run is the caller's, allocated.
    Captured(Pfn),
    /// The zone has too few free frames for it (Linux: SKIPPED).
    Skipped,
    /// Nothing was to be made where the priority allowed to look (Linux: PARTIAL_SKIPPED).
    Partial,
    /// Nothing is to be made in the zone (Linux: COMPLETE).
    Complete,
}

/// What compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CompactSummary {
    /// Runs made.
    pub made: u64,
    /// Places in which moves were begun.
    pub tried: u64,
    /// Used frames found in the way (Linux: compact_migrate_scanned).
    pub in_the_way: u64,
    /// Blocks looked at for frames to move to (Linux: compact_free_scanned counts their frames).
    pub goals: u64,
    /// Frames moved.
    pub moved: u64,
    /// Moves that were refused.
    pub refused: u64,
}

/// Why a place was given up.
#[derive(Clone, Copy, Debug)]
enum Halt {
    /// Something in it cannot be moved.
    Pinned,
    /// There is nowhere to move it to.
    NoGoal,
    /// The zone's count is at the floor.
    AtFloor,
    /// The platform moves nothing.
    Immobile,
}

/// Makes a run in the zone, or says why not.
pub(crate) fn compact<'m, P: Platform>(
    state: &State<'m>,
    platform: &P,
    (zone, want): (&'m Zone<'m>, Want),
    priority: Priority,
    summary: &mut CompactSummary,
) -> Outcome {
    Compactor::new(state, platform, (zone, want), priority).next_run(summary)
}

/// A compaction of one zone, which may make one run after the other.
pub(crate) struct Compactor<'a, 'm, P> {
    state: &'a State<'m>,
    platform: &'a P,
    zone: &'m Zone<'m>,
    want: Want,
    priority: Priority,
    goals: Goals,
    /// The block where the passes begin.
    start: usize,
    pass: usize,
    /// Blocks, or runs of them, that this pass has seen.
    seen: usize,
    tries: usize,
}

impl<'a, 'm, P: Platform> Compactor<'a, 'm, P> {
    pub(crate) fn new(
        state: &'a State<'m>,
        platform: &'a P,
        (zone, want): (&'m Zone<'m>, Want),
        priority: Priority,
    ) -> Self {
        let start = zone.tried.load(Ordering::Relaxed) as usize % zone.entries.len().max(1); // Relaxed: a hint
        let goals = Goals::new(want.order, priority);
        Self {
            state,
            platform,
            zone,
            want,
            priority,
            goals,
            start,
            pass: 0,
            seen: 0,
            tries: priority.tries(),
        }
    }

    /// Makes a run, or says why not: then there is no use in asking again.
    pub(crate) fn next_run(&mut self, summary: &mut CompactSummary) -> Outcome {
        let Want { order, floor, .. } = self.want;
        self.zone.collect_credits();
        if order == Order::ZERO || !self.zone.count.spares(2 * order.frames(), floor) {
            return Outcome::Skipped;
        }
        let stride = blocks_in(order.max(Order::BLOCK)).min(SECTION_BLOCKS);
        let places = self.zone.entries.len() / stride;
        while self.pass < self.priority.passes() {
            while self.seen < places.min(self.priority.looks()) {
                let at = (self.start / stride + self.seen) % places * stride;
                self.seen += 1;
                match self.try_at(at, summary) {
                    Ok(Some(pfn)) => {
                        summary.made += 1;
                        return Outcome::Captured(pfn);
                    }
                    Ok(None) => {}
                    Err(Halt::AtFloor) => return Outcome::Skipped,
                    Err(Halt::Immobile) => return Outcome::Complete,
                    Err(_) => return self.exhausted(),
                }
                if self.tries == 0 {
                    return Outcome::Partial;
                }
            }
            (self.pass, self.seen) = (self.pass + 1, 0);
        }
        self.exhausted()
    }

    fn exhausted(&self) -> Outcome {
        if self.priority == Priority::Full { Outcome::Complete } else { Outcome::Partial }
    }

    /// Tries what suits this pass in or from block number `at`. An error says that no other place will do either.
    fn try_at(&mut self, at: usize, summary: &mut CompactSummary) -> Result<Option<Pfn>, Halt> {
        let order = self.want.order;
        if order >= Order::BLOCK {
            let used = self.used_in_run(at, blocks_in(order));
            return match used.filter(|used| self.suits().contains(used)) {
                Some(used) => self.attempt((at, 0), used, summary),
                None => Ok(None),
            };
        }
        let Some(block) = self.source(at) else { return Ok(None) };
        for offset in (0..BLOCK_FRAMES).step_by(order.frames() as usize) {
            let used = order.frames() - Part::new(block, offset, order).free();
            if self.tries > 0 && self.suits().contains(&used) {
                let made = self.attempt((at, offset), used, summary)?;
                if made.is_some() {
                    return Ok(made);
                }
            }
        }
        Ok(None)
    }

    /// The used frames of a place that this pass is for.
    fn suits(&self) -> RangeInclusive<u64> {
        let most =
            |pass: usize| SHARES.get(pass).map_or(0, |share| (self.want.order.frames() / share).max(1));
        let above = self.pass.checked_sub(1).map_or(0, most);
        above + 1..=most(self.pass)
    }

    /// Used frames in `length` blocks from `at`, if a run can be made of them.
    fn used_in_run(&self, at: usize, length: usize) -> Option<u64> {
        let first = self.zone.block(BlockIndex(at as u32))?;
        if !first.start.is_aligned(self.want.order) || !self.zone.is_adjacent(at, length) {
            return None;
        }
        (at..at + length).try_fold(0, |used, at| {
            let entry = self.zone.entries.get(at)?.load();
            let free_or_source = entry.is_free_block() && entry.zone() == self.zone.id
                || entry.managed() == BLOCK_FRAMES && self.source(at).is_some();
            free_or_source.then(|| used + BLOCK_FRAMES - entry.count())
        })
    }

    /// The block with this number if frames may be moved out of it.
    fn source(&self, at: usize) -> Option<Block<'m>> {
        let block = self.zone.block(BlockIndex(at as u32))?;
        let entry = block.entry.load();
        // (Of a block with poisoned frames not all may ever be had.)
        let open = entry.is_cacheable() && entry.zone() == self.zone.id && entry.count() < entry.managed();
        let suits = self.priority == Priority::Full || entry.kind() == Kind::Movable && entry.count() > 0;
        (open && suits && !entry.is_vacating()).then_some(block)
    }

    /// Makes the run at frame `offset` of block number `at`, in which so many frames are used, or leaves everything as free
    /// as it was.
    fn attempt(
        &mut self,
        (at, offset): (usize, u64),
        used: u64,
        summary: &mut CompactSummary,
    ) -> Result<Option<Pfn>, Halt> {
        let (zone, frames) = (self.zone, self.want.order.frames());
        let length = blocks_in(self.want.order.max(Order::BLOCK));
        self.goals.avoid(at..at + length);
        if !self.goals.has_room(self.zone, used) {
            return Err(Halt::NoGoal);
        }
        self.tries -= 1;
        summary.tried += 1;
        zone.tried.store((at + length) as u64, Ordering::Relaxed); // Relaxed: a hint
        zone.count.enter(frames);
        let made = match zone.count.claim(frames, frames, self.want.floor) {
            Err(_) => Err(Halt::AtFloor),
            Ok(mut funds) => {
                let made = self.make(at, offset, &mut funds, summary);
                if funds > 0 && !planted(Mutant::FundsKept) {
                    zone.count.raise(funds);
                }
                made
            }
        };
        zone.count.leave(frames);
        match made {
            Ok(pfn) => Ok(Some(pfn)),
            Err(Halt::Pinned) => Ok(None),
            Err(halt) => Err(halt),
        }
    }

    /// With the run's frames claimed from the zone: makes all of it the caller's, or frees what was got.
    fn make(
        &mut self,
        at: usize,
        offset: u64,
        funds: &mut u64,
        summary: &mut CompactSummary,
    ) -> Result<Pfn, Halt> {
        let block = |at: usize| self.zone.block(BlockIndex(at as u32)).ok_or(Halt::Pinned);
        let (zone, first) = (self.zone, block(at)?);
        for index in at..at + blocks_in(self.want.order.max(Order::BLOCK)) {
            if let Err(halt) = self.make_in(block(index)?, offset, funds, summary) {
                (at..index).filter_map(|at| block(at).ok()).for_each(|block| {
                    // They are this compaction's own, so they land.
                    let _ = zone.land_whole(None, block);
                });
                return Err(halt);
            }
        }
        Ok(first.start.add(offset))
    }

    /// The same in one block of the run.
    fn make_in(
        &mut self,
        block: Block<'m>,
        offset: u64,
        funds: &mut u64,
        summary: &mut CompactSummary,
    ) -> Result<(), Halt> {
        let (zone, Want { order, kind, .. }) = (self.zone, self.want);
        if order >= Order::BLOCK && block.entry.take_whole(zone.id, kind) {
            *funds -= BLOCK_FRAMES;
            return Ok(());
        }
        if !block.entry.begin_vacating(zone.id) {
            return Err(Halt::Pinned);
        }
        let mut part = Part::new(block, offset, order.min(Order::BLOCK));
        let vacated = self.vacate(&mut part, funds, summary);
        match vacated {
            Err(_) => zone.give_back(&part, funds),
            Ok(()) if order >= Order::BLOCK => zone.join(block, kind),
            Ok(()) => {}
        }
        block.entry.end_vacating();
        vacated
    }

    /// Makes all frames of the part the caller's.
    fn vacate(
        &mut self,
        part: &mut Part<'m>,
        funds: &mut u64,
        summary: &mut CompactSummary,
    ) -> Result<(), Halt> {
        let _ = self.zone.drain_range(part.range); // what stays in words is in the way
        self.zone.gather(part, funds);
        if part.missing().any(|pfn| !part.is_free(pfn) && !self.is_single(pfn)) {
            return Err(Halt::Pinned);
        }
        for pfn in part.missing() {
            if part.is_free(pfn) {
                self.zone.gather(part, funds);
            }
            if part.owns(pfn) {
                continue;
            }
            summary.in_the_way += 1;
            if self.move_out(pfn, funds, summary)? {
                part.own(pfn);
                continue;
            }
            // Its owner may have freed it just now, into a word or the row.
            let _ = self.zone.drain_range(FrameRange::new(pfn, pfn.add(1))); // as above
            self.zone.gather(part, funds);
            if !part.owns(pfn) {
                return Err(Halt::Pinned);
            }
        }
        Ok(())
    }

    /// Whether the frame is a run of its own, as far as is known: only checked mode knows.
    fn is_single(&self, pfn: Pfn) -> bool {
        let noted = self.state.tags().map(|tags| tags.order(&self.state.map, pfn));
        noted.is_none_or(|order| order == Some(Order::ZERO))
    }

    /// Has a frame's content moved to another block; whether the frame is the caller's now.
    fn move_out(&mut self, from: Pfn, funds: &mut u64, summary: &mut CompactSummary) -> Result<bool, Halt> {
        if !self.is_single(from) {
            return Ok(false);
        }
        let (map, tags) = (&self.state.map, self.state.tags());
        let to = self.goals.take(self.zone, funds, &mut summary.goals).ok_or(Halt::NoGoal)?;
        // Noted before the move: its owner may free it as soon as it has it.
        tags.into_iter().for_each(|tags| tags.set(map, to, Order::ZERO));
        let name = |pfn, owner| {
            self.state.names().into_iter().for_each(|names| names.set(map, pfn, Order::ZERO, owner));
        };
        name(to, self.state.owner_of(from));
        let migration = if self.platform.injects(Step::Migration) {
            Migration::Refused
        } else {
            self.platform.migrate(from, to)
        };
        if migration == Migration::Moved {
            summary.moved += 1;
            name(from, None);
            // In checked mode a frame that was freed in spite of the move is nobody's.
            return Ok(tags.is_none_or(|tags| tags.clear(map, from, Order::ZERO).is_ok()));
        }
        summary.refused += 1;
        name(to, None);
        if let Some(tags) = tags {
            let _ = tags.clear(map, to, Order::ZERO);
        }
        if !planted(Mutant::TargetLost) {
            self.zone.return_target(to, funds);
        }
        if migration == Migration::Unsupported {
            return Err(Halt::Immobile);
        }
        Ok(planted(Mutant::RefusedIsMoved))
    }
}
