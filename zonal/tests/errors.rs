//! Every error, provoked once with the values it carries. (Garbage in any combination is in `hostile.rs`.)

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{FakeCpu, Leaked, Setup, allocator, audited, built, lent, order, range};
use zonal::{
    AllocError, Checking, ConfigError, FreeError, Gfp, Group, IsolateError, Mark, MemoryRange, NodeId, Order,
    PageAllocator, Pfn, Request, ZoneKind,
};
use zonal_testkit::{BLOCK, Class, Machine};

const FRAME: Request = Request::order(Order::ZERO);

fn take_all(allocator: &Leaked) -> Vec<Pfn> {
    std::iter::from_fn(|| allocator.alloc_raw(&FRAME).ok()).collect()
}

fn free(allocator: &Leaked, pfn: u64, by: u8) -> Result<(), FreeError> {
    // SAFETY: the tests free what they hold, or misuse on purpose what the allocator must refuse; no frame is touched.
    unsafe { allocator.free_raw(Pfn::new(pfn), order(by)) }
}

#[test]
fn no_memory_says_what_is_left_above_the_marks() {
    let mut machine = Machine::one_block();
    machine.marks.push(zonal_testkit::Mark { node: 0, class: Class::Normal, frames: 100 });
    let (allocator, _) = allocator(&machine);
    assert_eq!(take_all(&allocator).len(), 412);
    let no_memory = |by, free| Err(AllocError::NoMemory { order: order(by), free, in_flight: 0 });
    assert_eq!(allocator.alloc_raw(&FRAME), no_memory(0, 0));
    let held: Vec<u64> = (0..BLOCK).filter(|&pfn| free(&allocator, pfn, 0).is_ok()).take(5).collect();
    assert_eq!(held.len(), 5);
    assert_eq!(allocator.alloc_raw(&Request::order(order(3))), no_memory(3, 5));
    assert_eq!(allocator.alloc_raw(&Request::order(order(12))), no_memory(12, 5));
}

#[test]
fn a_mark_above_all_there_is_lets_nothing_out() {
    for frames in [BLOCK, BLOCK + 1, 1 << 40, u64::MAX] {
        let mut machine = Machine::one_block();
        machine.marks.push(zonal_testkit::Mark { node: 0, class: Class::Normal, frames });
        let (allocator, _) = allocator(&machine);
        for by in [0, 3, 7, 9, 12, 18].map(order) {
            let refused = AllocError::NoMemory { order: by, free: 0, in_flight: 0 };
            assert_eq!(allocator.alloc_raw(&Request::order(by)), Err(refused));
            assert!(allocator.alloc_at(&Request::order(by), Pfn::new(0)).is_err());
        }
        assert_eq!(allocator.alloc_exact(&FRAME, 1), allocator.alloc_raw(&FRAME));
    }
}

#[test]
fn no_run_says_how_many_frames_are_free() {
    let (allocator, _) = allocator(&Machine::one_block());
    let taken = take_all(&allocator);
    for pfn in taken.into_iter().filter(|pfn| pfn.get() % 2 == 1) {
        assert_eq!(free(&allocator, pfn.get(), 0), Ok(()));
    }
    for by in [1, 3, 6, 8] {
        let no_run = AllocError::NoRun { order: order(by), free: 256, in_flight: 0 };
        assert_eq!(allocator.alloc_raw(&Request::order(order(by))), Err(no_run));
    }
}

#[test]
fn no_zone() -> Result<(), AllocError> {
    let mut machine = Machine::equal_nodes(2, 1, 0, BLOCK);
    machine.memory.pop();
    let (allocator, _) = allocator(&machine);
    for request in [
        FRAME.gfp(Gfp::KERNEL | Gfp::DMA)?,
        FRAME.gfp(Gfp::KERNEL | Gfp::DMA32)?,
        FRAME.gfp(Gfp::KERNEL | Gfp::THISNODE)?.node(NodeId(1)),
        FRAME.below(Pfn::new(0)),
    ] {
        assert_eq!(allocator.alloc_raw(&request), Err(AllocError::NoZone), "{request:?}");
        assert_eq!(allocator.alloc_exact(&request, 3), Err(AllocError::NoZone), "{request:?}");
    }
    Ok(())
}

