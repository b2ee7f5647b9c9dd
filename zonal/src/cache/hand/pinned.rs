//! One unlocked compare-exchange: a step for everybody on its CPU, as an interrupt comes before or after an instruction.

use core::arch::asm;

use super::Try;
use crate::cache::hold::Hold;
use crate::sync::{AtomicU64, Ordering};

/// Replaces `from` by `to` in `word` if nobody holds it. Only on the CPU whose word it is, which the caller does not leave.
#[inline(always)]
pub(super) fn plain(hold: &Hold, word: &AtomicU64, from: u64, to: u64) -> Try {
    if hold.is_held() {
        return Try::NotAlone;
    }
    // One that fails writes back what it found, over another's locked change: so it must not fail but for who interrupts here.
    // The word is that of a group now, which only holders change, and they wait for this call.
    if word.load(Ordering::Acquire) != from {
        return Try::Other;
    }
    let found: u64;
    // SAFETY: the word is live and aligned. The instruction reads and writes it whole; no other CPU changes it meanwhile,
    // as nobody holds the words, and who wants to waits until this call is over.
    unsafe {
        asm!(
            "cmpxchg qword ptr [{word}], {to}",
            word = in(reg) word.as_ptr(),
            to = in(reg) to,
            inout("rax") from => found,
            options(nostack),
        );
    }
    if found == from { Try::Done } else { Try::Other }
}
