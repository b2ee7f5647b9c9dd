//! Memory and reserved ranges in order, and what they say of a block.

use crate::frame::{BLOCK_FRAMES, FrameRange, Pfn, ROW_FRAMES, ROWS};
use crate::topology::MemoryRange;

/// Memory and reserved ranges in order, read with a cursor that only goes up.
pub(in crate::build) struct Frames<'a> {
    memory: &'a [MemoryRange],
    reserved: &'a [FrameRange],
    memory_at: usize,
    reserved_at: usize,
}

/// A block as the memory map describes it.
pub(in crate::build) struct BlockPlan<'a> {
    pub(in crate::build) owner: Option<&'a MemoryRange>,
    pub(in crate::build) rows: [u64; ROWS],
}

impl<'a> Frames<'a> {
    pub(in crate::build) fn new(memory: &'a [MemoryRange], reserved: &'a [FrameRange]) -> Self {
        Self { memory, reserved, memory_at: 0, reserved_at: 0 }
    }

    /// The block that starts at `start`; blocks are asked for in ascending order.
    pub(in crate::build) fn block(&mut self, start: u64) -> BlockPlan<'a> {
        let block = FrameRange::new(Pfn::new(start), Pfn::new(start + BLOCK_FRAMES));
        while self.memory.get(self.memory_at).is_some_and(|range| range.range.end <= block.start) {
            self.memory_at += 1;
        }
        while self.reserved.get(self.reserved_at).is_some_and(|range| range.end <= block.start) {
            self.reserved_at += 1;
        }
        let mut plan = BlockPlan { owner: None, rows: [0; ROWS] };
        for range in self.memory.iter().skip(self.memory_at).take_while(|range| range.range.start < block.end)
        {
            plan.owner = plan.owner.or(Some(range));
            each_row(range.range.intersect(block), block, |row, mask| plan.rows[row % ROWS] |= mask);
        }
        for range in self.reserved.iter().skip(self.reserved_at).take_while(|range| range.start < block.end) {
            each_row(range.intersect(block), block, |row, mask| plan.rows[row % ROWS] &= !mask);
        }
        plan
    }
}

impl BlockPlan<'_> {
    pub(in crate::build) fn frames(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.count_ones())).sum()
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
