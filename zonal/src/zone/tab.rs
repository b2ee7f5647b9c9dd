//! Frees along a block, past the words: the bits at once, the counts for all of them together.
//!
//! A CPU that frees one frame after the other in one block puts them on its tab ([`crate::cache::tab`]): their bits are set, and a note
//! says how many. The block's count, hints and the zone's count follow when the tab is settled: by the CPU itself when it goes on to
//! another block, by a request about to fail, a drain, or whoever collects credits, in any context. What is on a tab costs nobody a
//! frame, as what is in a credit does not, and the credit's hint leads to both.
//!
//! Invariant: `count <= free bits - frames on tabs` of each block, so who claims finds a frame still; and a tab that holds frames has
//! its CPU's credit hinted, or who puts them there is about to see to it.
//!
//! Only where CPUs own their words, while the zone is not short, in ordinary blocks of the CPU's stretch, and for frames that complete
//! no run of 8: hints of runs are set by whoever completes them, after the count. An interrupt between two steps leaves frames that
//! count as allocated until the operation returns, and is announced where frames that were freed before are in hand.

use crate::block::bitmap::row_and_mask;
use crate::cache::CpuCache;
use crate::cache::tab::Noted;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, Pfn};
use crate::mutant::{Mutant, planted};
use crate::zone::Zone;
use crate::zone::land::completes_eight;

impl Zone<'_> {
    /// Frees a frame of block `number`, which the CPU's tab is of: one locked step. False, and nothing has changed, if it goes another
    /// way.
    #[inline(always)]
    pub(in crate::zone) fn put_on_tab(&self, cache: &CpuCache, pfn: Pfn, number: u64) -> bool {
        let (Some(words), at) = (self.own_words, number as usize) else { return false };
        let (Some(entry), Some(bitmap)) = (self.entries.get(at), self.bitmaps.get(at)) else { return false };
        let (row, bit) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        let (row, group) = (bitmap.row(row), self.group_of(pfn));
        let seen = row.load();
        let goes = entry.load().takes_notes()
            && seen & bit == 0
            && !completes_eight(seen | bit, pfn.get())
            && !cache.groups.may_have(group)
            && self.marks.is_quiet(self.count.free())
            && cache.misses(group);
        if !goes || !row.put_exact(seen, bit) {
            return false;
        }
        match cache.note(cache.own_hand(words), number as u32) {
            // It may have been isolated or poisoned since it was looked at. Who does that flags it, has the owner's CPU pass a barrier, and
            // collects what is on tabs: one of the two sees the other.
            Noted::Hinted if entry.load().is_kept_out() => self.settle(cache),
            Noted::Hinted => {}
            Noted::Unhinted => self.settle_unhinted(cache),
            Noted::No => self.land_one(cache, number as u32),
        }
        true
    }

    /// Makes the CPU's tab one of another block.
    #[inline(never)]
    pub(in crate::zone) fn turn_over(&self, cache: &CpuCache, block: u32) {
        self.settle(cache);
        if let (Some(words), Some(entry)) = (self.own_words, self.entries.get(block as usize)) {
            let kind = entry.load().kind();
            cache.note_freed(kind);
            cache.prefer_block(kind, block);
            cache.tab.open(cache.own_hand(words), block);
        }
    }

    /// Settles the tab of the CPU that this runs on, on the move meanwhile: into its credit. Two locked steps, and one where its frames
    /// are all that the block has.
    #[inline(never)]
    pub(in crate::zone) fn settle(&self, cache: &CpuCache) {
        let frames = cache.tab.frames();
        if frames > 0 {
            // They may complete a run that somebody asks for.
            let announced = (self.enter(cache, frames), frames);
            let settled = self.settle_announced(cache, frames);
            if settled > 0 {
                self.raise(Some(cache), settled);
            }
            self.leave(cache, announced);
        }
    }

    /// The same of any CPU's tab, into the zone's count; the frames that it has now. (It is not the CPU's step: announced as anybody does.)
    #[inline(never)]
    pub(in crate::zone) fn collect_tab(&self, cache: &CpuCache) -> u64 {
        let frames = if self.own_words.is_some() { cache.tab.frames() } else { 0 };
        if frames == 0 || planted(Mutant::TabForgotten) {
            return 0;
        }
        self.count.enter(frames);
        let settled = self.settle_announced(cache, frames);
        if settled > 0 {
            self.raise_count(settled);
        }
        self.count.leave(frames);
        settled
    }

    /// Takes so many frames off the tab at most, and raises their block's count; what the zone's count is to be raised by.
    #[inline(always)]
    fn settle_announced(&self, cache: &CpuCache, most: u64) -> u64 {
        cache.tab.settle(most).map_or(0, |(frames, block)| self.land_noted(BlockIndex(block), frames))
    }

    /// After the hint was given up: nothing leads to the tab until it is empty, or there is a hint again. Repeated only after another's
    /// step.
    #[cold]
    #[inline(never)]
    fn settle_unhinted(&self, cache: &CpuCache) {
        while cache.tab.frames() > 0 && !cache.credit.is_hinted() {
            self.settle(cache);
        }
    }

    /// A frame whose bit is set, and that could not be noted.
    #[cold]
    #[inline(never)]
    fn land_one(&self, cache: &CpuCache, block: u32) {
        let counted = self.land_noted(BlockIndex(block), 1);
        if counted > 0 {
            self.raise(Some(cache), counted);
        }
    }
}
