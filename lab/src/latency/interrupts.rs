//! A timer that interrupts this thread again and again, at whatever instruction it is.
//!
//! Invariant: the handler runs only between the beginning and the end of [`during`], never inside itself.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result};

/// What the handler calls.
#[derive(Clone, Copy)]
struct Duty {
    call: unsafe fn(*mut ()),
    state: *mut (),
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

/// Calls what `state` points to.
///
/// # Safety
/// That is an `F` that nobody else uses meanwhile.
unsafe fn call<F: FnMut()>(state: *mut ()) {
    // SAFETY: the caller vouches.
    unsafe { (*state.cast::<F>())() }
}

/// A real-time signal that neither the C library nor the storms use.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 6
}

extern "C" fn on_signal(_signal: libc::c_int) {
    if let Some(Duty { call, state }) = DUTY.get() {
        // SAFETY: `during` put both here, of one type; it keeps the state borrowed until it has taken them away, and the signal
        // is blocked while its handler runs.
        unsafe { call(state) };
    }
}

/// Ends the timer, and with it the interrupts.
struct Timer(libc::timer_t);

impl Drop for Timer {
    fn drop(&mut self) {
        DUTY.set(None); // a tick that is still to come finds nothing to do
        // SAFETY: the timer was made in `during`.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Runs `body` while `handler` interrupts it. The handler takes no lock, touches no heap and cannot panic.
pub(super) fn during<F: FnMut(), R>(every: Duration, handler: &mut F, body: impl FnOnce() -> R) -> Result<R> {
    // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler does what the duty does, for which the caller vouches.
    if unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a signal handler");
    }
    // SAFETY: all-zero is a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal();
    event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
    let mut timer = MaybeUninit::uninit();
    // SAFETY: both point to this stack.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a timer that signals one thread");
    }
    // SAFETY: made above.
    let timer = Timer(unsafe { timer.assume_init() });
    DUTY.set(Some(Duty { call: call::<F>, state: ptr::from_mut(handler).cast() }));
    let tick = libc::timespec { tv_sec: 0, tv_nsec: every.as_nanos() as libc::c_long };
    let ticks = libc::itimerspec { it_interval: tick, it_value: tick };
    // SAFETY: the timer exists, the specification is on this stack.
    unsafe { libc::timer_settime(timer.0, 0, &raw const ticks, ptr::null_mut()) };
    let result = body();
    drop(timer);
    Ok(result)
}
