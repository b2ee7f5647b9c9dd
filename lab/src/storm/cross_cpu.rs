//! Storm `cross-cpu`: one CPU allocates, another frees.
//!
//! Frames go over the shelf, so that what one CPU's words run out of piles up in another's words and credits.

use anyhow::Result;
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// 48 blocks, four CPUs, four threads: two allocate, two free.
pub(super) struct CrossCpu;

impl Storm for CrossCpu {
    fn name(&self) -> &'static str {
        "cross-cpu"
    }

    fn about(&self) -> &'static str {
        "two CPUs allocate, two others free what they are handed"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["CachedForgotten", "CreditForgotten", "EvictionDropsFrame"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for CrossCpu {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 96 << 20, 4)
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 0, 0, 5]);
        hand.stage.cpus.play(hand.whose.thread);
        if hand.whose.thread.is_multiple_of(2) {
            hand.take_and_hold(class, order);
            // What nobody has fetched yet comes back, and is offered again.
            hand.trade_one();
            return;
        }
        let place = hand.dice.usize(..);
        if let Some(run) = hand.stage.trade(place, None) {
            hand.give(run);
        }
    }
}
