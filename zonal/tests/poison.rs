//! Bad frames leave and stay away: at once if they are free, wherever they are; with their free if they are used.

mod support;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;

use proptest::prelude::*;
use support::{FakeCpu, Leaked, Setup, audited, built, order, range};
use zonal::{
    Caching, Config, Group, MemoryRange, NodeId, OneCpu, Order, PageAllocator, Pfn, PoisonError, Poisoned,
    Request, Topology, ZoneId,
};
use zonal_testkit::{BLOCK, Class, Machine, Mark};

const FRAME: Order = Order::ZERO;
const BLOCKS: u64 = 6;

fn setup(caching: Caching) -> Setup {
    Setup::of(&Machine::one_node(2, &[(0, BLOCKS * BLOCK)])).caching(caching)
}

/// The test with every kind of cache, frees checked or not.
fn each(test: impl Fn(&Leaked, &FakeCpu)) {
    for caching in [Caching::Off, Caching::Local, Caching::All] {
        for setup in [setup(caching), setup(caching).checked(), setup(caching).named()] {
            let (allocator, cpu) = built(&setup);
            test(&allocator, cpu);
        }
    }
}

fn take(allocator: &Leaked, by: Order) -> Pfn {
    allocator.alloc_raw(&Request::order(by)).expect("there is room")
}

fn free(allocator: &Leaked, pfn: Pfn, by: Order) {
    // SAFETY: every caller holds the run.
    assert_eq!(unsafe { allocator.free_raw(pfn, by) }, Ok(()));
}

/// Everything can be had but these frames, which are out.
fn all_but(allocator: &Leaked, out: &[Pfn]) {
    let sums = audited(allocator);
    assert_eq!((sums.allocated, sums.poisoned), (0, out.len() as u64), "{sums:?}");
    assert_eq!(allocator.zones().map(|zone| zone.poisoned).sum::<u64>(), out.len() as u64);
    let request = Request::order(FRAME);
    let had: BTreeSet<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
    assert_eq!(had.len(), (BLOCKS * BLOCK) as usize - out.len());
    out.iter().for_each(|pfn| assert!(!had.contains(pfn), "{pfn} is poisoned and was had"));
    had.into_iter().for_each(|pfn| free(allocator, pfn, FRAME));
    audited(allocator);
}

/// Heals the frames, and everything can be had, also by whole blocks.
fn heal(allocator: &Leaked, out: &[Pfn]) {
    out.iter().for_each(|&pfn| assert_eq!(allocator.unpoison(pfn), Ok(Poisoned::Out)));
    all_but(allocator, &[]);
    allocator.drain_all();
    let blocks: Vec<Pfn> = (0..BLOCKS).map(|_| take(allocator, Order::BLOCK)).collect();
    blocks.into_iter().for_each(|pfn| free(allocator, pfn, Order::BLOCK));
}

#[test]
fn a_free_frame_leaves_at_once() {
    each(|allocator, cpu| {
        let held = take(allocator, FRAME);
        let cached = Pfn::new(held.get() ^ 1);
        free(allocator, held, FRAME);
        cpu.move_to(1);
        // In a free block, in a broken one, in another CPU's word, and the frame that was freed last.
        let out = [Pfn::new(3 * BLOCK + 77), Pfn::new(held.get() ^ 40), cached, held];
        out.iter().for_each(|&pfn| assert_eq!(allocator.poison(pfn), Ok(Poisoned::Out), "{pfn}"));
        assert_eq!(allocator.poison(held), Ok(Poisoned::Out), "it is out already");
        all_but(allocator, &out);
        heal(allocator, &out);
    });
}

#[test]
fn a_used_frame_leaves_with_its_free() {
    each(|allocator, cpu| {
        for by in [0, 3, 5, 6, 8, 9, 11].map(order) {
            let pfn = take(allocator, by);
            let bad = pfn.add(by.frames() / 2);
            assert_eq!(allocator.poison(bad), Ok(Poisoned::Pending), "order {by}");
            assert_eq!(audited(allocator).poisoned, 0);
            cpu.move_to(1);
            free(allocator, pfn, by);
            assert_eq!(allocator.poisoned(bad), Some(Poisoned::Out), "order {by}");
            all_but(allocator, &[bad]);
            heal(allocator, &[bad]);
            cpu.move_to(0);
        }
    });
}

