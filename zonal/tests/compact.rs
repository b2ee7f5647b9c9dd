//! Compaction: runs are made where none is free, by moving what can be moved, and nothing else changes.

mod support;
#[path = "support/tenants.rs"]
mod tenants;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::{Setup, audited, order};
use tenants::{Housed, Temper, Tenants};
use zonal::{AllocError, Caching, Gfp, NodeId, Order, Pfn, Request, ZoneId};
use zonal_testkit::{BLOCK, Class, Machine, Mark};

const FRAME: Order = Order::ZERO;
const NODE: NodeId = NodeId(0);

/// One node, one CPU, `blocks` blocks from frame 0 on.
fn setup(blocks: u64) -> Setup {
    Setup::of(&Machine::one_node(1, &[(0, blocks * BLOCK)]))
}

fn movable(by: u8) -> Request {
    Request::order(order(by)).gfp(Gfp::MOVABLE).expect("no forbidden flag")
}

/// Fills all of memory with single frames, of which `temper` says what they are by their numbers, and takes those away
/// of which `stays` says so.
fn fill(tenants: &Tenants, temper: impl Fn(u64) -> Temper, stays: impl Fn(u64) -> bool) {
    while let Ok(pfn) = tenants.enter(FRAME, Temper::Movable) {
        assert!(tenants.leave(pfn));
        let again = tenants.enter(FRAME, temper(pfn.get())).expect("one is free");
        assert_eq!(again, pfn, "the frame freed last is given next");
    }
    tenants.runs().into_iter().filter(|pfn| !stays(pfn.get())).for_each(|pfn| assert!(tenants.leave(pfn)));
}

/// Blocks all of whose frames are free.
fn free_blocks(allocator: &Housed) -> u64 {
    allocator.drain_all();
    allocator.blocks(ZoneId(0)).filter(|block| u64::from(block.free) == BLOCK).count() as u64
}

