//! Poisoned frames on their way out of their block.
//!
//! An entry's flag says that frames of its block stand in the table. Whoever lands frames there leaves those out that are
//! pending, and looks once more after the count is raised: either the one who poisons sees the bit, or the free sees the flag.
//! Words are of no group of such a block that they were not of before, so frees come here.
//!
//! To take a frame out is to allocate it: a claim of the zone's count (or the reserve's; nothing where the block is isolated),
//! one of the entry's, then the bit; what cannot be had is given back. Then the table's word: an out frame is the table's.

use crate::block::bitmap::row_and_mask;
use crate::frame::{BLOCK_FRAMES, FrameRange, GROUP_FRAMES, Order, Pfn, ROW_FRAMES, ROWS};
use crate::mutant::{Mutant, planted};
use crate::poison::Poisoned;
use crate::zone::drain::Drained;
use crate::zone::land::NotLanded;
use crate::zone::{Block, Zone};

/// What of a free may land.
pub(in crate::zone) struct Sifted {
    /// The bits without the poisoned ones.
    pub(in crate::zone) mask: u64,
    /// Whether all that were left out were their owner's to free: none was out already.
    pub(in crate::zone) landed: Result<(), NotLanded>,
}

impl<'m> Zone<'m> {
    /// The block's frames that stand in the table.
    fn poison_in(&self, block: Block<'m>) -> impl Iterator<Item = (Pfn, Poisoned)> + use<'m> {
        self.poison.frames(FrameRange::new(block.start, block.start.add(BLOCK_FRAMES)))
    }

    /// Frames of the block that are out.
    pub(crate) fn poisoned_in(&self, block: Block<'m>) -> u64 {
        if !block.entry.load().is_poisoned() {
            return 0;
        }
        self.poison_in(block).filter(|&(_, state)| state == Poisoned::Out).count() as u64
    }

    /// Frames of the zone that are out.
    pub(crate) fn poisoned(&self) -> u64 {
        let own = |pfn| self.block_of(pfn).is_some_and(|block| block.entry.load().zone() == self.id);
        let out = self.poison.frames(self.span.get()).filter(|&(_, state)| state == Poisoned::Out);
        out.filter(|&(pfn, _)| own(pfn)).count() as u64
    }

    /// Leaves poisoned frames out of a free of row `row`: those that were pending are out now.
    #[cold]
    pub(in crate::zone) fn sift(&self, block: Block<'m>, row: usize, mask: u64) -> Sifted {
        let mut sifted = Sifted { mask, landed: Ok(()) };
        if planted(Mutant::PoisonedLanded) {
            return sifted;
        }
        for (pfn, state) in self.poison_in(block) {
            let (at, bit) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
            if at != row || mask & bit == 0 {
                continue;
            }
            let went = state == Poisoned::Pending && self.poison.leave(pfn);
            if went || self.poison.state(pfn) == Some(Poisoned::Out) {
                sifted.mask &= !bit;
            }
            if !went && sifted.mask & bit == 0 {
                sifted.landed = Err(NotLanded::AlreadyFree);
            }
        }
        sifted
    }

    /// After bits were set or a claim was given back in a block with the flag: takes out what is pending and free. `funds` are
    /// frames of the block that the zone does not count yet; those that are left.
    #[cold]
    pub(in crate::zone) fn expel_poisoned(&self, block: Block<'m>, mut funds: u64) -> u64 {
        if planted(Mutant::PoisonNotLookedFor) {
            return funds;
        }
        for (pfn, _) in self.poison_in(block).filter(|&(_, state)| state == Poisoned::Pending) {
            let _ = self.expel(block, pfn, &mut funds);
        }
        funds
    }

    /// Takes a pending frame out, if it is free and claims are to be had; whether it did.
    pub(crate) fn expel(&self, block: Block<'m>, pfn: Pfn, funds: &mut u64) -> bool {
        if !block.is_free(pfn) || !self.take_single(block, pfn, funds) {
            return false;
        }
        let left = self.poison.leave(pfn);
        if !left {
            // Healed meanwhile.
            let (row, bit) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
            let (counted, _) = self.land_uncounted(block, row, bit);
            *funds += counted;
        }
        left
    }

    /// Takes exactly this frame, whatever the mark; paid for by the funds, or else by whoever counts the block.
    fn take_single(&self, block: Block<'m>, pfn: Pfn, funds: &mut u64) -> bool {
        let (row, bit) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        let entry = block.entry.load();
        if entry.is_reserved() {
            return self.take_reserved_at(block, pfn.get() % BLOCK_FRAMES, Order::ZERO);
        }
        let take = || block.bitmap.row(row).take_exact(bit);
        self.count.enter(1);
        let taken = if entry.is_isolated() {
            block.entry.claim_isolated(self.id, 1) && (take() || self.refund(self.give_claim_back(block, 1)))
        } else if *funds > 0 || self.count.claim(1, 1, 0).is_ok() {
            let funded = (*funds).min(1);
            *funds -= funded;
            let retype = entry.is_free_block().then(|| entry.kind());
            let claimed = self.claim_block(block, 1, 1, retype).is_some();
            let taken = claimed && take();
            if !taken {
                let back = if claimed { self.give_claim_back(block, 1) } else { 1 };
                let to_funds = back.min(funded);
                *funds += to_funds;
                self.refund(back - to_funds);
            }
            taken
        } else {
            false
        };
        self.count.leave(1);
        taken
    }

    /// Gives frames back to the zone's count. (False: nothing was taken.)
    fn refund(&self, frames: u64) -> bool {
        if frames > 0 {
            self.count.raise(frames);
        }
        false
    }

    /// Frees a whole block of which a frame is poisoned: opened first, then row by row.
    pub(crate) fn land_opened(&self, block: Block<'m>) -> Result<(), NotLanded> {
        block.split();
        (0..ROWS).try_for_each(|row| self.land(None, block, row, u64::MAX))
    }

    /// Has words forget the frame's group, and what they hold of it land.
    pub(crate) fn drain_group(&self, pfn: Pfn) -> Drained {
        let start = Pfn::new(pfn.get() / GROUP_FRAMES * GROUP_FRAMES);
        self.drain_flagged(FrameRange::new(start, start.add(GROUP_FRAMES)))
    }
}

impl Block<'_> {
    /// Whether the frame's bit is set, in a block that is not taken whole.
    pub(crate) fn is_free(self, pfn: Pfn) -> bool {
        let at = pfn.get() % BLOCK_FRAMES;
        let row = self.bitmap.row((at / ROW_FRAMES) as usize).load();
        self.entry.load().is_open_to_frees() && row >> (at % ROW_FRAMES) & 1 == 1
    }
}
