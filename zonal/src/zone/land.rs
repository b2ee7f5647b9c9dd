//! Putting frames back into their block: bits, then the entry's count, then hints, then the zone's count.
//!
//! That order is the whole protocol: a claim that sees the count finds the bits, a request that sees the zone's count
//! finds the hints. An interrupt between two steps leaves frames that count as allocated until the operation returns.

use crate::block::bitmap::count;
use crate::block::entry::{Raise, Snapshot};
use crate::block::row::run_starts;
use crate::cache::CpuCache;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, ROW_FRAMES, ROWS};
use crate::mutant::{Mutant, planted};
use crate::topology::Kind;
use crate::zone::search::Class;
use crate::zone::{Block, Zone};

/// Why frames did not land.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotLanded {
    /// Some were free already; the others are free now.
    AlreadyFree,
    /// The block is allocated whole and was not split, or has no such frames. Nothing changed.
    NotParts,
}

impl<'m> Zone<'m> {
    /// Frees the frames `mask` of row `row`, into the CPU's credit if it has one. Three locked steps.
    #[inline(always)]
    pub(crate) fn land(
        &self,
        cache: Option<&CpuCache>,
        block: Block<'m>,
        row: usize,
        mask: u64,
    ) -> Result<(), NotLanded> {
        self.land_seen(cache, (block, block.entry.load()), row, mask, block.bitmap.row(row).load())
    }

