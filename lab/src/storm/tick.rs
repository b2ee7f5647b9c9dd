//! A thread's own timer, and the handlers it interrupts the thread with.
//!
//! Every tick is armed by the one before, a random time ahead, so that handlers are interrupted too. A handler takes no lock,
//! touches no heap and cannot panic. Invariant: at most one tick a thread is under way; the handler at depth `d` uses the
//! hand of that depth, and all of them are the main code's while the bell is closed.

use std::cell::{Cell, UnsafeCell};
use std::io::Error;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize, compiler_fence};

use fastrand::Rng;

use super::Threads;
use super::call::Call;
use super::hand::Hand;
use super::stage::Room;
use super::steps;
use super::tally::Tally;

/// Shortest and longest time from arming to the next tick, in nanoseconds.
const TICK: (u64, u64) = (20_000, 50_000);
/// The same where the handler itself is to be interrupted, which is every eighth time.
const SOON: (u64, u64) = (1_000, 10_000);
/// The same while the thread's instructions are counted, which takes a thousand times as long.
const LATE: (u64, u64) = (500_000, 1_000_000);

/// What a thread's handlers work with.
pub(super) struct Bell {
    storm: &'static dyn Threads,
    hands: Vec<UnsafeCell<Hand>>,
    depth: AtomicUsize,
    /// Whether handlers do anything.
    open: AtomicBool,
}

impl Bell {
    /// A hand for each handler that may be on the stack at once.
    pub(super) fn new(storm: &'static dyn Threads, hands: Vec<Hand>) -> Self {
        let hands = hands.into_iter().map(UnsafeCell::new).collect();
        Self { storm, hands, depth: AtomicUsize::new(0), open: AtomicBool::new(false) }
    }

    /// Shows every hand to the main code, while the bell is closed.
    fn each_hand(&self, mut show: impl FnMut(&mut Hand)) {
        for hand in &self.hands {
            // SAFETY: the bell is this thread's alone (it is not `Sync`), its handlers keep off the hands while it is closed,
            // and `show` sees one hand at a time.
            show(unsafe { &mut *hand.get() });
        }
    }

    /// One tick: arms the next one, first or, where the stack is deep enough, last.
    fn ring(&self, timer: libc::timer_t) {
        if !self.open.load(SeqCst) {
            return;
        }
        let depth = self.depth.fetch_add(1, SeqCst);
        let Some(hand) = self.hands.get(depth) else { return };
        // SAFETY: handlers of one thread nest, so the one at this depth is alone with the hand of this depth; the main code
        // keeps off the hands while the bell is open.
        let hand = unsafe { &mut *hand.get() };
        let call = Call::of(&hand.stage.seats[hand.whose.thread]);
        if call != Call::None {
            hand.tally.interrupted(call);
        }
        let (last, delay) = (depth + 1 == self.hands.len(), delay(&mut hand.dice));
        if !last {
            arm(timer, delay);
        }
        self.storm.interrupt(hand);
        self.depth.fetch_sub(1, SeqCst);
        if last {
            arm(timer, delay); // only now: there is no hand for a handler inside this one
        }
    }
}

/// Where this thread's handlers find their bell.
#[derive(Clone, Copy)]
struct Duty {
    timer: libc::timer_t,
    bell: *const Bell,
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

/// A real-time signal that the C library does not use.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let Some(duty) = DUTY.get() else { return };
    // SAFETY: `Ticking::start` puts the bell here that the ticking borrows, and the ticking takes it away when it is dropped,
    // which `engine::work` lets happen before the bell's end.
    unsafe { &*duty.bell }.ring(duty.timer);
}

/// How long until the next tick, in nanoseconds.
fn delay(dice: &mut Rng) -> u64 {
    let (shortest, longest) = match steps::is_counting() {
        true => LATE,
        false if dice.u8(..8) == 0 => SOON,
        false => TICK,
    };
    dice.u64(shortest..longest)
}

/// Arms the next tick of a timer.
fn arm(timer: libc::timer_t, delay: u64) {
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let next = libc::timespec { tv_sec: 0, tv_nsec: delay as libc::c_long };
    let spec = libc::itimerspec { it_interval: never, it_value: next };
    // SAFETY: POSIX allows `timer_settime` in handlers; the timer exists until the ticking is dropped, and the specification
    // is on this stack. It cannot fail for a timer that exists and such a time.
    unsafe { libc::timer_settime(timer, 0, &raw const spec, ptr::null_mut()) };
}

/// This thread's timer. Never leaves its thread, and is dropped there.
pub(super) struct Ticking<'b> {
    timer: libc::timer_t,
    bell: &'b Bell,
}

impl<'b> Ticking<'b> {
    /// Makes the timer; it does not tick yet.
    pub(super) fn start(bell: &'b Bell) -> Result<Self, Error> {
        install()?;
        // SAFETY: all-zero is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer = MaybeUninit::uninit();
        // SAFETY: both point to this stack.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr()) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: made above.
        let timer = unsafe { timer.assume_init() };
        DUTY.set(Some(Duty { timer, bell: ptr::from_ref(bell) }));
        Ok(Self { timer, bell })
    }

    /// Runs `work` while the timer ticks, and returns what it returned and what the handlers counted.
    pub(super) fn during<R>(&mut self, room: Room, work: impl FnOnce() -> R) -> (R, Tally) {
        self.bell.each_hand(|hand| hand.room = room);
        self.bell.open.store(true, SeqCst);
        compiler_fence(SeqCst); // the hands are the handlers' from here on
        arm(self.timer, TICK.0);
        let result = work();
        self.bell.open.store(false, SeqCst);
        compiler_fence(SeqCst); // and no longer
        let mut tally = Tally::default();
        self.bell.each_hand(|hand| tally.add(&std::mem::take(&mut hand.tally)));
        (result, tally)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        // A tick that is still to come finds the bell closed, then no duty, and arms nothing.
        DUTY.set(None);
        // SAFETY: the timer was made in `start`.
        unsafe { libc::timer_delete(self.timer) };
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
        action.sa_flags = libc::SA_NODEFER | libc::SA_RESTART;
        // SAFETY: the handler is async-signal-safe: atomics, the allocator (which is), the clock, `timer_settime`.
        if unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } != 0 {
            outcome = Err(Error::last_os_error());
        }
    });
    outcome
}
