//! The stepper on code whose instructions are known.

use std::arch::{asm, naked_asm};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;

/// Adds 1 to a word `times` times, locked; 2 instructions before the loop, 3 in it, 1 after.
#[unsafe(naked)]
extern "sysv64" fn add(word: &AtomicU64, times: u64) {
    naked_asm!("mov eax, 1", "nop", "2:", "lock xadd [rdi], rax", "dec rsi", "jnz 2b", "ret")
}

/// The window that is `add` and nothing else.
fn only_add() -> Window {
    let start = add as *const () as u64;
    Window::of_program().unwrap().narrowed(start..start + 0x11)
}

#[test]
fn every_instruction_is_seen_once_and_the_locked_ones_are_told() {
    let word = AtomicU64::new(0);
    let window = only_add();
    let ((), seen) = trace(&window, 1000, || add(&word, 7)).unwrap();
    assert_eq!(seen.executed().len(), 2 + 3 * 7 + 1);
    assert_eq!(seen.locked(), 7);
    assert_ne!(word.load(Relaxed), 0);
}

#[test]
fn an_exchange_with_memory_is_locked_and_one_of_registers_is_not() {
    let window = Window::of_program().unwrap();
    let mut word = 3u64;
    let exchange = || {
        // SAFETY: exchanges a word that is this closure's own with a register, and that register with itself.
        #[allow(unsafe_code, reason = "the instruction is what is tested")]
        unsafe {
            asm!("xchg [{at}], {with}", "xchg {with}, {with}", at = in(reg) &raw mut word, with = inout(reg) 4u64 => _)
        };
    };
    let ((), seen) = trace(&window, 1000, exchange).unwrap();
    assert_eq!(seen.locked(), 1);
    assert_eq!(word, 4);
}

#[test]
fn reads_of_memory_are_told_from_writes_and_from_the_stack() {
    let window = Window::of_program().unwrap();
    let word = 3u64;
    let mut copy = 0u64;
    let accesses = || {
        // SAFETY: reads one word and writes another, both this closure's own; what is pushed is popped.
        #[allow(unsafe_code, reason = "the instructions are what is tested")]
        unsafe {
            asm!(
                "push {with}", "pop {with}", "lea {with}, [{from} + 8]", "nop dword ptr [{from}]",
                "mov {with}, [{from}]", "cmp {with}, [{from}]", "mov [{to}], {with}", "lock xadd [{to}], {with}",
                from = in(reg) &raw const word, to = in(reg) &raw mut copy, with = out(reg) _
            );
        }
    };
    let ((), none) = trace(&window, 1000, || ()).unwrap();
    let ((), seen) = trace(&window, 1000, accesses).unwrap();
    assert!((3..=3 + 8).contains(&(seen.reads() - none.reads())), "{} reads", seen.reads() - none.reads());
    assert_eq!(copy, 6);
}

#[test]
fn a_visit_comes_between_two_instructions_and_ends_the_stepping_when_it_says_so() {
    let (word, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    let at_each = |_| {
        let step = seen.fetch_add(1, Relaxed);
        if step == 2 + 3 {
            word.store(100, Relaxed); // after the first turn: the second adds to this
            return Next::Run;
        }
        Next::Step
    };
    // SAFETY: what both touch is atomic, and nothing is called.
    #[allow(unsafe_code, reason = "the function tested is unsafe")]
    unsafe {
        step(&only_add(), || add(&word, 2), at_each);
    }
    assert_eq!(seen.load(Relaxed), 6);
    assert_eq!(word.load(Relaxed), 100); // xadd leaves the old value, 0, to be added in the second turn
}

#[test]
fn what_does_not_fit_is_an_error_and_says_how_much_there_was() {
    let word = AtomicU64::new(0);
    let outcome = trace(&only_add(), 5, || add(&word, 3));
    assert_eq!(outcome.map(|_| ()), Err(TooLong { capacity: 5, executed: 12 }));
}

#[test]
fn threads_step_beside_each_other() {
    let window = only_add();
    let lengths = std::thread::scope(|scope| {
        let one = |times| {
            let window = &window;
            scope.spawn(move || {
                let word = AtomicU64::new(0);
                trace(window, 10_000, || add(&word, times)).map(|((), seen)| seen.executed().len())
            })
        };
        [one(100), one(300)].map(|thread| thread.join())
    });
    assert_eq!(lengths.map(|length| length.unwrap()), [Ok(303), Ok(903)]);
}

#[test]
fn a_panic_ends_the_stepping() {
    let window = only_add();
    let panicked = std::panic::catch_unwind(|| {
        let _ = trace(&window, 100, || std::panic::resume_unwind(Box::new(5u8)));
    });
    assert_eq!(panicked.unwrap_err().downcast_ref::<u8>(), Some(&5));
    let word = AtomicU64::new(0);
    assert!(trace(&window, 100, || add(&word, 1)).is_ok());
}
