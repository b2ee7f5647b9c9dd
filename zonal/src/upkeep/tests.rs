//! Drains in the midst of others' operations, which are stood still by hand.

use core::mem::MaybeUninit;
use core::time::Duration;
use std::boxed::Box;
use std::sync::{Mutex, PoisonError, mpsc};
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
use crate::poison::Poisoned;
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

/// Has a free of a frame be seen only when its CPU passes a barrier: of all frames of a block that it is not part of the others are free.
#[cfg(target_arch = "x86_64")] // where a CPU may own its words without an operating system
fn with_a_free_unseen(act: impl FnOnce(&PageAllocator<'static, OneCpu>, Pfn)) {
    /// The allocator that a barrier is of, and the frame that is being freed.
    static UNSEEN: Mutex<Option<(&PageAllocator<'static, OneCpu>, Pfn)>> = Mutex::new(None);
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = [MemoryRange::new(0, 64 * BLOCK_FRAMES, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let barrier = |_| {
        let unseen = UNSEEN.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((allocator, pfn)) = unseen else { return true };
        // Its store is seen now: it found the block open, so the frame is in a word.
        let (zone, _) = allocator.state.block(pfn).expect("it is there");
        let word = zone.caches[0].words().find(|word| word.load().mask() == 0).expect("most hold nothing");
        let mask = 1 << (pfn.get() % GROUP_FRAMES);
        word.exchange(Locked, word.load(), Slot::new(zone.group_of(pfn), mask))
    };
    // SAFETY: one thread at a time and no interrupt: nobody is in another call, nobody leaves a CPU.
    let own_words = unsafe { OwnWords::pinned(1, barrier) };
    let config = Config { dma_end: Pfn::new(0), dma32_end: Pfn::new(0), own_words, ..Config::new(topology) };
    let metadata = vec![MaybeUninit::uninit(); metadata_size(&config).expect("a good machine")].leak();
    let built = PageAllocator::new(&config, OneCpu, metadata).expect("a good machine");
    let allocator: &'static PageAllocator<'static, OneCpu> = Box::leak(Box::new(built));
    assert!(allocator.owns_words());
    let run = allocator.alloc_raw(&Request::order(Order::from_raw(8))).expect("all frames are free");
    // SAFETY: allocated above; all but two frames are freed, once; one of those by the barrier, the other by who acts.
    (2..256).for_each(|at| unsafe { allocator.free_raw(run.add(at), Order::ZERO) }.expect("a part"));
    // No word has a group of the block.
    allocator.drain_range(FrameRange::new(Pfn::new(0), Pfn::new(64 * BLOCK_FRAMES)));
    *UNSEEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((allocator, run));
    act(allocator, run.add(1));
    assert!(UNSEEN.lock().unwrap_or_else(PoisonError::into_inner).is_none(), "a barrier was passed");
    let summary = allocator.audit(&mut |finding| panic!("{finding}"));
    assert_eq!((summary.allocated, summary.cached), (0, 0), "all frames have landed");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn who_isolates_passes_a_barrier_before_it_looks() {
    with_a_free_unseen(|allocator, held| {
        let start = Pfn::new(held.get() / BLOCK_FRAMES * BLOCK_FRAMES);
        let block = FrameRange::new(start, start.add(BLOCK_FRAMES));
        assert_eq!(allocator.isolate(block), Ok(BLOCK_FRAMES - 2));
        // SAFETY: the test's own, freed once.
        assert_eq!(unsafe { allocator.free_raw(held, Order::ZERO) }, Ok(()));
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn who_poisons_passes_a_barrier_before_it_looks() {
    with_a_free_unseen(|allocator, held| {
        assert_eq!(allocator.poison(held), Ok(Poisoned::Pending));
        // SAFETY: the test's own, freed once.
        assert_eq!(unsafe { allocator.free_raw(held, Order::ZERO) }, Ok(()));
        assert_eq!(allocator.poisoned(held), Some(Poisoned::Out), "not in a word of its group");
        allocator.drain_all();
    });
}
