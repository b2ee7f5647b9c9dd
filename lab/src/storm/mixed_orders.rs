//! Storm `mixed-orders`: runs of every order up to 10, split and freed in parts, on two nodes with all zones, in checked mode;
//! now and then a free that must be refused.

use anyhow::Result;
use zonal::{BLOCK_FRAMES, Checking, MemoryRange, NodeId, Order, Pfn};
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::{Finding, Storm, Threads};

/// First frame of the second node, 34 blocks; and the frame after it.
const SECOND: u64 = 16 * BLOCK_FRAMES;
const END: u64 = SECOND + 34 * BLOCK_FRAMES;

/// 50 blocks: DMA, DMA32 and Normal on one node, Normal on the other.
pub(super) struct MixedOrders;

impl Storm for MixedOrders {
    fn name(&self) -> &'static str {
        "mixed-orders"
    }

    fn about(&self) -> &'static str {
        "threads allocate runs of 1 to 1024 frames on two nodes, split them and free the parts; some frees are wrong"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["LostRunKept", "ZonelistStops", "DoubleFreeAccepted", "PanicOnForeign"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for MixedOrders {
    fn machine(&self) -> Result<Machine, MachineError> {
        let memory = vec![MemoryRange::new(0, SECOND, 0), MemoryRange::new(SECOND, END, 1)];
        let cpus = [0, 0, 1, 1].map(NodeId).to_vec();
        let ends = [2, 4].map(|blocks| Pfn::new(blocks * BLOCK_FRAMES));
        Ok(Machine::new(memory, cpus)?.with_zone_ends(ends[0], ends[1])?.with_checking(Checking::On))
    }

    fn steps(&self) -> usize {
        500
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10]);
        match hand.dice.u8(..64) {
            0 => hand.migrate(),
            1..=24 => hand.take_and_hold(class, order),
            25..=27 => hand.split_one(),
            28 => hand.misuse(Pfn::new(END), order),
            29 => misuse_of_own(hand),
            30..=41 => hand.take_and_give(class, order),
            _ => hand.give_one(),
        }
    }
}

/// A free of a run of one's own with the wrong order, or of a frame inside it.
fn misuse_of_own(hand: &mut Hand) {
    let Some(run) = hand.pick() else { return };
    if run.order() == Order::ZERO {
        hand.misuse(run.pfn(), Order::GROUP);
    } else {
        hand.misuse(run.pfn().add(1), Order::ZERO);
    }
    hand.hold(run);
}
