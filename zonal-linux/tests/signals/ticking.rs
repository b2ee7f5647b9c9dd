//! A thread's own timer, and the handler it interrupts the thread with.
//!
//! Every tick is armed by the one before, a random time ahead, so that handlers are interrupted too. Invariant: at most one
//! tick a thread is under way, at most `DEPTH` handlers are on its stack, and none runs after `Ticking` is dropped.

use std::cell::Cell;
use std::io::Error;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;

use zonal::Platform;

use crate::arena::Fault;
use crate::seat::Seat;

/// Handlers that may be on one thread's stack at once.
const DEPTH: u64 = 4;
/// Shortest and longest time from arming to the next tick, in nanoseconds.
const TICK: (u64, u64) = (20_000, 60_000);
/// The same where the handler itself is to be interrupted, which is every eighth time.
const SOON: (u64, u64) = (1_000, 10_000);

/// Where this thread's handlers find their seat.
#[derive(Clone, Copy)]
struct Duty {
    timer: libc::timer_t,
    /// Takes `seat`, whatever its platform.
    tick: unsafe fn(*const (), libc::timer_t),
    seat: *const (),
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

/// A real-time signal that neither the C library nor the test harness uses.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let Some(duty) = DUTY.get() else { return };
    // SAFETY: `Ticking::start` puts a seat here with the function for its type, and whoever called it vouched that the
    // seat outlives the ticking, which takes the duty back when it ends.
    unsafe { (duty.tick)(duty.seat, duty.timer) };
}

/// One tick: arms the next one, first or, where the stack is deep enough, last.
///
/// # Safety
/// `seat` is a `Seat<P>` that lives, and `timer` is its timer.
unsafe fn tick<P: Platform>(seat: *const (), timer: libc::timer_t) {
    // SAFETY: the caller vouches for it; everything in a seat is atomic, so that sharing it with the code that was
    // interrupted is as sharing it with another thread.
    let seat = unsafe { &*seat.cast::<Seat<'_, P>>() };
    seat.entries.fetch_add(1, Relaxed);
    let depth = seat.depth.fetch_add(1, Relaxed);
    let call = seat.inside.load(Relaxed) as usize;
    if depth > 0 {
        seat.nested.fetch_add(1, Relaxed);
    } else if let Some(landed) = seat.landed.get(call) {
        landed.fetch_add(1, Relaxed);
    }
    let first = depth + 1 < DEPTH;
    if first {
        arm(seat, timer);
    }
    seat.interrupt();
    seat.depth.fetch_sub(1, Relaxed);
    seat.exits.fetch_add(1, Relaxed);
    if !first {
        arm(seat, timer);
    }
}

/// Arms the next tick of a timer, a random time from now.
fn arm<P: Platform>(seat: &Seat<'_, P>, timer: libc::timer_t) {
    let (shortest, longest) = if seat.below(8) == 0 { SOON } else { TICK };
    let nanoseconds = shortest + seat.below(longest - shortest);
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let next = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds as libc::c_long };
    let spec = libc::itimerspec { it_interval: never, it_value: next };
    // SAFETY: POSIX allows `timer_settime` in handlers; the timer exists until `Ticking` is dropped, and the
    // specification is on this stack. It leaves `errno` alone where it succeeds.
    if unsafe { libc::timer_settime(timer, 0, &raw const spec, ptr::null_mut()) } != 0 {
        seat.arena.fault(Fault::Timer, 0, 0);
    }
}

/// This thread's timer, ticking until dropped.
pub(crate) struct Ticking(libc::timer_t);

impl Ticking {
    /// # Panics
    /// If this system has no such timer.
    ///
    /// # Safety
    /// The seat outlives what is returned.
    pub(crate) unsafe fn start<P: Platform>(seat: &Seat<'_, P>) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_NODEFER | libc::SA_RESTART;
            // SAFETY: the handler is async-signal-safe: atomics, the allocator (which is), `timer_settime`.
            let set = unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) };
            assert_eq!(set, 0, "sigaction: {}", Error::last_os_error());
        });
        // SAFETY: all-zero is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both point to this stack.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        let why = Error::last_os_error();
        assert_eq!(
            made, 0,
            "timer_create(CLOCK_MONOTONIC, SIGEV_THREAD_ID): {why}; this test needs such timers"
        );
        DUTY.set(Some(Duty { timer, tick: tick::<P>, seat: ptr::from_ref(seat).cast() }));
        arm(seat, timer);
        Self(timer)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        // SAFETY: all-zero is a valid set.
        let mut only: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is on this stack, the timer was made in `start`. Ticks are held back until the duty is gone:
        // one that is still pending then finds none, so that nobody arms a deleted timer or sees half a duty.
        let ended = unsafe {
            libc::sigaddset(&raw mut only, signal());
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, ptr::null_mut());
            libc::timer_delete(self.0)
        };
        DUTY.set(None);
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, ptr::null_mut()) };
        assert_eq!(ended, 0, "timer_delete: {}", Error::last_os_error());
    }
}
