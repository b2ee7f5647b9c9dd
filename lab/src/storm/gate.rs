//! Who is inside the allocator, and stopping all of them.
//!
//! Every thread has a place: a count that is odd while the thread is inside and grows by two with each stay. The platform's
//! hooks are outside, so a thread that waits in one holds nobody up. Invariant: while a [`Stop`] lives every count is even and
//! nobody comes in; counts equal before and after, all even, mean that nobody was inside in between.

use std::cell::Cell;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(0) };
    static STOPPER: Cell<bool> = const { Cell::new(false) };
}

/// A thread's count, on a line of its own. SeqCst: a thread that enters raises it and then looks whether all are stopped; who
/// stops them says so and then looks at the counts.
#[derive(Default)]
#[repr(align(128))]
struct Place(AtomicU64);

/// The counts of all threads.
pub(super) struct Gate {
    places: Vec<Place>,
    stopped: AtomicBool,
    turn: Mutex<()>,
}

/// All others are outside, until this is dropped.
pub(super) struct Stop<'g> {
    gate: &'g Gate,
    _turn: MutexGuard<'g, ()>,
}

impl Gate {
    pub(super) fn new(places: usize) -> Self {
        let places = (0..places).map(|_| Place::default()).collect();
        Self { places, stopped: AtomicBool::new(false), turn: Mutex::new(()) }
    }

    /// From now on this thread has this place.
    pub(super) fn sit(place: usize) {
        PLACE.set(place);
    }

    fn place(&self) -> &AtomicU64 {
        &self.places[PLACE.get() % self.places.len()].0
    }

    /// Does something inside. Who has stopped all others is alone inside anyway.
    pub(super) fn inside<R>(&self, body: impl FnOnce() -> R) -> R {
        if STOPPER.get() {
            return body();
        }
        self.enter();
        let result = body();
        self.place().fetch_add(1, SeqCst);
        result
    }

    /// Does something outside, in the middle of a stay inside.
    pub(super) fn outside<R>(&self, body: impl FnOnce() -> R) -> R {
        self.place().fetch_add(1, SeqCst);
        let result = body();
        self.enter();
        result
    }

    fn enter(&self) {
        loop {
            self.place().fetch_add(1, SeqCst);
            if !self.stopped.load(SeqCst) {
                return;
            }
            self.place().fetch_sub(1, SeqCst);
            while self.stopped.load(SeqCst) {
                thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// Stops all others. Called outside.
    pub(super) fn stop(&self) -> Stop<'_> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, SeqCst);
        while self.places.iter().any(|place| place.0.load(SeqCst) % 2 == 1) {
            thread::yield_now();
        }
        STOPPER.set(true);
        Stop { gate: self, _turn: turn }
    }

    /// Whether this thread has stopped all others.
    pub(super) fn is_stopper() -> bool {
        STOPPER.get()
    }

    /// Whether this thread is inside: then nobody stops it, and what interrupts it is inside, too.
    pub(super) fn is_inside(&self) -> bool {
        self.place().load(SeqCst) % 2 == 1
    }

    /// The counts of the others added up, if none of them is inside. Each only grows, so equal sums mean equal terms.
    pub(super) fn others(&self) -> Option<u64> {
        let me = PLACE.get() % self.places.len();
        let others = self.places.iter().enumerate().filter(|&(at, _)| at != me);
        others
            .map(|(_, place)| place.0.load(SeqCst))
            .try_fold(0u64, |sum, count| if count % 2 == 0 { Some(sum + count) } else { None })
    }

    /// Stays that began or ended so far, of all threads.
    pub(super) fn steps(&self) -> u64 {
        self.places.iter().map(|place| place.0.load(SeqCst)).sum()
    }

    /// The first place whose thread is inside.
    pub(super) fn occupied(&self) -> Option<usize> {
        self.places.iter().position(|place| place.0.load(SeqCst) % 2 == 1)
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        STOPPER.set(false);
        self.gate.stopped.store(false, SeqCst);
    }
}
