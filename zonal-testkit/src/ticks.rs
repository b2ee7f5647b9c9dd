//! A thread that its own POSIX timer interrupts, again and again, at whatever instruction it is (Linux only).
//!
//! Each tick is armed by the one before, a random time ahead, so that handlers are interrupted too, if they arm before they
//! do anything else. Never interrupts another thread. Invariant: no tick comes before [`ticking`] or after it has returned.

#![allow(unsafe_code, reason = "timers and signal handlers have no safe interface")]

use std::cell::Cell;
use std::io::{Error, Result};
use std::ptr;
use std::sync::Once;

/// Shortest and longest time from arming to the next tick, in nanoseconds.
const TICK: (u64, u64) = (20_000, 50_000);
/// The same where the handler itself is to be interrupted, which is every eighth time.
const SOON: (u64, u64) = (1_000, 10_000);

/// The same while the thread's instructions are counted, which takes a thousand times as long.
const LATE: (u64, u64) = (500_000, 1_000_000);

/// How soon the next tick comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// While a thread works.
    Usual,
    /// While its instructions are counted.
    Late,
}

/// What ticks call.
///
/// # Safety
/// [`Ticked::tick`] comes between any two instructions of its thread, its own included. So whatever it touches that others on
/// this thread touch too allows for that; it takes no lock, touches no heap and does not panic.
pub unsafe trait Ticked {
    /// One tick. The next one comes if it is armed.
    fn tick(&self, timer: &Timer);
}

/// A thread's timer.
#[derive(Debug)]
pub struct Timer(libc::timer_t);

impl Timer {
    /// Arms the next tick, a random time from now; `below` draws a number below its argument. In handlers, too.
    ///
    /// # Errors
    /// If the system has lost the timer.
    pub fn arm(&self, pace: Pace, mut below: impl FnMut(u64) -> u64) -> Result<()> {
        let (shortest, longest) = match pace {
            Pace::Late => LATE,
            Pace::Usual if below(8) == 0 => SOON,
            Pace::Usual => TICK,
        };
        let delay = shortest + below(longest - shortest);
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let next = libc::timespec { tv_sec: 0, tv_nsec: delay as libc::c_long };
        let spec = libc::itimerspec { it_interval: never, it_value: next };
        // SAFETY: POSIX allows `timer_settime` in handlers; the timer exists as long as this, and the specification is on
        // this stack. It leaves `errno` alone where it succeeds.
        let armed = unsafe { libc::timer_settime(self.0, 0, &raw const spec, ptr::null_mut()) };
        if armed == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by `ticking`, and deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// What a thread's ticks find.
#[derive(Clone, Copy)]
struct Duty {
    timer: *const Timer,
    ticked: *const (),
    /// Takes `ticked`, whatever its type.
    tick: unsafe fn(*const (), &Timer),
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

/// The end of a thread's duty, also where the body panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: all-zero is a valid set.
        let mut only: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is on this stack. Ticks are held back until the duty is gone: one that is pending then finds none,
        // so nobody sees half a duty, or a timer that is about to go.
        unsafe {
            libc::sigaddset(&raw mut only, signal());
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, ptr::null_mut());
        }
        DUTY.set(None);
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, ptr::null_mut()) };
    }
}

/// Runs `body` on this thread with a timer of its own, whose ticks call `ticked`; the first one is the body's to arm.
///
/// # Errors
/// If there are no POSIX timers that signal one thread (`SIGEV_THREAD_ID`), or this thread has one already.
pub fn ticking<T: Ticked, R>(ticked: &T, body: impl FnOnce(&Timer) -> R) -> Result<R> {
    /// # Safety
    /// `ticked` is a `T` that lives.
    unsafe fn tick<T: Ticked>(ticked: *const (), timer: &Timer) {
        // SAFETY: the caller vouches for it; that it is shared with the code it interrupts is what `Ticked` is about.
        unsafe { &*ticked.cast::<T>() }.tick(timer);
    }
    if DUTY.get().is_some() {
        return Err(Error::other("this thread has a timer already"));
    }
    install()?;
    let timer = Timer(create()?);
    let _end = End; // dropped before the timer, and both before `ticked` may go
    DUTY.set(Some(Duty { timer: &raw const timer, ticked: ptr::from_ref(ticked).cast(), tick: tick::<T> }));
    Ok(body(&timer))
}

/// A timer that signals this thread.
fn create() -> Result<libc::timer_t> {
    // SAFETY: all-zero is a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal();
    // SAFETY: a system call without arguments that cannot fail.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = ptr::null_mut();
    // SAFETY: both point to this stack.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    if made == 0 { Ok(timer) } else { Err(Error::last_os_error()) }
}

/// A real-time signal that neither the C library nor the test harness uses.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let Some(duty) = DUTY.get() else { return };
    // SAFETY: `ticking` puts both here, with the function for the type, and takes them back before either goes.
    unsafe { (duty.tick)(duty.ticked, &*duty.timer) };
}

/// Directs the process's signal here.
fn install() -> Result<()> {
    static INSTALLED: Once = Once::new();
    let mut outcome = Ok(());
    INSTALLED.call_once(|| {
        // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_NODEFER | libc::SA_RESTART;
        // SAFETY: the action is on this stack; its handler reads a thread-local and does what `Ticked` allows.
        if unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } != 0 {
            outcome = Err(Error::last_os_error());
        }
    });
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::{Duration, Instant};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU64);

    // SAFETY: one atomic addition.
    unsafe impl Ticked for Counter {
        fn tick(&self, timer: &Timer) {
            self.0.fetch_add(1, Relaxed);
            let _ = timer.arm(Pace::Usual, |_| 1);
        }
    }

    #[test]
    fn ticks_come_while_the_body_runs_and_no_longer() {
        let counter = Counter::default();
        let until = Instant::now() + Duration::from_secs(10);
        ticking(&counter, |timer| {
            assert!(ticking(&counter, |_| ()).is_err(), "one timer a thread");
            assert_eq!(counter.0.load(Relaxed), 0, "nobody has armed it");
            timer.arm(Pace::Usual, |_| 1).unwrap();
            while counter.0.load(Relaxed) < 10 {
                assert!(Instant::now() < until, "{} ticks", counter.0.load(Relaxed));
            }
        })
        .unwrap();
        let came = counter.0.load(Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(counter.0.load(Relaxed), came);
    }
}
