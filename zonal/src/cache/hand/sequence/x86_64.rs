//! On x86-64. The thread pointer is the base of `fs`.

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
    // SAFETY: the words are live and aligned, and are read and written as atomics are: whole, in the order of the processor.
    // The sequence changes nothing before its last instruction, the store; no register the compiler relies on changes but
    // the one it gave. The caller vouches for the area. An abort comes back to the handler below, which leaves by a label.
    unsafe {
        asm!(
            described!(".byte 0x0f, 0xb9, 0x3d, 0x53, 0x30, 0x05, 0x53", "jmp"),
            "lea {scratch}, [rip + 5b]",
            "mov qword ptr fs:[{area} + 8], {scratch}",
            "2:",
            "mov {scratch:e}, dword ptr fs:[{area} + 4]", // and zeroes above
            "cmp {scratch}, qword ptr [{hold}]",
            "jne {not_alone}",
            "cmp qword ptr [{word}], {from}",
            "jne {other}",
            "mov qword ptr [{word}], {to}",
            "3:",
            scratch = out(reg) _,
            area = in(reg) area,
            hold = in(reg) hold.as_ptr(),
            word = in(reg) word.as_ptr(),
            from = in(reg) from,
            to = in(reg) to,
            restarted = label { return apart(Try::Restarted) },
            not_alone = label { return apart(Try::NotAlone) },
            other = label { return apart(Try::Other) },
            options(nostack),
        );
    }
    Try::Done
}

/// A block of its own for who leaves a sequence by a label: the compiler then need not have the answer ready beforehand.
#[inline(always)]
fn apart(came: Try) -> Try {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
    came
}

/// The same by a locked compare-exchange, whether or not others hold the words.
///
/// # Safety
/// As for [`plain`].
pub(in crate::cache::hand) unsafe fn locked(
    (area, cpu): (isize, u32),
    word: &AtomicU64,
    from: u64,
    to: u64,
) -> Try {
    // SAFETY: as in `plain`; the last instruction is the compare-exchange, and `rax` is given.
    unsafe {
        asm!(
            described!(".byte 0x0f, 0xb9, 0x3d, 0x53, 0x30, 0x05, 0x53", "jmp"),
            "lea {sequence}, [rip + 5b]",
            "mov qword ptr fs:[{area} + 8], {sequence}",
            "2:",
            "cmp dword ptr fs:[{area} + 4], {cpu:e}",
            "jne {elsewhere}",
            "lock cmpxchg qword ptr [{word}], {to}",
            "3:",
            "jne {other}",
            sequence = out(reg) _,
            area = in(reg) area,
            cpu = in(reg) cpu,
            word = in(reg) word.as_ptr(),
            to = in(reg) to,
            inout("rax") from => _,
            restarted = label { return Try::Restarted },
            elsewhere = label { return Try::Elsewhere },
            other = label { return Try::Other },
            options(nostack),
        );
    }
    Try::Done
}
