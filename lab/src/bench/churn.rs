//! A zone that is partly taken and stays so: runs are freed at random, and another is allocated for each.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use zonal::Pfn;

use super::engine::Engine;
use super::ground::{Checked, Ground};
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Runs chosen, off the clock, to be freed and replaced in one unit.
const BATCH: usize = 512;

/// One in so many units is done off the clock besides: some 40,000 runs a sample, each of a block drawn at random.
const WARM_UP: u64 = 2;

/// A thread's share of the runs taken, and what it throws dice with.
struct Share {
    held: Vec<Pfn>,
    dice: fastrand::Rng,
}

impl Share {
    /// Brings runs drawn at random to the end, and returns them.
    fn draw(&mut self) -> &mut [Pfn] {
        let count = BATCH.min(self.held.len());
        for drawn in 0..count {
            let last = self.held.len() - 1 - drawn;
            self.held.swap(self.dice.usize(..=last), last);
        }
        let kept = self.held.len() - count;
        self.held.get_mut(kept..).unwrap_or_default()
    }
}

/// Frees random runs, and allocates one for each.
pub(super) struct Churn<E> {
    ground: Ground<E>,
    shares: Vec<Mutex<Share>>,
    /// Runs each thread takes besides, for the check.
    checked: u64,
}

impl<E: Engine> Churn<E> {
    /// The bench on a zone of which `held` is taken: in random order, so that each thread's share lies everywhere.
    pub(super) fn on(ground: Ground<E>, held: &[Pfn], threads: u16, checked: u64) -> Self {
        let share = |(thread, held): (usize, &[Pfn])| {
            Mutex::new(Share { held: held.to_vec(), dice: fastrand::Rng::with_seed(thread as u64) })
        };
        let each = held.len().div_ceil(usize::from(threads)).max(1);
        Self { ground, shares: held.chunks(each).enumerate().map(share).collect(), checked }
    }
}

impl<E: Engine> Workload for Churn<E> {
    /// Some of it off the clock first: between two samples of a row all others run, each on a zone of its own, and a zone that is
    /// churned has its blocks in the processor's caches.
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let share = self.shares.get(thread).ok_or(Wrong::Thread)?;
        let mut share = share.lock().map_err(|_| Wrong::Thread)?;
        self.churn(&mut share, Units(units.0.div_ceil(WARM_UP)))?;
        self.churn(&mut share, units)
    }

    /// What is held all the time and some runs more.
    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        self.ground.hold(self.checked)
    }

    fn ground(&self) -> &dyn Checked {
        &self.ground
    }
}

impl<E: Engine> Churn<E> {
    fn churn(&self, share: &mut Share, units: Units) -> Result<Timed, Wrong> {
        let engine = &self.ground.engine;
        let (mut elapsed, mut operations) = (Duration::ZERO, 0);
        for _ in 0..units.0 {
            let drawn = share.draw();
            operations += drawn.len() as u64;
            let start = Instant::now();
            for run in drawn {
                // SAFETY: allocated by this engine and held since; what is allocated takes its place.
                unsafe { engine.free(*run) }?;
                *run = engine.alloc()?;
            }
            elapsed += start.elapsed();
        }
        Ok(Timed { elapsed, operations })
    }
}
