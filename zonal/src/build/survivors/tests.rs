//! Operations that die in the middle, one step at a time.

use std::vec;
use std::vec::Vec;

use core::mem::MaybeUninit;

use super::*;
use crate::block::entry::Claim;
use crate::build::{build, metadata_size, rebuild};
use crate::frame::NodeId;
use crate::state::State;
use crate::topology::{Kind, MemoryRange, Topology};

/// Four blocks above 4 GiB.
const MEMORY: [MemoryRange; 1] = [MemoryRange::new(1 << 20, (1 << 20) + 4 * BLOCK_FRAMES, 0)];

fn config() -> Config<'static> {
    let topology =
        Topology { memory: &MEMORY, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    Config::new(topology)
}

fn metadata() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::new(0); metadata_size(&config()).unwrap_or(0)]
}

/// What is found after an operation that died in the middle, and that everything is free but `taken` frames.
fn after(die: impl FnOnce(&State<'_>), taken: u64) -> Recovery {
    let mut metadata = metadata();
    die(&build(&config(), &mut metadata).expect("a machine"));
    // SAFETY: zeroed at first, built above, and the state is gone.
    let rebuilt = unsafe { rebuild(&config(), &mut metadata, &mut |_| true) };
    let (state, found) = rebuilt.expect("nothing is damaged");
    assert_eq!(state.zones[0].count.free(), 4 * BLOCK_FRAMES - taken);
    assert_eq!(found.free, 4 * BLOCK_FRAMES - taken);
    let free: u64 = state.zones[0].blocks().map(|block| block.bitmap.popcount()).sum();
    assert_eq!(
        free,
        found.free + state.zones[0].blocks().filter(|b| b.entry.load().is_whole()).count() as u64 * 512
    );
    found
}

#[test]
fn claims_of_the_dead_come_back() {
    let claim = |state: &State<'_>| {
        let zone = &state.zones[0];
        zone.count.enter(32);
        assert_eq!(zone.count.claim(32, 32, 0), Ok(32));
        assert!(matches!(zone.entries[0].claim(zone.id, 32, 32, None), Claim::Got(32, _)));
    };
    let found = after(claim, 0);
    assert_eq!((found.claimed, found.in_flight), (32, 32));
}

#[test]
fn tentative_blocks_come_back() {
    let take = |state: &State<'_>| {
        assert!(state.zones[0].entries[1].take_tentative(ZoneId(0), Kind::Movable));
    };
    assert_eq!(after(take, 0).tentative, BLOCK_FRAMES);
}

#[test]
fn a_split_that_died_leaves_a_whole_block() {
    let split = |state: &State<'_>| {
        assert!(state.zones[0].entries[1].take_whole(ZoneId(0), Kind::Movable));
        (0..3).for_each(|row| state.zones[0].bitmaps[1].row(row).wipe());
    };
    assert_eq!(after(split, BLOCK_FRAMES).disowned, 0);
}

#[test]
fn frames_freed_but_not_counted_are_free() {
    let free = |state: &State<'_>| {
        let zone = &state.zones[0];
        assert!(matches!(zone.entries[2].claim(zone.id, 1, 1, None), Claim::Got(1, _)));
        assert!(zone.bitmaps[2].row(0).take_exact(1));
        zone.bitmaps[2].row(0).put(1);
    };
    assert_eq!(after(free, 0).claimed, 1);
}
