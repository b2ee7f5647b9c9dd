//! The CPUs that a storm's threads work on: played, so that a few threads are on as many as one likes; or, where slot words are
//! their CPUs' own, those that the threads run on.
//!
//! Nothing here locks, allocates or sets `errno` once it is built, so a signal handler may change its CPU. Invariant: real CPUs
//! have numbers below the storm's, and this process may use them.

use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use zonal::OwnWords;
use zonal_linux::{CpuReader, WordKind, play_cpu};

use super::asker;

thread_local! {
    /// The real CPU that this thread was sent to last. Constant at first and without a destructor, so that a handler may use it.
    static SENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The CPUs.
#[derive(Clone, Debug)]
pub(super) enum Cpus {
    /// Numbers.
    Played,
    /// These of the machine.
    Real { reader: CpuReader, words: OwnWords, numbers: Vec<usize> },
}

impl Cpus {
    /// Of a storm on a machine with so many CPUs. Threads that this one starts afterwards run on real ones of those, if words
    /// are to be owned.
    ///
    /// # Errors
    /// If words cannot be owned here.
    pub(super) fn of(words: WordKind, cpus: usize) -> Result<Self> {
        if words == WordKind::Locked {
            return Ok(Self::Played);
        }
        let reader = CpuReader::find();
        // SAFETY: (1) the storms' platforms answer `Cpus::now`; (2) their metadata is on this process's heap.
        let words = unsafe { words.resolve(cpus, reader) };
        let words = words.context(
            "words cannot be their CPUs' own here: that takes Linux on x86-64 or AArch64 with rseq and membarrier, and glibc 2.35",
        )?;
        let allowed = sched_getaffinity(None).context("the CPUs that this process may use")?;
        let numbers: Vec<usize> = (0..cpus.min(CpuSet::MAX_CPU)).filter(|&cpu| allowed.is_set(cpu)).collect();
        ensure!(!numbers.is_empty(), "this process may use none of the first {cpus} CPUs");
        send(&numbers).context("threads cannot be sent to a CPU")?;
        Ok(Self::Real { reader, words, numbers })
    }

    /// From now on this thread works on this CPU; where those are real, on one of them, by turns.
    pub(super) fn play(&self, cpu: usize) {
        match self {
            Self::Played => {
                play_cpu(cpu);
                asker::play_cpu(cpu);
            }
            Self::Real { numbers, .. } => {
                let number = numbers[cpu % numbers.len()];
                // It was allowed when the storm began; a thread that is not let go there works where it is.
                if SENT.replace(Some(number)) != Some(number) {
                    let _ = send(&[number]);
                }
            }
        }
    }

    /// The CPU that this thread works on.
    #[inline]
    pub(super) fn now(&self) -> usize {
        match self {
            Self::Played => asker::cpu(),
            Self::Real { reader, .. } => reader.now(),
        }
    }

    /// What the storm's allocator is told.
    pub(super) fn own_words(&self) -> Option<OwnWords> {
        match self {
            Self::Played => None,
            Self::Real { words, .. } => Some(*words),
        }
    }

    /// Whether slot words are their CPUs' own.
    pub(super) fn own(&self) -> bool {
        self.own_words().is_some()
    }
}

/// This thread runs on these CPUs.
fn send(numbers: &[usize]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    numbers.iter().for_each(|&number| set.set(number));
    sched_setaffinity(None, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_where_it_plays() {
        let played = Cpus::of(WordKind::Locked, 4).unwrap();
        played.play(3);
        assert_eq!((played.now(), played.own()), (3, false));
        // Where words cannot be owned there is nothing to look at.
        std::thread::spawn(|| {
            let Ok(real) = Cpus::of(WordKind::Owned, 1024) else { return };
            let Cpus::Real { numbers, .. } = &real else { panic!("they are real") };
            for cpu in 0..2 * numbers.len() {
                real.play(cpu);
                assert_eq!(real.now(), numbers[cpu % numbers.len()]);
            }
        })
        .join()
        .unwrap();
    }
}
