//! What a row is about: bench, engine, threads, CPUs, order; and what it should cost.

use std::fmt;

use clap::ValueEnum;
use zonal::Order;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum BenchName {
    /// One load and one locked compare-exchange of a word nobody else uses.
    Cas,
    /// Two of them, the second hanging on the first: a bit of a word found, cleared and set again.
    CasPair,
    /// The same, each in a call of its own that finds the word by the number of its CPU.
    CpuPair,
    /// One allocation and its free, in a loop.
    Pair,
    /// 65,536 frames allocated one by one.
    HoldAlloc,
    /// 65,536 frames freed one by one, in the order they were allocated.
    HoldFree,
    /// 65,536 frames freed one by one, in random order.
    HoldFreeRandom,
    /// 65,536 frames allocated and freed in groups, everything else free.
    Bulk,
    /// The same with half of the memory taken at random.
    BulkFrag,
}

impl BenchName {
    /// The name as it is given and printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cas => "cas",
            Self::CasPair => "cas-pair",
            Self::CpuPair => "cpu-pair",
            Self::Pair => "pair",
            Self::HoldAlloc => "hold-alloc",
            Self::HoldFree => "hold-free",
            Self::HoldFreeRandom => "hold-free-random",
            Self::Bulk => "bulk",
            Self::BulkFrag => "bulk-frag",
        }
    }

    /// What one `ns` is for.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Cas => "load + locked compare-exchange",
            Self::CasPair | Self::CpuPair => "bit cleared + set",
            Self::Pair => "alloc + free",
            Self::HoldAlloc => "alloc",
            Self::HoldFree | Self::HoldFreeRandom => "free",
            Self::Bulk | Self::BulkFrag => "alloc + free of a frame",
        }
    }

    /// The orders of the bare run.
    pub(super) const fn orders(self) -> &'static [u8] {
        match self {
            Self::Pair => &[0, 3, 9],
            _ => &[0],
        }
    }

    /// Whether it is the processor that is timed, on no machine of ours.
    pub(super) const fn is_limit(self) -> bool {
        matches!(self, Self::Cas | Self::CasPair | Self::CpuPair)
    }

    /// Whether runs of other orders than 0 can be asked for.
    pub(super) const fn has_orders(self) -> bool {
        matches!(self, Self::Pair | Self::HoldAlloc | Self::HoldFree | Self::HoldFreeRandom)
    }

    /// The CPUs of the machines of the bare run.
    pub(super) const fn cpus(self) -> &'static [u16] {
        match self {
            Self::Pair => &[2, 128],
            _ => &[2],
        }
    }
}

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum EngineName {
    /// The page allocator, with locked slot words.
    Zonal,
    /// The processor alone: what no allocator of this kind can beat.
    Limit,
}

impl EngineName {
    /// The name as it is given and printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zonal => "zonal",
            Self::Limit => "limit",
        }
    }

    /// What the engine hands out.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Zonal => "frame",
            Self::Limit => "limit",
        }
    }

    /// Whether the engine can do the bench.
    pub(super) const fn does(self, bench: BenchName) -> bool {
        matches!(self, Self::Limit) == bench.is_limit()
    }
}

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
        if self.threads != 1 || self.cpus != 2 {
            return None;
        }
        match (self.bench, self.order.get()) {
            (BenchName::Pair, 0) => Some(2.4),
            (BenchName::Pair, 3) => Some(2.8),
            (BenchName::Pair, 9) => Some(5.0),
            (BenchName::HoldAlloc | BenchName::HoldFree, 0) => Some(1.5),
            (BenchName::HoldFreeRandom, 0) => Some(3.7),
            (BenchName::Bulk, _) => Some(0.5),
            (BenchName::BulkFrag, _) => Some(1.5),
            _ => None,
        }
    }

    /// The case this one is compared with, and how many times its time this one should take at most: more CPUs or more
    /// threads should cost next to nothing.
    pub(super) fn sister(&self) -> Option<(Self, f64)> {
        match (self.bench, self.threads, self.cpus) {
            (BenchName::Pair, threads, 128) => Some((Self { threads, cpus: 2, ..*self }, 1.1)),
            (BenchName::Pair, 2, cpus) => Some((Self { threads: 1, cpus, ..*self }, 1.15)),
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
