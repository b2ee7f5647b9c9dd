//! Drains in the midst of others' operations, which are stood still by hand.

use core::mem::MaybeUninit;
use core::time::Duration;
use std::sync::mpsc;
use std::thread;
use std::vec;

use super::*;
use crate::build::metadata_size;
use crate::config::Config;
use crate::frame::{GROUP_FRAMES, NodeId, Order};
use crate::platform::OneCpu;
use crate::request::Request;
use crate::topology::{MemoryRange, Topology};

/// Longer than a drain takes on any machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_drain_neither_waits_for_what_is_on_the_move_nor_leaves_words_alone_for_it() {
    let memory = [MemoryRange::new(0, 4 * BLOCK_FRAMES, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let config = Config { dma_end: Pfn::new(0), dma32_end: Pfn::new(0), ..Config::new(topology) };
    let metadata = vec![MaybeUninit::uninit(); metadata_size(&config).expect("a good machine")].leak();
    let allocator = PageAllocator::new(&config, OneCpu, metadata).expect("a good machine");
    let held = allocator.alloc_raw(&Request::order(Order::ZERO)).expect("all frames are free");
    // From here on some operation never goes on.
    allocator.state.zones.iter().for_each(|zone| zone.count.enter(GROUP_FRAMES));
    let (drained, drains) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens if the test has failed.
        let _ = drained.send(allocator.drain_cpu(0));
        let _ = drained.send(allocator.drain_all());
        // SAFETY: allocated above, freed once.
        unsafe { allocator.free_raw(held, Order::ZERO) }.expect("it is the test's");
        let _ = drained.send(allocator.drain_all());
    });
    let drains: Result<vec::Vec<_>, _> = (0..3).map(|_| drains.recv_timeout(PATIENCE)).collect();
    assert_eq!(drains, Ok(vec![GROUP_FRAMES - 1, 0, 1]), "the rest of a group, nothing, the frame");
}
