//! An engine and what must be true of it whenever nobody works.
//!
//! Invariant: frames free now = frames free when the bench began, or the row ends in an error.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::Result;
use zonal::{Order, Pfn};

use super::engine::{Engine, Setup};
use super::wrong::Wrong;

/// What must hold whatever the bench.
pub(super) trait Checked {
    /// Gives back what `hold` took.
    fn release(&self, held: &[Pfn]) -> Result<(), Wrong>;

    /// As many frames are free as at first. Called while no thread works.
    fn rest(&self) -> Result<(), Wrong>;

    /// The engine finds nothing wrong with itself. Called while no thread works.
    fn audit(&self) -> Result<(), Wrong>;
}

/// Nothing is taken, so nothing can be lost.
pub(super) struct Nothing;

impl Checked for Nothing {
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

/// An engine and what was free when the bench began.
pub(super) struct Ground<E> {
    pub(super) engine: E,
    free: Option<u64>,
    /// Frames taken before the bench began, for good.
    taken: u64,
    /// Runs that could be had then.
    runs: u64,
}

impl<E: Engine> Ground<E> {
    /// An engine of which `taken` frames are taken and `runs` runs can be had.
    pub(super) fn of(engine: E, taken: u64, runs: u64) -> Self {
        Self { free: engine.free_frames(), engine, taken, runs }
    }

    /// A zone of which only these frames are free.
    pub(super) fn leaving(setup: &Setup, free: &[Range<u64>]) -> Result<Self> {
        let engine = E::build(setup, free)?;
        let left: u64 = free.iter().map(|range| range.end - range.start).sum();
        let runs = free.iter().map(|range| runs_within(range, setup.order)).sum();
        Ok(Self::of(engine, setup.frames() - left, runs))
    }

    /// A zone of which this part of all runs is taken, by the throw of a coin each; they are returned, shuffled.
    pub(super) fn filled(setup: &Setup, percent: u64) -> Result<(Self, Vec<Pfn>)> {
        let engine = E::build(setup, from_ref(&setup.zone()))?;
        let all = setup.frames() >> setup.order.get();
        let mut held = (0..all).map(|_| engine.alloc()).collect::<Result<Vec<_>, _>>()?;
        fastrand::Rng::with_seed(1).shuffle(&mut held);
        let keep = all * percent / 100;
        for pfn in held.drain(keep as usize..) {
            // SAFETY: allocated just above and freed once.
            unsafe { engine.free(pfn) }?;
        }
        Ok((Self::of(engine, keep << setup.order.get(), all - keep), held))
    }

    /// Takes runs.
    pub(super) fn hold(&self, runs: u64) -> Result<Vec<Pfn>, Wrong> {
        (0..runs).map(|_| self.engine.alloc()).collect()
    }
}

/// Aligned runs of an order that a range holds.
fn runs_within(range: &Range<u64>, order: Order) -> u64 {
    (range.end >> order.get()).saturating_sub(range.start.div_ceil(order.frames()))
}

impl<E: Engine> Checked for Ground<E> {
    fn release(&self, held: &[Pfn]) -> Result<(), Wrong> {
        // SAFETY: the benches and `Row::check` give what this engine's `alloc` returned to them, once.
        held.iter().try_for_each(|&pfn| unsafe { self.engine.free(pfn) })
    }

    fn rest(&self) -> Result<(), Wrong> {
        match (self.free, self.engine.free_frames()) {
            (Some(before), Some(after)) if before != after => Err(Wrong::NotRestored { before, after }),
            _ => Ok(()),
        }
    }

    fn audit(&self) -> Result<(), Wrong> {
        self.engine.audit(self.taken, self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_aligned_runs_count() {
        let order = Order::new(3).unwrap();
        assert_eq!(runs_within(&(0..24), order), 3);
        assert_eq!(runs_within(&(1..24), order), 2);
        assert_eq!(runs_within(&(1..15), order), 0);
        assert_eq!(runs_within(&(1..7), order), 0);
    }
}