#[test]
fn no_such_node() {
    let (allocator, _) = allocator(&Machine::equal_nodes(2, 1, 0, BLOCK));
    for node in [2, 1024, u16::MAX].map(NodeId) {
        let request = FRAME.node(node);
        let expected = AllocError::NoSuchNode { node };
        assert_eq!(allocator.alloc_raw(&request), Err(expected));
        assert_eq!(allocator.alloc_exact(&request, 3), Err(expected));
        assert_eq!(allocator.alloc_bulk(&request, 3, &mut [Group::EMPTY; 3]), Err(expected));
        assert_eq!(allocator.node_order(node).count(), 0);
    }
}

#[test]
fn forbidden_flags() {
    let refused = |gfp: Gfp, bits: Gfp| {
        assert_eq!(FRAME.gfp(gfp), Err(AllocError::ForbiddenFlags { bits: bits.bits() }));
    };
    refused(Gfp::KERNEL | Gfp::DMA | Gfp::HIGHMEM, Gfp::DMA | Gfp::HIGHMEM);
    refused(Gfp::DMA | Gfp::DMA32, Gfp::DMA | Gfp::DMA32);
    refused(Gfp::MOVABLE | Gfp::RECLAIMABLE, Gfp::MOVABLE | Gfp::RECLAIMABLE);
    let unknown = Gfp::from_bits_retain(1 << 31);
    refused(Gfp::KERNEL | unknown, unknown);
}

#[test]
fn not_free() {
    let (allocator, _) = allocator(&Machine::ragged());
    let taken = allocator.alloc_raw(&FRAME).expect("the machine is empty");
    let not_free = |pfn, by| {
        let (pfn, order) = (Pfn::new(pfn), order(by));
        let outcome = allocator.alloc_at(&Request::order(order), pfn);
        assert_eq!(outcome, Err(AllocError::NotFree { pfn, order }));
    };
    not_free(taken.get(), 0);
    not_free(taken.get() / 8 * 8, 3);
    for absent in [701, 0, 70, 1400, 5000, 1 << 45, u64::MAX] {
        not_free(absent, 0);
    }
    not_free(512, 9);
    not_free(0, 18);
    assert!(allocator.isolate(range(3584, 4096)).is_ok());
    not_free(3600, 0);
    not_free(3584, 9);
}

#[test]
fn misaligned() {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    for by in 1..=11 {
        let (pfn, order) = (Pfn::new(1 << (by - 1)), order(by));
        let outcome = allocator.alloc_at(&Request::order(order), pfn);
        assert_eq!(outcome, Err(AllocError::Misaligned { pfn, order }));
    }
    let held = allocator.alloc_raw(&Request::order(order(3))).expect("the machine is empty").add(4);
    let misaligned = FreeError::Misaligned { pfn: held, order: order(3) };
    assert_eq!(free(&allocator, held.get(), 3), Err(misaligned));
}

#[test]
fn bad_counts() {
    let (allocator, _) = allocator(&Machine::one_block());
    for frames in [0, (1 << 18) + 1, u64::MAX] {
        assert_eq!(allocator.alloc_exact(&FRAME, frames), Err(AllocError::BadCount { frames }));
        // SAFETY: nothing can be freed by a count that is none.
        assert_eq!(unsafe { allocator.free_exact(Pfn::new(0), frames) }, Err(FreeError::BadCount { frames }));
    }
}

#[test]
fn frames_that_cannot_be_zeroed_go_back() -> Result<(), AllocError> {
    let (allocator, cpu) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    let zeroed = FRAME.gfp(Gfp::KERNEL | Gfp::ZERO)?;
    for by in 0..=11 {
        let request = zeroed.with_order(order(by));
        assert!(matches!(allocator.alloc_raw(&request), Err(AllocError::CannotZero { .. })));
        assert_eq!(audited(&allocator).allocated, 0);
    }
    assert!(matches!(allocator.alloc_exact(&zeroed, 33), Err(AllocError::CannotZero { .. })));
    let at = Pfn::new(77);
    assert_eq!(allocator.alloc_at(&zeroed, at), Err(AllocError::CannotZero { pfn: at }));
    assert_eq!(audited(&allocator).allocated, 0);
    cpu.reach_frames();
    assert_eq!(allocator.alloc_at(&zeroed, at), Ok(()));
    Ok(())
}

