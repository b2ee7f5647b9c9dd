//! Sections that hold their own rows: what is in them is never handed out, and it goes only when nobody looks at it.

mod support;
#[path = "support/tenants.rs"]
mod tenants;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use support::{Setup, audited, order, range};
use tenants::{Housed, Temper, Tenants};
use zonal::{
    FrameRange, HotRange, HotplugError, NodeId, OneCpu, OnlineType, Order, OwnRows, PageAllocator, Pfn,
    RecoveryError, SECTION_FRAMES, ZoneKind, metadata_size,
};
use zonal_testkit::{BLOCK, Machine};

const FRAME: Order = Order::ZERO;

/// What a quiesce comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quiet {
    Now,
    Never,
    Panics,
}

thread_local! {
    static QUIET: Cell<Quiet> = const { Cell::new(Quiet::Now) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
    static UNREACHABLE: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A frame.
#[repr(align(4096))]
struct Page([MaybeUninit<u8>; 4096]);

/// A frame's memory, another one each time.
fn memory(first: Pfn) -> Option<NonNull<u8>> {
    assert_eq!(first.get() % SECTION_FRAMES, 0, "rows are in the first frame of a section");
    let page = || Box::leak(Box::new(Page([MaybeUninit::new(0xa5); 4096])));
    (UNREACHABLE.get() != first.get()).then(|| NonNull::from(&mut page().0).cast())
}

fn quiesce() -> bool {
    ASKED.set(ASKED.get() + 1);
    assert_ne!(QUIET.get(), Quiet::Panics, "the platform panics");
    QUIET.get() == Quiet::Now
}

fn own_rows() -> OwnRows {
    // SAFETY: (1) each page is leaked, and handed out once; (2) a test is one thread, so nobody else is in a call.
    unsafe { OwnRows::new(memory, quiesce) }
}

/// The frames of `count` sections from number `first` on.
fn sections(first: u64, count: u64) -> FrameRange {
    range(first * SECTION_FRAMES, (first + count) * SECTION_FRAMES)
}

/// Eight blocks from frame 0 on, three sections that may be plugged in, and behind them as many blocks again, which are there
/// from the start.
fn setup() -> Setup {
    let behind = 6 * SECTION_FRAMES;
    let machine = Machine::one_node(1, &[(0, 8 * BLOCK), (behind, behind + 8 * BLOCK)]);
    let FrameRange { start, end } = sections(2, 3);
    let setup = Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&machine) };
    Setup { own_rows: Some(own_rows()), ..setup.hotplug(&[HotRange::new(start.get(), end.get(), 0)]) }
}

fn each(test: impl Fn(&'static Housed, &'static Tenants)) {
    for setup in [setup(), setup().checked(), setup().named()] {
        let (allocator, tenants) = Tenants::housed(&setup);
        test(allocator, tenants);
        tenants.check();
    }
}

fn managed(allocator: &Housed, kind: ZoneKind) -> (u64, u64) {
    let mut zones = allocator.zones();
    let zone =
        zones.find(|zone| zone.node == NodeId(0) && zone.kind == kind).expect("there may be such a zone");
    (zone.managed, zone.present)
}

#[test]
fn all_but_the_first_frame_of_a_section_is_handed_out() {
    each(|allocator, tenants| {
        let at = sections(2, 2);
        assert_eq!(allocator.add_memory(at), Ok(()));
        let frames = 2 * (SECTION_FRAMES - 1);
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(frames));
        assert_eq!(managed(allocator, ZoneKind::Movable), (frames, 2 * SECTION_FRAMES));
        assert_eq!(audited(allocator).free, frames + 16 * BLOCK);
        let all: Vec<Pfn> = (0..frames + 16 * BLOCK)
            .map(|_| tenants.enter(FRAME, Temper::Movable).expect("as many are free"))
            .collect();
        assert!(tenants.enter(FRAME, Temper::Movable).is_err(), "no more are");
        assert!(all.iter().all(|&pfn| pfn != at.start && pfn != sections(3, 1).start));
        all.into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        let whole = (0..).map_while(|_| tenants.enter(order(9), Temper::Movable).ok()).count();
        assert_eq!(whole, 2 * 63 + 16, "the first block of a section is not whole");
        tenants.runs().into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        let done = allocator.offline_memory(at, &mut |found| panic!("nothing is in use: {found}"));
        assert_eq!(done.map(|done| done.frames), Ok(frames));
        assert_eq!(managed(allocator, ZoneKind::Movable), (0, 0));
        let before = ASKED.get();
        assert_eq!(allocator.remove_memory(at), Ok(()));
        assert_eq!(ASKED.get(), before + 1, "a removal is one quiesce");
    });
}

