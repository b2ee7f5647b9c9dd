//! Runs of whole blocks, orders above a block: entries taken ascending as tentative, then committed.
//!
//! A tentative entry is in flight, not allocated, and its frames are in the transit word. Two takers of overlapping
//! runs both go upwards, so one of them gets past the other; the loser gives back what it took, in any order.
//! An interrupt between two steps leaves tentative entries, which nobody waits for: they are simply not free.

use crate::block::entry::Raise;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, ROWS, SECTION_BLOCKS, SECTION_FRAMES};
use crate::mutant::{Mutant, planted};
use crate::zone::take::Miss;
use crate::zone::{Block, Want, Zone};

/// Blocks in a run of `order`.
pub(crate) const fn blocks_in(order: Order) -> usize {
    1 << (order.get() - Order::BLOCK.get())
}

impl Block<'_> {
    /// Turns a whole block into 512 allocated frames: the rows are written by the owner alone, then published by one
    /// exchange of the entry. Between the two the block is whole to everybody else.
    pub(crate) fn split(self) {
        if !self.entry.load().is_whole() {
            return;
        }
        if planted(Mutant::SplitCountFirst) {
            let _ = self.entry.split();
            (0..ROWS).for_each(|row| self.bitmap.row(row).wipe());
            return;
        }
        (0..ROWS).for_each(|row| self.bitmap.row(row).wipe());
        let _ = self.entry.split();
    }
}

impl<'m> Zone<'m> {
    /// Takes an aligned run (above a block) whose first block `allowed` accepts. Linear in the zone.
    #[inline(never)]
    pub(crate) fn take_run(
        &self,
        want: Want,
        allowed: impl Fn(Block<'m>) -> bool,
    ) -> Result<Block<'m>, Miss> {
        let (order, length) = (want.order, blocks_in(want.order));
        let mut at = 0;
        while at + length <= self.entries.len() {
            let Some(first) = self.block(BlockIndex(at as u32)) else { break };
            let step = if first.start.is_aligned(order) { length } else { 1 };
            // Blocks before the next aligned start cannot begin a run: skip to the next block that might.
            if step == length && self.is_free_run(at, length) && allowed(first) {
                match self.take_run_at_block(at, want) {
                    Err(Miss::NoRun) => {}
                    Err(at_mark) => return Err(at_mark),
                    Ok(()) => return Ok(first),
                }
            }
            at += if step == length { length.min(self.to_section_end(at)) } else { 1 };
        }
        if self.count.spares(order.frames(), want.floor) { Err(Miss::NoRun) } else { Err(Miss::AtMark) }
    }

    /// Blocks from this one to the end of its section: runs longer than that continue only in an adjacent section.
    fn to_section_end(&self, at: usize) -> usize {
        SECTION_BLOCKS - at % SECTION_BLOCKS
    }

    /// Whether `length` blocks from `at` are free now and adjacent.
    fn is_free_run(&self, at: usize, length: usize) -> bool {
        self.is_adjacent(at, length)
            && self.entries.get(at..at + length).is_some_and(|entries| {
                entries.iter().all(|entry| {
                    let entry = entry.load();
                    entry.is_free_block() && entry.zone() == self.id
                })
            })
    }

    /// Whether the sections that `length` blocks from `at` lie in follow each other without a hole.
    pub(crate) fn is_adjacent(&self, at: usize, length: usize) -> bool {
        let (first, last) = (at / SECTION_BLOCKS, (at + length - 1) / SECTION_BLOCKS);
        let (Some(a), Some(b)) = (self.sections.get(first), self.sections.get(last)) else { return false };
        b.start.get() - a.start.get() == (last - first) as u64 * SECTION_FRAMES
    }

    /// Takes the run (a block or longer) whose first block is number `at`, or nothing.
    pub(crate) fn take_run_at_block(&self, at: usize, want: Want) -> Result<(), Miss> {
        let (length, frames) = (blocks_in(want.order), want.frames());
        let Some(entries) = self.entries.get(at..at + length).filter(|_| self.is_adjacent(at, length)) else {
            return Err(Miss::NoRun);
        };
        self.count.enter(frames);
        if self.count.claim(frames, frames, want.floor).is_err() {
            self.count.leave(frames);
            return Err(Miss::AtMark);
        }
        let got = entries.iter().take_while(|entry| entry.take_tentative(self.id, want.kind)).count();
        let outcome = if got == length {
            entries.iter().for_each(|entry| entry.commit());
            Ok(())
        } else {
            let returned = self.abandon(at, got);
            self.count.raise(frames - got as u64 * BLOCK_FRAMES + returned);
            Err(Miss::NoRun)
        };
        self.count.leave(frames);
        outcome
    }

    /// Gives back the first `got` blocks of a run that was not completed; the frames to raise the zone's count by.
    fn abandon(&self, at: usize, got: usize) -> u64 {
        let got = if planted(Mutant::TentativeLeft) { got.saturating_sub(1) } else { got };
        let blocks = (at..at + got).filter_map(|at| self.block(BlockIndex(at as u32)));
        blocks.fold(0, |returned, block| match block.entry.abandon() {
            Raise::Done(after) if !after.is_isolated() => {
                self.hint(block, after, u64::MAX);
                let poisoned = after.is_poisoned();
                returned + if poisoned { self.expel_poisoned(block, BLOCK_FRAMES) } else { BLOCK_FRAMES }
            }
            _ => returned,
        })
    }
}
