//! Whole blocks that CPUs keep: theirs at once, everybody's before anybody goes without.

mod support;

use std::collections::BTreeSet;

use support::{FakeCpu, Leaked, Setup, audited, built, range};
use zonal::{Caching, FreeError, Gfp, Order, Pfn, Poisoned, Request};
use zonal_testkit::{BLOCK, Machine};

const BLOCKS: u64 = 16;
const FRAME: Order = Order::ZERO;

fn setup() -> Setup {
    Setup::of(&Machine::one_node(2, &[(0, BLOCKS * BLOCK)]))
}

/// The test with words that are everybody's and that are their CPUs', frees checked or not.
fn each(test: impl Fn(&Leaked, &FakeCpu)) {
    each_where(|_| false, test);
}

/// The same where owners of words pass barriers, or not.
fn each_where(barrier: fn(usize) -> bool, test: impl Fn(&Leaked, &FakeCpu)) {
    for setup in [setup(), setup().checked(), setup().owned(barrier), setup().caching(Caching::All)] {
        let (allocator, cpu) = built(&setup);
        test(&allocator, cpu);
    }
}

fn take(allocator: &Leaked, order: Order) -> Pfn {
    allocator.alloc_raw(&Request::order(order)).expect("there is room")
}

fn free(allocator: &Leaked, pfn: Pfn, order: Order) {
    // SAFETY: every caller holds the run.
    assert_eq!(unsafe { allocator.free_raw(pfn, order) }, Ok(()));
}

fn cached(allocator: &Leaked) -> u64 {
    allocator.zones().map(|zone| zone.cached).sum()
}

/// Has CPU 0 keep a block.
fn keep(allocator: &Leaked) -> Pfn {
    let pfn = take(allocator, Order::BLOCK);
    free(allocator, pfn, Order::BLOCK);
    assert_eq!((cached(allocator), audited(allocator).cached), (BLOCK, BLOCK));
    pfn
}

#[test]
fn a_cpu_has_the_block_again_that_it_freed() {
    each(|allocator, cpu| {
        let kept = keep(allocator);
        cpu.move_to(1);
        let other = take(allocator, Order::BLOCK);
        assert_ne!(other, kept, "while there are others, it is left to its CPU");
        cpu.move_to(0);
        assert_eq!(take(allocator, Order::BLOCK), kept);
        assert_eq!(cached(allocator), 0);
        // It keeps one: what it frees besides goes to its place.
        free(allocator, kept, Order::BLOCK);
        free(allocator, other, Order::BLOCK);
        assert_eq!(cached(allocator), BLOCK);
        audited(allocator);
    });
}

#[test]
fn nobody_goes_without_what_others_keep() {
    for order in [FRAME, Order::GROUP, support::order(6), Order::BLOCK] {
        each(|allocator, cpu| {
            keep(allocator);
            cpu.move_to(1);
            let request = Request::order(order).atomic().reserves(zonal::Reserves::All);
            let had: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
            assert_eq!(had.len() as u64 * order.frames(), BLOCKS * BLOCK, "order {order:?}");
            had.into_iter().for_each(|pfn| free(allocator, pfn, order));
            audited(allocator);
        });
    }
}

#[test]
fn nolock_requests_have_it_too() {
    each(|allocator, cpu| {
        let kept = keep(allocator);
        let again = allocator.alloc_nolock(Gfp::empty(), None, Order::BLOCK);
        assert_eq!(again, Ok(kept));
        free(allocator, kept, Order::BLOCK);
        cpu.move_to(1);
        let take = || allocator.alloc_nolock(Gfp::empty(), None, FRAME).ok();
        assert_eq!(std::iter::from_fn(take).count() as u64, BLOCKS * BLOCK);
    });
}

#[test]
fn drains_closings_and_idle_passes_land_it() {
    each(|allocator, _| {
        keep(allocator);
        assert_eq!((allocator.drain_cpu(0), cached(allocator)), (BLOCK, 0));
        keep(allocator);
        assert_eq!((allocator.drain_all(), cached(allocator)), (BLOCK, 0));
        let pfn = keep(allocator);
        assert_eq!(allocator.drain_range(range(pfn.get(), pfn.get() + BLOCK)), BLOCK);
        keep(allocator);
        assert_eq!(allocator.age_caches(), 0, "it was used since the last pass");
        assert_eq!((allocator.age_caches(), cached(allocator)), (BLOCK, 0));
        keep(allocator);
        let zone = allocator.zones().next().expect("there is one").id;
        assert_eq!((allocator.close_caches(zone), cached(allocator)), (BLOCK, 0));
        let pfn = take(allocator, Order::BLOCK);
        free(allocator, pfn, Order::BLOCK);
        assert_eq!(cached(allocator), 0, "nothing is kept while they are closed");
        assert!(allocator.reopen_caches(zone));
        keep(allocator);
    });
}

#[test]
fn isolation_has_it_and_keeps_it_out() {
    each_where(
        |_| true,
        |allocator, _| {
            let pfn = keep(allocator);
            let block = range(pfn.get(), pfn.get() + BLOCK);
            assert_eq!(allocator.isolate(block), Ok(0), "it counts as used until it lands");
            assert_eq!((cached(allocator), audited(allocator).isolated), (0, BLOCK));
            assert_eq!(allocator.unisolate(block), Ok(BLOCK));
            let pfn = take(allocator, Order::BLOCK);
            let block = range(pfn.get(), pfn.get() + BLOCK);
            assert_eq!(allocator.isolate(block), Ok(0));
            free(allocator, pfn, Order::BLOCK);
            assert_eq!((cached(allocator), audited(allocator).isolated), (0, BLOCK));
            assert_eq!(allocator.unisolate(block), Ok(BLOCK));
        },
    );
}

#[test]
fn a_frame_of_it_that_is_bad_goes_alone() {
    each(|allocator, _| {
        let bad = keep(allocator).add(77);
        assert_eq!(allocator.poison(bad), Ok(Poisoned::Out));
        assert_eq!((cached(allocator), audited(allocator).poisoned), (0, 1));
        let had: BTreeSet<Pfn> =
            std::iter::from_fn(|| allocator.alloc_raw(&Request::order(FRAME)).ok()).collect();
        assert_eq!((had.len() as u64, had.contains(&bad)), (BLOCKS * BLOCK - 1, false));
    });
}

#[test]
fn a_block_freed_twice_is_refused() {
    each(|allocator, _| {
        let pfn = keep(allocator);
        // SAFETY: a misuse on purpose: the block is in nobody's hands, and whoever frees it is refused.
        let again = unsafe { allocator.free_raw(pfn, Order::BLOCK) };
        assert!(matches!(again, Err(FreeError::DoubleFree { .. })), "{again:?}");
        assert_eq!(cached(allocator), BLOCK);
        audited(allocator);
    });
}

#[test]
fn its_parts_are_of_the_kind_that_it_was_asked_for() {
    each(|allocator, _| {
        let pfn = keep(allocator);
        let movable = Request::order(Order::BLOCK).movable();
        assert_eq!(allocator.alloc_raw(&movable), Ok(pfn));
        // SAFETY: taken in the line above, and split before parts of it are freed.
        unsafe { allocator.split_raw(pfn, Order::BLOCK, FRAME) }.expect("it is whole");
        (0..BLOCK).skip(1).for_each(|at| free(allocator, pfn.add(at), FRAME));
        allocator.drain_all();
        let zone = allocator.zones().next().expect("there is one").id;
        let kinds = allocator.blocks(zone).filter(|block| block.start == pfn).map(|block| block.kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [zonal::Kind::Movable]);
    });
}
