//! The floor under every figure: a load and a locked compare-exchange of a word that stays in this CPU's cache.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use zonal::Pfn;

use super::workload::{Checked, Timed, Units, Workload};
use super::wrong::Wrong;

/// Compare-exchanges in a unit.
const STEPS: u64 = 4096;

/// A word a thread, each on its own cache line.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU64);

/// Each thread counts its own word up.
pub(super) struct Cas {
    words: Vec<Word>,
}

impl Cas {
    pub(super) fn new(threads: u16) -> Self {
        Self { words: (0..threads).map(|_| Word::default()).collect() }
    }
}

impl Workload for Cas {
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let word = &self.words.get(thread).ok_or(Wrong::Thread)?.0;
        let steps = units.0 * STEPS;
        let start = Instant::now();
        for _ in 0..steps {
            let word = black_box(word);
            let now = word.load(Ordering::Relaxed);
            // AcqRel as in the allocator's own words; nothing is published through this one.
            let changed =
                word.compare_exchange(now, now.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed);
            changed.map_err(|_| Wrong::WordChanged)?;
        }
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
impl Checked for Cas {
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