#[test]
fn frees_that_are_refused_whether_checked_or_not() {
    let setup = Setup::of(&Machine::ragged());
    for setup in [setup.clone(), setup.checked()] {
        let (allocator, _) = built(&setup);
        // Some of these differ from a frame whose group is cached only in bits that a group number has no room for.
        let cached = allocator.alloc_raw(&FRAME).expect("the machine is empty").get();
        for pfn in [1 << 20, cached + (1 << 32), cached + (1 << 37), cached + (1 << 42), 1 << 40, u64::MAX] {
            assert_eq!(free(&allocator, pfn, 0), Err(FreeError::Foreign { pfn: Pfn::new(pfn) }));
        }
        // An absent block of a section that exists: with notes at hand, it was never allocated.
        for pfn in [1700, 4096].map(Pfn::new) {
            let error = free(&allocator, pfn.get(), 0).expect_err("an absent frame was freed");
            let known = setup.checking == Checking::On && error == FreeError::NotAllocated { pfn };
            assert!(known || error == FreeError::Foreign { pfn }, "{error}");
        }
        assert_eq!(free(&allocator, cached, 0), Ok(()));
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn frees_of_whole_blocks_that_are_refused_whether_checked_or_not() {
    let setup = Setup::of(&Machine::ragged());
    for setup in [setup.clone(), setup.checked()] {
        let (allocator, _) = built(&setup);
        let huge = allocator.alloc_raw(&Request::order(Order::BLOCK)).expect("one block is whole");
        assert!(free(&allocator, huge.get() + 8, 3).is_err(), "part of a block that was not split");
        // SAFETY: the run is held here.
        let split = unsafe { allocator.split_raw(huge, order(8), order(9)) };
        assert_eq!(split, Err(FreeError::BadSplit { from: order(8), to: order(9) }));
        assert_eq!(free(&allocator, huge.get(), 9), Ok(()));
        assert!(free(&allocator, huge.get(), 9).is_err(), "freed twice");
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn frees_that_the_bits_show_to_be_wrong() {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    let huge = allocator.alloc_raw(&Request::order(Order::BLOCK)).expect("the machine is empty");
    let part = Pfn::new(huge.get() + 8);
    assert_eq!(free(&allocator, part.get(), 3), Err(FreeError::NotSplit { pfn: part }));
    let never = Pfn::new((huge.get() ^ BLOCK) + 32);
    assert_eq!(
        free(&allocator, never.get(), 0),
        Err(FreeError::DoubleFree { pfn: never, order: Order::ZERO })
    );
    let frame = allocator.alloc_raw(&FRAME).expect("three blocks are free");
    assert_eq!(free(&allocator, frame.get(), 0), Ok(()));
    assert_eq!(
        free(&allocator, frame.get(), 0),
        Err(FreeError::DoubleFree { pfn: frame, order: Order::ZERO })
    );
}

#[test]
fn frees_that_only_checking_shows_to_be_wrong() {
    let (allocator, _) = built(&Setup::of(&Machine::one_node(1, &[(0, 4 * BLOCK)])).checked());
    let pfn = allocator.alloc_raw(&Request::order(order(3))).expect("the machine is empty");
    let wrong = FreeError::WrongOrder { pfn, allocated: order(3), freed: order(2) };
    assert_eq!(free(&allocator, pfn.get(), 2), Err(wrong));
    let inside = pfn.add(1);
    assert_eq!(free(&allocator, inside.get(), 0), Err(FreeError::NotAllocated { pfn: inside }));
}

/// The error of a good machine after `spoil`.
fn spoiled(spoil: impl FnOnce(&mut Setup)) -> ConfigError {
    let mut setup = Setup::of(&Machine::two_nodes());
    spoil(&mut setup);
    let cpu = FakeCpu::leaked();
    match PageAllocator::new(&setup.config(), cpu, lent(1 << 20).leak()) {
        Ok(_) => panic!("an allocator was built for a spoiled machine"),
        Err(error) => error,
    }
}

#[test]
fn spoiled_nodes_cpus_and_distances() {
    let machine = Machine::two_nodes();
    for nodes in [0, 1025, usize::MAX] {
        assert_eq!(spoiled(|setup| setup.nodes = nodes), ConfigError::Nodes { nodes });
    }
    for cpus in [0, 4097] {
        assert_eq!(spoiled(|setup| setup.cpus = vec![NodeId(0); cpus]), ConfigError::Cpus { cpus });
    }
    let count = ConfigError::DistanceCount { entries: 3, needed: 4 };
    assert_eq!(spoiled(|setup| setup.distances = vec![10, 20, 20]), count);
    for (at, distance) in [(0, 11), (3, 9), (1, 10), (2, 0)] {
        let (from, to) = (NodeId(at as u16 / 2), NodeId(at as u16 % 2));
        assert_eq!(
            spoiled(|setup| setup.distances[at] = distance),
            ConfigError::Distance { from, to, distance }
        );
    }
    let node = NodeId(machine.nodes() as u16);
    assert_eq!(spoiled(|setup| setup.cpus[1] = node), ConfigError::NoSuchNode { node });
    assert_eq!(spoiled(|setup| setup.memory[1].node = node), ConfigError::NoSuchNode { node });
}

#[test]
fn spoiled_memory() {
    let add = |start, end| spoiled(|setup| setup.memory.push(MemoryRange::new(start, end, 0)));
    let (start, end) = (Pfn::new(50), Pfn::new(50));
    assert_eq!(add(50, 50), ConfigError::EmptyRange { start, end });
    assert_eq!(add(50, 40), ConfigError::EmptyRange { start, end: Pfn::new(40) });
    let end = Pfn::new((1 << 40) + 1);
    assert_eq!(add(1 << 39, end.get()), ConfigError::RangeTooHigh { end });
    assert_eq!(add(1 << 39, u64::MAX), ConfigError::RangeTooHigh { end: Pfn::new(u64::MAX) });
    assert_eq!(add(4 * BLOCK - 1, 4 * BLOCK), ConfigError::Overlap { pfn: Pfn::new(4 * BLOCK - 1) });
    assert_eq!(spoiled(|setup| setup.memory.clear()), ConfigError::NoMemory);
    assert_eq!(spoiled(|setup| setup.reserved = vec![range(0, 1 << 40)]), ConfigError::NoMemory);
}

#[test]
fn a_span_over_509_tib_is_refused() {
    let far = (1 << 37) + BLOCK;
    let error = spoiled(|setup| setup.memory.push(MemoryRange::new(far - BLOCK, far, 0)));
    let ConfigError::SpanTooLarge { node, start, end } = error else { panic!("{error}") };
    assert_eq!((node, end), (NodeId(0), Pfn::new(far)));
    assert!(end.get() - start.get() > 509 << 28, "{error}");
    // A little less is served.
    let end = 508 << 28;
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, BLOCK), (end - BLOCK, end)]));
    assert_eq!(take_all(&allocator).len() as u64, 2 * BLOCK);
}

