//! Owners' hands: what the processor and the kernel do is modelled, how often an owner tries is not. A sequence is restarted by
//! every barrier on its CPU that comes before its store, and by what interrupts it; a pinned owner's step is one for who
//! interrupts it, and two for other CPUs.

use core::cell::Cell;

use super::Owned;
use crate::cache::hand::{Hand, Locked, Tries, Try, Unchanged};
use crate::sync::{AtomicU64, Ordering};

/// What comes in the middle of an owner's tries: at their points from this one on, as often as this, a handler on the same CPU
/// takes a frame.
pub(super) struct Interrupt<'o> {
    owned: &'o Owned,
    take: fn(&Owned) -> u32,
    first: Cell<usize>,
    times: Cell<usize>,
    pub(super) taken: Cell<u32>,
}

impl<'o> Interrupt<'o> {
    pub(super) fn new(owned: &'o Owned, take: fn(&Owned) -> u32, (first, times): (usize, usize)) -> Self {
        Self { owned, take, first: Cell::new(first), times: Cell::new(times), taken: Cell::new(0) }
    }

    /// The owner is at a point; whether it has been interrupted there.
    fn comes(&self) -> bool {
        let (first, times) = (self.first.get(), self.times.get());
        self.first.set(first.saturating_sub(1));
        if first > 0 || times == 0 {
            return false;
        }
        self.times.set(times - 1);
        let taken = (self.take)(self.owned);
        assert_eq!(self.taken.get() & taken, 0, "a handler is given a frame once");
        self.taken.set(self.taken.get() | taken);
        true
    }
}

/// The owner's hand by restartable sequences.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'o> {
    pub(super) owned: &'o Owned,
    pub(super) interrupt: Option<&'o Interrupt<'o>>,
}

impl Sequence<'_> {
    fn is_interrupted(self) -> bool {
        self.interrupt.is_some_and(Interrupt::comes)
    }

    /// The last instruction, unless a barrier has been passed since the first.
    fn commit(self, begun: u32, act: impl FnOnce() -> Try) -> Try {
        if self.is_interrupted() {
            return Try::Restarted;
        }
        let passed = self.owned.passed();
        if *passed == begun { act() } else { Try::Restarted }
    }
}

impl Tries for Sequence<'_> {
    fn plain(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        let begun = *self.owned.passed();
        if self.is_interrupted() {
            return Try::Restarted;
        }
        if self.owned.hold.word().load(Ordering::Acquire) != 0 {
            return Try::NotAlone;
        }
        if self.is_interrupted() {
            return Try::Restarted;
        }
        if word.load(Ordering::Acquire) != from {
            return Try::Other;
        }
        self.commit(begun, || {
            word.store(to, Ordering::Release);
            Try::Done
        })
    }

    fn locked(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        let begun = *self.owned.passed();
        self.commit(begun, || if Locked.exchange(word, from, to) { Try::Done } else { Try::Other })
    }
}

impl Hand for Sequence<'_> {
    fn change(self, word: &AtomicU64, from: u64, to: u64, _: Ordering) -> Result<(), Unchanged> {
        match self.plain(word, from, to) {
            Try::Done => Ok(()),
            other => self.again(word, (from, to), other),
        }
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.insist(word, from, to)
    }
}

/// The hand of one who begins a sequence as the owner and goes on elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Moved;

impl Tries for Moved {
    fn plain(self, _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::NotAlone
    }

    fn locked(self, _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere
    }
}

impl Hand for Moved {
    fn change(self, word: &AtomicU64, from: u64, to: u64, _: Ordering) -> Result<(), Unchanged> {
        self.again(word, (from, to), Try::NotAlone)
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.insist(word, from, to)
    }
}

/// The owner's hand on a CPU that it does not leave: one compare-exchange that locks nothing, in a call.
#[derive(Clone, Copy)]
pub(super) struct Pinned<'o> {
    pub(super) owned: &'o Owned,
    pub(super) interrupt: Option<&'o Interrupt<'o>>,
}

impl Pinned<'_> {
    fn point(self) {
        self.interrupt.into_iter().for_each(|interrupt| {
            interrupt.comes();
        });
    }
}

impl Tries for Pinned<'_> {
    fn plain(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        self.point();
        if self.owned.hold.is_held() {
            return Try::NotAlone;
        }
        self.point();
        if word.load(Ordering::Acquire) != from {
            return Try::Other;
        }
        self.point();
        // Others may come in between, and what is written back where it fails is what was found.
        let found = word.load(Ordering::Acquire);
        word.store(if found == from { to } else { found }, Ordering::Release);
        if found == from { Try::Done } else { Try::Other }
    }

    fn locked(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        if Locked.exchange(word, from, to) { Try::Done } else { Try::Other }
    }
}

impl Hand for Pinned<'_> {
    fn change(self, word: &AtomicU64, from: u64, to: u64, _: Ordering) -> Result<(), Unchanged> {
        match self.plain(word, from, to) {
            Try::Done => Ok(()),
            other => self.again(word, (from, to), other),
        }
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.insist(word, from, to)
    }
}
