//! What an application has registered to be called, while it comes and goes.
//!
//! No lock is held during a call: several threads may call the same one at once, and it may register and unregister others
//! and itself. Invariant: `calls` counts the calls under way, and none begins once the callee is taken out.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use crate::task::{self, Flags};

/// Replaced as a whole, so that whoever calls needs no lock.
type List<T> = Mutex<Arc<[Arc<Entry<T>>]>>;

/// Callees of one kind.
pub(crate) struct Registry<T: ?Sized>(Arc<List<T>>);

impl<T: ?Sized> Default for Registry<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Arc::from([]))))
    }
}

impl<T: ?Sized + Send + Sync + 'static> Registry<T> {
    /// From now on it is called, until what is returned is dropped.
    pub(crate) fn register(&self, callee: Arc<T>) -> Registration {
        let entry = Arc::new(Entry::new(callee));
        replace(&self.0, |entries| entries.iter().chain([&entry]).map(Arc::clone).collect());
        Registration(Box::new(Place { list: Arc::downgrade(&self.0), entry }))
    }

    /// Those there are now.
    pub(crate) fn entries(&self) -> Arc<[Arc<Entry<T>>]> {
        Arc::clone(&lock(&self.0))
    }
}

/// A registered shrinker or mover; dropped, it is asked no more.
///
/// Dropping waits for the calls under way, so that afterwards it is neither called nor held; so it must not be
/// dropped under a lock that these calls wait for. Dropped inside such a call it does not wait: then a call that is under
/// way on another thread ends later, and with it what was registered.
#[must_use = "dropped, it unregisters"]
pub struct Registration(Box<dyn Withdraw + Send + Sync>);

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// A place in a registry of whatever kind.
trait Withdraw {
    fn withdraw(&self);
}

struct Place<T: ?Sized> {
    list: Weak<List<T>>,
    entry: Arc<Entry<T>>,
}

impl<T: ?Sized> Withdraw for Place<T> {
    fn withdraw(&self) {
        if let Some(list) = self.list.upgrade() {
            let others = |entry: &&Arc<Entry<T>>| !Arc::ptr_eq(entry, &self.entry);
            replace(&list, |entries| entries.iter().filter(others).map(Arc::clone).collect());
        }
        self.entry.take_out();
    }
}

/// A callee and the calls under way.
pub(crate) struct Entry<T: ?Sized> {
    state: Mutex<State<T>>,
    /// Told when `calls` has come to 0.
    idle: Condvar,
}

struct State<T: ?Sized> {
    /// `None` once it is taken out.
    callee: Option<Arc<T>>,
    calls: u64,
}

impl<T: ?Sized> Entry<T> {
    fn new(callee: Arc<T>) -> Self {
        Self { state: Mutex::new(State { callee: Some(callee), calls: 0 }), idle: Condvar::new() }
    }

    /// Calls it if it is still there; `None` if not. An error is its panic, after which it is not there.
    pub(crate) fn call<R>(&self, work: impl FnOnce(&T) -> R) -> Option<thread::Result<R>> {
        let callee = {
            let mut state = lock(&self.state);
            let callee = state.callee.clone()?;
            state.calls += 1;
            callee
        };
        let flags = Flags::MEMALLOC.and(Flags::CALLED);
        // What the callee broke by panicking is its own: nobody here looks at it again.
        let outcome = task::with(flags, || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&*callee)));
            drop(callee); // the last one, if it was taken out meanwhile
            outcome
        });
        let gone = {
            let mut state = lock(&self.state);
            state.calls -= 1;
            if outcome.is_err() { state.callee.take() } else { None }
        };
        self.idle.notify_all();
        drop(gone);
        Some(outcome)
    }

    /// No call begins any more; outside of such calls, none is under way afterwards.
    fn take_out(&self) {
        let mut state = lock(&self.state);
        let callee = state.callee.take();
        while state.calls > 0 && !Flags::CALLED.are_here() {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        drop(callee);
    }
}

/// Puts another list in place of the one there is. The old one is dropped outside the lock, and a callee never with it:
/// its registration holds it.
fn replace<T: ?Sized>(list: &List<T>, next: impl FnOnce(&[Arc<Entry<T>>]) -> Arc<[Arc<Entry<T>>]>) {
    let mut now = lock(list);
    let next = next(&now);
    let before = std::mem::replace(&mut *now, next);
    drop(now);
    drop(before);
}

/// Nobody panics under these locks; if the system made somebody, what they hold is whole all the same.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
