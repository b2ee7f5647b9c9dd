//! Storm `drain`: two threads empty, close and reopen all words and isolate blocks while two others allocate and free.

use anyhow::Result;
use zonal::Order;
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// 48 blocks, two CPUs, four threads.
pub(super) struct Drain;

impl Storm for Drain {
    fn name(&self) -> &'static str {
        "drain"
    }

    fn about(&self) -> &'static str {
        "two threads drain, close and reopen the caches that two others use, and isolate blocks"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["DrainPlain", "InstallIgnoresClose", "IsolateNoDebit"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Drain {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 96 << 20, 2)
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 0, 0, 5]);
        match (hand.whose.thread % 2, hand.dice.u8(..32)) {
            (0, 0) => hand.isolate(),
            (0, 1..=4) => hand.while_closed(|hand| hand.take_and_give(class, Order::ZERO)),
            (0, 5) => hand.drain_all(),
            (0, _) => hand.drain_one(),
            (_, 0) => hand.migrate(),
            (_, 1..=15) => hand.take_and_hold(class, order),
            _ => hand.give_one(),
        }
    }
}