#[test]
fn what_is_used_moves_out_of_a_section_with_its_own_rows_and_it_comes_back() {
    each(|allocator, tenants| {
        for to in [OnlineType::Movable, OnlineType::Kernel, OnlineType::Movable] {
            let at = sections(3, 1);
            assert_eq!(allocator.add_memory(at), Ok(()));
            assert_eq!(allocator.online_memory(at, to), Ok(SECTION_FRAMES - 1));
            for length in [0, 0, 3, 8, 9, 0, 5] {
                tenants.enter(order(length), Temper::Movable).expect("much is free");
            }
            let mut stays = Vec::new();
            let outcome = allocator.offline_memory(at, &mut |found| stays.push(*found));
            assert_eq!((outcome.map(|done| done.frames), stays), (Ok(SECTION_FRAMES - 1), vec![]));
            assert_eq!(allocator.remove_memory(at), Ok(()));
            tenants.check();
            tenants.runs().into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        }
    });
}

#[test]
fn a_section_stays_while_its_rows_may_be_looked_at() {
    each(|allocator, _| {
        let at = sections(2, 3);
        assert_eq!(allocator.add_memory(at), Ok(()));
        for quiet in [Quiet::Never, Quiet::Panics] {
            QUIET.set(quiet);
            let removed = catch_unwind(AssertUnwindSafe(|| allocator.remove_memory(at)));
            QUIET.set(Quiet::Now);
            assert_eq!(removed.ok(), (quiet == Quiet::Never).then_some(Err(HotplugError::NotQuiet)));
            // Offline as before, and its rows are its own: two sections that shared rows would be one to the audit.
            assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(3 * (SECTION_FRAMES - 1)));
            audited(allocator);
            assert!(allocator.offline_memory(at, &mut |_| {}).is_ok());
        }
        assert_eq!(allocator.remove_memory(at), Ok(()));
    });
}

#[test]
fn a_section_whose_frame_cannot_be_reached_is_not_added() {
    each(|allocator, _| {
        let at = sections(2, 3);
        UNREACHABLE.set(3 * SECTION_FRAMES);
        assert_eq!(allocator.add_memory(at), Err(HotplugError::NoRows { pfn: sections(3, 1).start }));
        UNREACHABLE.set(u64::MAX);
        let absent = HotplugError::State { pfn: at.start, found: "absent", needed: "offline" };
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Err(absent));
        assert_eq!(allocator.add_memory(at), Ok(()));
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(3 * (SECTION_FRAMES - 1)));
        audited(allocator);
    });
}

#[test]
fn rows_are_not_lent_for_sections_that_hold_their_own() {
    let own = setup();
    let lent = Setup { own_rows: None, ..setup() };
    let size = |setup: &Setup| metadata_size(&setup.config()).expect("the machine is a good one");
    // 4096 bytes a section, less a section's that all share which are not there, and where each section's are.
    let saved = size(&lent) - size(&own);
    assert!((2 * 4096 - 256..2 * 4096).contains(&saved), "{saved} bytes less");
}

#[test]
fn own_rows_are_not_recovered() {
    let setup = setup();
    let memory = setup.lend().expect("the machine is a good one").leak();
    let bytes = memory.len();
    let start = memory.as_mut_ptr();
    memory.fill(MaybeUninit::new(0));
    assert!(PageAllocator::new(&setup.config(), OneCpu, memory).is_ok());
    // SAFETY: the memory was leaked, all of it was filled, and its allocator is gone.
    let again = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
    // SAFETY: the same.
    let recovered = unsafe { PageAllocator::recover(&setup.config(), OneCpu, again, |_| true) };
    assert_eq!(recovered.err(), Some(RecoveryError::OwnRows));
}

#[test]
fn sections_below_all_other_memory_hold_their_own_rows_too() {
    let behind = 6 * SECTION_FRAMES;
    let first = Setup::of(&Machine::one_node(1, &[(behind, behind + 8 * BLOCK)]));
    let FrameRange { start, end } = sections(2, 3);
    let first =
        Setup { dma_end: 0, dma32_end: 0, ..first.hotplug(&[HotRange::new(start.get(), end.get(), 0)]) };
    let (allocator, tenants) = Tenants::housed(&Setup { own_rows: Some(own_rows()), ..first });
    let at = sections(3, 2);
    for to in [OnlineType::Kernel, OnlineType::Movable] {
        assert_eq!(allocator.add_memory(at), Ok(()));
        let frames = 2 * (SECTION_FRAMES - 1);
        assert_eq!(allocator.online_memory(at, to), Ok(frames));
        let all: Vec<Pfn> = (0..frames + 8 * BLOCK)
            .map(|_| tenants.enter(FRAME, Temper::Movable).expect("as many are free"))
            .collect();
        assert!(tenants.enter(FRAME, Temper::Movable).is_err(), "no more are");
        all.into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
        tenants.check();
        assert!(allocator.offline_memory(at, &mut |_| {}).is_ok());
        assert_eq!(allocator.remove_memory(at), Ok(()));
    }
}
