//! Misuse that other allocators accept: each hole found elsewhere is a test.
//!
//! With checked frees every misuse is an error that names it, and changes nothing. Failures that other allocators
//! invent are in `refusals.rs`.

mod support;

use std::collections::BTreeSet;

use support::{FakeCpu, Leaked, Setup, audited, built, order, range};
use zonal::{AllocError, Caching, FreeError, Group, Order, Pfn, Request};
use zonal_testkit::{BLOCK, Machine};

const CACHINGS: [Caching; 3] = [Caching::Off, Caching::Local, Caching::All];

/// A machine of one node and two CPUs with `blocks` blocks from frame 0 on, each free checked.
fn checked(blocks: u64, caching: Caching) -> (Leaked, &'static FakeCpu) {
    built(&Setup::of(&Machine::one_node(2, &[(0, blocks * BLOCK)])).checked().caching(caching))
}

fn alloc(allocator: &Leaked, by: u8) -> Pfn {
    allocator.alloc_raw(&Request::order(order(by))).expect("the machine has room")
}

fn free(allocator: &Leaked, pfn: Pfn, by: u8) -> Result<(), FreeError> {
    // SAFETY: misuse is what is tested here, in the mode that detects it; no frame is touched.
    unsafe { allocator.free_raw(pfn, order(by)) }
}

/// Does the misuse and checks that nothing changed, then that every frame can still be had exactly once.
fn refuses(allocator: &Leaked, pfn: Pfn, by: u8, expected: FreeError) {
    let before = audited(allocator);
    assert_eq!(free(allocator, pfn, by), Err(expected));
    let after = audited(allocator);
    assert_eq!((before.allocated, before.free + before.cached), (after.allocated, after.free + after.cached));
    let request = Request::order(Order::ZERO);
    let taken: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
    assert_eq!(taken.len() as u64, before.free + before.cached, "frames to be had after a refused free");
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "a frame was handed out twice");
    for pfn in taken {
        assert_eq!(free(allocator, pfn, 0), Ok(()));
    }
}

fn is_free(error: FreeError) -> bool {
    matches!(error, FreeError::DoubleFree { .. } | FreeError::NotAllocated { .. })
}

fn refuses_double(allocator: &Leaked, pfn: Pfn, by: u8) {
    let error = free(allocator, pfn, by).expect_err("a double free was accepted");
    assert!(is_free(error), "{error}");
    refuses(allocator, pfn, by, error);
}

#[test]
fn frame_0_is_not_handed_out_twice_after_a_double_free() {
    for caching in CACHINGS {
        let (allocator, _) = checked(1, caching);
        assert_eq!(allocator.alloc_at(&Request::order(Order::ZERO), Pfn::new(0)), Ok(()));
        assert_eq!(free(&allocator, Pfn::new(0), 0), Ok(()));
        refuses_double(&allocator, Pfn::new(0), 0);
    }
}

#[test]
fn a_double_free_is_noticed_at_every_order() {
    for caching in CACHINGS {
        let (allocator, _) = checked(16, caching);
        for by in 0..=12 {
            let pfn = alloc(&allocator, by);
            assert_eq!(free(&allocator, pfn, by), Ok(()));
            refuses_double(&allocator, pfn, by);
        }
    }
}

#[test]
fn a_double_free_is_noticed_while_the_frame_is_cached() {
    let (allocator, _) = checked(2, Caching::Local);
    let pfn = alloc(&allocator, 0);
    assert_eq!(free(&allocator, pfn, 0), Ok(()));
    assert!(audited(&allocator).cached > 0, "the frame should be cached here");
    refuses_double(&allocator, pfn, 0);
}

#[test]
fn a_double_free_is_noticed_after_the_caches_were_drained() {
    let (allocator, _) = checked(2, Caching::Local);
    let pfn = alloc(&allocator, 2);
    assert_eq!(free(&allocator, pfn, 2), Ok(()));
    allocator.drain_all();
    assert_eq!(audited(&allocator).cached, 0);
    refuses_double(&allocator, pfn, 2);
}

#[test]
fn a_double_free_is_noticed_on_another_cpu() {
    let (allocator, cpu) = checked(2, Caching::Local);
    let pfn = alloc(&allocator, 0);
    assert_eq!(free(&allocator, pfn, 0), Ok(()));
    cpu.move_to(1);
    refuses_double(&allocator, pfn, 0);
}

#[test]
fn a_double_free_of_a_frame_in_a_free_block_is_noticed() {
    let (allocator, _) = checked(1, Caching::Local);
    let pfn = alloc(&allocator, 0);
    assert_eq!(free(&allocator, pfn, 0), Ok(()));
    allocator.drain_all();
    let block = alloc(&allocator, 9);
    assert_eq!(free(&allocator, block, 9), Ok(()));
    refuses_double(&allocator, pfn, 0);
}

