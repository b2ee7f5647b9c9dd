//! Requests from a signal handler, on a thread that asks for nothing itself, wake kswapd.

use std::io::Error;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

use zonal::{Daemon, Order, Pfn, Request};
use zonal_linux::{Daemons, Pool, Role, acting_as};

use crate::NODE;
use crate::hoard::{Hoard, audit_is_clean, build, comes_true, frame_of, machine};

/// Frames that the handlers take.
const TAKEN: usize = 2000;
/// Frames asked for in one tick.
const AT_ONCE: usize = 16;
/// Time from tick to tick, in nanoseconds.
const TICK: libc::c_long = 100_000;

/// What the handler works on.
struct Desk {
    pool: Arc<Pool>,
    request: Request,
    taken: [AtomicU64; TAKEN],
    held: AtomicU64,
    refused: AtomicU64,
}

/// The desk, as long as there are ticks.
static DESK: AtomicPtr<Desk> = AtomicPtr::new(ptr::null_mut());

/// A real-time signal that neither the C library nor the test harness uses.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 4
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // SAFETY: null, or a desk that its owner keeps until the handler, which runs on the owner's thread, finds null here.
    let Some(desk) = (unsafe { DESK.load(Acquire).as_ref() }) else { return };
    acting_as(Role::Interrupt, || {
        for _ in 0..AT_ONCE {
            let held = desk.held.load(Relaxed);
            let Some(slot) = desk.taken.get(held as usize) else { return };
            match desk.pool.allocator().alloc_raw(&desk.request) {
                Ok(pfn) => {
                    slot.store(pfn.get(), Relaxed);
                    desk.held.store(held + 1, Relaxed);
                }
                Err(_) => {
                    desk.refused.fetch_add(1, Relaxed);
                    return;
                }
            }
        }
    });
}

/// A timer that signals this thread until dropped.
struct Ticking(libc::timer_t);

impl Ticking {
    fn start(desk: &Desk) -> Self {
        // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler is async-signal-safe: atomics, the allocator and its platform (which are).
        let set = unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0, "sigaction: {}", Error::last_os_error());
        DESK.store(ptr::from_ref(desk).cast_mut(), Release);
        // SAFETY: all-zero is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both point to this stack.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        assert_eq!(made, 0, "timer_create: {}", Error::last_os_error());
        let tick = libc::timespec { tv_sec: 0, tv_nsec: TICK };
        let spec = libc::itimerspec { it_interval: tick, it_value: tick };
        // SAFETY: the timer was made just above, the specification is on this stack.
        let armed = unsafe { libc::timer_settime(timer, 0, &raw const spec, ptr::null_mut()) };
        assert_eq!(armed, 0, "timer_settime: {}", Error::last_os_error());
        Self(timer)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        // SAFETY: the timer was made in `start`.
        unsafe { libc::timer_delete(self.0) };
        // A tick that is still pending finds nothing.
        DESK.store(ptr::null_mut(), Release);
    }
}

#[test]
fn a_handler_s_atomic_requests_wake_kswapd() {
    let pool = build(Pool::plan(&machine(1)).daemons(Daemons::Threads));
    let hoard = Hoard::new(&pool, NODE);
    let registered = pool.shrinkers().register(Arc::downgrade(&hoard));
    hoard.fill(&frame_of(NODE).nowait());
    assert!(comes_true(|| hoard.is_at_high()));
    let (free, _) = hoard.free_and_high();
    let before = pool.shrinkers().given_back();
    let desk = Desk {
        pool: Arc::clone(&pool),
        request: frame_of(NODE).atomic(),
        taken: [const { AtomicU64::new(0) }; TAKEN],
        held: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    let ticking = Ticking::start(&desk);
    let all = comes_true(|| desk.held.load(Relaxed) == TAKEN as u64);
    drop(ticking);
    let given = pool.shrinkers().given_back();
    eprintln!("{} refused, {given:?}, {free} free before", desk.refused.load(Relaxed));
    assert!(all, "{} taken", desk.held.load(Relaxed));
    assert_eq!(given.direct, before.direct, "a handler never reclaims");
    assert!(given.daemons - before.daemons >= TAKEN as u64 - free, "{before:?}, then {given:?}");
    pool.allocator().ask(Daemon::Kswapd, NODE, Order::ZERO);
    assert!(comes_true(|| hoard.is_at_high()), "{:?}", hoard.free_and_high());
    for slot in &desk.taken {
        // SAFETY: allocated by the handler, whose ticks are over.
        unsafe { pool.allocator().free_raw(Pfn::new(slot.load(Relaxed)), Order::ZERO) }.unwrap();
    }
    drop(registered);
    drop(hoard);
    audit_is_clean(&pool);
}
