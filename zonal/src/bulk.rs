//! Bulk calls: many single frames at once, as groups, past the slot words.
//!
//! The zone is counted once a call of up to 512 frames, each block once, each row of 64 frames once: in an empty zone a
//! frame costs a fiftieth of a locked operation, where every second frame is taken a twenty-fifth.

use crate::allocator::PageAllocator;
use crate::error::{AllocError, FreeError};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, Group, NodeId, Order, Pfn, ROW_FRAMES, ROWS};
use crate::frees::refused;
use crate::mutant::{Mutant, planted};
use crate::platform::{Platform, Step};
use crate::policy::reach::Reach;
use crate::request::Request;
use crate::slow::walk::Walk;
use crate::waiting;
use crate::zone::land::NotLanded;
use crate::zone::{Want, Zone};

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Allocates up to `frames` single frames into `out`, whole groups where there are any, and returns how many
    /// groups it filled; the request's order does not matter. Fewer frames than asked for come back when `out` is full
    /// or memory runs out, but at least one.
    ///
    /// Contexts as [`PageAllocator::alloc_raw`]. One locked operation for every row of 64 frames it takes from, 1 a block, 3 for every 512 frames.
    ///
    /// # Errors
    /// As [`PageAllocator::alloc_raw`] if not one frame could be had; [`AllocError::BadCount`] if `frames` is 0 or
    /// `out` is empty.
    pub fn alloc_bulk(&self, request: &Request, frames: u64, out: &mut [Group]) -> Result<usize, AllocError> {
        self.bulk(request, (frames, out), |request, bulk| self.fill(Reach::OPEN, request, bulk))
    }

    /// A bulk call whose frames come by `fill`, which says why where it did not get as many as were wanted.
    pub(crate) fn bulk(
        &self,
        request: &Request,
        (frames, out): (u64, &mut [Group]),
        fill: impl FnOnce(&Request, &mut Bulk<'_>) -> Result<(), AllocError>,
    ) -> Result<usize, AllocError> {
        if frames == 0 || out.is_empty() {
            return Err(AllocError::BadCount { frames });
        }
        let request = request.with_order(Order::ZERO);
        waiting::check(&self.state, &self.platform, &request);
        let mut bulk = Bulk { out, filled: 0, frames: 0, left: frames, turn: None };
        let filling = fill(&request, &mut bulk);
        let filled = bulk.filled;
        if filled == 0 {
            filling?;
        }
        self.deliver_bulk(&request, &out[..filled])?;
        Ok(filled)
    }

    /// Takes what a bulk call wants from where it may go.
    pub(crate) fn fill(
        &self,
        reach: Reach<'_>,
        request: &Request,
        bulk: &mut Bulk<'_>,
    ) -> Result<(), AllocError> {
        let cpu = self.cpu();
        let reach = if planted(Mutant::BulkRoams) { Reach::OPEN } else { reach };
        let walk = Walk { reach, ..self.walk(request, cpu) };
        if !request.is_placed() && !self.platform.injects(Step::FastWalk) {
            // What counts of the reach is decided once, as at the beginning of a ladder.
            let settled = || reach.settled(request, |nodes| self.state.has_memory(nodes)).hard();
            let reach = if reach.is_open() { reach } else { settled() };
            for zone in (Walk { reach, ..walk }).zones() {
                let before = bulk.frames;
                bulk.fill_from(zone, walk);
                let preferred = self.preferred(request, cpu).unwrap_or(zone);
                cpu.count_found(zone, preferred, (bulk.frames - before, Order::ZERO));
                if bulk.turn == Some(zone.node) {
                    cpu.count_interleaved(zone, bulk.frames - before);
                }
            }
        }
        while bulk.wants_more() {
            // What the blocks do not have: other CPUs' words, places asked for, and the reason for a failure.
            let later = request.without_waiting().silent();
            let request = if bulk.filled == 0 { request } else { &later };
            let pfn = self.climb(Walk { request, ..walk })?;
            self.count_turn(bulk.turn, pfn);
            bulk.push_frame(pfn);
        }
        Ok(())
    }

    /// Counts a run of the node whose turn it was.
    pub(crate) fn count_turn(&self, turn: Option<NodeId>, pfn: Pfn) {
        if let Some((zone, _)) = turn.and_then(|_| self.state.block(pfn).ok())
            && turn == Some(zone.node)
        {
            self.cpu().count_interleaved(zone, 1);
        }
    }

    /// Tags and zeroes what a bulk call took; if the platform cannot zero, all of it goes back.
    fn deliver_bulk(&self, request: &Request, groups: &[Group]) -> Result<(), AllocError> {
        if self.state.is_bare() && !request.gfp.contains(crate::gfp::Gfp::ZERO) {
            return Ok(());
        }
        let frames = || groups.iter().flat_map(|group| group.iter());
        for (done, pfn) in frames().enumerate() {
            let Err(error) = self.deliver(request, pfn) else { continue };
            // `deliver` has given this one back already; those before it are tagged, those after it are not.
            for (at, pfn) in frames().enumerate().filter(|&(at, _)| at != done) {
                if let Some(tags) = self.state.tags().filter(|_| at < done) {
                    let _ = tags.clear(&self.state.map, pfn, Order::ZERO);
                }
                self.free_own(pfn, Order::ZERO);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Frees groups of single frames, straight to their rows.
    ///
    /// Any context. One locked operation a row and 1 a block where groups of the same block follow each other, 1 a zone;
    /// in checked mode one more a frame.
    ///
    /// # Errors
    /// As [`PageAllocator::free_raw`] for the first group that was refused ([`FreeError::Misaligned`] if its base is
    /// not a multiple of 32); the groups before it are free then, those after it are unless they are in another block,
    /// and in checked mode none of its own frames are.
    ///
    /// # Safety
    /// As for [`PageAllocator::free_raw`], for every frame of every group.
    pub unsafe fn free_bulk(&self, groups: &[Group]) -> Result<(), FreeError> {
        let mut counted = Counted { zone: None, frames: 0 };
        let block = |group: &Group| group.base.get() / BLOCK_FRAMES;
        let mut blocks = groups.chunk_by(|one, next| block(one) == block(next));
        let freed = blocks.try_for_each(|groups| self.free_in_block(groups, &mut counted));
        counted.settle();
        freed
    }

    /// Frees groups of one block but for the zone's count, which is left to `counted`.
    fn free_in_block(&self, groups: &[Group], counted: &mut Counted<'m>) -> Result<(), FreeError> {
        let mut groups = groups.iter().filter(|group| group.mask != 0).peekable();
        let Some(first) = groups.peek() else { return Ok(()) };
        let (base, (zone, block)) = (first.base, self.state.block(first.base)?);
        let mut masks = [0; ROWS];
        // A group that is refused does not keep the others of its block.
        let mut gathered = Ok(());
        groups.for_each(|group| {
            let outcome = self.gather(group, &mut masks);
            gathered = gathered.and(outcome);
        });
        let (frames, landed) = zone.land_rows_uncounted(block, &masks);
        counted.add(zone, frames);
        if landed.is_ok() {
            self.cpu().count_freed(masks.iter().map(|mask| u64::from(mask.count_ones())).sum());
        }
        landed.map_err(|cause| match cause {
            (NotLanded::AlreadyFree, row, bits) => {
                let group = row as u64 * ROW_FRAMES + if bits as u32 == 0 { GROUP_FRAMES } else { 0 };
                refused(NotLanded::AlreadyFree, block.start.add(group), Order::ZERO)
            }
            (NotLanded::NotParts, ..) => refused(NotLanded::NotParts, base, Order::ZERO),
        })?;
        gathered
    }

    /// Adds a group's frames to its block's rows, off their tags in checked mode.
    fn gather(&self, group: &Group, masks: &mut [u64; ROWS]) -> Result<(), FreeError> {
        let base = group.base;
        if !base.is_aligned(Order::GROUP) {
            return Err(FreeError::Misaligned { pfn: base, order: Order::GROUP });
        }
        if let Some(tags) = self.state.tags() {
            for (done, pfn) in group.iter().enumerate() {
                if let Err(error) = tags.clear(&self.state.map, pfn, Order::ZERO) {
                    group.iter().take(done).for_each(|pfn| tags.set(&self.state.map, pfn, Order::ZERO));
                    return Err(error);
                }
            }
        }
        if self.state.names().is_some() {
            group.iter().for_each(|pfn| self.state.forget_owner(pfn, Order::ZERO));
        }
        let (offset, bits) = (base.get() % BLOCK_FRAMES, u64::from(group.mask) << (base.get() % ROW_FRAMES));
        let row = &mut masks[(offset / ROW_FRAMES) as usize % ROWS];
        if *row & bits != 0 {
            return Err(FreeError::DoubleFree { pfn: base, order: Order::ZERO });
        }
        *row |= bits;
        Ok(())
    }
}

/// Frames that a bulk call has freed and their zone does not count yet: it is raised once for all blocks of the same
/// zone that follow each other.
struct Counted<'m> {
    zone: Option<&'m Zone<'m>>,
    frames: u64,
}

impl<'m> Counted<'m> {
    fn add(&mut self, zone: &'m Zone<'m>, frames: u64) {
        if self.zone.is_none_or(|counted| counted.id != zone.id) {
            self.settle();
        }
        self.zone = Some(zone);
        self.frames += frames;
    }

    fn settle(&mut self) {
        if let Some(zone) = self.zone.take().filter(|_| self.frames > 0) {
            zone.raise_count(self.frames);
        }
        self.frames = 0;
    }
}

/// Frames a bulk call claims from a zone at once: what it holds more than it has taken while it looks for groups.
const MOST_AT_ONCE: u64 = 512;

/// A bulk call's output.
pub(crate) struct Bulk<'o> {
    out: &'o mut [Group],
    filled: usize,
    frames: u64,
    left: u64,
    /// Whose turn it is, where nodes take turns.
    turn: Option<NodeId>,
}

impl Bulk<'_> {
    /// It is the node's turn, for so many frames more, and no more than those.
    pub(crate) fn begin_turn(&mut self, node: NodeId, frames: u64) {
        (self.turn, self.left) = (Some(node), frames);
    }

    fn wants_more(&self) -> bool {
        self.left > 0 && self.filled < self.out.len()
    }

    /// Takes groups from the zone's blocks while there are any.
    fn fill_from(&mut self, zone: &Zone<'_>, Walk { state, request, cpu, .. }: Walk<'_, '_>) {
        let (cache, kind) = (zone.cache_of(cpu), request.kind);
        let (floor, mixing) = (zone.marks.fast_floor(request.highest), state.mixing());
        let want = Want { mixing, ..Want::of(request, floor) };
        let start = || cache.map_or(0, |cache| cache.start_block(kind));
        let remember = |block| cache.into_iter().for_each(|cache| cache.remember_block(kind, block));
        while self.wants_more() {
            let room = self.out.len() - self.filled;
            let frames = self.left.min(room as u64 * GROUP_FRAMES).min(MOST_AT_ONCE);
            let taken = zone.take_many(want, start(), frames, room, |block, group, mask| {
                remember(block);
                self.push(Group { base: zone.group_start(group), mask });
            });
            if taken == 0 {
                break;
            }
        }
        while self.wants_more() {
            let Ok(taken) = zone.take_group(cache, want, start(), self.left.min(GROUP_FRAMES)) else {
                return;
            };
            remember(taken.block);
            zone.arrived(&taken);
            self.push(Group { base: zone.group_start(taken.group), mask: taken.mask });
        }
    }

    fn push_frame(&mut self, pfn: Pfn) {
        let base = Pfn::new(pfn.get() / GROUP_FRAMES * GROUP_FRAMES);
        let mask = 1 << (pfn.get() % GROUP_FRAMES);
        match self.out.get_mut(..self.filled).and_then(<[Group]>::last_mut) {
            Some(last) if last.base == base => {
                last.mask |= mask;
                self.left -= 1;
            }
            _ => self.push(Group { base, mask }),
        }
    }

    fn push(&mut self, group: Group) {
        if let Some(place) = self.out.get_mut(self.filled) {
            *place = group;
            self.filled += 1;
            self.frames += u64::from(group.frames());
            self.left -= u64::from(group.frames()).min(self.left);
        }
    }
}
