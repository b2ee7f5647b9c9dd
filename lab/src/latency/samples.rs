//! What was measured in a cell: a histogram of its allocs and one of its frees.

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use quanta::Clock;
use serde::Serialize;

use super::cell::Cell;
use crate::bench::Wrong;

/// The longest that is told from longer ones: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;
/// Looks at the clock from which the cost of one is taken (their median).
const LOOKS: usize = 1001;

/// What was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Alloc,
    Free,
}

impl Op {
    pub(super) const ALL: [Self; 2] = [Self::Alloc, Self::Free];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::Free => "free",
        }
    }
}

/// A clock that knows what looking at it costs.
pub(super) struct Watch {
    clock: Clock,
    look: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        let clock = Clock::new();
        let look = |_| {
            let start = clock.raw();
            clock.raw().saturating_sub(start)
        };
        let mut looks: Vec<u64> = (0..LOOKS).map(look).collect();
        looks.sort_unstable();
        Self { look: looks[LOOKS / 2], clock }
    }

    /// Nanoseconds between the two nearest looks that it tells apart.
    pub(super) fn tick(&self) -> u64 {
        let look = |_| {
            let start = self.clock.raw();
            self.clock.delta_as_nanos(start, self.clock.raw())
        };
        (0..LOOKS).map(look).filter(|&ns| ns > 0).min().unwrap_or(1)
    }

    /// Makes a call and notes how long it took, or that it was refused.
    #[inline]
    pub(super) fn time(
        &self,
        samples: &mut Samples,
        op: Op,
        call: &mut dyn FnMut() -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let start = self.clock.raw();
        let outcome = call();
        let ticks = self.clock.raw().saturating_sub(start).saturating_sub(self.look);
        let ns = self.clock.delta_as_nanos(0, ticks);
        if outcome.is_ok() {
            samples.times[op as usize].saturating_record(ns.max(1));
        } else {
            samples.refused += 1;
        }
        outcome
    }
}

/// A cell's figures.
pub(super) struct Samples {
    times: [Histogram<u64>; 2],
    refused: u64,
    /// Threads that loaded the zone.
    threads: usize,
    /// Times the thread lost its CPU to somebody.
    preempted: u64,
}

/// A row as programs read it; times in nanoseconds.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) engine: &'static str,
    pub(super) context: &'static str,
    pub(super) load: &'static str,
    pub(super) op: &'static str,
    pub(super) threads: usize,
    pub(super) samples: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p99_9: u64,
    pub(super) p99_99: u64,
    pub(super) p99_999: u64,
    pub(super) max: u64,
    pub(super) refused: u64,
    pub(super) preempted: u64,
}

impl Samples {
    /// None yet.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let empty = || Histogram::new_with_max(LONGEST, DIGITS).map_err(|error| anyhow!("{error}"));
        Ok(Self { times: [empty()?, empty()?], refused: 0, threads, preempted: 0 })
    }

    /// Called on the thread that is timed, before it is.
    pub(super) fn begin(&mut self) {
        self.preempted = preemptions();
    }

    /// The same afterwards.
    pub(super) fn end(&mut self) {
        self.preempted = preemptions() - self.preempted;
    }

    /// The times of one sort of calls.
    pub(super) fn times(&self, op: Op) -> &Histogram<u64> {
        &self.times[op as usize]
    }

    /// The rows of the cell.
    pub(super) fn rows(&self, cell: &Cell) -> [Row; 2] {
        Op::ALL.map(|op| {
            let times = self.times(op);
            let at = |percent: f64| times.value_at_percentile(percent);
            Row {
                engine: cell.who.name(),
                context: cell.context.name(),
                load: cell.load.name(),
                op: op.name(),
                threads: self.threads,
                samples: times.len(),
                p50: at(50.0),
                p90: at(90.0),
                p99: at(99.0),
                p99_9: at(99.9),
                p99_99: at(99.99),
                p99_999: at(99.999),
                max: times.max(),
                refused: self.refused,
                preempted: self.preempted,
            }
        })
    }
}

/// How often this thread has lost its CPU without having asked for it.
fn preemptions() -> u64 {
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to this stack. It cannot fail for these arguments.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    u64::try_from(usage.ru_nivcsw).unwrap_or(0)
}
