//! Storm `single-cpu`: one CPU and one thread, and handlers that come back into the operation they interrupt, up to four deep.
//!
//! Where there is one CPU only a trylock always succeeds, and whoever relies on it lets a handler into a half-done step. Here the handler
//! asks, frees and drains on the very words of what it interrupts.

use anyhow::Result;
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::request::Class;
use super::{Finding, Storm, Threads};

/// 16 blocks, one CPU, one thread.
pub(super) struct SingleCpu;

impl Storm for SingleCpu {
    fn name(&self) -> &'static str {
        "single-cpu"
    }

    fn about(&self) -> &'static str {
        "on the only CPU handlers come back into the operation that they interrupt"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["DrainPlain", "EvictionDropsFrame", "NolockParks"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for SingleCpu {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 32 << 20, 1)
    }

    fn threads(&self) -> usize {
        1
    }

    fn handlers(&self) -> usize {
        4
    }

    fn steps(&self) -> usize {
        30_000
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 1, 3, 5, 6, 9]);
        match hand.dice.u8(..16) {
            0..=6 => hand.drain_one(),
            7 => hand.bulk(class),
            8..=11 => hand.take_and_hold(class, order),
            _ => hand.give_one(),
        }
    }

    /// Takes and gives on the words of what it interrupts, which it empties at times; leaves a run for the one after.
    fn interrupt(&self, hand: &mut Hand) {
        if hand.dice.u8(..8) == 0 {
            return hand.drain_one();
        }
        let (_, order) = hand.wish(&[0, 0, 0, 0, 1, 3]);
        let taken = hand.take(Class::Nolock, order);
        let place = hand.dice.usize(..);
        let traded = taken.and_then(|run| hand.stage.trade(place, Some(run)));
        traded.into_iter().for_each(|run| hand.give(run));
    }
}
