//! Counts the instructions of a call: the trap flag stops this thread after each of them, and a handler counts.
//!
//! A step takes some ten microseconds, a thousand times as long as the instruction alone: the call counted is the slowest
//! of all, and whoever can come between its steps does. Handlers of other signals run unstepped, and are not counted.
//! Elsewhere than on x86-64 nothing is counted.

/// Instructions after which a call runs on at full speed: some seconds, in which it is not taken to hang.
pub(super) const MOST: u64 = 200_000;

/// Instructions after which a call that is counted gives way to others, where it should.
#[cfg(target_arch = "x86_64")]
const GIVES_WAY: u64 = 64;

/// As [`counted`], with other threads' turns in between, however few CPUs there are.
#[cfg(target_arch = "x86_64")]
pub(super) fn counted_among_others<R>(body: impl FnOnce() -> R) -> (R, u64) {
    trap::GIVES_WAY.set(true);
    let result = counted(body);
    trap::GIVES_WAY.set(false);
    result
}

/// Runs `body`; nothing is counted.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn counted_among_others<R>(body: impl FnOnce() -> R) -> (R, u64) {
    counted(body)
}

/// Runs `body` in single steps; how many they were, at most [`MOST`].
#[cfg(target_arch = "x86_64")]
pub(super) fn counted<R>(body: impl FnOnce() -> R) -> (R, u64) {
    trap::install();
    trap::STEPS.set(0);
    trap::IS_COUNTING.set(true);
    trap::set();
    let result = body();
    trap::clear();
    trap::IS_COUNTING.set(false);
    (result, trap::STEPS.get())
}

/// Steps that all threads counted so far.
#[cfg(target_arch = "x86_64")]
pub(super) fn of_all() -> u64 {
    trap::ALL.load(std::sync::atomic::Ordering::Relaxed)
}

/// Steps that all threads counted so far.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn of_all() -> u64 {
    0
}

/// Whether this thread is in a call that is counted. Handlers may ask.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_counting() -> bool {
    trap::IS_COUNTING.get()
}

/// Whether this thread is in a call that is counted.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_counting() -> bool {
    false
}

/// Runs `body`; nothing is counted.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn counted<R>(body: impl FnOnce() -> R) -> (R, u64) {
    (body(), 0)
}

#[cfg(target_arch = "x86_64")]
mod trap {
    use std::arch::asm;
    use std::cell::Cell;
    use std::sync::Once;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    /// The trap flag.
    const TRAP: i64 = 0x100;

    /// Of all threads. Relaxed: a number that changes, nothing else.
    pub(super) static ALL: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// Constant at first and without a destructor, so that a handler may use it.
        pub(super) static STEPS: Cell<u64> = const { Cell::new(0) };
        pub(super) static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
        pub(super) static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
    }

    /// Directs the process's SIGTRAP here.
    pub(super) fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: all-zero is a valid `sigaction`: an empty mask.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction =
                on_trap as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            // SAFETY: the action is on this stack, and its handler touches a thread-local and its own context only. If the
            // system refuses, the first trap ends the process: there is nothing to go on with.
            unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
        });
    }

    extern "C" fn on_trap(_signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let steps = STEPS.get() + 1;
        STEPS.set(steps);
        ALL.fetch_add(1, Relaxed);
        if GIVES_WAY.get() && steps.is_multiple_of(super::GIVES_WAY) {
            // SAFETY: a system call without arguments that may be made in a handler.
            unsafe { libc::sched_yield() };
        }
        if steps >= super::MOST {
            // SAFETY: with SA_SIGINFO the kernel passes the interrupted thread's context, which is the handler's to change
            // until it returns.
            let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
            context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP;
        }
    }

    /// From the next instruction on this thread stops after each.
    #[inline(always)]
    pub(super) fn set() {
        // SAFETY: only the trap flag changes, for which a handler is installed; the pushed word is popped again.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    }

    /// And no longer.
    #[inline(always)]
    pub(super) fn clear() {
        // SAFETY: as in `set`.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::counted;

    #[test]
    fn more_work_is_more_steps() {
        let work = |times: u64| counted(|| (0..times).fold(0u64, |sum, n| std::hint::black_box(sum ^ n))).1;
        let (few, many) = (work(10), work(1000));
        assert!(few >= 10 && many >= few + 990, "{few} and {many} steps");
        assert!(many < 100_000, "{many} steps");
    }
}