#[test]
fn a_used_frame_leaves_by_parts_and_in_bulk() {
    each(|allocator, _| {
        let block = take(allocator, Order::BLOCK);
        let bad = [block.add(5), block.add(6), block.add(200)];
        bad.iter().for_each(|&pfn| assert_eq!(allocator.poison(pfn), Ok(Poisoned::Pending)));
        // SAFETY: the block is held, and its frames are freed one by one or in groups, each once.
        unsafe {
            assert_eq!(allocator.split_raw(block, Order::BLOCK, FRAME), Ok(()));
            (0..32).for_each(|at| assert_eq!(allocator.free_raw(block.add(at), FRAME), Ok(())));
            let groups = (1..16).map(|group| Group { base: block.add(group * 32), mask: u32::MAX });
            assert_eq!(allocator.free_bulk(&groups.collect::<Vec<_>>()), Ok(()));
        }
        all_but(allocator, &bad);
        heal(allocator, &bad);
    });
}

#[test]
fn a_used_frame_that_is_healed_stays_whose_it_is() {
    each(|allocator, _| {
        let pfn = take(allocator, FRAME);
        assert_eq!(allocator.poison(pfn), Ok(Poisoned::Pending));
        assert_eq!(
            (allocator.poisoned(pfn), allocator.unpoison(pfn)),
            (Some(Poisoned::Pending), Ok(Poisoned::Pending))
        );
        assert_eq!(allocator.poisoned(pfn), None);
        free(allocator, pfn, FRAME);
        heal(allocator, &[]);
    });
}

/// In isolated blocks frames leave, too, and what an isolation gives back is without them.
#[test]
fn frames_leave_isolated_blocks() {
    each(|allocator, _| {
        let block = range(0, BLOCK);
        assert_eq!(allocator.alloc_at(&Request::order(FRAME), Pfn::new(9)), Ok(()));
        assert_eq!(allocator.isolate(block), Ok(BLOCK - 1));
        assert_eq!(allocator.poison(Pfn::new(9)), Ok(Poisoned::Pending));
        assert_eq!(allocator.poison(Pfn::new(10)), Ok(Poisoned::Out));
        free(allocator, Pfn::new(9), FRAME);
        let sums = audited(allocator);
        assert_eq!((sums.isolated, sums.poisoned), (BLOCK - 2, 2));
        assert_eq!(allocator.unisolate(block), Ok(BLOCK - 2));
        all_but(allocator, &[Pfn::new(9), Pfn::new(10)]);
        heal(allocator, &[Pfn::new(9), Pfn::new(10)]);
    });
}

/// A frame leaves although the zone is at its mark, and its going does not let others below it.
#[test]
fn the_mark_keeps_no_frame() {
    let mark = Mark { node: 0, class: Class::Normal, frames: BLOCK };
    let machine = Machine { marks: vec![mark], ..Machine::one_node(1, &[(0, BLOCKS * BLOCK)]) };
    for caching in [Caching::Off, Caching::Local] {
        let (allocator, _) =
            built(&Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&machine) }.caching(caching));
        let request = Request::order(FRAME).nowait();
        let held: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
        let taken: BTreeSet<&Pfn> = held.iter().collect();
        let bad = (0..BLOCKS * BLOCK).map(Pfn::new).find(|pfn| !taken.contains(pfn)).expect("the mark's");
        assert_eq!(allocator.poison(bad), Ok(Poisoned::Out));
        let sums = audited(&allocator);
        assert_eq!((sums.free + sums.cached, sums.poisoned), (BLOCK - 1, 1));
        free(&allocator, held[0], FRAME);
        assert!(allocator.alloc_raw(&request).is_err(), "it would take the zone below its mark");
    }
}

/// The last frame of a zone leaves.
#[test]
fn the_last_frame_leaves() {
    each(|allocator, _| {
        let request = Request::order(FRAME);
        let held: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&request).ok()).collect();
        free(allocator, held[7], FRAME);
        assert_eq!(allocator.poison(held[7]), Ok(Poisoned::Out));
        assert!(allocator.alloc_raw(&request).is_err());
        held.iter().filter(|pfn| **pfn != held[7]).for_each(|&pfn| free(allocator, pfn, FRAME));
        heal(allocator, &[held[7]]);
    });
}