    /// The same in a block of which the entry was seen.
    #[inline(always)]
    pub(crate) fn land_seen(
        &self,
        cache: Option<&CpuCache>,
        (block, entry): (Block<'m>, Snapshot),
        row: usize,
        mask: u64,
        seen: u64,
    ) -> Result<(), NotLanded> {
        if !entry.takes_bits() {
            return self.land_apart(cache, block.index, row, mask);
        }
        let (counted, landed) = self.land_bits((block, entry), row, mask, seen);
        if counted > 0 {
            self.raise_freed(cache, counted);
        }
        landed
    }

    /// As `land`, but leaves the zone's count to the caller: the frames to raise it by come back.
    #[inline(always)]
    pub(crate) fn land_uncounted(
        &self,
        block: Block<'m>,
        row: usize,
        mask: u64,
    ) -> (u64, Result<(), NotLanded>) {
        let entry = block.entry.load();
        if !entry.takes_bits() {
            return self.land_sifted(block.index, row, mask);
        }
        self.land_bits((block, entry), row, mask, block.bitmap.row(row).load())
    }

    /// As `land` in a block with poisoned frames, or one that takes none.
    #[cold]
    #[inline(never)]
    fn land_apart(
        &self,
        cache: Option<&CpuCache>,
        index: BlockIndex,
        row: usize,
        mask: u64,
    ) -> Result<(), NotLanded> {
        let (counted, landed) = self.land_sifted(index, row, mask);
        if counted > 0 {
            self.raise(cache, counted);
        }
        landed
    }

    /// As `land_uncounted` in a block with poisoned frames, or one that takes none.
    #[cold]
    #[inline(never)]
    fn land_sifted(&self, index: BlockIndex, row: usize, mask: u64) -> (u64, Result<(), NotLanded>) {
        let block = self.block(index).filter(|block| block.entry.load().is_open_to_frees());
        let Some(block) = block else { return (0, Err(NotLanded::NotParts)) };
        let sifted = self.sift(block, row, mask);
        let (counted, landed) =
            self.land_bits((block, block.entry.load()), row, sifted.mask, block.bitmap.row(row).load());
        (counted, landed.and(sifted.landed))
    }

    /// Raises a block's count by frames whose bits were set one by one, none of which completed a run; the frames to raise the zone's
    /// count by. (The block by its number: mostly only its entry is needed.)
    #[inline(always)]
    pub(in crate::zone) fn land_noted(&self, index: BlockIndex, frames: u64) -> u64 {
        let Some(entry) = self.entries.get(index.0 as usize) else { return 0 };
        let Raise::Done(after) = entry.raise(frames) else { return self.land_what_fits(index, frames) };
        if !after.is_ordinary() || after.count() == BLOCK_FRAMES || planted(Mutant::HintLost) {
            return self.hint_apart(index, after, Class::Frame, frames);
        }
        if after.count() == frames {
            self.tree(after.kind(), Class::Frame).set(index.0 as usize);
        }
        frames
    }

    /// The same after somebody freed what was never handed out: as many as the block can have.
    #[cold]
    #[inline(never)]
    fn land_what_fits(&self, index: BlockIndex, frames: u64) -> u64 {
        let Some(block) = self.block(index) else { return 0 };
        let entry = block.entry.load();
        let fits = entry.managed().saturating_sub(entry.count()).min(frames);
        match if entry.is_open_to_frees() && fits > 0 { block.entry.raise(fits) } else { Raise::Refused } {
            Raise::Done(after) => self.hint_freed(block, after, Class::Frame, fits),
            Raise::Refused => 0,
        }
    }

    /// The steps of a landing.
    #[inline(always)]
    fn land_bits(
        &self,
        (block, entry): (Block<'m>, Snapshot),
        row: usize,
        mask: u64,
        seen: u64,
    ) -> (u64, Result<(), NotLanded>) {
        if planted(Mutant::BitsAfterCount) {
            return self.land_count_first(block, row, mask);
        }
        let mut counted = 0;
        let before = block.bitmap.row(row).put_seen(seen, mask);
        let fresh = mask & !before;
        if fresh != 0 {
            // Mostly single frames: the bits are counted only where there are several.
            let single = mask & mask.wrapping_sub(1) == 0;
            let frames = if single { 1 } else { u64::from(fresh.count_ones()) };
            let Raise::Done(after) = block.entry.raise_seen(entry, frames) else {
                // More frames than the block has: the caller's were never handed out. Take the bits back.
                let _ = block.bitmap.row(row).take_exact(fresh);
                return (0, Err(NotLanded::NotParts));
            };
            counted = self.hint_freed(block, after, completed(before | mask, mask), frames);
        }
        (counted, if fresh == mask { Ok(()) } else { Err(NotLanded::AlreadyFree) })
    }

    /// Frees frames of several rows of a block: the bits of all, then the entry's count in one step, then the hints. Leaves
    /// the zone's count to the caller as `land_uncounted`; an error names a row and the bits of it that were refused.
    pub(crate) fn land_rows_uncounted(
        &self,
        block: Block<'m>,
        masks: &[u64; ROWS],
    ) -> (u64, Result<(), (NotLanded, usize, u64)>) {
        let entry = block.entry.load();
        if !entry.is_open_to_frees() {
            return (0, Err((NotLanded::NotParts, 0, 0)));
        }
        let (mut frames, mut longest, mut landed) = (0, Class::Frame, Ok(()));
        let mut masks = *masks;
        if entry.is_poisoned() {
            for (at, mask) in masks.iter_mut().enumerate() {
                let sifted = self.sift(block, at, *mask);
                landed = landed.and(sifted.landed.map_err(|cause| (cause, at, *mask & !sifted.mask)));
                *mask = sifted.mask;
            }
        }
        let mut fresh = [0; ROWS];
        for (at, (&mask, fresh)) in
            masks.iter().zip(&mut fresh).enumerate().filter(|(_, (mask, _))| **mask != 0)
        {
            let before = block.bitmap.row(at).put(mask);
            *fresh = mask & !before;
            frames += u64::from(count(*fresh));
            longest = longest.max(completed(before | mask, mask));
            if *fresh != mask && landed.is_ok() {
                landed = Err((NotLanded::AlreadyFree, at, mask & before));
            }
        }
        if frames == 0 {
            return (0, landed);
        }
        match block.entry.raise(frames) {
            Raise::Done(after) => (self.hint_freed(block, after, longest, frames), landed),
            Raise::Refused => {
                // More frames than the block has: the caller's were never handed out. Take the bits back.
                fresh.iter().enumerate().for_each(|(at, &bits)| {
                    let _ = block.bitmap.row(at).take_exact(bits);
                });
                (0, Err((NotLanded::NotParts, 0, 0)))
            }
        }
    }

    fn land_count_first(&self, block: Block<'m>, row: usize, mask: u64) -> (u64, Result<(), NotLanded>) {
        let frames = u64::from(mask.count_ones());
        let raised = block.entry.raise(frames);
        let before = block.bitmap.row(row).put(mask);
        match raised {
            Raise::Done(after) => {
                (self.hint_freed(block, after, completed(before | mask, mask), frames), Ok(()))
            }
            Raise::Refused => (0, Ok(())),
        }
    }

    /// Frees a block allocated whole, in one locked step on its entry.
    #[inline]
    pub(crate) fn land_whole(&self, cache: Option<&CpuCache>, block: Block<'m>) -> Result<(), NotLanded> {
        let Raise::Done(after) = block.entry.put_whole() else { return Err(NotLanded::NotParts) };
        if let Some(cache) = cache {
            cache.remember_freed_block(block.index.0);
        }
        let counted = self.hint_freed(block, after, Class::Row, after.count());
        if counted > 0 {
            self.raise(cache, counted);
        }
        Ok(())
    }

    /// Gives back a claim on a block whose bits were not taken; the frames that the zone's count must be raised by
    /// for it (none if the block was isolated meanwhile: they are counted when isolation ends).
    #[must_use]
    pub(crate) fn return_claim(&self, block: Block<'m>, frames: u64) -> u64 {
        let counted = self.give_claim_back(block, frames);
        if frames > 0 && block.entry.load().is_poisoned() {
            return self.expel_poisoned(block, counted); // it may have been the claim that was missing
        }
        counted
    }

    /// The same without a look for poisoned frames.
    #[must_use]
    pub(in crate::zone) fn give_claim_back(&self, block: Block<'m>, frames: u64) -> u64 {
        if frames == 0 {
            return 0;
        }
        match block.entry.raise(frames) {
            Raise::Done(after) if after.is_isolated() => 0,
            Raise::Done(after) if after.is_reserved() => self.reserve_freed(frames),
            Raise::Done(after) => {
                self.refresh_hints(block, after);
                frames
            }
            Raise::Refused => 0,
        }
    }

    /// Hints, after the entry's count; the frames to raise the zone's count by. Who raises a count from 0 sets the hint
    /// for single frames, who completes a run sets the one for the run: others find it set or being set.
    #[inline(always)]
    fn hint_freed(&self, block: Block<'m>, after: Snapshot, completed: Class, frames: u64) -> u64 {
        if after.is_ordinary() {
            self.hint_open(block, after, completed, frames)
        } else {
            self.hint_apart(block.index, after, completed, frames)
        }
    }

    /// As `hint_freed` where frames are not simply the zone's. (The block by its number: the others need not have it in memory.)
    #[cold]
    #[inline(never)]
    fn hint_apart(&self, index: BlockIndex, after: Snapshot, completed: Class, frames: u64) -> u64 {
        let Some(block) = self.block(index) else { return frames };
        let counted = match () {
            () if after.is_isolated() => 0, // counted when isolation ends
            () if after.is_reserved() && !planted(Mutant::ReservedFreedOutside) => self.reserve_freed(frames),
            () => self.hint_open(block, after, completed, frames),
        };
        if after.is_poisoned() { self.expel_poisoned(block, counted) } else { counted }
    }

    #[inline(always)]
    fn hint_open(&self, block: Block<'m>, after: Snapshot, completed: Class, frames: u64) -> u64 {
        let index = block.index.0 as usize;
        if planted(Mutant::HintLost) {
            return frames;
        }
        let count = after.count();
        if count == frames || completed > Class::Frame || count == BLOCK_FRAMES {
            match after.is_free_block() {
                true => self.free_tree().set(index),
                false if count == frames || completed > Class::Frame => {
                    self.hint_run(index, after.kind(), completed)
                }
                false => {}
            }
        }
        frames
    }

    /// Counts frames freed in a reserved block; none are the zone's.
    #[cold]
    fn reserve_freed(&self, frames: u64) -> u64 {
        self.highatomic.raise(frames);
        0
    }

    /// Sets the hints of a block of this kind for runs up to `class`.
    #[inline(never)]
    fn hint_run(&self, index: usize, kind: Kind, class: Class) {
        let classes = Class::ALL.into_iter().filter(|&shorter| shorter <= class);
        classes.for_each(|class| self.tree(kind, class).set(index));
    }

    /// Sets the hints that `entry` and one of its rows call for.
    pub(crate) fn hint(&self, block: Block<'m>, entry: Snapshot, row: u64) {
        let index = block.index.0 as usize;
        if entry.is_free_block() {
            self.free_tree().set(index);
        } else {
            self.hint_run(index, entry.kind(), completed(row, u64::MAX));
        }
    }

    /// Sets the hints that `entry` and all its rows call for. The one for single frames whatever the rows show now:
    /// who raises the count next relies on it, and may not have set its bits when they are looked at.
    pub(crate) fn refresh_hints(&self, block: Block<'m>, entry: Snapshot) {
        if entry.count() > 0 && !planted(Mutant::RefreshByRows) {
            self.hint(block, entry, 0);
            if entry.is_free_block() {
                return; // it has one hint, whatever the rows show
            }
        }
        for row in 0..crate::frame::ROWS {
            let free = block.bitmap.row(row).load();
            if free != 0 {
                self.hint(block, entry, free);
            }
        }
    }

    /// Sets every hint of a kind for a block about to be given to it: before the claim, so that a claimer that sleeps
    /// after it hides nothing, and again after, in case a search cleared them in between.
    pub(crate) fn hint_retyped(&self, block: Block<'m>, kind: Kind) {
        for class in [Class::Frame, Class::Eight, Class::Row] {
            self.tree(kind, class).set(block.index.0 as usize);
        }
    }
}

/// Whether the eight frames of the row that this one is among are all free.
#[inline(always)]
pub(in crate::zone) fn completes_eight(row: u64, frame: u64) -> bool {
    (row >> (frame & 0x38)) as u8 == u8::MAX
}

/// The longest run in the row, of those hinted, that `mask` may have completed.
#[inline(always)]
fn completed(row: u64, mask: u64) -> Class {
    // A single frame completes a run of 8 only with the 7 around it.
    let single = mask & mask.wrapping_sub(1) == 0;
    let eight = if single {
        completes_eight(row, u64::from(mask.trailing_zeros()))
    } else {
        // Bit 8 i of `touched`: the mask has a bit in byte i.
        let halves = mask | mask >> 4;
        let pairs = halves | halves >> 2;
        let touched = pairs | pairs >> 1;
        run_starts(row, Order::from_raw(3)) & touched != 0
    };
    if !eight {
        return Class::Frame; // mostly
    }
    if row == u64::MAX { Class::Row } else { Class::Eight }
}

const _: () = assert!(ROW_FRAMES == 64);
