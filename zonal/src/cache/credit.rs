//! A credit: frames of the zone's blocks that one CPU may claim without touching the zone's count.
//!
//! Two words. `own` is a count, modulo 2^40, that only the CPU itself changes, upwards ([`Credit::add_own`]): where CPUs own their
//! words, without a locked instruction. Else it stays 0. The other word is everybody's:
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=39 | `balance`, modulo 2^40: what was added by anybody less what was taken. `own` + `balance` are the frames: claimed from the zone for this CPU, or freed by it and not counted there yet | [`Credit::spend`] down, [`Credit::add`] up, [`Credit::collect`] down by all there are |
//! | 40..=62 | `epoch`: how often the hint was given up (wraps: a sleeper must not miss exactly a multiple of 2^23) | [`Credit::unhint`] |
//! | 63 | `hinted`: the CPU's bit in the zone's credit hints is set, or a clear is in progress | [`Credit::note_hinted`] up; [`Credit::unhint`] down, where there are no frames |
//!
//! Invariant (with the zone's count): `count + sum of credits <= sum of the counts of the zone's blocks that are not
//! isolated`, so who holds a claim on either finds a frame. Any CPU may take any CPU's credit.
//!
//! The hint is kept so: who adds to a credit that is not hinted sets the hint and then says so, if nobody has given the
//! hint up since (same epoch). Who gives it up first clears the hint, then the flag, and sets the hint again if the flag
//! cannot be cleared, because there are frames by now. Between the two the hints' guard tells that a clear is in progress.
//! An owner's add is not seen by that step on the other word: so who gives the hint up holds the CPU's words, from before it looks,
//! and owners add as anybody does meanwhile.
//!
//! Who reads both words reads `own` second (Acquire on the other one: who changed that had read `own` before), so the balance
//! never says that more was taken than `own` has; and `own` only grows, so there are as many frames at least when a step
//! on the other word then succeeds. (A sleeper must not miss exactly 2^40 frames that are taken meanwhile.)

use crate::cache::hand::{Tries, Try};
use crate::cache::hold::Held;
use crate::mutant::{Mutant, ordering_unless, planted};
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

/// The words.
pub(crate) struct Credit {
    word: AtomicU64,
    own: AtomicU64,
}

