//! A hold on a CPU's words: others are at work on them, so their owner changes them by locked instructions.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=19 | `owner`: the number of the CPU whose words they are; [`NOBODY`] if they are everybody's | never |
//! | 20..=41 | `holders`: who is at work on the words from elsewhere, or about to be | [`Hold::begin`], [`Hold::begin_ready`], [`Hold::join`] up; [`Hold::release`], [`Hold::give_up`] down |
//! | 42..=63 | `ready`: those of them that may change words | [`Hold::ready`], `begin_ready`, `join` up; `release` down |
//!
//! So the word is the number of the CPU that may change the words without a lock, while there is one (no CPU has the number
//! [`NOBODY`]): an owner's step compares it with the number of the CPU it is on, and that is all it has to ask.
//!
//! Who begins has the owner's CPU pass a barrier before it is ready: what was in a sequence there is restarted and finds the
//! holders. While one is ready nobody is in a sequence and nobody begins one, so others join without a barrier, in any
//! context. A holder that sleeps or dies keeps the words locked, which is slower and nothing else.

use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

/// The number of no CPU.
const NOBODY: u32 = HOLDER as u32 - 1;
const HOLDER: u64 = 1 << 20;
const READY: u64 = 1 << 42;

/// Whether whoever is to change another CPU's own words may have that CPU pass a barrier first, which takes time and is for
/// task context; if not, it goes without what nobody holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Barriers {
    Allowed,
    Forbidden,
}

/// At work on a CPU's words from elsewhere, whether or not they have an owner.
#[must_use]
pub(crate) struct Held<'c>(Option<&'c Hold>);

impl Held<'_> {
    /// Of words that are everybody's anyway.
    pub(crate) const EVERYBODYS: Held<'static> = Held(None);

    /// Goes on holding the words, until [`Hold::release`].
    pub(crate) fn keep(mut self) {
        if !planted(Mutant::KeepLetsGo) {
            self.0 = None;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.into_iter().for_each(Hold::release);
    }
}

/// The word.
#[repr(transparent)]
pub(crate) struct Hold(AtomicU64);

impl Hold {
    /// Of the words of CPU `owner`, held by nobody; or of words that have no owner.
    pub(crate) fn new(owner: Option<u32>) -> Self {
        Self(AtomicU64::new(u64::from(owner.filter(|&owner| owner < NOBODY).unwrap_or(NOBODY))))
    }

    /// The word that an owner's step looks at: it goes on if it is the number of the CPU it is on.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.0
    }

    /// Whose the words are, if anybody's.
    #[inline]
    pub(crate) fn owner(&self) -> Option<u32> {
        let owner = self.0.load(Ordering::Relaxed) as u32 & NOBODY; // Relaxed: it never changes
        (owner != NOBODY).then_some(owner)
    }

    /// Whether others than the owner may change the words: there is none, or somebody is at work on them from elsewhere, or
    /// about to be.
    pub(crate) fn is_held(&self) -> bool {
        // Acquire: what a holder did to the words; partner: `release`.
        self.0.load(Ordering::Acquire) >= u64::from(NOBODY)
    }

    /// Holds the words: beside one who is ready, else after a barrier, if one is allowed and can be passed now.
    pub(crate) fn hold(&self, barriers: Barriers, barrier: impl FnOnce() -> bool) -> Option<Held<'_>> {
        if self.join() {
            return Some(Held(Some(self)));
        }
        if barriers == Barriers::Forbidden {
            return None;
        }
        self.begin();
        if planted(Mutant::BarrierLeftOut) || barrier() || planted(Mutant::RefusedGoesOn) {
            self.ready();
            return Some(Held(Some(self)));
        }
        self.give_up();
        None
    }

    /// Says that somebody is about to be at work. SeqCst: before the barrier; partner: the look of a sequence that begins
    /// after it.
    fn begin(&self) {
        self.0.fetch_add(HOLDER, Ordering::SeqCst);
    }

    /// Holds the words before anybody is in a sequence.
    pub(crate) fn begin_ready(&self) {
        self.0.fetch_add(READY + HOLDER, Ordering::Relaxed); // Relaxed: nobody else looks yet
    }

    /// The barrier is behind who began.
    fn ready(&self) {
        // Release: others that join find the barrier behind them, too; partner: `join`.
        self.0.fetch_add(READY, Ordering::Release);
    }

    /// Is at work beside one who is ready; false if there is none.
    fn join(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        while word >= READY || planted(Mutant::JoinsUnready) && word >= HOLDER {
            // Acquire: what `ready` is after.
            match self.0.compare_exchange(word, word + READY + HOLDER, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Ends the work of one who was ready. Release: what it did to the words; partner: the owner's look at the holders, which
    /// is before its look at the word.
    pub(crate) fn release(&self) {
        if planted(Mutant::WordsUnheld) && !self.is_held() {
            return; // who never held them would make them held for ever
        }
        if planted(Mutant::ReleaseForOthers) {
            self.0.fetch_and(u64::from(NOBODY), Ordering::Release);
            return;
        }
        self.0.fetch_sub(READY + HOLDER, Ordering::Release);
    }

    /// Ends what one began who was not ready.
    fn give_up(&self) {
        if planted(Mutant::GiveUpForgotten) {
            return;
        }
        self.0.fetch_sub(HOLDER, Ordering::Relaxed); // Relaxed: it did nothing
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn words_without_an_owner_are_never_his_alone() {
        let (everybodys, owned) = (Hold::new(None), Hold::new(Some(3)));
        assert_eq!((everybodys.owner(), owned.owner()), (None, Some(3)));
        assert_eq!((everybodys.is_held(), owned.is_held()), (true, false));
        let held = owned.hold(Barriers::Allowed, || true);
        assert!(held.is_some() && owned.is_held() && owned.owner() == Some(3));
        drop(held);
        assert!(!owned.is_held());
    }
}