#[test]
fn a_foreign_frame_is_refused() {
    let mut machine = Machine::ragged();
    machine.reserved.push(2049..2560);
    let (allocator, _) = built(&Setup::of(&machine).checked());
    for pfn in [1700, 2100, 4096, 5000].map(Pfn::new) {
        let error = free(&allocator, pfn, 0).expect_err("a foreign frame was freed");
        // The section around it exists, so it may also be called a frame that was never allocated.
        assert!(error == FreeError::Foreign { pfn } || error == FreeError::NotAllocated { pfn }, "{error}");
        refuses(&allocator, pfn, 0, error);
    }
    for pfn in [1 << 20, 1 << 40, u64::MAX].map(Pfn::new) {
        refuses(&allocator, pfn, 0, FreeError::Foreign { pfn });
    }
}

#[test]
fn a_hole_or_reserved_frame_of_a_block_is_refused() {
    let (allocator, _) = built(&Setup::of(&Machine::ragged()).checked());
    for pfn in [0, 64, 95, 700, 702, 1450, 2048, 3000, 3583].map(Pfn::new) {
        refuses(&allocator, pfn, 0, FreeError::NotAllocated { pfn });
    }
}

#[test]
fn a_frame_never_allocated_is_refused() {
    for caching in CACHINGS {
        let (allocator, _) = checked(4, caching);
        for pfn in [0, 1, 63, 64, 511, 512, 2047] {
            refuses_double(&allocator, Pfn::new(pfn), 0);
        }
        refuses_double(&allocator, Pfn::new(1024), 9);
        refuses_double(&allocator, Pfn::new(0), 11);
    }
}

#[test]
fn a_misaligned_free_is_refused() {
    let (allocator, _) = checked(8, Caching::Local);
    for by in 1..=10 {
        let pfn = alloc(&allocator, by);
        let askew = pfn.add(1 << (by - 1));
        refuses(&allocator, askew, by, FreeError::Misaligned { pfn: askew, order: order(by) });
        assert_eq!(free(&allocator, pfn, by), Ok(()));
    }
}