#[test]
fn what_cannot_be_poisoned_or_healed_is_refused() {
    let setup = setup(Caching::Local);
    let config = Config { poisoned_frames: 2, ..setup.config() };
    let mut memory = vec![MaybeUninit::uninit(); zonal::metadata_size(&config).expect("a machine")];
    let allocator = PageAllocator::new(&config, OneCpu, &mut memory).expect("a machine");
    let (foreign, good) = (Pfn::new(BLOCKS * BLOCK), Pfn::new(3));
    assert_eq!(allocator.poison(foreign), Err(PoisonError::Foreign { pfn: foreign }));
    assert_eq!(allocator.unpoison(foreign), Err(PoisonError::Foreign { pfn: foreign }));
    assert_eq!(allocator.unpoison(good), Err(PoisonError::NotPoisoned { pfn: good }));
    assert_eq!([1, 2].map(|pfn| allocator.poison(Pfn::new(pfn))), [Ok(Poisoned::Out); 2]);
    assert_eq!(allocator.poison(good), Err(PoisonError::Full { words: 2 }));
    assert_eq!(allocator.poison(Pfn::new(2)), Ok(Poisoned::Out));
    assert_eq!(allocator.unpoison(Pfn::new(1)), Ok(Poisoned::Out));
    assert_eq!(allocator.poison(good), Ok(Poisoned::Out));
    audited(&allocator);
    assert!(allocator.zones().all(|zone| zone.id == ZoneId(0) && zone.poisoned == 2));
}

fn machine() -> ([MemoryRange; 1], [NodeId; 1]) {
    ([MemoryRange::new(1 << 20, (1 << 20) + 4 * BLOCK, 0)], [NodeId(0)])
}

proptest! {
    /// What was out is out after a recovery; what was pending goes out if nobody owns it, else with its free.
    #[test]
    fn poison_survives_its_process(
        bad in prop::collection::btree_set(0u64..4 * BLOCK, 1..20),
        orders in prop::collection::vec(prop_oneof![Just(0u8), 1u8..=5, Just(9)], 0..40),
        is_kept: bool,
    ) {
        let (memory, cpus) = machine();
        let topology = Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &cpus };
        let config = Config::new(topology);
        let mut metadata = vec![MaybeUninit::new(0u8); zonal::metadata_size(&config).expect("a machine")];
        let bad: Vec<Pfn> = bad.into_iter().map(|at| Pfn::new((1 << 20) + at)).collect();
        let pages = PageAllocator::new(&config, OneCpu, &mut metadata).expect("a machine");
        let had: Vec<(Pfn, Order)> = orders.iter()
            .filter_map(|&by| Some((pages.alloc_raw(&Request::order(order(by))).ok()?, order(by))))
            .collect();
        let (early, late) = bad.split_at(bad.len() / 2);
        early.iter().for_each(|&pfn| assert!(pages.poison(pfn).is_ok()));
        let (gone, held) = had.split_at(had.len() / 2);
        for &(pfn, by) in gone {
            // SAFETY: allocated above, and forgotten.
            assert_eq!(unsafe { pages.free_raw(pfn, by) }, Ok(()));
        }
        late.iter().for_each(|&pfn| assert!(pages.poison(pfn).is_ok()));
        let before: Vec<Option<Poisoned>> = bad.iter().map(|&pfn| pages.poisoned(pfn)).collect();
        audited(&pages);

        // SAFETY: zeroed at first, built above in the same bytes; that allocator is used no more.
        let recovered = unsafe {
            PageAllocator::recover(&config, OneCpu, &mut metadata, |run| {
                assert!(bad.iter().zip(&before).all(|(&pfn, &state)| !run.contains(pfn) || state != Some(Poisoned::Out)));
                is_kept
            })
        };
        let (pages, found) = recovered.expect("nothing is damaged");
        let sums = audited(&pages);
        prop_assert_eq!(found.poisoned, sums.poisoned);
        prop_assert_eq!(found.free + found.poisoned + sums.allocated, found.managed);
        for (&pfn, state) in bad.iter().zip(before) {
            let expected = if is_kept { state } else { Some(Poisoned::Out) };
            prop_assert_eq!(pages.poisoned(pfn), expected);
        }
        for &(pfn, by) in held.iter().filter(|_| is_kept) {
            // SAFETY: allocated above, and kept.
            prop_assert_eq!(unsafe { pages.free_raw(pfn, by) }, Ok(()));
        }
        let sums = audited(&pages);
        prop_assert_eq!((sums.allocated, sums.poisoned), (0, bad.len() as u64));
        bad.iter().for_each(|&pfn| assert_eq!(pages.unpoison(pfn), Ok(Poisoned::Out)));
        prop_assert_eq!(audited(&pages).poisoned, 0);
    }
}
