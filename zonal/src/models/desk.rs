//! A CPU that changes what is its own by restartable sequences, and whoever holds its words.

use loom::sync::{Mutex, MutexGuard};

use crate::cache::hand::{Tries, Try};
use crate::cache::hold::{Barriers, Held, Hold};
use crate::sync::{AtomicU64, Ordering};

/// The CPU.
pub(super) struct Desk {
    hold: Hold,
    /// Barriers that it has passed.
    barriers: Mutex<u32>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { hold: Hold::new(Some(0)), barriers: Mutex::new(0) }
    }

    fn passed(&self) -> MutexGuard<'_, u32> {
        self.barriers.lock().expect("nobody panics")
    }

    /// Holds the CPU's words, after a barrier.
    pub(super) fn held(&self) -> Held<'_> {
        let barrier = || {
            *self.passed() += 1;
            true
        };
        self.hold.hold(Barriers::Allowed, barrier).expect("a barrier can be passed")
    }
}

/// The owner's hand: a sequence that a barrier between its first look and its store restarts.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'d>(pub(super) &'d Desk);

impl Tries for Sequence<'_> {
    fn plain(self, word: &AtomicU64, from: u64, to: u64) -> Try {
        let begun = *self.0.passed();
        if self.0.hold.word().load(Ordering::Acquire) != 0 {
            return Try::NotAlone;
        }
        if word.load(Ordering::Acquire) != from {
            return Try::Other;
        }
        let passed = self.0.passed();
        if *passed != begun {
            return Try::Restarted;
        }
        word.store(to, Ordering::Release);
        Try::Done
    }

    fn locked(self, _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere // none of these steps asks for it
    }
}

/// The hand of a thread that has left the CPU.
#[derive(Clone, Copy)]
pub(super) struct Gone;

impl Tries for Gone {
    fn plain(self, _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere
    }

    fn locked(self, _: &AtomicU64, _: u64, _: u64) -> Try {
        Try::Elsewhere
    }
}