/// Allocates with one order, frees with another: refused by the cause expected, and the right free still works.
fn wrong_order(allocated: u8, freed: u8) {
    for caching in CACHINGS {
        let (allocator, _) = checked(16, caching);
        assert_eq!(allocator.alloc_at(&Request::order(order(allocated)), Pfn::new(0)), Ok(()));
        let pfn = Pfn::new(0);
        let wrong = FreeError::WrongOrder { pfn, allocated: order(allocated), freed: order(freed) };
        refuses(&allocator, pfn, freed, wrong);
        assert_eq!(free(&allocator, pfn, allocated), Ok(()));
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn one_frame_of_an_order_3_run_is_not_freed_as_order_0() {
    wrong_order(3, 0);
}

#[test]
fn an_order_9_run_is_not_freed_as_order_0() {
    wrong_order(9, 0);
}

#[test]
fn no_run_is_freed_with_another_order() {
    for (allocated, freed) in [(0, 1), (0, 3), (5, 4), (5, 6), (8, 9), (9, 8), (9, 10), (10, 9), (12, 11)] {
        wrong_order(allocated, freed);
    }
}

#[test]
fn a_frame_inside_a_run_is_not_freed() {
    for caching in CACHINGS {
        let (allocator, _) = checked(16, caching);
        for by in 1..=12 {
            let pfn = alloc(&allocator, by);
            for inside in [1, 1 << (by - 1), (1 << by) - 1] {
                let error = free(&allocator, pfn.add(inside), 0).expect_err("part of a run was freed");
                assert!(is_free(error), "order {by}: {error}");
                refuses(&allocator, pfn.add(inside), 0, error);
            }
            assert_eq!(free(&allocator, pfn, by), Ok(()));
        }
    }
}

#[test]
fn two_runs_are_not_freed_as_one() {
    let (allocator, _) = checked(2, Caching::Local);
    let request = Request::order(order(2));
    assert_eq!(allocator.alloc_at(&request, Pfn::new(8)), Ok(()));
    assert_eq!(allocator.alloc_at(&request, Pfn::new(12)), Ok(()));
    let pfn = Pfn::new(8);
    refuses(&allocator, pfn, 3, FreeError::WrongOrder { pfn, allocated: order(2), freed: order(3) });
    assert_eq!(free(&allocator, Pfn::new(12), 2), Ok(()));
    assert_eq!(free(&allocator, pfn, 2), Ok(()));
}

#[test]
fn after_a_split_only_the_parts_are_freed() {
    for (from, to) in [(3, 1), (9, 0), (9, 6), (11, 9), (10, 4)] {
        let (allocator, _) = checked(8, Caching::Local);
        let pfn = alloc(&allocator, from);
        // SAFETY: the run is held here and no frame is touched.
        assert_eq!(unsafe { allocator.split_raw(pfn, order(from), order(to)) }, Ok(()));
        refuses(
            &allocator,
            pfn,
            from,
            FreeError::WrongOrder { pfn, allocated: order(to), freed: order(from) },
        );
        for part in 0..1 << (from - to) {
            assert_eq!(free(&allocator, pfn.add(part << to), to), Ok(()));
            refuses_double(&allocator, pfn.add(part << to), to);
        }
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn what_is_not_held_is_not_split() {
    let (allocator, _) = checked(4, Caching::Local);
    let pfn = alloc(&allocator, 9);
    // SAFETY: misuse is what is tested here, in the mode that detects it; no frame is touched.
    let split = |pfn, from, to| unsafe { allocator.split_raw(pfn, order(from), order(to)) };
    let wrong = FreeError::WrongOrder { pfn, allocated: order(9), freed: order(8) };
    assert_eq!(split(pfn, 8, 0), Err(wrong));
    assert_eq!(split(pfn, 3, 4), Err(FreeError::BadSplit { from: order(3), to: order(4) }));
    assert_eq!(split(pfn.add(1), 1, 0), Err(FreeError::Misaligned { pfn: pfn.add(1), order: order(1) }));
    assert_eq!(free(&allocator, pfn, 9), Ok(()));
    assert!(split(pfn, 9, 0).is_err_and(is_free), "a free run was split");
    assert_eq!(audited(&allocator).allocated, 0);
}

#[test]
fn a_group_with_a_frame_not_held_is_refused() -> Result<(), AllocError> {
    let (allocator, _) = checked(2, Caching::Local);
    let mut groups = [Group::EMPTY; 1];
    assert_eq!(allocator.alloc_bulk(&Request::order(Order::ZERO), 8, &mut groups)?, 1);
    assert_eq!(groups[0].frames(), 8);
    let held = groups[0];
    let beyond = Group { mask: held.mask | held.mask.rotate_left(8), ..held };
    // SAFETY: misuse is what is tested here, in the mode that detects it; no frame is touched.
    let outcome = unsafe { allocator.free_bulk(&[beyond]) };
    assert!(outcome.is_err_and(is_free), "{outcome:?}");
    let summary = audited(&allocator);
    assert!(summary.allocated <= 8, "{summary:?}");
    Ok(())
}

#[test]
fn an_exact_run_is_not_freed_twice() -> Result<(), AllocError> {
    for frames in [1, 3, 32, 33, 700, 1024, 1500] {
        let (allocator, _) = checked(8, Caching::Local);
        let pfn = allocator.alloc_exact(&Request::order(Order::ZERO), frames)?;
        assert_eq!(audited(&allocator).allocated, frames);
        // SAFETY: the run is held here, the second time wrongly; no frame is touched.
        let free = || unsafe { allocator.free_exact(pfn, frames) };
        assert_eq!(free(), Ok(()));
        assert_eq!(audited(&allocator).allocated, 0);
        let again = free();
        assert!(again.is_err_and(is_free), "{again:?}");
        assert_eq!(audited(&allocator).allocated, 0);
    }
    Ok(())
}

#[test]
fn a_free_into_an_isolated_block_stays_there_and_nothing_is_lost() {
    for caching in CACHINGS {
        let (allocator, _) = checked(2, caching);
        let request = Request::order(Order::ZERO);
        assert_eq!(allocator.alloc_at(&request, Pfn::new(100)), Ok(()));
        assert!(allocator.isolate(range(0, BLOCK)).is_ok());
        assert_eq!(free(&allocator, Pfn::new(100), 0), Ok(()));
        let taken: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
        assert!(taken.iter().all(|pfn| pfn.get() >= BLOCK), "a frame of the isolated block was handed out");
        assert_eq!(taken.len() as u64, BLOCK);
        let summary = audited(&allocator);
        assert_eq!((summary.isolated, summary.allocated), (BLOCK, BLOCK), "{summary:?}");
        refuses_double(&allocator, Pfn::new(100), 0);
        assert!(allocator.unisolate(range(0, BLOCK)).is_ok());
        assert_eq!(audited(&allocator).free, BLOCK);
        assert_eq!(alloc(&allocator, 9), Pfn::new(0));
    }
}

#[test]
fn a_whole_run_freed_while_isolated_comes_back_whole() {
    let (allocator, _) = checked(4, Caching::Local);
    let pfn = alloc(&allocator, 10);
    assert!(allocator.isolate(range(0, 4 * BLOCK)).is_ok());
    assert_eq!(free(&allocator, pfn, 10), Ok(()));
    assert_eq!(audited(&allocator).isolated, 4 * BLOCK);
    assert!(allocator.alloc_raw(&Request::order(Order::ZERO)).is_err());
    assert!(allocator.unisolate(range(0, 4 * BLOCK)).is_ok());
    assert_eq!(alloc(&allocator, 11), Pfn::new(0));
}
