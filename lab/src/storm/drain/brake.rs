//! Stops a thread at whatever instruction it is, by a signal whose handler does not return, until it is let go on.
//!
//! The handler takes no lock, touches no heap and cannot panic. Invariant: from the end of [`Brake::stop`] to the beginning of
//! [`Brake::release`] the thread executes nothing else.

use std::cell::Cell;
use std::io::Error;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use rustix::thread::{Timespec, nanosleep};

/// How long a thread may take to stand, or to go on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often both sides look.
const GLANCE: Duration = Duration::from_micros(20);

/// A thread's brake.
#[derive(Default)]
pub(super) struct Brake {
    /// The thread, once it has been put on.
    thread: AtomicU64,
    is_set: AtomicBool,
    stands: AtomicBool,
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static BRAKE: Cell<Option<&'static Brake>> = const { Cell::new(None) };
}

impl Brake {
    /// From now on this thread can be stopped by it.
    pub(super) fn put_on(&'static self) -> Result<(), Error> {
        install()?;
        BRAKE.set(Some(self));
        // SAFETY: it has no preconditions.
        let this = unsafe { libc::pthread_self() };
        self.thread.store(this, Release); // partner: `stop`
        Ok(())
    }

    /// Whether a thread has it.
    pub(super) fn is_on(&self) -> bool {
        self.thread.load(Acquire) != 0
    }

    /// Stops the thread; false if it does not stand after a long time, or has none.
    pub(super) fn stop(&self) -> bool {
        let thread = self.thread.load(Acquire);
        self.is_set.store(true, Relaxed); // the signal orders it
        // SAFETY: the thread is joined after the last stop. The signal has a handler: `put_on` installed it.
        if thread == 0 || unsafe { libc::pthread_kill(thread as libc::pthread_t, signal()) } != 0 {
            return false;
        }
        self.wait_until(true)
    }

    /// Lets the thread go on; false if it does not after a long time.
    pub(super) fn release(&self) -> bool {
        self.is_set.store(false, Release); // partner: `stand`
        self.wait_until(false)
    }

    fn wait_until(&self, stands: bool) -> bool {
        let start = Instant::now();
        // Acquire: what the thread did before it stood; partner: `stand`.
        while self.stands.load(Acquire) != stands && start.elapsed() < PATIENCE {
            doze();
        }
        self.stands.load(Acquire) == stands
    }

    /// Stands, in the handler.
    fn stand(&self) {
        self.stands.store(true, Release);
        while self.is_set.load(Acquire) {
            doze();
        }
        self.stands.store(false, Release);
    }
}

/// A system call that leaves `errno` alone: a handler may make it.
fn doze() {
    let glance = Timespec { tv_sec: 0, tv_nsec: GLANCE.as_nanos() as i64 };
    let _ = nanosleep(&glance); // it may be shorter
}

/// A real-time signal that neither the C library nor the ticks use.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 5
}

extern "C" fn on_signal(_signal: libc::c_int) {
    if let Some(brake) = BRAKE.get() {
        brake.stand();
    }
}

/// Directs the process's signal here.
fn install() -> Result<(), Error> {
    static INSTALLED: Once = Once::new();
    let mut outcome = Ok(());
    INSTALLED.call_once(|| {
        // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler is async-signal-safe: atomics and a sleep.
        if unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } != 0 {
            outcome = Err(Error::last_os_error());
        }
    });
    outcome
}
