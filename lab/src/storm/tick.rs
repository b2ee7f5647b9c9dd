//! What a thread's timer interrupts it with: handlers that interrupt each other, each with a hand of its own.
//!
//! A handler takes no lock, touches no heap and cannot panic. Invariant: at most one tick a thread is under way; the handler at
//! depth `d` uses the hand of that depth, and all of them are the main code's while the bell is closed.

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize, compiler_fence};

use fastrand::Rng;
use zonal_testkit::ticks::{Pace, Ticked, Timer};

use super::steps;

/// One handler's hand, and what it does with it.
///
/// # Safety
/// [`Handler::interrupt`] comes between any two instructions of its thread: what it touches that the thread touches too allows
/// for that. It takes no lock, touches no heap, and cannot panic.
pub(super) unsafe trait Handler {
    /// What to draw the time of the next tick with.
    fn dice(&mut self) -> &mut Rng;

    /// One interrupt.
    fn interrupt(&mut self);
}

/// How soon the next tick comes.
fn pace() -> Pace {
    if steps::is_counting() { Pace::Late } else { Pace::Usual }
}

/// What a thread's handlers work with.
pub(super) struct Bell<H> {
    hands: Vec<UnsafeCell<H>>,
    depth: AtomicUsize,
    /// Whether handlers do anything.
    open: AtomicBool,
}

impl<H: Handler> Bell<H> {
    /// A hand for each handler that may be on the stack at once.
    pub(super) fn new(hands: impl IntoIterator<Item = H>) -> Self {
        let hands = hands.into_iter().map(UnsafeCell::new).collect();
        Self { hands, depth: AtomicUsize::new(0), open: AtomicBool::new(false) }
    }

    /// Shows every hand to the main code, while the bell is closed.
    pub(super) fn each_hand(&self, mut show: impl FnMut(&mut H)) {
        for hand in &self.hands {
            // SAFETY: the bell is this thread's alone (it is not `Sync`), its handlers keep off the hands while it is closed,
            // and `show` sees one hand at a time.
            show(unsafe { &mut *hand.get() });
        }
    }

    /// Runs `work` while the timer ticks.
    pub(super) fn during<R>(&self, timer: &Timer, work: impl FnOnce() -> R) -> R {
        self.open.store(true, SeqCst);
        compiler_fence(SeqCst); // the hands are the handlers' from here on
        let _ = timer.arm(pace(), |_| 1); // it cannot fail for a timer that exists
        let result = work();
        self.open.store(false, SeqCst);
        compiler_fence(SeqCst); // and no longer
        result
    }
}

// SAFETY: (1) `open` and `depth` are atomic; (2) handlers of one thread nest, so the one at this depth is alone with the hand of
// this depth, and the main code keeps off the hands while the bell is open; (3) what a hand does is its `Handler`'s vow.
unsafe impl<H: Handler> Ticked for Bell<H> {
    fn tick(&self, timer: &Timer) {
        if !self.open.load(SeqCst) {
            return;
        }
        let depth = self.depth.fetch_add(1, SeqCst);
        let Some(hand) = self.hands.get(depth) else { return };
        // SAFETY: as above, (2).
        let hand = unsafe { &mut *hand.get() };
        let is_last = depth + 1 == self.hands.len();
        if !is_last {
            let _ = timer.arm(pace(), |limit| hand.dice().u64(..limit));
        }
        hand.interrupt();
        self.depth.fetch_sub(1, SeqCst);
        if is_last {
            // Only now: there is no hand for a handler inside this one.
            let _ = timer.arm(pace(), |limit| hand.dice().u64(..limit));
        }
    }
}