/// A number that looks random.
fn scattered(at: u64) -> u64 {
    at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

#[test]
fn a_nodes_memory_is_compacted_as_far_as_it_goes() {
    for setup in [setup(32), setup(32).checked(), setup(32).named()] {
        let (allocator, tenants) = Tenants::housed(&setup);
        fill(tenants, |_| Temper::Movable, |at| scattered(at) % 10 < 4);
        let used = tenants.runs().len() as u64;
        let free_before = free_blocks(allocator);
        let summary = allocator.compact(NODE);
        tenants.check();
        assert_eq!(free_blocks(allocator), 32 - used.div_ceil(BLOCK), "{summary:?}");
        assert_eq!(summary.made, 32 - used.div_ceil(BLOCK) - free_before, "{summary:?}");
        assert!(summary.moved < used, "each frame was moved once at most: {summary:?}");
        let again = allocator.compact(NODE);
        assert_eq!((again.made, again.moved), (0, 0), "there is nothing left to do");
    }
}

/// Long runs of an aged machine (B13): memory filled by tenants of mixed lifetimes, one in 700 of whom cannot be moved.
/// Every block without one of those is had, as long as there are frames to spare; a block costs what is used in it.
#[test]
fn aged_memory_gives_every_block_that_nobody_pins() {
    const BLOCKS: u64 = 64;
    let (allocator, tenants) = Tenants::housed(&setup(BLOCKS));
    let temper = |at| if scattered(at).is_multiple_of(700) { Temper::Pinned } else { Temper::Movable };
    fill(tenants, temper, |at| scattered(at).is_multiple_of(700) || scattered(at ^ 0xa5a5) % 100 < 70);
    for round in 0..20 {
        let (leaving, runs) = (|at: u64| scattered(at ^ round).is_multiple_of(10), tenants.runs());
        let pinned: BTreeSet<Pfn> = tenants.pinned().into_iter().collect();
        let gone = runs.iter().filter(|pfn| leaving(pfn.get()) && !pinned.contains(pfn));
        let gone = gone.filter(|&&pfn| tenants.leave(pfn)).count();
        (0..gone).for_each(|_| assert!(tenants.enter(FRAME, Temper::Movable).is_ok()));
    }
    tenants.check();
    let free = audited(allocator).free + audited(allocator).cached;
    let pinned: BTreeSet<u64> = tenants.pinned().iter().map(|pfn| pfn.get() / BLOCK).collect();
    let mut had = 0;
    while let Ok(pfn) = allocator.alloc_contig(&movable(9)) {
        tenants.house(pfn, order(9), Temper::Pinned);
        had += 1;
    }
    tenants.check();
    // Compaction begins only where twice the run is free.
    let possible = (BLOCKS - pinned.len() as u64).min(free / BLOCK - 1);
    assert!(had >= possible, "{had} of {possible} blocks, {free} frames free");
}

#[test]
fn what_is_pinned_stays_and_nothing_is_lost_in_vain() {
    for caching in [Caching::Off, Caching::Local] {
        let (allocator, tenants) = Tenants::housed(&setup(8).caching(caching));
        let pins = |at: u64| at % BLOCK == 300;
        let temper = |at| if pins(at) { Temper::Pinned } else { Temper::Movable };
        fill(tenants, temper, |at| pins(at) || at % 3 == 0);
        let (before, pinned) = (audited(allocator), tenants.pinned());
        let refused = allocator.alloc_contig(&movable(9));
        assert!(matches!(refused, Err(AllocError::NoRun { .. })), "{refused:?}");
        let after = audited(allocator);
        assert_eq!(
            (before.allocated, before.free + before.cached),
            (after.allocated, after.free + after.cached)
        );
        assert_eq!(tenants.pinned(), pinned);
        tenants.check();
    }
}

/// Owners free frames of the run just when they are asked to move: into a slot word, or into the row.
#[test]
fn frames_freed_while_they_are_moved_are_taken_as_they_are() {
    for caching in [Caching::Off, Caching::Local] {
        let setup = setup(8).caching(caching);
        for setup in [setup.clone(), setup.clone().checked(), setup.named().checked()] {
            let (allocator, tenants) = Tenants::housed(&setup);
            let temper = |at| if at % 2 == 0 { Temper::Movable } else { Temper::Leaving };
            fill(tenants, temper, |at| !scattered(at).is_multiple_of(3));
            let pfn = allocator.alloc_contig(&movable(9)).expect("everything can be moved");
            tenants.house(pfn, order(9), Temper::Pinned);
            tenants.check();
        }
    }
}

#[test]
fn runs_of_every_order_are_made() {
    for by in 1..=14 {
        // Room for the largest of them twice over, every other frame of it used.
        let (allocator, tenants) = Tenants::housed(&setup(96));
        fill(tenants, |_| Temper::Movable, |at| at % 2 == 0);
        for _ in 0..2.min((96 * BLOCK / 4) >> by) {
            let refused = allocator.alloc_raw(&movable(by));
            assert!(matches!(refused, Err(AllocError::NoRun { .. })), "{refused:?}");
            let pfn = allocator.alloc_contig(&movable(by)).expect("everything can be moved");
            assert!(pfn.is_aligned(order(by)));
            tenants.house(pfn, order(by), Temper::Movable);
            tenants.check();
        }
        tenants.runs().into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        tenants.check();
        assert_eq!(free_blocks(allocator), 96);
    }
}

/// A compaction claims its run above the zone's mark, and begins only where twice the run is free there.
#[test]
fn the_mark_is_kept() {
    for spare in [2 * BLOCK - 1, 2 * BLOCK] {
        let mark = Mark { node: 0, class: Class::Normal, frames: 400 };
        let machine = Machine { marks: vec![mark], ..Machine::one_node(1, &[(0, 16 * BLOCK)]) };
        let (allocator, tenants) = Tenants::housed(&Setup::of(&machine).caching(Caching::Off));
        while tenants.enter(FRAME, Temper::Movable).is_ok() {}
        let runs = tenants.runs();
        let leaving = runs.iter().filter(|pfn| pfn.get() % 4 == 1).take(spare as usize);
        leaving.for_each(|&pfn| assert!(tenants.leave(pfn)));
        assert_eq!(allocator.alloc_contig(&movable(9)).is_ok(), spare == 2 * BLOCK);
        let zone = allocator.zones().next().expect("there is a zone");
        assert_eq!(zone.free, 400 + spare - if spare == 2 * BLOCK { BLOCK } else { 0 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever memory looks like: a run that was made is nobody else's, one that was not has cost nobody a frame.
    #[test]
    fn a_run_is_made_of_free_frames_or_nothing_changed(
        blocks in 1..12u64,
        caching in prop_oneof![Just(Caching::Off), Just(Caching::Local)],
        checked: bool,
        tenancies in prop::collection::vec((0..8u8, 0..20u8, any::<u8>()), 0..3000),
        orders in prop::collection::vec(1..12u8, 1..6),
    ) {
        let setup = setup(blocks).caching(caching);
        let (allocator, tenants) = Tenants::housed(&if checked { setup.checked() } else { setup });
        for (by, temper, leave) in tenancies {
            let temper = match temper {
                0 => Temper::Pinned,
                1 => Temper::Leaving,
                _ => Temper::Movable,
            };
            let by = if by < 6 { 0 } else { by };
            let _ = tenants.enter(order(by), temper);
            if leave % 3 == 0 {
                let runs = tenants.runs();
                let some = runs.get(usize::from(leave) * runs.len() / 256).copied();
                some.into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
            }
        }
        for by in orders {
            let (before, pinned) = (audited(allocator), tenants.pinned());
            match allocator.alloc_contig(&movable(by)) {
                Ok(pfn) => tenants.house(pfn, order(by), Temper::Movable),
                Err(_) => prop_assert!(audited(allocator).allocated <= before.allocated),
            }
            tenants.check();
            prop_assert!(pinned.iter().all(|pfn| tenants.pinned().contains(pfn)));
        }
        allocator.compact(NODE);
        tenants.check();
        tenants.runs().into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        tenants.check();
        assert_eq!(free_blocks(allocator), blocks);
    }
}

/// Two threads compact, one allocates long runs by moving, two let tenants come and go: everything is somebody's or free.
#[test]
fn compactions_at_once_lose_nothing() {
    for caching in [Caching::Off, Caching::Local] {
        let (allocator, tenants) = Tenants::housed(&setup(24).caching(caching));
        fill(tenants, |_| Temper::Movable, |at| scattered(at) % 10 < 5);
        let come_and_go = |salt: u64| {
            for round in 0..4000 {
                let run = tenants.run_near(Pfn::new(scattered(round ^ salt) % (24 * BLOCK)));
                let _ = run.map(|pfn| tenants.leave(pfn));
                let _ = tenants.enter(FRAME, if round % 64 == 0 { Temper::Leaving } else { Temper::Movable });
            }
        };
        let made = std::thread::scope(|threads| {
            threads.spawn(move || come_and_go(1));
            threads.spawn(move || come_and_go(2));
            threads.spawn(|| (0..20).map(|_| allocator.compact(NODE).made).sum::<u64>());
            threads.spawn(|| (0..20).map(|_| allocator.compact(NODE).made).sum::<u64>());
            let long = threads.spawn(|| {
                let orders = (0..200u8).map(|at| at % 11);
                let runs = orders.filter_map(|by| Some((allocator.alloc_contig(&movable(by)).ok()?, by)));
                runs.map(|(pfn, by)| {
                    tenants.house(pfn, order(by), Temper::Pinned);
                    tenants.leave(pfn); // unless another thread has had it leave
                })
                .count()
            });
            long.join().expect("the runs were nobody else's")
        });
        assert!(made > 0, "some run was made");
        tenants.check();
        tenants.runs().into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        tenants.check();
        assert_eq!(free_blocks(allocator), 24);
    }
}
