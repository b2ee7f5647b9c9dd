//! Threads that start together, each pinned to a CPU.

use std::cell::Cell;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

thread_local! {
    /// Constant at first and without a destructor: reading it is one load.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// This thread's place among those that run together; 0 for one that runs alone. No two of them share it.
#[inline]
pub(super) fn place() -> usize {
    PLACE.get()
}

/// The CPUs this process may use, in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    pub(crate) fn allowed() -> Result<Self> {
        let set = sched_getaffinity(None).context("the CPUs this process may use")?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()))
    }

    /// How many they are.
    pub(crate) fn number(&self) -> usize {
        self.0.len()
    }

    /// Pins this thread to the CPU of its place among the threads; with more threads than CPUs they share. A kernel
    /// that refuses leaves the thread free to move, which costs accuracy only.
    pub(crate) fn pin(&self, thread: usize) {
        let Some(&cpu) = thread.checked_rem(self.0.len()).and_then(|place| self.0.get(place)) else { return };
        let mut only = CpuSet::new();
        only.set(cpu);
        let _ = sched_setaffinity(None, &only);
    }

    /// Runs `work` on as many threads at once as there are inputs, and returns what they did, in order; `None` for one
    /// that panicked.
    pub(super) fn run<T: Send, R: Send>(
        &self,
        inputs: Vec<T>,
        work: impl Fn(usize, T) -> R + Sync,
    ) -> Vec<Option<R>> {
        let (start, work) = (&Barrier::new(inputs.len()), &work);
        thread::scope(|scope| {
            let threads: Vec<_> = inputs
                .into_iter()
                .enumerate()
                .map(|(thread, input)| {
                    scope.spawn(move || {
                        PLACE.set(thread);
                        self.pin(thread);
                        start.wait();
                        work(thread, input)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().ok()).collect()
        })
    }
}
