//! Storm `drain`: words are emptied while their owners stand still at any instruction, and a hundred times a second beside them
//! ([`stopped`]); then two threads empty, close and reopen all words and isolate blocks while two others allocate and free.

mod brake;
mod owner;
mod stopped;
mod times;
mod world;

use anyhow::Result;
use zonal::Order;
use zonal_linux::{Machine, MachineError};

use self::times::Times;
use super::engine::{self, Outcome, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// 48 blocks, two CPUs, four threads.
pub(super) struct Drain;

impl Storm for Drain {
    fn name(&self) -> &'static str {
        "drain"
    }

    fn about(&self) -> &'static str {
        "caches are drained whose owners stand still, or are at work; closed and reopened, and blocks isolated"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["DrainSkipsBusy", "DrainPlain", "InstallIgnoresClose", "IsolateNoDebit"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        // By turns, each pair as long as all before it: what only one of the two finds is found soon.
        let (mut outcome, mut times) = (Outcome::default(), Times::default());
        let (mut left, mut turn) = (run.seconds.div_ceil(2), 1);
        while left > 0 && outcome.tally.first.is_none() {
            let run = Run { seconds: turn.min(left), seed: run.seed.wrapping_add(left), ..run };
            let (stopped, drains) = stopped::rage(run)?;
            outcome = outcome.and(stopped);
            times = times.and(drains);
            if outcome.tally.first.is_none() {
                outcome = outcome.and(engine::run(self, run)?);
            }
            (left, turn) = (left - run.seconds, turn * 2);
        }
        let mut finding = outcome.finding(self.name());
        finding.report.details = times.to_string();
        Ok(finding)
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
            (0, 6) => hand.age_caches(),
            (0, _) => hand.drain_one(),
            (_, 0) => hand.migrate(),
            (_, 1..=15) => hand.take_and_hold(class, order),
            _ => hand.give_one(),
        }
    }
}
