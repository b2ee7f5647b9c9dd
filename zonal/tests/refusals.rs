//! Failures that other allocators invent: each hole found elsewhere is a test.
//!
//! A request is refused only if no usable run is left, wherever its frames are cached and whoever freed them.

mod support;

use std::collections::BTreeSet;

use support::{Leaked, Setup, audited, built, order};
use zonal::{AllocError, Caching, NodeId, Order, Pfn, Request};
use zonal_testkit::{BLOCK, Class, Machine, Mark};

const CACHINGS: [Caching; 3] = [Caching::Off, Caching::Local, Caching::All];
const FRAME: Request = Request::order(Order::ZERO);

/// One node and two CPUs, `blocks` blocks from frame 0 on.
fn setup(blocks: u64, caching: Caching) -> Setup {
    Setup::of(&Machine::one_node(2, &[(0, blocks * BLOCK)])).caching(caching)
}

fn alloc(allocator: &Leaked, by: u8) -> Pfn {
    allocator.alloc_raw(&Request::order(order(by))).expect("the machine has room")
}

fn free(allocator: &Leaked, pfn: Pfn, by: u8) {
    // SAFETY: the tests free each run they hold once, and touch no frame.
    assert_eq!(unsafe { allocator.free_raw(pfn, order(by)) }, Ok(()));
}

#[test]
fn a_single_frame_is_had_where_no_eight_lie_together() {
    for caching in CACHINGS {
        let (allocator, cpu) = built(&setup(2, caching));
        let taken: BTreeSet<Pfn> = (0..2 * BLOCK).map(|_| alloc(&allocator, 0)).collect();
        assert_eq!(taken.len() as u64, 2 * BLOCK);
        let scattered: Vec<Pfn> = taken.iter().copied().step_by(7).collect();
        for (at, &pfn) in scattered.iter().enumerate() {
            cpu.move_to(at % 2);
            free(&allocator, pfn, 0);
        }
        let again: BTreeSet<Pfn> = scattered.iter().map(|_| alloc(&allocator, 0)).collect();
        assert_eq!(again, scattered.into_iter().collect());
    }
}

/// What other CPUs freed is theirs to claim first, and anybody's before a request fails: to the frame above the mark.
#[test]
fn what_other_cpus_freed_is_had_before_a_request_fails() {
    for frames in [0, 100] {
        let mark = Mark { node: 0, class: Class::Normal, frames };
        let machine = Machine { marks: vec![mark], ..Machine::one_node(3, &[(0, 6 * BLOCK)]) };
        let (allocator, cpu) = built(&Setup::of(&machine));
        // Five blocks, so that the free of each leaves the sixth's frames in the zone's count.
        let blocks: Vec<Pfn> = (0..5).map(|_| alloc(&allocator, 9)).collect();
        for (&pfn, on) in blocks.iter().zip([0, 0, 1, 1, 2]) {
            cpu.move_to(on);
            free(&allocator, pfn, 9);
        }
        audited(&allocator);
        cpu.move_to(0);
        let spared = u64::from(frames > 0);
        let again: Vec<Pfn> = (0..6 - spared).map(|_| alloc(&allocator, 9)).collect();
        let above = spared * (BLOCK - frames);
        let refused = AllocError::NoMemory { order: Order::BLOCK, free: above, in_flight: 0 };
        assert_eq!(allocator.alloc_raw(&Request::order(Order::BLOCK)), Err(refused));
        for _ in 0..above {
            alloc(&allocator, 0);
        }
        assert!(allocator.alloc_raw(&FRAME).is_err(), "the mark was not kept");
        again.iter().for_each(|&pfn| free(&allocator, pfn, 9));
        audited(&allocator);
    }
}

/// Isolation debits what the zone's count does not have but credits do.
#[test]
fn what_cpus_freed_can_be_isolated() {
    let (allocator, cpu) = built(&setup(4, Caching::Local));
    let blocks: Vec<Pfn> = (0..3).map(|_| alloc(&allocator, 9)).collect();
    for (at, &pfn) in blocks.iter().enumerate() {
        cpu.move_to(at % 2);
        free(&allocator, pfn, 9);
    }
    let all = support::range(0, 4 * BLOCK);
    assert_eq!(allocator.isolate(all), Ok(4 * BLOCK));
    audited(&allocator);
    assert!(allocator.unisolate(all).is_ok());
    audited(&allocator);
}

