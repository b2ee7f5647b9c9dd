//! What an embedder says so that a CPU may change slot words of its own without a locked instruction.
//!
//! Only facts about the machine; how a word is changed with them is in `cache::hand`, who else may be at work on a CPU's
//! words in `cache::hold`.

use core::num::NonZeroIsize;

/// Whether restartable sequences are built for this processor.
const HAS_SEQUENCES: bool = cfg!(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux",
    not(any(zonal_loom, zonal_shuttle))
));

/// Whether there is an unlocked compare-exchange.
const HAS_UNLOCKED: bool = cfg!(all(target_arch = "x86_64", not(any(zonal_loom, zonal_shuttle))));

/// How CPUs change their own slot words without a locked instruction ([`crate::Config::own_words`]).
///
/// An owned word costs its CPU a plain store where a locked one costs a locked instruction. In exchange, whoever else is to
/// change it (a drain, an isolation, a request that runs out of memory) first says so and has the owner's CPU pass a
/// barrier; so drains, closings, isolations, poisoning and offlining are for task context then. Words are given up ahead of
/// need: when a zone nears its marks, kswapd or the upkeep turns them into locked ones until it has recovered; what hit them goes the way
/// of a miss until then, and is served by a locked instruction. Where a
/// barrier is refused, the words of that CPU stay as they are. An isolation, an offlining or a poisoning fails then with the
/// CPU's number ([`crate::IsolateError::Undrained`], [`crate::PoisonError::Undrained`]); a drain or a closing does what it can, and
/// [`crate::ZoneInfo::refused_barriers`] grows.
#[derive(Clone, Copy, Debug)]
pub struct OwnWords {
    pub(crate) how: How,
    pub(crate) cpus: usize,
    pub(crate) barrier: Barrier,
}

/// Has a CPU pass a barrier; false if that cannot be done now.
pub(crate) type Barrier = fn(cpu: usize) -> bool;

/// What stands in for the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// A restartable sequence of Linux: the kernel restarts what it interrupts.
    Sequence {
        /// From the thread pointer to the thread's `struct rseq`.
        area: NonZeroIsize,
    },
    /// One instruction on a CPU that its caller does not leave.
    Pinned,
}

impl OwnWords {
    /// Restartable sequences (`rseq`, Linux 4.18) for CPUs `0..cpus`; CPUs above have locked words. `area` is where a
    /// thread's `struct rseq` begins, from its thread pointer (glibc's `__rseq_offset`). `barrier(cpu)` restarts what is in
    /// a sequence there (`membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ)`), from task context. `None` on processors for which this
    /// is not built (there are x86-64 and AArch64), and where `area` is 0: that is the C library's own.
    ///
    /// A thread that is not registered with the kernel never changes an owned word: its operations go to the blocks.
    ///
    /// # Safety
    /// (1) Every thread that uses the allocator has readable and writable memory of a `struct rseq` there, registered with
    /// the usual signature of the processor, or with a `cpu_id` that is negative. (2) When `barrier(cpu)` has returned true,
    /// no thread goes on with a sequence that it was in on that CPU when `barrier` was called; what the caller wrote before is
    /// seen by those that begin after, and what was stored there before by the caller. (3) [`crate::Platform::cpu`] gives the kernel's CPU numbers below `cpus`
    /// or numbers from `cpus` on. (4) All who use the allocator are threads of one process, children of `vfork` not among them,
    /// and the code is not unloaded while one of them may be in it or was last in a sequence of it.
    pub const unsafe fn sequences(area: isize, cpus: usize, barrier: fn(cpu: usize) -> bool) -> Option<Self> {
        match NonZeroIsize::new(area) {
            Some(area) if HAS_SEQUENCES => Some(Self { how: How::Sequence { area }, cpus, barrier }),
            _ => None,
        }
    }

    /// One unlocked compare-exchange for CPUs `0..cpus`; CPUs above have locked words. `barrier(cpu)`, called in task context
    /// by drains, closings, isolations, poisoning, offlining, kswapd and the upkeep, waits until the CPU has left the
    /// allocations and frees it was in: a grace period of RCU (sched) in a kernel. No allocation or free calls it, so one that
    /// may wait relies on kswapd, too. `None` on processors that have no such instruction (x86-64 has it;
    /// AArch64 does not: what is one instruction there is a step for all CPUs, at the price of one).
    ///
    /// # Safety
    /// (1) [`crate::Platform::cpu`] gives numbers of the table of CPUs ([`crate::Topology::cpus`]) only: each to one CPU. (2)
    /// From there to the end of an allocation or a free nobody leaves that CPU, not while a hook of the platform waits
    /// either; what interrupts him there, and other tasks of that CPU, may get the number meanwhile. (3) When `barrier(cpu)`
    /// has returned true, every allocation and free that was under way on that CPU when `barrier` was called has returned, or
    /// is in a hook of the platform; what the caller wrote before is seen by those that begin after, or go on from there, and what
    /// they had stored by then by the caller.
    pub const unsafe fn pinned(cpus: usize, barrier: fn(cpu: usize) -> bool) -> Option<Self> {
        match HAS_UNLOCKED {
            true => Some(Self { how: How::Pinned, cpus, barrier }),
            false => None,
        }
    }
}
