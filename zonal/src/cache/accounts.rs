//! What a CPU has besides words: its credit, its tab, and what it has on the move. One hint leads to all three, the credit's.
//!
//! Invariant: frames in the credit or on the tab, or on the move by the CPU's own word => the CPU's credit is hinted, or who put them there
//! is about to see to it. Who gives the hint up holds the CPU's words; an owner's step comes before that one's barrier, and is seen, or
//! after he has let go, and finds the hint given up.

use crate::cache::CpuCache;
use crate::cache::credit::Added;
use crate::cache::hand::{Own, Tries};
use crate::cache::hold::Held;
use crate::cache::tab::Noted;
use crate::mutant::{Mutant, planted};
use crate::own_words::OwnWords;

impl CpuCache {
    /// How the CPU itself changes what is its own, if CPUs own their words by `words`: refused where this CPU's have no owner.
    #[inline(always)]
    pub(crate) fn own_hand(&self, words: OwnWords) -> Own<'_> {
        Own { how: words.how, hold: &self.hold }
    }

    /// Adds frames to the credit, up to `most` in all, as the CPU itself does if CPUs own their words by `words`.
    #[inline(always)]
    pub(crate) fn add_credit(&self, words: Option<OwnWords>, frames: u64, most: u64) -> Added {
        let own = match words.filter(|_| self.is_owned()) {
            Some(words) => self.credit.add_own(Own { how: words.how, hold: &self.hold }, frames, most),
            None => None,
        };
        own.unwrap_or_else(|| self.credit.add(frames, most))
    }

    /// Notes a frame of the block on the tab, as the CPU's owner, whose bit is set.
    #[inline(always)]
    pub(crate) fn note(&self, owner: impl Tries, block: u32) -> Noted {
        if !self.credit.is_hinted() || !self.tab.note(owner, block) {
            return Noted::No;
        }
        // The hint may have been given up between the look and the note, by who held the words then: as in `Credit::add_own`.
        match self.credit.is_hinted() || planted(Mutant::TabUnhinted) {
            true => Noted::Hinted,
            false => Noted::Unhinted,
        }
    }

    /// Announces by the CPU's own word, as its owner, that frames are about to leave where they can be found; false, and nothing is
    /// announced, where that cannot be done without a lock, or the credit is not hinted: who finds no hint does not look at that word.
    #[inline(always)]
    #[must_use]
    pub(crate) fn announce(&self, owner: impl Tries, frames: u64) -> bool {
        if !self.credit.is_hinted() || !self.moving.enter(owner, frames) {
            return false;
        }
        let is_hinted = self.credit.is_hinted() || planted(Mutant::MoveUnhinted); // as in `note`
        if !is_hinted {
            self.moving.leave(owner, frames);
        }
        is_hinted
    }

    /// Frames that are free without being in the zone's count: in the credit, and on the tab.
    pub(crate) fn credited(&self) -> u64 {
        self.tab.frames() + self.credit.frames()
    }

    /// Gives up the credit's hint, as [`Credit::unhint`]: not while frames are on the tab, or on the move by the CPU's own word.
    #[must_use]
    pub(crate) fn unhint_credit(&self, by: &Held<'_>) -> bool {
        let is_still = self.tab.frames() == 0 && self.moving.transit().frames() == 0;
        (is_still || planted(Mutant::TabUncounted)) && self.credit.unhint(by)
    }
}
