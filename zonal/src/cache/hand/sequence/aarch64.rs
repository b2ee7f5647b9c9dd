//! On AArch64, with what every one of them has (no LSE, no RCpc). The thread pointer is `tpidr_el0`.
//!
//! A linker that puts the abort handlers far from the code makes them leave by way of `x16` and `x17`, which are therefore
//! nobody's here.

use core::arch::asm;

use crate::cache::hand::Try;
use crate::sync::AtomicU64;

/// Replaces `from` by `to` in `word` by a plain store if `hold` is the number of the CPU the thread is on and nothing
/// interrupts.
///
/// # Safety
/// In every thread a `struct rseq` begins at `area` from the thread pointer, registered or with a negative `cpu_id`.
#[inline(always)]
pub(in crate::cache::hand) unsafe fn plain(
    (area, hold): (isize, &AtomicU64),
    word: &AtomicU64,
    from: u64,
    to: u64,
) -> Try {
    // SAFETY: the words are live and aligned, and are read and written as atomics are: whole, in the orders named below.
    // The sequence changes nothing before its last instruction, the store; no register the compiler relies on changes but
    // those it gave. The caller vouches for the area. An abort comes back to the handler below, which leaves by a label.
    unsafe {
        asm!(
            described!(".balign 4\n.inst 0xd428bc00", "b"),
            "mrs {scratch}, tpidr_el0",
            "add {area}, {area}, {scratch}",
            "adrp {scratch}, 5b",
            "add {scratch}, {scratch}, :lo12:5b",
            "str {scratch}, [{area}, #8]",
            "2:",
            "ldr {scratch:w}, [{area}, #4]", // and zeroes above
            // Acquire: what a holder did to the words, before the look at the word; partner: `Hold::release`.
            "ldar {found}, [{hold}]",
            "cmp {found}, {scratch}",
            "b.ne {not_alone}",
            // Acquire: what the frames' last owner wrote, for a take; partner: the store below, or a locked put.
            "ldar {found}, [{word}]",
            "cmp {found}, {from}",
            "b.ne {other}",
            // Release: what the owner wrote, for a put; partner: a drain's or a take's Acquire, or the load above.
            "stlr {to}, [{word}]",
            "3:",
            scratch = out(reg) _,
            found = out(reg) _,
            area = inout(reg) area => _,
            hold = in(reg) hold.as_ptr(),
            word = in(reg) word.as_ptr(),
            from = in(reg) from,
            to = in(reg) to,
            out("x16") _,
            out("x17") _,
            restarted = label { return Try::Restarted },
            not_alone = label { return Try::NotAlone },
            other = label { return Try::Other },
            options(nostack),
        );
    }
    Try::Done
}

/// The same by an exclusive load and store, whether or not others hold the words. A store that finds the word's line taken
/// meanwhile counts as an interruption: how often it is tried is the caller's to bound.
///
/// # Safety
/// As for [`plain`].
pub(in crate::cache::hand) unsafe fn locked(
    (area, cpu): (isize, u32),
    word: &AtomicU64,
    from: u64,
    to: u64,
) -> Try {
    // SAFETY: as in `plain`; the last instruction is the exclusive store, and what it came to is looked at behind the sequence.
    unsafe {
        asm!(
            described!(".balign 4\n.inst 0xd428bc00", "b"),
            "mrs {scratch}, tpidr_el0",
            "add {area}, {area}, {scratch}",
            "adrp {scratch}, 5b",
            "add {scratch}, {scratch}, :lo12:5b",
            "str {scratch}, [{area}, #8]",
            "2:",
            "ldr {scratch:w}, [{area}, #4]",
            "cmp {scratch:w}, {cpu:w}",
            "b.ne {elsewhere}",
            // Acquire and release: as in `plain`. SeqCst: no load that acquires passes a store that releases, so a SeqCst load
            // after these two stays behind them, as behind those that the compiler makes of an exchange; partner: what
            // `SlotWord::load` names.
            "ldaxr {scratch}, [{word}]",
            "cmp {scratch}, {from}",
            "b.ne {other}",
            "stlxr {lost:w}, {to}, [{word}]",
            "3:",
            "cbnz {lost:w}, {restarted}",
            scratch = out(reg) _,
            lost = out(reg) _,
            area = inout(reg) area => _,
            cpu = in(reg) cpu,
            word = in(reg) word.as_ptr(),
            from = in(reg) from,
            to = in(reg) to,
            out("x16") _,
            out("x17") _,
            restarted = label { return Try::Restarted },
            elsewhere = label { return Try::Elsewhere },
            other = label { return Try::Other },
            options(nostack),
        );
    }
    Try::Done
}
