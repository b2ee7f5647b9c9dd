//! Time inside calls, without the time that looking at the clock takes.
//!
//! The clock is the processor's counter where it is steady. What two looks in a row show is measured once and taken off
//! every call. Invariant: `ns_per_call` is never negative.

use quanta::Clock;

/// Pairs of looks from which the cost of looking is taken (their median).
const LOOKS: usize = 1001;

/// A clock that knows what looking at it costs.
#[derive(Clone, Debug)]
pub(crate) struct Stopwatch {
    clock: Clock,
    look: u64,
}

/// Time spent in calls, in ticks of the stopwatch.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Spent {
    calls: u64,
    ticks: u64,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        let clock = Clock::new();
        let mut looks: Vec<u64> = (0..LOOKS)
            .map(|_| {
                let start = clock.raw();
                clock.raw().saturating_sub(start)
            })
            .collect();
        looks.sort_unstable();
        Self { look: looks[LOOKS / 2], clock }
    }

    /// Runs a call and adds its time.
    #[inline]
    pub(crate) fn time<R>(&self, spent: &mut Spent, call: impl FnOnce() -> R) -> R {
        let start = self.clock.raw();
        let result = call();
        spent.ticks += self.clock.raw().saturating_sub(start);
        spent.calls += 1;
        result
    }

    /// Mean nanoseconds a call, 0 without calls.
    pub(crate) fn ns_per_call(&self, spent: Spent) -> f64 {
        let ticks = spent.ticks.saturating_sub(spent.calls * self.look);
        let ns = self.clock.delta_as_nanos(0, ticks);
        if spent.calls == 0 { 0.0 } else { ns as f64 / spent.calls as f64 }
    }
}

impl Spent {
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.ticks += other.ticks;
    }
}
