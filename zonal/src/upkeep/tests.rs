//! Drains in the midst of others' operations, which are stood still by hand.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::vec;

use super::*;
use crate::build::metadata_size;
use crate::cache::hand::Locked;
use crate::cache::word::Slot;
use crate::config::Config;
use crate::frame::{GROUP_FRAMES, NodeId, Order};
use crate::own_words::OwnWords;
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

/// What an owner stored before the barrier, and nobody saw till then, is had by who isolates.
#[test]
#[cfg(target_arch = "x86_64")] // where a CPU may own its words without an operating system
fn who_isolates_passes_a_barrier_before_it_looks() {
    static ALLOCATOR: OnceLock<PageAllocator<'static, OneCpu>> = OnceLock::new();
    const NONE: u64 = u64::MAX;
    static FREED: AtomicU64 = AtomicU64::new(NONE);
    let memory = [MemoryRange::new(0, 64 * BLOCK_FRAMES, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let barrier = |_| {
        let pfn = match FREED.swap(NONE, Ordering::Relaxed) {
            NONE => return true,
            freed => Pfn::new(freed),
        };
        // The store of a free that found the block open is seen now: the frame is in a word.
        let zone =
            ALLOCATOR.get().and_then(|allocator| allocator.state.block(pfn).ok()).expect("it is there").0;
        let word = zone.caches[0].words().find(|word| word.load().mask() == 0).expect("most hold nothing");
        let mask = 1 << (pfn.get() % GROUP_FRAMES);
        word.exchange(Locked, word.load(), Slot::new(zone.group_of(pfn), mask))
    };
    // SAFETY: there is one thread and no interrupt: nobody is in another call, nobody leaves a CPU.
    let own_words = unsafe { OwnWords::pinned(1, barrier) };
    let config = Config { dma_end: Pfn::new(0), dma32_end: Pfn::new(0), own_words, ..Config::new(topology) };
    let metadata = vec![MaybeUninit::uninit(); metadata_size(&config).expect("a good machine")].leak();
    let built = PageAllocator::new(&config, OneCpu, metadata).expect("a good machine");
    let allocator = ALLOCATOR.get_or_init(|| built);
    assert!(allocator.owns_words());
    let block = allocator.alloc_raw(&Request::order(Order::from_raw(8))).expect("all frames are free");
    allocator.drain_all();
    // SAFETY: allocated above; all but a frame is freed, once, and that one by the barrier.
    (1..256).for_each(|at| unsafe { allocator.free_raw(block.add(at), Order::ZERO) }.expect("a part"));
    allocator.drain_all();
    FREED.store(block.get(), Ordering::Relaxed);
    let start = Pfn::new(block.get() / BLOCK_FRAMES * BLOCK_FRAMES);
    assert_eq!(allocator.isolate(FrameRange::new(start, start.add(BLOCK_FRAMES))), Ok(BLOCK_FRAMES - 1));
    assert_eq!(FREED.load(Ordering::Relaxed), NONE, "a barrier was passed");
    let summary = allocator.audit(&mut |finding| panic!("{finding}"));
    assert_eq!((summary.allocated, summary.cached), (0, 0), "the frame has landed");
}
