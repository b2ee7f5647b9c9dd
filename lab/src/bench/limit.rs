//! The floor under every figure: loads and locked compare-exchanges of a word that stays in this CPU's cache; and what
//! filling a page costs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity};
use zonal::{FRAME_SIZE, Pfn, Platform};
use zonal_linux::{CpuSource, Machine, Simulation};

use super::ground::{Checked, Nothing};
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Steps in a unit.
const STEPS: u64 = 4096;

/// A word a thread, each on its own cache line.
#[repr(align(128))]
struct Word(AtomicU64);

/// What is done to a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// One load and one compare-exchange.
    Cas,
    /// The lowest bit is found, cleared, and set again: two of them, the second of a value that hangs on the first.
    CasPair,
    /// The same, each of the two finding the word by the number of the CPU it runs on, in a call of its own.
    CpuPair,
    /// The same by plain loads and stores, with nothing that keeps others off.
    PlainPair,
}

/// Changes a word that this thread alone uses; returns what it held.
#[inline]
fn change(word: &AtomicU64, new: impl Fn(u64) -> u64) -> Result<u64, Wrong> {
    let word = black_box(word);
    let now = word.load(Ordering::Relaxed);
    // AcqRel as in the allocator's own words; nothing is published through this one.
    word.compare_exchange(now, new(now), Ordering::AcqRel, Ordering::Relaxed).map_err(|_| Wrong::WordChanged)
}

/// The same by a load and a store.
#[inline]
fn change_plainly(word: &AtomicU64, new: impl Fn(u64) -> u64) -> u64 {
    let word = black_box(word);
    let now = word.load(Ordering::Relaxed);
    word.store(new(now), Ordering::Relaxed);
    now
}

/// Takes the lowest bit of a word and says which it was.
#[inline]
fn take(word: &AtomicU64) -> Result<u32, Wrong> {
    Ok(change(word, |now| now & now.wrapping_sub(1))?.trailing_zeros())
}

/// Puts a bit back.
#[inline]
fn put(word: &AtomicU64, bit: u32) -> Result<(), Wrong> {
    change(word, |now| now | 1u64.wrapping_shl(bit)).map(drop)
}

/// Each thread changes its own word.
pub(super) struct Limit {
    words: Vec<Word>,
    step: Step,
    /// Where the CPU's number comes from: the allocator's own source, on a machine that is not used otherwise.
    cpus: Simulation,
}

impl Limit {
    pub(super) fn new(step: Step, threads: u16) -> Result<Self> {
        // A word for each CPU up to the last that may run a thread.
        let may_run = sched_getaffinity(None).context("the CPUs this process may use")?;
        let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| may_run.is_set(cpu)).unwrap_or(0);
        let words = usize::from(threads).max(last + 1);
        Ok(Self {
            words: (0..words).map(|_| Word(AtomicU64::new(u64::MAX))).collect(),
            step,
            cpus: Simulation::build(&Machine::uniform(1, 1 << 27, 1)?, CpuSource::Thread)?,
        })
    }

    /// This CPU's word.
    #[inline]
    fn here(&self) -> Result<&AtomicU64, Wrong> {
        self.words.get(self.cpus.allocator().platform().cpu()).map(|word| &word.0).ok_or(Wrong::Thread)
    }

    #[inline(never)]
    fn take_here(&self) -> Result<u32, Wrong> {
        take(self.here()?)
    }

    #[inline(never)]
    fn put_here(&self, bit: u32) -> Result<(), Wrong> {
        put(self.here()?, bit)
    }

    #[inline(never)]
    fn take_plainly(&self) -> Result<u32, Wrong> {
        Ok(change_plainly(self.here()?, |now| now & now.wrapping_sub(1)).trailing_zeros())
    }

    #[inline(never)]
    fn put_plainly(&self, bit: u32) -> Result<(), Wrong> {
        change_plainly(self.here()?, |now| now | 1u64.wrapping_shl(bit));
        Ok(())
    }

    /// Does the step `steps` times.
    #[inline]
    fn repeat(&self, word: &AtomicU64, steps: u64) -> Result<(), Wrong> {
        match self.step {
            Step::Cas => (0..steps).try_for_each(|_| change(word, |now| now ^ 1).map(drop)),
            Step::CasPair => (0..steps).try_for_each(|_| put(word, take(word)?)),
            Step::CpuPair => (0..steps).try_for_each(|_| self.put_here(self.take_here()?)),
            Step::PlainPair => (0..steps).try_for_each(|_| self.put_plainly(self.take_plainly()?)),
        }
    }
}

impl Workload for Limit {
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let word = &self.words.get(thread).ok_or(Wrong::Thread)?.0;
        let steps = units.0 * STEPS;
        let start = Instant::now();
        self.repeat(word, steps)?;
        Ok(Timed { elapsed: start.elapsed(), operations: steps })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    /// A word that changed by itself is found while it is timed.
    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}

/// Pages filled in a unit.
const PAGES: u64 = 256;

/// Each thread fills a page of its own, which stays in its cache.
pub(super) struct ZeroPage;

impl Workload for ZeroPage {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let mut page = vec![u8::MAX; FRAME_SIZE as usize];
        let pages = units.0 * PAGES;
        let start = Instant::now();
        for _ in 0..pages {
            black_box(page.as_mut_slice()).fill(0);
        }
        Ok(Timed { elapsed: start.elapsed(), operations: pages })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}
