//! Whose hand changes a slot word: anybody's, by a locked instruction, or its owner's, without one.
//!
//! Either replaces exactly the value that was read, in one step. The owner's is a step only for its own CPU, so it looks
//! whether others hold the words ([`crate::cache::hold`]) and takes the locked instruction then, still as their owner.
//! It never waits: an owner that has been moved to another CPU, or interrupted twice, is told to go past the word.

mod pinned;
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux",
    not(any(zonal_loom, zonal_shuttle))
))]
mod sequence;

use crate::cache::hold::Hold;
use crate::mutant::{Mutant, planted};
use crate::own_words::How;
use crate::sync::{AtomicU64, Ordering, UnmodelledU64, store_load_barrier};

/// How often an owner tries again that is interrupted.
const TRIES: usize = 2;

/// Why a word was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unchanged {
    /// It has another value: this one.
    Is(u64),
    /// This hand may not change it now: past it.
    NotNow,
}

/// Who changes a word.
pub(crate) trait Hand: Copy {
    /// Replaces `from` by `to`; `success` says what for: an owner's acquires and releases, anybody's may be SeqCst.
    fn change(self, word: &AtomicU64, from: u64, to: u64, success: Ordering) -> Result<(), Unchanged>;

    /// Replaces exactly `from` by `to`, SeqCst: before what the caller reads next, whoever's hand it is.
    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool;

    /// What it tries first, if it does not look at the word first: what was seen to be left there.
    #[inline(always)]
    fn guess(self, _seen: &UnmodelledU64) -> Option<u64> {
        None
    }

    /// What the word was seen to hold, or was left at.
    #[inline(always)]
    fn note(self, _seen: &UnmodelledU64, _left: u64) {}
}

/// Anybody's, by a locked instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locked;

impl Hand for Locked {
    #[inline(always)]
    fn change(self, word: &AtomicU64, from: u64, to: u64, success: Ordering) -> Result<(), Unchanged> {
        // Relaxed: the caller tries again from what it is told.
        word.compare_exchange(from, to, success, Ordering::Relaxed).map_err(Unchanged::Is)?;
        if success == Ordering::SeqCst {
            store_load_barrier();
        }
        Ok(())
    }

    #[inline(always)]
    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.change(word, from, to, Ordering::SeqCst).is_ok()
    }

    #[inline(always)]
    fn note(self, seen: &UnmodelledU64, left: u64) {
        seen.store(left, Ordering::Relaxed); // Relaxed: a hint
    }
}

/// The same that tries first what was left: a hit. Told that there is nothing, the caller has somebody look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guessing;

impl Hand for Guessing {
    #[inline(always)]
    fn change(self, word: &AtomicU64, from: u64, to: u64, success: Ordering) -> Result<(), Unchanged> {
        Locked.change(word, from, to, success)
    }

    #[inline(always)]
    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        Locked.exchange(word, from, to)
    }

    #[inline(always)]
    fn guess(self, seen: &UnmodelledU64) -> Option<u64> {
        Some(seen.load(Ordering::Relaxed)) // Relaxed: a hint
    }

    #[inline(always)]
    fn note(self, seen: &UnmodelledU64, left: u64) {
        Locked.note(seen, left);
    }
}

/// A CPU's, of words that are its own.
#[derive(Clone, Copy)]
pub(crate) struct Own<'c> {
    pub(crate) how: How,
    pub(crate) hold: &'c Hold,
}

/// Whoever's it is.
#[derive(Clone, Copy)]
pub(crate) enum AnyHand<'c> {
    Locked,
    Own(Own<'c>),
}

impl Hand for AnyHand<'_> {
    #[inline(always)]
    fn change(self, word: &AtomicU64, from: u64, to: u64, success: Ordering) -> Result<(), Unchanged> {
        match self {
            Self::Locked => Locked.change(word, from, to, success),
            Self::Own(own) => own.change(word, from, to, success),
        }
    }

    #[inline(always)]
    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        match self {
            Self::Locked => Locked.exchange(word, from, to),
            Self::Own(own) => own.exchange(word, from, to),
        }
    }

    #[inline(always)]
    fn note(self, seen: &UnmodelledU64, left: u64) {
        if matches!(self, Self::Locked) {
            Locked.note(seen, left);
        }
    }
}

