//! Words that a CPU owns, in a process: restartable sequences, and membarrier to restart those of others.
//!
//! Both are asked for when an allocator is built; where the kernel or the C library has one of them not, words are changed
//! by locked instructions. Nothing here runs while frames are allocated or freed, but for the barrier.

use rustix::io::Errno;
use rustix::thread::{Cpuid, MembarrierCommand, membarrier, membarrier_cpu, membarrier_query};
use zonal::OwnWords;

use crate::cpu::CpuReader;

/// Whether a CPU's slot words are its own ([`zonal::Config::own_words`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WordKind {
    /// Everybody's: changed by locked instructions.
    #[default]
    Locked,
    /// Their CPU's, where the kernel, the C library and the processor allow; else locked. Not for allocators that several
    /// processes share.
    Owned,
}

impl WordKind {
    /// What the allocator of a machine with `cpus` CPUs is told ([`zonal::Config::own_words`]): `None` for locked words, and
    /// where there are no others.
    ///
    /// # Safety
    /// (1) Its [`zonal::Platform::cpu`] answers what [`CpuReader::now`] does, or numbers from `cpus` on. (2) Its metadata is
    /// this process's alone.
    pub unsafe fn resolve(self, cpus: usize, reader: CpuReader) -> Option<OwnWords> {
        let area = reader.area().filter(|_| self == Self::Owned && register())?;
        // SAFETY: (1) glibc keeps a `struct rseq` at this offset for every thread: registered, or with a negative CPU number.
        // (2) is what membarrier's command says. (3) `CpuReader::now` gives the kernel's numbers, and the caller vouches for
        // (4).
        unsafe { OwnWords::sequences(area.get(), cpus, barrier) }
    }
}

/// Announces to the kernel that this process will restart its sequences.
fn register() -> bool {
    membarrier_query().contains_command(MembarrierCommand::PrivateExpeditedRseq)
        && membarrier(MembarrierCommand::RegisterPrivateExpeditedRseq).is_ok()
}

/// Restarts the sequence that a thread of this process is in on the CPU, if one is. About 10 microseconds if it runs.
fn barrier(cpu: usize) -> bool {
    let Ok(number) = u32::try_from(cpu) else { return false };
    // SAFETY: the number only goes to the kernel, which restarts nothing where it names no CPU.
    let cpu = unsafe { Cpuid::from_raw(number) };
    let restart = || membarrier_cpu(MembarrierCommand::PrivateExpeditedRseq, cpu);
    // A child of fork has to announce it anew.
    let restarted = match restart() {
        Err(Errno::PERM) if register() => restart(),
        restarted => restarted,
    };
    restarted.is_ok()
}