impl Credit {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), own: AtomicU64::new(0) }
    }

    /// The frames that there are if the other word is `word`, which was read by an Acquire. Acquire: the blocks' counts; partner:
    /// `add_own`.
    #[inline(always)]
    fn frames_of(&self, word: u64) -> u64 {
        word.wrapping_add(self.own.load(Ordering::Acquire)) & FRAMES
    }

    /// Frames to be claimed here now. SeqCst: after an isolation's debit; partner: `add`, which is before a look at the
    /// zone's count. (After an owner's add there is no such order: see `PageAllocator::isolate`.)
    #[inline]
    pub(crate) fn frames(&self) -> u64 {
        // Who sleeps between the two words counts what has been taken meanwhile: so twice.
        let look = || self.frames_of(self.word.load(Ordering::SeqCst));
        look().min(look())
    }

    /// Claims `want` frames if there are as many. Retries only after another's step on this word.
    #[inline]
    #[must_use]
    pub(crate) fn spend(&self, want: u64) -> bool {
        // Acquire, also where the exchange fails: before the look at `own`; partner: the exchanges of this word, each by one who
        // has read it.
        let acquire = ordering_unless(Mutant::SpendRelaxed, Ordering::Acquire);
        let mut now = self.word.load(acquire);
        while self.frames_of(now) >= want {
            // Release: after the `enter` of the transit word; partner: the barrier of a walk about to fail (`slow.rs`).
            // Acquire: the block's count that was raised before; partner: `add`.
            match self.word.compare_exchange_weak(now, less(now, want), Ordering::AcqRel, acquire) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Adds frames whose blocks' counts have been raised already, up to `most` in all, and what an owner adds meanwhile.
    #[inline]
    pub(crate) fn add(&self, frames: u64, most: u64) -> Added {
        let mut now = self.word.load(Ordering::Acquire); // as in `spend`
        while self.frames_of(now) + frames <= most {
            // Release: the block's count; partner: `spend`, `collect`. SeqCst: before the load of the hint that follows
            // where the word is not hinted; partner: `unhint`; and before the load of the zone's count; partner: `frames`.
            match self.word.compare_exchange_weak(now, more(now, frames), Ordering::SeqCst, Ordering::Acquire)
            {
                Ok(_) if now & HINTED != 0 || planted(Mutant::CreditUnhinted) => return Added::Hinted,
                Ok(_) => return Added::Unhinted(HintEpoch(now & EPOCH)),
                Err(seen) => now = seen,
            }
        }
        Added::Full
    }

    /// The same by the CPU's owner without a locked instruction, where the credit is hinted and nobody holds the CPU's words.
    /// `None`: not by this way, and nothing has changed.
    #[inline(always)]
    pub(crate) fn add_own(&self, owner: impl Tries, frames: u64, most: u64) -> Option<Added> {
        let (own, now) = (self.own.load(Ordering::Relaxed), self.word.load(Ordering::Relaxed)); // Relaxed: the change decides
        let fits = now & HINTED != 0 && (now.wrapping_add(own) & FRAMES) + frames <= most;
        if !fits {
            return None;
        }
        // An owner's change releases: the block's count; partner: `frames_of`.
        if owner.plain(&self.own, own, own.wrapping_add(frames)) != Try::Done {
            return None;
        }
        // The hint may have been given up between the look and the change, by who held the words then. Acquire: after the change's
        // look at who holds them, which was after that one's release; partner: `Hold::release`.
        let now = self.word.load(Ordering::Acquire);
        let is_hinted = now & HINTED != 0 || planted(Mutant::OwnCreditUnhinted);
        Some(if is_hinted { Added::Hinted } else { Added::Unhinted(HintEpoch(now & EPOCH)) })
    }

    #[inline(always)]
    pub(crate) fn is_hinted(&self) -> bool {
        self.word.load(Ordering::Acquire) & HINTED != 0
    }

    /// Takes `frames`, all that were seen; false if there are fewer now, or another changed the word.
    #[must_use]
    pub(crate) fn collect(&self, frames: u64) -> bool {
        let now = self.word.load(Ordering::Acquire); // as in `spend`
        // AcqRel: as `spend`.
        self.frames_of(now) >= frames
            && self.word.compare_exchange(now, less(now, frames), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The hint is set, and was not given up since the add that returned `epoch`, or else the next add sets it.
    pub(crate) fn note_hinted(&self, epoch: HintEpoch) {
        let mut now = self.word.load(Ordering::Relaxed); // Relaxed: the exchange decides
        while now & HINTED == 0 && (now & EPOCH == epoch.0 || planted(Mutant::StaleHintNoted)) {
            // SeqCst: after the hint; partner: `unhint`.
            match self.word.compare_exchange_weak(now, now | HINTED, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether the hint leads to nothing.
    pub(crate) fn is_hinted_empty(&self) -> bool {
        let now = self.word.load(Ordering::Acquire); // as in `spend`; `unhint` decides
        now & HINTED != 0 && self.frames_of(now) == 0
    }

    /// Gives up the hint, which the caller has just cleared; false if it must be set again: there are frames by now, or
    /// somebody is about to say that it is set. By who holds the CPU's words: their owner adds to this word meanwhile.
    #[must_use]
    pub(crate) fn unhint(&self, _by: &Held<'_>) -> bool {
        let now = self.word.load(Ordering::Acquire); // as in `spend`
        let next = (now & EPOCH).wrapping_add(1 << EPOCH_SHIFT) & EPOCH | now & FRAMES;
        // SeqCst: after the clear of the hint, before any add that finds the word not hinted; partner: `add`.
        now & HINTED != 0
            && self.frames_of(now) == 0
            && self.word.compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

/// The word with a balance that is greater by `frames`.
const fn more(word: u64, frames: u64) -> u64 {
    word & !FRAMES | word.wrapping_add(frames) & FRAMES
}

/// The word with a balance that is smaller by `frames`.
const fn less(word: u64, frames: u64) -> u64 {
    word & !FRAMES | word.wrapping_sub(frames) & FRAMES
}
