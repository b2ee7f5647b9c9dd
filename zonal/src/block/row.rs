//! A row: 64 frames in one word, bit set = free.
//!
//! | bits | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0..=63 | frame `i` of the row is free | [`Row::put`] (a free, a roll-back); [`Row::fill`] by the owner of all the block's frames | [`Row::take_exact`], [`Row::take_from`] by the holder of a claim on the block's entry; [`Row::wipe`] by the owner of the whole block |
//!
//! Nothing here counts: the entry's count says how many of the block's bits may be claimed, and
//! `count <= popcount(rows)` at all times unless the block is taken whole (then its bits mean nothing).

use crate::frame::{GROUP_FRAMES, Order};
use crate::mutant::{Mutant, ordering_unless};
use crate::sync::{AtomicU64, Ordering};

/// Where aligned runs of each order up to a row may start; nowhere for what is longer.
const STARTS: [u64; 8] = [
    !0,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
    0,
];

/// Bits at which an aligned run of set bits of `order` (at most a row) starts.
#[inline]
pub(crate) const fn run_starts(free: u64, order: Order) -> u64 {
    let order = order.get();
    let mut runs = free;
    // Spelled out: the paths of orders 1 to 5 come through here, and a loop costs them as much again.
    if order > 0 {
        runs &= runs >> 1;
    }
    if order > 1 {
        runs &= runs >> 2;
    }
    if order > 2 {
        runs &= runs >> 4;
    }
    if order > 3 {
        runs &= runs >> 8;
    }
    if order > 4 {
        runs &= runs >> 16;
    }
    if order > 5 {
        runs &= runs >> 32;
    }
    runs & STARTS[(order & 7) as usize]
}

/// A mask of `2^order` bits from bit 0; order at most a row.
#[inline]
pub(crate) const fn run_mask(order: Order) -> u64 {
    if order.get() >= Order::ROW.get() { !0 } else { (1 << order.frames()) - 1 }
}

/// The mask of half `half` (0 or 1) of a row: a group.
#[inline]
pub(crate) const fn group_mask(half: u32) -> u64 {
    (u32::MAX as u64) << (half as u64 * GROUP_FRAMES)
}

/// The word of 64 frames.
#[repr(transparent)]
pub(crate) struct Row(AtomicU64);

impl Row {
    pub(crate) fn new(free: u64) -> Self {
        Self(AtomicU64::new(free))
    }

    /// The free bits now. Relaxed: whoever acts on them does so by compare-exchange.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the bits of `mask`; returns the row as it was, so that `before & mask` are bits that were free already.
    #[inline]
    pub(crate) fn put(&self, mask: u64) -> u64 {
        // Release: what the last owner wrote to the frames; partner: the Acquire in `take_exact` / `take_from`.
        self.0.fetch_or(mask, Ordering::Release)
    }

    /// The same of a row that was seen a moment ago.
    #[inline(always)]
    pub(crate) fn put_seen(&self, mut seen: u64, mask: u64) -> u64 {
        while let Err(now) =
            self.0.compare_exchange_weak(seen, seen | mask, Ordering::Release, Ordering::Relaxed)
        {
            seen = now;
        }
        seen
    }

    /// Sets the bits of `mask` if the row is as it was seen.
    #[inline(always)]
    #[must_use]
    pub(crate) fn put_exact(&self, seen: u64, mask: u64) -> bool {
        // Release: as `put`.
        self.0.compare_exchange(seen, seen | mask, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Takes exactly `mask`, or nothing if a bit of it is not free. Retries only after another's step on this row.
    #[inline]
    #[must_use]
    pub(crate) fn take_exact(&self, mask: u64) -> bool {
        self.take_from(|free| if free & mask == mask { mask } else { 0 }) == mask
    }

    /// Takes the bits `choose` picks from the free ones (a subset, 0 = give up) and returns them.
    #[inline]
    #[must_use]
    pub(crate) fn take_from(&self, choose: impl FnMut(u64) -> u64) -> u64 {
        self.take_from_seen(self.load(), choose)
    }

    /// The same of a row that was seen a moment ago: the exchange decides.
    #[inline(always)]
    #[must_use]
    pub(crate) fn take_from_seen(&self, mut free: u64, mut choose: impl FnMut(u64) -> u64) -> u64 {
        // Acquire: what the last owner wrote; partner: the Release in `put`. Release: after the `enter` of the transit
        // word; partner: the barrier of a walk about to fail (`slow.rs`).
        let acquire = ordering_unless(Mutant::RowTakeRelaxed, Ordering::AcqRel);
        loop {
            let mask = choose(free);
            if mask == 0 {
                return 0;
            }
            match self.0.compare_exchange_weak(free, free & !mask, acquire, Ordering::Relaxed) {
                Ok(_) => return mask,
                Err(now) => free = now,
            }
        }
    }

    /// Marks every frame allocated. Only the owner of the whole block may, before it publishes the split.
    #[inline]
    pub(crate) fn wipe(&self) {
        // Relaxed: published by the Release of `Entry::split`.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Sets every bit, as a whole block has them. Only the owner of all the block's frames may, before it publishes the
    /// join: the entry's count is 0, so nobody claims them.
    #[inline]
    pub(crate) fn fill(&self) {
        // Relaxed: published by the Release of `Entry::join`.
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}
