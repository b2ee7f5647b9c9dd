//! The trap flag, and the handler of the signal it raises.
//!
//! Never steps two pieces of code on one thread at once. Invariant: [`ACTIVE`] is set while the flag is.

#![allow(unsafe_code, reason = "a flag of the processor and a signal handler have no safe interface")]

use std::arch::asm;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::Once;

use super::window::{Address, Window};

/// The trap flag's bit in the flags register.
const TRAP: i32 = 1 << 8;

/// What comes after a visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another step.
    Step,
    /// The rest of the code, at full speed and unseen.
    Run,
}

/// Runs `op` and calls `at_each` before each of its instructions that lies in the window, with that instruction's address:
/// the instruction before has been executed, this one has not. `at_each` itself is not stepped. Ends with what `op`
/// returns; if `op` panics, what that takes is stepped too, a printed backtrace for minutes.
///
/// # Panics
/// If it is called from `at_each`, or if the process refuses the signal handler. A panic in `at_each` aborts.
///
/// # Safety
/// `at_each` runs in a signal handler in the middle of `op`, so for all code in the window (1) whatever both of them touch is
/// atomic or otherwise made for that, thread-locals included; (2) `at_each` calls nothing that the code may be in the
/// middle of and that cannot be called again there, such as the heap.
pub unsafe fn step<R>(window: &Window, op: impl FnOnce() -> R, at_each: impl FnMut(Address) -> Next) -> R {
    install();
    let mut visits = Visits { window, at_each };
    let stepping = Stepping::begin(&mut visits);
    let result = op();
    drop(stepping);
    result
}

/// Who is visited at each step.
struct Visits<'w, F> {
    window: &'w Window,
    at_each: F,
}

/// What the handler finds: the visits of this thread, and the function that knows their type.
#[derive(Clone, Copy)]
struct Active {
    visits: *mut c_void,
    visit: unsafe fn(*mut c_void, Address) -> Next,
}

thread_local! {
    /// Constant at first and without a destructor, so that a handler may read it.
    static ACTIVE: Cell<Option<Active>> = const { Cell::new(None) };
}

/// # Safety
/// `visits` is a `Visits<F>` that lives, and nobody else uses it meanwhile.
unsafe fn visit<F: FnMut(Address) -> Next>(visits: *mut c_void, address: Address) -> Next {
    // SAFETY: as the caller promises.
    let visits = unsafe { &mut *visits.cast::<Visits<'_, F>>() };
    if visits.window.contains(address) { (visits.at_each)(address) } else { Next::Step }
}

/// The flag is set until this is dropped.
struct Stepping;

impl Stepping {
    #[inline(always)]
    fn begin<F: FnMut(Address) -> Next>(visits: &mut Visits<'_, F>) -> Self {
        let active = Active { visits: ptr::from_mut(visits).cast(), visit: visit::<F> };
        let before = ACTIVE.replace(Some(active));
        if before.is_some() {
            ACTIVE.set(before);
            panic!("stepped code is stepped already");
        }
        // SAFETY: pushes and pops one word, for which the compiler leaves room (no `nostack`); it changes no flag that
        // compiled code looks at but the arithmetic ones, which count as clobbered. From the instruction after the next on,
        // traps come, and their handler finds `ACTIVE`.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {flag}", "popfq", flag = const TRAP) };
        Self
    }
}

impl Drop for Stepping {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `begin`; the trap of the `popfq` itself still comes, the next instruction's does not.
        unsafe { asm!("pushfq", "and qword ptr [rsp], {flag}", "popfq", flag = const !TRAP) };
        ACTIVE.set(None);
    }
}

/// Makes [`on_trap`] the process's handler. It stays: a trap of nobody's ends the process as it would without it.
fn install() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_trap as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the handler takes the three arguments that SA_SIGINFO says. What it calls is vouched for by the callers
        // of `step`.
        let set = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0, "sigaction: {}", io::Error::last_os_error());
    });
}

extern "C" fn on_trap(signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(active) = ACTIVE.get() else {
        // SAFETY: both calls are allowed in handlers. The signal is blocked until this returns; then it ends the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    };
    // SAFETY: the kernel passes the interrupted thread's context, which is the handler's to read and change.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let address = Address::new(registers[libc::REG_RIP as usize] as u64);
    // SAFETY: `Stepping::begin` put the visits here with the function for their type; they live until after `Stepping`
    // is dropped, which sets `ACTIVE` to none. The signal is blocked in its handler, so no other visit is under way.
    let next = unsafe { (active.visit)(active.visits, address) };
    if next == Next::Run {
        registers[libc::REG_EFL as usize] &= !i64::from(TRAP);
    }
}
