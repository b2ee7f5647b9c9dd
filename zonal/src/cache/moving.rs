//! What one CPU has on the move: the zone's transit word in two, so that the CPU itself announces its moves without a locked
//! instruction.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | `own` | as the transit word ([`crate::zone::count`]): bits 0..=39 frames, 40..=63 moves completed, as far as the CPU itself said so | [`Moving::enter`], [`Moving::leave`], by the CPU that owns the words |
//! | `others` | what was said for it from elsewhere: ends of moves of a thread that has left the CPU | [`Moving::leave`], by a locked instruction |
//!
//! The sum of the two, modulo 2^64, is what a transit word says. Who reads it reads `others` first: what ends meanwhile counts as on the
//! move still.

use crate::cache::hand::{Tries, Try};
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};
use crate::zone::count::Transit;

/// The words.
pub(crate) struct Moving {
    own: AtomicU64,
    others: AtomicU64,
}

impl Moving {
    /// Nothing is on the move.
    pub(crate) fn new() -> Self {
        Self { own: AtomicU64::new(0), others: AtomicU64::new(0) }
    }

    /// What is on the move now. SeqCst: as [`crate::zone::count::ZoneCount::transit`].
    #[inline]
    pub(crate) fn transit(&self) -> Transit {
        let others = self.others.load(Ordering::SeqCst);
        Transit::of_sum(others.wrapping_add(self.own.load(Ordering::SeqCst)))
    }

    /// Announces that frames are about to leave where they can be found, by the CPU's owner; false, and nothing is announced, if it
    /// cannot be done without a lock. What follows must be a locked instruction before the frames can be missed.
    #[inline(always)]
    #[must_use]
    pub(crate) fn enter(&self, owner: impl Tries, frames: u64) -> bool {
        let own = self.own.load(Ordering::Relaxed); // Relaxed: the change decides
        owner.plain(&self.own, own, own.wrapping_add(frames)) == Try::Done
    }

    /// They have arrived.
    #[inline(always)]
    pub(crate) fn leave(&self, owner: impl Tries, frames: u64) {
        let (own, arrived) = (self.own.load(Ordering::Relaxed), Transit::arrival(frames));
        // An owner's change releases: that they can be found; partner: `transit`.
        let said = owner.plain(&self.own, own, own.wrapping_add(arrived)) == Try::Done;
        if !said && !planted(Mutant::ArrivalUnsaid) {
            // SeqCst: as `ZoneCount::leave`.
            self.others.fetch_add(arrived, Ordering::SeqCst);
        }
    }
}
