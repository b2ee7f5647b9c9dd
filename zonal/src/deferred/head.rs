//! The head of an object: what it is queued by, and what holds it where no frame can be had.
//!
//! From the moment an object is queued until it is freed its head is the queue's. It is not written while there are frames,
//! so readers that may still see the object lose nothing but the head. Never read by who did not take the list it is in.

use core::ptr::{NonNull, null_mut};

use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Two words inside an object that is freed later (Linux: `rcu_head`).
#[derive(Debug)]
pub struct Head {
    /// The next one of its list.
    next: AtomicPtr<Head>,
    /// The grace period it waits for.
    cookie: AtomicU64,
}

impl Head {
    /// The head of an object that is not queued.
    #[must_use]
    pub fn new() -> Self {
        Self { next: AtomicPtr::new(null_mut()), cookie: AtomicU64::new(0) }
    }

    // Relaxed in all four: a head is touched by one at a time; lists hand it on (see `pile.rs`).

    pub(super) fn next(&self) -> Option<NonNull<Self>> {
        NonNull::new(self.next.load(Ordering::Relaxed))
    }

    pub(super) fn set_next(&self, next: *mut Self) {
        self.next.store(next, Ordering::Relaxed);
    }

    pub(super) fn cookie(&self) -> u64 {
        self.cookie.load(Ordering::Relaxed)
    }

    pub(super) fn set_cookie(&self, cookie: u64) {
        self.cookie.store(cookie, Ordering::Relaxed);
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}
