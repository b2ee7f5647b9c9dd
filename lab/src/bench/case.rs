//! What a row is about: bench, engine, threads, CPUs, order; and what it should cost.

use std::fmt;

use zonal::Order;

use super::name::{BenchName, EngineName};

/// How many times the time of a small zone a large one may take where size should not matter.
const FLAT: f64 = 1.1;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Case {
    pub(super) bench: BenchName,
    pub(super) engine: EngineName,
    pub(super) threads: u16,
    pub(super) cpus: u16,
    pub(super) order: Order,
}

impl Case {
    /// The most that the row should cost, in compare-exchanges, where a target is set for it alone. Rows with 128 CPUs
    /// and two threads are compared with their sister of 2 CPUs and one thread instead.
    pub(super) fn target(&self) -> Option<f64> {
        if (self.engine, self.threads, self.cpus, self.order) == (EngineName::ZonalOwner, 1, 2, Order::ZERO) {
            return match self.bench {
                BenchName::Pair => Some(0.8),
                BenchName::HoldAlloc | BenchName::HoldFree => Some(0.5),
                _ => None,
            };
        }
        if self.engine != EngineName::Zonal || self.threads != 1 {
            return None;
        }
        if self.cpus != 2 {
            return match (self.bench, self.cpus) {
                (BenchName::FailAtomic, 128) => Some(100.0),
                (BenchName::Drain, 4) => Some(0.5),
                (BenchName::DrainEmpty, 4) => Some(2.0),
                _ => None,
            };
        }
        match (self.bench, self.order.get()) {
            (BenchName::Pair, 0) => Some(2.4),
            (BenchName::Pair, 3) => Some(2.8),
            (BenchName::Pair, 9) => Some(5.0),
            (BenchName::HoldAlloc | BenchName::HoldFree, 0) => Some(1.5),
            (BenchName::HoldFreeRandom, 0) => Some(3.7),
            (BenchName::Bulk, _) => Some(0.5),
            (BenchName::BulkFrag, _) => Some(1.5),
            (BenchName::Churn50, 0) => Some(12.0),
            (BenchName::Churn90, 0) => Some(16.0),
            (BenchName::Churn50 | BenchName::Churn90, 9) => Some(8.0),
            (BenchName::Fail | BenchName::FailSmall, _) => Some(8.0),
            (BenchName::FailFrag | BenchName::FailFragSmall | BenchName::FailAtomic, _) => Some(8.0),
            _ => None,
        }
    }

    /// The case whose time this one may take besides so many compare-exchanges.
    pub(super) fn part(&self) -> Option<(Self, f64)> {
        let own =
            self.engine == EngineName::Zonal && self.threads == 1 && self.bench == BenchName::OfflineFree;
        own.then_some((Self { bench: BenchName::OfflineDrain, ..*self }, 64.0 * 4.0))
    }

    /// The case this one is compared with, and how many times its time this one should take at most: more CPUs or more
    /// threads should cost next to nothing.
    pub(super) fn sister(&self) -> Option<(Self, f64)> {
        if !matches!(self.engine, EngineName::Zonal | EngineName::ZonalOwner) {
            return None;
        }
        match (self.bench, self.threads, self.cpus) {
            (BenchName::Pair, threads, 128) => Some((Self { threads, cpus: 2, ..*self }, 1.1)),
            (BenchName::Pair, 2, cpus) => Some((Self { threads: 1, cpus, ..*self }, 1.15)),
            (BenchName::Atomic | BenchName::Nowait, ..) => {
                Some((Self { bench: BenchName::Pair, ..*self }, FLAT))
            }
            (BenchName::Churn50 | BenchName::Churn90, 2, cpus) => {
                Some((Self { threads: 1, cpus, ..*self }, 1.5))
            }
            (BenchName::Boot, ..) => {
                let (bench, engine) = (BenchName::BootMemset, EngineName::Limit);
                Some((Self { bench, engine, cpus: 2, ..*self }, 3.0))
            }
            (BenchName::ReaderRebuilds, ..) => Some((Self { bench: BenchName::Reader, ..*self }, 3.0)),
            (BenchName::Full, ..) => Some((Self { bench: BenchName::FullSmall, ..*self }, 4.0)),
            (BenchName::Fail, ..) => Some((Self { bench: BenchName::FailSmall, ..*self }, FLAT)),
            (BenchName::FailFrag, ..) => Some((Self { bench: BenchName::FailFragSmall, ..*self }, FLAT)),
            _ => None,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bench, engine, threads, cpus, order } = self;
        write!(f, "{} {} order {order} threads {threads} cpus {cpus}", bench.name(), engine.name())
    }
}