/// What an owner's try came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Try {
    Done,
    /// The word has another value.
    Other,
    /// Others hold the words, or this is not the owner's CPU: only by a locked instruction, if at all.
    NotAlone,
    /// This is not the owner's CPU.
    Elsewhere,
    /// Interrupted, having done nothing.
    Restarted,
}

/// An owner's tries, and how often. What interrupts them is the kernel's, or a model's.
pub(crate) trait Tries: Copy {
    /// Without a locked instruction.
    fn plain(self, word: &AtomicU64, from: u64, to: u64) -> Try;

    /// By a locked instruction, while this is the owner.
    fn locked(self, word: &AtomicU64, from: u64, to: u64) -> Try;

    /// After a try that came to `last`, once or twice more.
    #[inline(never)]
    fn again(self, word: &AtomicU64, (from, to): (u64, u64), mut last: Try) -> Result<(), Unchanged> {
        for _ in 0..TRIES {
            last = match last {
                Try::Done => return Ok(()),
                Try::Other => break,
                Try::Elsewhere if planted(Mutant::MovedGoesOn) => {
                    return Locked.change(word, from, to, Ordering::AcqRel);
                }
                Try::Elsewhere => return Err(Unchanged::NotNow),
                Try::NotAlone => self.locked(word, from, to),
                Try::Restarted => self.plain(word, from, to),
            };
        }
        match last {
            Try::Done => Ok(()),
            Try::Other => Err(Unchanged::Is(word.load(Ordering::Acquire))),
            Try::NotAlone | Try::Restarted | Try::Elsewhere => Err(Unchanged::NotNow),
        }
    }

    /// By a locked instruction, again if it is interrupted.
    fn insist(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        let mut tries = (0..TRIES).map(|_| self.locked(word, from, to));
        tries.find(|&last| last != Try::Restarted) == Some(Try::Done)
    }
}

impl Hand for Own<'_> {
    #[inline(always)]
    fn change(self, word: &AtomicU64, from: u64, to: u64, _: Ordering) -> Result<(), Unchanged> {
        // Whatever is asked for: an owner's step acquires and releases.
        match self.plain(word, from, to) {
            Try::Done => Ok(()),
            other => self.again(word, (from, to), other),
        }
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        // Always the locked instruction: a plain store would come after what the caller reads next.
        self.insist(word, from, to)
    }
}

impl Tries for Own<'_> {
    #[inline(always)]
    fn plain(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        match self.how {
            // SAFETY: who built the allocator vouches for the area.
            How::Sequence { area } => unsafe {
                sequence::plain((area.get(), self.hold.word()), word, from, to)
            },
            How::Pinned => pinned::plain(self.hold, word, from, to),
        }
    }

    fn locked(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        match self.how {
            How::Sequence { area } => match self.hold.owner() {
                // SAFETY: as in `plain`.
                Some(owner) => unsafe { sequence::locked((area.get(), owner), word, from, to) },
                None => Try::Elsewhere,
            },
            How::Pinned => match Locked.exchange(word, from, to) {
                true => Try::Done,
                false => Try::Other,
            },
        }
    }
}

/// An owner's that tries once: what a hit is made of. Who is told to go past the word looks again with [`AnyHand`].
#[derive(Clone, Copy)]
pub(crate) struct Once<'c>(pub(crate) Own<'c>);

impl Hand for Once<'_> {
    #[inline(always)]
    fn change(self, word: &AtomicU64, from: u64, to: u64, _: Ordering) -> Result<(), Unchanged> {
        // On x86-64 every load acquires and every store releases.
        if self.0.plain(word, from, to) == Try::Done {
            return Ok(());
        }
        let _ = (word, from, to);
        Err(Unchanged::NotNow)
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.0.exchange(word, from, to)
    }
}

/// Where they are not built: never called, as nobody can say there that words are owned by them
/// ([`crate::OwnWords::sequences`]).
#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux",
    not(any(zonal_loom, zonal_shuttle))
)))]
mod sequence {
    use super::Try;
    use crate::sync::AtomicU64;

    /// Of a thread that is nowhere the owner.
    ///
    /// # Safety
    /// None needed.
    pub(super) unsafe fn plain(_: (isize, &AtomicU64), _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere
    }

    /// The same.
    ///
    /// # Safety
    /// None needed.
    pub(super) unsafe fn locked(_: (isize, u32), _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere
    }
}
