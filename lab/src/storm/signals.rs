//! Storm `signals`: timer signals interrupt the threads every 20 to 50 microseconds, and the handlers allocate, free and
//! drain in the middle of whatever they interrupted, handlers included.

use anyhow::Result;
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// 64 blocks, two CPUs, two threads, three handlers deep.
pub(super) struct Signals;

impl Storm for Signals {
    fn name(&self) -> &'static str {
        "signals"
    }

    fn about(&self) -> &'static str {
        "timer handlers allocate, free and drain in the middle of interrupted operations"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["RetryForever", "CachedForgotten", "EvictionDropsFrame"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Signals {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 128 << 20, 2)
    }

    fn threads(&self) -> usize {
        2
    }

    fn handlers(&self) -> usize {
        3
    }

    fn steps(&self) -> usize {
        30_000
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 10]);
        match hand.dice.u8(..64) {
            0..=27 => hand.take_and_hold(class, order),
            28 => hand.drain_one(),
            29 => hand.while_closed(|_| {}),
            30 => hand.bulk(class),
            31 | 32 => hand.split_one(),
            33..=35 => hand.trade_one(),
            _ => hand.give_one(),
        }
    }

    /// One or two runs, one of them traded for what was left on the shelf, and now and then upkeep.
    fn interrupt(&self, hand: &mut Hand) {
        hand.migrate();
        // Mostly what interrupts ask for.
        let wishes = [0, 1].map(|_| hand.wish(&[0, 0, 0, 0, 3, 3, 5, 9]));
        match hand.dice.u8(..32) {
            0 => hand.drain_one(),
            1 => hand.while_closed(|_| {}),
            2..=5 => hand.bulk(wishes[0].0),
            _ => {
                let [first, second] = wishes.map(|(class, order)| hand.take(class, order));
                let place = hand.dice.usize(..);
                let traded = first.and_then(|run| hand.stage.trade(place, Some(run)));
                second.into_iter().chain(traded).for_each(|run| hand.give(run));
            }
        }
    }
}
