//! A credit: frames of the zone's blocks that one CPU may claim without touching the zone's count.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=39 | `frames`: claimed from the zone for this CPU, or freed by it and not counted there yet | [`Credit::spend`] down, [`Credit::add`] up, [`Credit::collect`] to 0 |
//! | 40..=62 | `epoch`: how often the hint was given up (wraps: a sleeper must not miss exactly a multiple of 2^23) | [`Credit::unhint`] |
//! | 63 | `hinted`: the CPU's bit in the zone's credit hints is set, or a clear is in progress | [`Credit::note_hinted`] up; [`Credit::unhint`] down, where there are no frames |
//!
//! Invariant (with the zone's count): `count + sum of credits <= sum of the counts of the zone's blocks that are not
//! isolated`, so who holds a claim on either finds a frame. Any CPU may take any CPU's credit.
//!
//! The hint is kept so: who adds to a credit that is not hinted sets the hint and then says so, if nobody has given the
//! hint up since (same epoch). Who gives it up first clears the hint, then the flag, and sets the hint again if the flag
//! cannot be cleared, because there are frames by now. Between the two the hints' guard tells that a clear is in progress.

use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

const FRAMES: u64 = (1 << 40) - 1;
const EPOCH_SHIFT: u32 = 40;
const EPOCH: u64 = 0x7f_ffff << EPOCH_SHIFT;
const HINTED: u64 = 1 << 63;

/// Between two of these the hint was not given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HintEpoch(u64);

/// What an [`Credit::add`] came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    /// The frames are in the credit, which is hinted.
    Hinted,
    /// They are in the credit, which is not hinted: the caller sets the hint, then calls [`Credit::note_hinted`].
    Unhinted(HintEpoch),
    /// It would hold more than allowed. Nothing changed.
    Full,
}

/// The word.
#[repr(transparent)]
pub(crate) struct Credit(AtomicU64);

impl Credit {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Frames to be claimed here now. SeqCst: after an isolation's debit; partner: `add`, which is before a look at the
    /// zone's count.
    #[inline]
    pub(crate) fn frames(&self) -> u64 {
        self.0.load(Ordering::SeqCst) & FRAMES
    }

    /// Claims `want` frames if there are as many. Retries only after another's step on this word.
    #[inline]
    #[must_use]
    pub(crate) fn spend(&self, want: u64) -> bool {
        let mut now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        while now & FRAMES >= want {
            // Release: after the `enter` of the transit word; partner: the barrier of a walk about to fail (`slow.rs`).
            // Acquire: the block's count that was raised before; partner: `add`.
            match self.0.compare_exchange_weak(now, now - want, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Adds frames whose blocks' counts have been raised already, up to `most` in all.
    #[inline]
    pub(crate) fn add(&self, frames: u64, most: u64) -> Added {
        let mut now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        while (now & FRAMES) + frames <= most {
            // Release: the block's count; partner: `spend`, `collect`. SeqCst: before the load of the hint that follows
            // where the word is not hinted; partner: `unhint`; and before the load of the zone's count; partner: `frames`.
            match self.0.compare_exchange_weak(now, now + frames, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) if now & HINTED != 0 || planted(Mutant::CreditUnhinted) => return Added::Hinted,
                Ok(_) => return Added::Unhinted(HintEpoch(now & EPOCH)),
                Err(seen) => now = seen,
            }
        }
        Added::Full
    }

    /// Takes exactly `frames`, all there are; false if the number is another now.
    #[must_use]
    pub(crate) fn collect(&self, frames: u64) -> bool {
        let now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        // AcqRel: as `spend`.
        now & FRAMES == frames
            && self.0.compare_exchange(now, now - frames, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The hint is set, and was not given up since the add that returned `epoch`, or else the next add sets it.
    pub(crate) fn note_hinted(&self, epoch: HintEpoch) {
        let mut now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        while now & HINTED == 0 && (now & EPOCH == epoch.0 || planted(Mutant::StaleHintNoted)) {
            // SeqCst: after the hint; partner: `unhint`.
            match self.0.compare_exchange_weak(now, now | HINTED, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether the hint leads to nothing.
    pub(crate) fn is_hinted_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) & (HINTED | FRAMES) == HINTED // Relaxed: `unhint` decides
    }

    /// Gives up the hint, which the caller has just cleared; false if it must be set again: there are frames by now, or
    /// somebody is about to say that it is set.
    #[must_use]
    pub(crate) fn unhint(&self) -> bool {
        let now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        let next = (now & EPOCH).wrapping_add(1 << EPOCH_SHIFT) & EPOCH;
        // SeqCst: after the clear of the hint, before any add that finds the word not hinted; partner: `add`.
        now & (HINTED | FRAMES) == HINTED
            && self.0.compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}