#[test]
fn what_other_cpus_cache_is_had_before_a_request_fails() {
    let (allocator, cpu) = built(&setup(1, Caching::Local));
    let taken: Vec<Pfn> = (0..BLOCK).map(|_| alloc(&allocator, 0)).collect();
    cpu.move_to(1);
    for &pfn in &taken[..40] {
        free(&allocator, pfn, 0);
    }
    cpu.move_to(0);
    let again: BTreeSet<Pfn> = (0..40).map(|_| alloc(&allocator, 0)).collect();
    assert_eq!(again, taken[..40].iter().copied().collect());
    let full = AllocError::NoMemory { order: Order::ZERO, free: 0, in_flight: 0 };
    assert_eq!(allocator.alloc_raw(&FRAME), Err(full));
}

/// Every frame above the mark is had, wherever it is cached: nobody fails for frames in its own list.
#[test]
fn cached_frames_count_as_free_against_the_mark() {
    let mut machine = Machine::one_node(2, &[(0, 8 * BLOCK)]);
    machine.marks.push(Mark { node: 0, class: Class::Normal, frames: 1000 });
    for caching in CACHINGS {
        let (allocator, cpu) = built(&Setup::of(&machine).caching(caching));
        for at in 0..8 * BLOCK - 1000 {
            cpu.move_to(at as usize % 2);
            let above = 8 * BLOCK - 1000 - at;
            assert!(allocator.alloc_raw(&FRAME).is_ok(), "refused with {above} above the mark");
        }
        let at_mark = AllocError::NoMemory { order: Order::ZERO, free: 0, in_flight: 0 };
        assert_eq!(allocator.alloc_raw(&FRAME), Err(at_mark));
    }
}

#[test]
fn every_wholly_free_block_is_had_as_order_9() {
    for caching in CACHINGS {
        let blocks = 1024;
        let (allocator, _) = built(&setup(blocks, caching));
        let broken: Vec<u64> = (0..blocks).filter(|block| block % 5 != 3).collect();
        for block in &broken {
            assert_eq!(allocator.alloc_at(&FRAME, Pfn::new(block * BLOCK + block % 512)), Ok(()));
        }
        let huge: BTreeSet<u64> =
            std::iter::from_fn(|| allocator.alloc_raw(&FRAME.with_order(Order::BLOCK)).ok())
                .map(Pfn::get)
                .collect();
        let expected: BTreeSet<u64> =
            (0..blocks).filter(|block| block % 5 == 3).map(|block| block * BLOCK).collect();
        assert_eq!(huge, expected);
    }
}

#[test]
fn a_preferred_node_with_frames_serves_however_few_they_are() -> Result<(), AllocError> {
    let (allocator, _) = built(&Setup::of(&Machine::equal_nodes(2, 1, 0, BLOCK)).caching(Caching::Off));
    let request = FRAME.node(NodeId(1));
    for _ in 0..BLOCK {
        assert!(allocator.alloc_raw(&request)?.get() >= BLOCK);
    }
    assert!(allocator.alloc_raw(&request)?.get() < BLOCK);
    Ok(())
}

/// Frees the parts of one split block from two threads at once, again and again.
#[test]
fn parts_of_one_block_are_freed_by_two_threads_at_once() {
    for (to, caching) in [0, 3, 6, 8].into_iter().zip(CACHINGS.into_iter().cycle()) {
        let (allocator, _) = built(&setup(1, caching).checked());
        let parts = 1u64 << (9 - to);
        for _ in 0..200 {
            let pfn = alloc(&allocator, 9);
            // SAFETY: the run is held here and no frame is touched.
            assert_eq!(unsafe { allocator.split_raw(pfn, order(9), order(to)) }, Ok(()));
            std::thread::scope(|scope| {
                for half in 0..2 {
                    let allocator = &allocator;
                    let mine = (0..parts).filter(move |part| part % 2 == half);
                    scope.spawn(move || {
                        mine.for_each(|part| free(allocator, pfn.add(part << to), to));
                    });
                }
            });
            assert_eq!(audited(&allocator).allocated, 0);
        }
    }
}
