//! Storm `churn`: every thread allocates and frees single frames and small runs, in any order, on any CPU.

use anyhow::Result;
use zonal::{Mark, NodeId, ZoneKind};
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// 48 blocks with a mark, four CPUs, four threads.
pub(super) struct Churn;

impl Storm for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn about(&self) -> &'static str {
        "threads allocate and free single frames and small runs, in any order"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["BitsBeforeCount", "EvictionDropsFrame", "HintLost", "MarkIgnored"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Churn {
    fn machine(&self) -> Result<Machine, MachineError> {
        let mark = Mark { node: NodeId(0), zone: ZoneKind::Normal, frames: 100 };
        Ok(Machine::uniform(1, 96 << 20, 4)?.with_marks(vec![mark]))
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 0, 0, 3]);
        match hand.dice.u8(..64) {
            0 => hand.migrate(),
            1..=34 => hand.take_and_hold(class, order),
            35 => hand.bulk(class),
            _ => hand.give_one(),
        }
    }
}
