//! Storm `parked`: what one CPU frees by the nolock pair another one has at once, and nobody frees in any other way.
//!
//! Two threads on one CPU ask for frames up to all that there is but what operations may have in hand, two on the other free them as
//! fast; nobody drains. In Linux such frees are parked under contention, until somebody frees ordinarily: here nobody ever does
//! until the threads stand still.

use anyhow::Result;
use zonal::Order;
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::request::Class;
use super::stage::Room;
use super::{Finding, Storm, Threads};

/// 48 blocks, two CPUs, four threads.
pub(super) struct Parked;

/// Threads that ask; the others free.
const ASK: usize = 2;

impl Storm for Parked {
    fn name(&self) -> &'static str {
        "parked"
    }

    fn about(&self) -> &'static str {
        "what is freed by nolock on one CPU is allocatable at once on another; nobody frees otherwise"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["NolockParks"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Parked {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 96 << 20, 2)
    }

    fn step(&self, hand: &mut Hand) {
        let (asks, place) = (hand.whose.thread < ASK, hand.dice.usize(..));
        hand.stage.cpus.play(usize::from(asks));
        if !asks {
            let left = hand.stage.trade(place, None);
            return left.into_iter().for_each(|run| hand.give_nolock(run));
        }
        // The threads that free hold nothing, so these share what all may hold.
        let most = hand.stage.limit(Room::Roomy) * self.threads() as u64 / ASK as u64;
        let order = [Order::ZERO, Order::GROUP][usize::from(hand.dice.u8(..32) == 0)];
        if hand.frames + order.frames() <= most {
            match hand.request(Class::Nolock, order) {
                Ok(run) => hand.hold(run),
                Err(error) if order == Order::ZERO => hand.refused_wrongly(Class::Nolock, error),
                Err(_) => {}
            }
        } else {
            hand.trade_one();
        }
    }
}
