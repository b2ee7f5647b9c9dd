//! A zone's two words: how many frames may be claimed, and how many are on the move.
//!
//! | word, bits | field | changed by |
//! |---|---|---|
//! | `free`, 0..=63 | frames that may be claimed from the zone's blocks | [`ZoneCount::claim`] down against a floor, [`ZoneCount::raise`] up |
//! | `transit`, 0..=39 | frames in the hands of refills, evictions, drains and searches for runs | [`ZoneCount::enter`] up, [`ZoneCount::leave`] down |
//! | `transit`, 40..=63 | moves completed (wraps) | [`ZoneCount::leave`] |
//!
//! `free` is claimed before a block is and raised after it, so at all times
//! `free <= sum of the counts of the zone's blocks that are not isolated`: who holds a claim on the zone always finds
//! a frame. It is exact at quiescence; in motion it is low by the claims and frees under way, never high.
//! Between two equal readings of `transit` with nothing on the move, no frame passed between rows and slot words.

use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

const FRAMES: u64 = (1 << 40) - 1;
const MOVED: u64 = 1 << 40;

/// A reading of the transit word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Transit(u64);

impl Transit {
    /// Where the word lies in a [`ZoneCount`].
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) const OFFSET: usize = core::mem::offset_of!(ZoneCount, transit);

    /// What a word read by other means says.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// What the sum of words says.
    pub(crate) const fn of_sum(word: u64) -> Self {
        Self(word)
    }

    /// What is added to a word when frames arrive.
    pub(crate) const fn arrival(frames: u64) -> u64 {
        MOVED.wrapping_sub(frames)
    }

    /// What both say.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The word: of moves alone, where no frame is on the move.
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// Frames on the move.
    pub(crate) const fn frames(self) -> u64 {
        self.0 & FRAMES
    }

    /// Moves completed so far.
    pub(crate) const fn moves(self) -> u64 {
        self.0 >> 40
    }
}

/// The words, on a line of their own.
#[repr(align(128))]
pub(crate) struct ZoneCount {
    free: AtomicU64,
    transit: AtomicU64,
}

impl ZoneCount {
    pub(crate) fn new(free: u64) -> Self {
        Self { free: AtomicU64::new(free), transit: AtomicU64::new(0) }
    }

    /// Frames that may be claimed. SeqCst: read between two readings of the transit word.
    #[inline]
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::SeqCst)
    }

    /// Whether a claim of `frames` would leave `floor` now.
    #[inline]
    pub(crate) fn spares(&self, frames: u64, floor: u64) -> bool {
        self.free() >= if planted(Mutant::MarkIgnored) { frames } else { floor + frames }
    }

    /// Claims `want` frames if that leaves `floor`, else `least` if that does; returns the number, or the frames seen
    /// above the floor.
    #[inline]
    pub(crate) fn claim(&self, want: u64, least: u64, floor: u64) -> Result<u64, u64> {
        let mut free = self.free.load(Ordering::Relaxed); // Relaxed: the exchange decides
        loop {
            let above = if planted(Mutant::MarkIgnored) { free } else { free.saturating_sub(floor) };
            let frames = if above >= want { want } else { least };
            if above < frames {
                return Err(above);
            }
            // Release: after the `enter` of the transit word; partner: the barrier of a walk about to fail (`slow.rs`).
            // Acquire: the block's count that was raised before this one; partner: `raise`. SeqCst: an isolation's debit
            // is before its look at the credits; partner: `Credit::add`.
            match self.free.compare_exchange_weak(free, free - frames, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Ok(frames),
                Err(now) => free = now,
            }
        }
    }

    /// Adds frames whose blocks' counts have been raised already.
    #[inline]
    pub(crate) fn raise(&self, frames: u64) {
        // Release: the block's count; partner: `claim`. SeqCst: before the `leave` of the same operation, which a walker
        // about to fail compares.
        self.free.fetch_add(frames, Ordering::SeqCst);
    }

    /// Announces that frames are about to leave the rows or a slot word.
    #[inline]
    pub(crate) fn enter(&self, frames: u64) {
        // SeqCst: before the frames can be missed where they were; partner: `transit`.
        self.transit.fetch_add(frames, Ordering::SeqCst);
    }

    /// The frames have arrived: in a word, in the rows and counted, or in the caller's hands.
    #[inline]
    pub(crate) fn leave(&self, frames: u64) {
        // SeqCst: after they can be found again; partner: `transit`.
        self.transit.fetch_add(Transit::arrival(frames), Ordering::SeqCst);
    }

    /// The transit word now; read before and after a walk that is about to fail.
    #[inline]
    pub(crate) fn transit(&self) -> Transit {
        Transit(self.transit.load(Ordering::SeqCst))
    }
}
