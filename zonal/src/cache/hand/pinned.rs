//! One unlocked compare-exchange: a step for everybody on its CPU, as an interrupt comes before or after an instruction.

use super::Try;
#[cfg(not(all(target_arch = "x86_64", not(any(zonal_loom, zonal_shuttle)))))]
use super::{Hand, Locked};
use crate::cache::hold::Hold;
use crate::sync::{AtomicU64, Ordering};

/// Replaces `from` by `to` in `word` if nobody holds it. Only on the CPU whose word it is, which the caller does not leave.
#[inline(always)]
pub(super) fn plain(hold: &Hold, word: &AtomicU64, from: u64, to: u64) -> Try {
    if hold.is_held() {
        return Try::NotAlone;
    }
    // One that fails writes back what it found, over another's locked change: so it must not fail but for who interrupts here.
    // The word is that of a group now, which only holders change, and they wait for this call; or nobody else changes it at all.
    if word.load(Ordering::Acquire) != from {
        return Try::Other;
    }
    if exchange(word, from, to) { Try::Done } else { Try::Other }
}

/// Replaces exactly `from` by `to`: a step for this CPU.
#[cfg(all(target_arch = "x86_64", not(any(zonal_loom, zonal_shuttle))))]
#[inline(always)]
fn exchange(word: &AtomicU64, from: u64, to: u64) -> bool {
    let found: u64;
    // SAFETY: the word is live and aligned. The instruction reads and writes it whole; no other CPU changes it meanwhile,
    // as nobody holds the words, and who wants to waits until the caller's call is over.
    unsafe {
        core::arch::asm!(
            "cmpxchg qword ptr [{word}], {to}",
            word = in(reg) word.as_ptr(),
            to = in(reg) to,
            inout("rax") from => found,
            options(nostack),
        );
    }
    found == from
}

/// Where no single instruction is a step for its own CPU alone: never called, as nobody can say there that CPUs are pinned
/// ([`crate::OwnWords::pinned`]). On AArch64 `cas` is a step for all CPUs, as costly as any, and an exclusive load and its store
/// are two instructions, which an interrupt comes between.
#[cfg(not(all(target_arch = "x86_64", not(any(zonal_loom, zonal_shuttle)))))]
fn exchange(word: &AtomicU64, from: u64, to: u64) -> bool {
    Locked.exchange(word, from, to)
}
