//! Storm `nmi`: timer signals stand for NMIs: they interrupt every operation there is, on the CPU that it runs on, and ask for
//! frames by the nolock pair in the middle of it, up to two deep.
//!
//! The main code does what is longest and holds most: refills, evictions, long runs, isolations, closings, drains, and rebuilds of
//! the zonelists. Says in which calls handlers ran.

use anyhow::Result;
use zonal::{BLOCK_FRAMES, Order};
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::request::Class;
use super::{Finding, Storm, Threads};

/// 32 blocks on each of two nodes, two CPUs, two threads.
pub(super) struct Nmi;

impl Storm for Nmi {
    fn name(&self) -> &'static str {
        "nmi"
    }

    fn about(&self) -> &'static str {
        "nolock requests from handlers that interrupt every operation there is, on its own CPU"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["WriterAwaited", "NolockGivesUp", "NolockParks"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Nmi {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(2, 64 << 20, 2)
    }

    fn threads(&self) -> usize {
        2
    }

    fn handlers(&self) -> usize {
        2
    }

    fn steps(&self) -> usize {
        10_000
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 1, 3, 5, 6, 8, 9, 10]);
        match hand.dice.u8(..64) {
            0 => hand.drain_all(),
            1..=3 => hand.drain_one(),
            4 => hand.isolate(),
            5 => hand.while_closed(|hand| hand.take_and_give(class, Order::ZERO)),
            6..=9 => hand.bulk(class),
            10..=12 => hand.split_one(),
            13..=20 => hand.rebuild(),
            21 => hand.migrate(),
            22..=43 => hand.take_and_hold(class, order),
            _ => hand.give_one(),
        }
    }

    /// Two runs, as an NMI's code would ask for them; a block now and then.
    fn interrupt(&self, hand: &mut Hand) {
        let by = if hand.dice.u8(..8) == 0 { BLOCK_FRAMES.trailing_zeros() as u8 } else { hand.dice.u8(..4) };
        let orders = [Order::ZERO, Order::new(by).unwrap_or(Order::ZERO)];
        let runs = orders.map(|order| hand.take(Class::Nolock, order));
        runs.into_iter().flatten().for_each(|run| hand.give(run));
    }
}
