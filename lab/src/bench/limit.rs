//! The floor under every figure: loads and locked compare-exchanges of a word that stays in this CPU's cache.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use zonal::Pfn;

use super::workload::{Checked, Timed, Units, Workload};
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
}

impl Step {
    /// Does it `steps` times.
    #[inline]
    fn repeat(self, word: &AtomicU64, steps: u64) -> Result<(), Wrong> {
        match self {
            Self::Cas => (0..steps).try_for_each(|_| change(word, |now| now ^ 1).map(drop)),
            Self::CasPair => (0..steps).try_for_each(|_| {
                let taken = change(word, |now| now & now.wrapping_sub(1))?.trailing_zeros();
                change(word, |now| now | 1u64.wrapping_shl(taken)).map(drop)
            }),
        }
    }
}

/// Changes a word that this thread alone uses; returns what it held.
#[inline]
fn change(word: &AtomicU64, new: impl Fn(u64) -> u64) -> Result<u64, Wrong> {
    let word = black_box(word);
    let now = word.load(Ordering::Relaxed);
    // AcqRel as in the allocator's own words; nothing is published through this one.
    word.compare_exchange(now, new(now), Ordering::AcqRel, Ordering::Relaxed).map_err(|_| Wrong::WordChanged)
}

/// Each thread changes its own word.
pub(super) struct Limit {
    words: Vec<Word>,
    step: Step,
}

impl Limit {
    pub(super) fn new(step: Step, threads: u16) -> Self {
        Self { words: (0..threads).map(|_| Word(AtomicU64::new(u64::MAX))).collect(), step }
    }
}

impl Workload for Limit {
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let word = &self.words.get(thread).ok_or(Wrong::Thread)?.0;
        let steps = units.0 * STEPS;
        let start = Instant::now();
        self.step.repeat(word, steps)?;
        Ok(Timed { elapsed: start.elapsed(), operations: steps })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        self
    }
}

/// Nothing is taken, so nothing can be lost; a word that changed by itself is found while it is timed.
impl Checked for Limit {
    fn release(&self, _held: &[Pfn]) -> Result<(), Wrong> {
        Ok(())
    }

    fn rest(&self) -> Result<(), Wrong> {
        Ok(())
    }

    fn audit(&self) -> Result<(), Wrong> {
        Ok(())
    }
}
