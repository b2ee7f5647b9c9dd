//! Memory and reserved ranges in order, and what they say of a block.

use crate::frame::{BLOCK_FRAMES, FrameRange, Pfn, ROW_FRAMES, ROWS};
use crate::topology::MemoryRange;

/// Memory and reserved ranges in order, read with a cursor that only goes up.
pub(in crate::build) struct Frames<'a> {
    memory: &'a [MemoryRange],
    reserved: &'a [FrameRange],
    memory_at: usize,
    reserved_at: usize,
    /// Frames of the memory range at the cursor, none of them reserved: their blocks need no look.
    whole: FrameRange,
}

/// A block as the memory map describes it.
pub(in crate::build) struct BlockPlan<'a> {
    pub(in crate::build) owner: Option<&'a MemoryRange>,
    pub(in crate::build) rows: [u64; ROWS],
    /// Bits in the rows.
    pub(in crate::build) frames: u64,
    /// The same with the reserved frames.
    pub(in crate::build) present: u64,
}

impl<'a> BlockPlan<'a> {
    /// A block of which all frames are usable.
    const fn whole(owner: &'a MemoryRange) -> Self {
        Self { owner: Some(owner), rows: [u64::MAX; ROWS], frames: BLOCK_FRAMES, present: BLOCK_FRAMES }
    }

    /// A block that has been plugged in: all of it exists.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(in crate::build) const fn plugged() -> Self {
        Self { owner: None, rows: [u64::MAX; ROWS], frames: BLOCK_FRAMES, present: BLOCK_FRAMES }
    }

    fn count(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.count_ones())).sum()
    }
}

impl<'a> Frames<'a> {
    pub(in crate::build) fn new(memory: &'a [MemoryRange], reserved: &'a [FrameRange]) -> Self {
        let whole = FrameRange::new(Pfn::new(0), Pfn::new(0));
        Self { memory, reserved, memory_at: 0, reserved_at: 0, whole }
    }

    /// The block that starts at `start`; blocks are asked for in ascending order.
    #[inline]
    pub(in crate::build) fn block(&mut self, start: u64) -> BlockPlan<'a> {
        match self.whole_owner(start, BLOCK_FRAMES) {
            Some(owner) => BlockPlan::whole(owner),
            None => self.look(start),
        }
    }

    /// The block that starts at `start`, and how many of the `blocks` (at least 1) from there on are like it: all of them
    /// if that is known by the blocks before.
    #[inline]
    pub(in crate::build) fn stretch(&mut self, start: u64, blocks: usize) -> (usize, BlockPlan<'a>) {
        match self.whole_owner(start, blocks as u64 * BLOCK_FRAMES) {
            Some(owner) => (blocks, BlockPlan::whole(owner)),
            None => (1, self.block(start)),
        }
    }

    /// The range that holds these frames, if that is known by the blocks before, and none of them is reserved.
    #[inline]
    pub(in crate::build) fn whole_owner(&self, start: u64, frames: u64) -> Option<&'a MemoryRange> {
        let is_whole = self.whole.start.get() <= start && start + frames <= self.whole.end.get();
        if is_whole { self.memory.get(self.memory_at) } else { None }
    }

    #[inline(never)]
    fn look(&mut self, start: u64) -> BlockPlan<'a> {
        let block = FrameRange::new(Pfn::new(start), Pfn::new(start + BLOCK_FRAMES));
        while self.memory.get(self.memory_at).is_some_and(|range| range.range.end <= block.start) {
            self.memory_at += 1;
        }
        while self.reserved.get(self.reserved_at).is_some_and(|range| range.end <= block.start) {
            self.reserved_at += 1;
        }
        let mut plan = BlockPlan { owner: None, rows: [0; ROWS], frames: 0, present: 0 };
        for range in self.memory.iter().skip(self.memory_at).take_while(|range| range.range.start < block.end)
        {
            plan.owner = plan.owner.or(Some(range));
            each_row(range.range.intersect(block), block, |row, mask| plan.rows[row % ROWS] |= mask);
        }
        plan.present = plan.count();
        for range in self.reserved.iter().skip(self.reserved_at).take_while(|range| range.start < block.end) {
            each_row(range.intersect(block), block, |row, mask| plan.rows[row % ROWS] &= !mask);
        }
        plan.frames = plan.count();
        self.whole = self.whole_behind(block);
        plan
    }

    /// What follows a block without a change: up to the end of its range or the next reserved frame.
    fn whole_behind(&self, block: FrameRange) -> FrameRange {
        let range = self.memory.get(self.memory_at).map(|range| range.range);
        let Some(range) = range.filter(|range| range.start <= block.end) else {
            return FrameRange::new(block.end, block.end);
        };
        let reserved = self.reserved.iter().skip(self.reserved_at).find(|range| range.end > block.end);
        FrameRange::new(block.end, reserved.map_or(range.end, |reserved| reserved.start.min(range.end)))
    }
}

/// Calls `visit` with each row of the block that `range` meets, and the row's bits inside the range.
fn each_row(range: FrameRange, block: FrameRange, mut visit: impl FnMut(usize, u64)) {
    for row in 0..ROWS {
        let start = block.start.add(row as u64 * ROW_FRAMES);
        let inside = range.intersect(FrameRange::new(start, start.add(ROW_FRAMES)));
        if inside.frames() > 0 {
            let run = if inside.frames() == ROW_FRAMES { u64::MAX } else { (1 << inside.frames()) - 1 };
            visit(row, run << (inside.start.get() - start.get()));
        }
    }
}
