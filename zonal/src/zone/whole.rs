//! Taking a wholly free block that no CPU keeps: the zone's count, or the CPU's credit, and the block's entry, one locked step each.
//!
//! Its bits stay as they are. Of blocks in the zone, what was freed last by this CPU is taken first: its entry is near, and so is
//! what it is made of.

use crate::cache::CpuCache;
use crate::cache::word::Put;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Pfn};
use crate::topology::Kind;
use crate::zone::search::Offer;
use crate::zone::{Block, Want, Zone};

impl<'m> Zone<'m> {
    /// Puts a block that its owner frees into the CPU's word, or else into its place in the zone.
    #[inline(always)]
    pub(crate) fn put_block(&self, cache: &CpuCache, block: Block<'m>) -> Put {
        match self.keep_block(cache, block) {
            Put::OtherGroup if self.land_whole(Some(cache), block).is_ok() => Put::Kept,
            put => put,
        }
    }

    /// Takes a wholly free block: the zone's count and the entry, one locked step each.
    ///
    /// Well above the floor the claim is not announced in the transit word: when it is made, every context of every CPU
    /// may hold one that it must give back, and the zone's count is above the floor all the same. One that sleeps
    /// until others have used up the rest hides its 512 frames; they count as what it was asked for.
    #[inline(never)]
    pub(crate) fn take_block(&self, cache: Option<&CpuCache>, want: Want) -> Option<Pfn> {
        let start = cache.map_or(0, CpuCache::freed_block);
        // Mostly the block that this CPU freed last, or one hinted beside it, is free. If not, nothing was claimed.
        let near = self.free_tree().peek(start).and_then(|at| self.block(BlockIndex(at as u32)));
        if let Some(block) = near.filter(|block| block.entry.load().is_free_block())
            && let Offer::Taken(start) = self.claim_free_block(cache, block, want)
        {
            return Some(start);
        }
        self.search_block(cache, want, start)
    }

    /// The block that this CPU freed last, if it is free still.
    #[inline(always)]
    pub(crate) fn block_freed_last(&self, cache: &CpuCache) -> Option<Block<'m>> {
        let block = self.block(BlockIndex(cache.freed_block() as u32))?;
        let entry = block.entry.load();
        (entry.is_free_block() && entry.zone() == self.id).then_some(block)
    }

    /// Takes that block for frames of the CPU's credit: well above the floor only.
    #[inline(always)]
    pub(crate) fn take_block_again(&self, cache: &CpuCache, block: Block<'m>, want: Want) -> Option<Pfn> {
        let lenient = self.count.free() >= want.floor + self.slack;
        if !lenient || !cache.credit.spend(BLOCK_FRAMES) {
            return None;
        }
        match self.take_counted_block(block, want.kind) {
            Offer::Taken(start) => Some(start),
            _ => None,
        }
    }

    #[inline(never)]
    fn search_block(&self, cache: Option<&CpuCache>, want: Want, start: usize) -> Option<Pfn> {
        self.search_free(want, start, |block| self.claim_free_block(cache, block, want)).ok()
    }

    #[inline(always)]
    fn claim_free_block(&self, cache: Option<&CpuCache>, block: Block<'m>, want: Want) -> Offer<Pfn> {
        let lenient = self.count.free() >= want.floor + self.slack;
        let spent = |cache: &CpuCache| cache.credit.spend(BLOCK_FRAMES);
        if lenient && cache.is_some_and(spent)
            || self.count.claim(BLOCK_FRAMES, BLOCK_FRAMES, want.floor + self.slack).is_ok()
        {
            return self.take_counted_block(block, want.kind);
        }
        self.count.enter(BLOCK_FRAMES);
        let offer = match self.claim(cache, (BLOCK_FRAMES, BLOCK_FRAMES), want.floor) {
            Ok(_) => self.take_counted_block(block, want.kind),
            Err(_) => Offer::Stop,
        };
        self.count.leave(BLOCK_FRAMES);
        offer
    }

    fn take_counted_block(&self, block: Block<'m>, kind: Kind) -> Offer<Pfn> {
        if block.entry.take_whole(self.id, kind) {
            return Offer::Taken(block.start);
        }
        self.count.raise(BLOCK_FRAMES);
        self.count.leave(0); // a race was lost: a walk that finds nothing now must not call this still
        Offer::Next
    }
}