#[test]
fn spoiled_marks_limits_and_metadata() {
    let mark = Mark { node: NodeId(1), zone: ZoneKind::Dma, frames: 1 };
    assert_eq!(spoiled(|setup| setup.marks.push(mark)), ConfigError::MarkWithoutZone { node: NodeId(1) });
    let nowhere = Mark { node: NodeId(7), ..mark };
    assert_eq!(spoiled(|setup| setup.marks.push(nowhere)), ConfigError::MarkWithoutZone { node: NodeId(7) });
    let (dma, dma32) = (Pfn::new(2048), Pfn::new(1024));
    let limits = spoiled(|setup| (setup.dma_end, setup.dma32_end) = (2048, 1024));
    assert_eq!(limits, ConfigError::ZoneLimits { dma, dma32 });
    let setup = Setup::of(&Machine::two_nodes());
    let needed = zonal::metadata_size(&setup.config()).expect("the machine is a good one");
    for short in [0, 1, 63, needed / 2] {
        let outcome = PageAllocator::new(&setup.config(), FakeCpu::leaked(), lent(short).leak());
        let Err(ConfigError::Metadata { lent, needed: named }) = outcome.map(|_| ()) else {
            panic!("{short} bytes were enough");
        };
        assert_eq!(named, needed);
        assert!(lent <= short);
    }
}

