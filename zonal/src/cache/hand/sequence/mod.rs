//! Restartable sequences of Linux: a few instructions, the last of which stores, that the kernel sends to an abort handler when
//! it interrupts them for another thread, another CPU or a signal.
//!
//! The kernel's interface: `struct rseq` (offset 4 `cpu_id`, 8 `rseq_cs`) and `struct rseq_cs` (version, flags, start, length,
//! abort), `include/uapi/linux/rseq.h`; the signature before the abort handler is the one that glibc registers. What stands
//! here is of every processor, its file has its instructions.

/// What the kernel is told of the instructions from label 2 to label 3: their descriptor, at label 5; and their abort handler,
/// at label 4 behind the processor's signature, which leaves for `restarted` by the processor's jump.
macro_rules! described {
    ($signature:literal, $jump:literal) => {
        concat!(
            ".pushsection __rseq_cs, \"aw\", %progbits\n",
            ".balign 32\n",
            "5:\n",
            ".long 0, 0\n",
            ".quad 2f, (3f - 2f), 4f\n",
            ".popsection\n",
            ".pushsection .text.rseq_abort, \"ax\", %progbits\n",
            $signature,
            "\n4:\n",
            $jump,
            " {restarted}\n",
            ".popsection",
        )
    };
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{locked, plain};
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{locked, plain};
