//! Memory goes offline though an operation that has some of it in hand does not get on for a while.

mod support;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::thread;

use support::{Setup, audited, range};
use zonal::{
    FrameRange, Gfp, HotRange, HotplugError, ObstacleCause, OnlineType, Order, PageAllocator, Pfn, Platform,
    Request, SECTION_FRAMES,
};
use zonal_testkit::{BLOCK, Machine};

/// Pauses in which who has a frame in hand does not get on.
const STILL: u32 = 40;

/// Who asks for a zeroed frame stands still until it may go on.
#[derive(Default)]
struct Still {
    has_one: AtomicBool,
    may_go: AtomicBool,
    has_gone: AtomicBool,
    pauses: AtomicU32,
    most: OnceLock<u32>,
}

impl Platform for &'static Still {
    fn cpu(&self) -> usize {
        0
    }

    fn zero(&self, _first: Pfn, _frames: u64) -> bool {
        self.has_one.store(true, SeqCst);
        while !self.may_go.load(SeqCst) {
            thread::yield_now();
        }
        true
    }

    fn pause(&self) {
        if Some(&self.pauses.fetch_add(1, SeqCst)) == self.most.get() {
            self.may_go.store(true, SeqCst);
            while !self.has_gone.load(SeqCst) {
                thread::yield_now();
            }
        }
    }
}

/// A section of Movable memory, and somebody who stands still in the middle of a request for a frame of it.
fn offlined(most: Option<u32>) -> (Result<u64, HotplugError>, Vec<ObstacleCause>) {
    let section = range(2 * SECTION_FRAMES, 3 * SECTION_FRAMES);
    let setup = Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&Machine::one_node(1, &[(0, 8 * BLOCK)])) };
    let FrameRange { start, end } = section;
    let setup = setup.hotplug(&[HotRange::new(start.get(), end.get(), 0)]).checked();
    let still: &'static Still = Box::leak(Box::default());
    let memory = setup.lend().expect("a good machine").leak();
    let allocator = PageAllocator::new(&setup.config(), still, memory).expect("a good machine");
    allocator.add_memory(section).expect("it is absent");
    allocator.online_memory(section, OnlineType::Movable).expect("nobody objects");
    most.into_iter().for_each(|most| still.most.set(most).expect("once"));
    let mut causes = Vec::new();
    let outcome = thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let zeroed = Gfp::HIGHUSER_MOVABLE | Gfp::ZERO;
            let pfn = allocator.alloc_raw(&Request::order(Order::ZERO).gfp(zeroed).expect("good flags"));
            let pfn = pfn.expect("much is free");
            // SAFETY: just allocated.
            assert_eq!(unsafe { allocator.free_raw(pfn, Order::ZERO) }, Ok(()));
            still.has_gone.store(true, SeqCst);
            pfn
        });
        while !still.has_one.load(SeqCst) {
            thread::yield_now();
        }
        let done = allocator.offline_memory(section, &mut |obstacle| causes.push(obstacle.cause));
        still.may_go.store(true, SeqCst);
        assert!(section.contains(asks.join().expect("it was served")));
        done.map(|done| done.frames)
    });
    assert_eq!(audited(&allocator).isolated, 0);
    (outcome, causes)
}

#[test]
fn what_comes_to_rest_is_waited_for() {
    assert_eq!(offlined(Some(STILL)), (Ok(SECTION_FRAMES), vec![]));
}

#[test]
fn what_does_not_is_told() {
    let told = (Err(HotplugError::InTheWay { frames: 1 }), vec![ObstacleCause::InFlight]);
    assert_eq!(offlined(None), told);
}