#[test]
fn ranges_that_cannot_be_isolated() {
    let (allocator, _) = allocator(&Machine::ragged());
    let not_blocks = |start, end, pfn| {
        let outcome = allocator.isolate(range(start, end));
        assert_eq!(outcome, Err(IsolateError::NotBlocks { pfn: Pfn::new(pfn) }));
    };
    not_blocks(1, BLOCK, 1);
    not_blocks(0, BLOCK - 1, BLOCK - 1);
    not_blocks(3 * BLOCK, 4 * BLOCK, 3 * BLOCK);
    not_blocks(1 << 50, (1 << 50) + BLOCK, 1 << 50);
    assert!(allocator.isolate(range(7 * BLOCK, 8 * BLOCK)).is_ok());
    let again = allocator.isolate(range(6 * BLOCK, 8 * BLOCK));
    assert_eq!(again, Err(IsolateError::AlreadyIsolated { pfn: Pfn::new(7 * BLOCK) }));
    assert_eq!(audited(&allocator).isolated, BLOCK, "a refused isolation left something isolated");
}

/// Two threads take the only block whole and isolate it: sooner or later it is claimed just when it is to be isolated.
#[test]
fn a_block_that_is_being_claimed_is_busy() {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, BLOCK)]));
    let (block, stop) = (range(0, BLOCK), AtomicBool::new(false));
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(allocator.alloc(&Request::order(Order::BLOCK)));
            }
        });
        let end = Instant::now() + Duration::from_secs(30);
        let isolations = std::iter::from_fn(|| (Instant::now() < end).then(|| allocator.isolate(block)));
        let busy = isolations
            .inspect(|isolated| assert!(isolated.is_err() || allocator.unisolate(block).is_ok()))
            .find_map(Result::err);
        stop.store(true, Ordering::Relaxed);
        busy
    });
    assert!(matches!(busy, Some(IsolateError::Busy { pfn, .. }) if pfn == block.start), "{busy:?}");
    assert_eq!(audited(&allocator).free, BLOCK);
}

#[test]
fn absent_memory_costs_nothing() {
    let size = |stride: u64| {
        let mut machine = Machine::equal_nodes(8, 1, 0, BLOCK);
        for (node, memory) in machine.memory.iter_mut().enumerate() {
            let start = node as u64 * stride;
            memory.frames = start..start + BLOCK;
        }
        machine.memory[7].frames = 8 * stride - BLOCK..8 * stride;
        let (allocator, _) = allocator(&machine);
        assert_eq!(take_all(&allocator).len() as u64, 8 * BLOCK);
        zonal::metadata_size(&Setup::of(&machine).config()).expect("the machine is a good one")
    };
    let (dense, sparse) = (size(1 << 15), size(1 << 37));
    assert!(sparse - dense < 1 << 20, "{dense} bytes for a dense machine, {sparse} for one of 52 bits");
}

#[test]
fn errors_say_their_values() {
    let text = AllocError::NoRun { order: order(3), free: 77, in_flight: 5 }.to_string();
    assert!(["3", "77", "5"].iter().all(|value| text.contains(value)), "{text}");
    let text =
        FreeError::WrongOrder { pfn: Pfn::new(0xabc), allocated: order(3), freed: order(4) }.to_string();
    assert!(["0xabc", "3", "4"].iter().all(|value| text.contains(value)), "{text}");
}
