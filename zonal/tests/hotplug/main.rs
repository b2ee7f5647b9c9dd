//! Memory comes and goes, section by section, while it is allocated; what fails leaves everything as it was.

mod panics;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tenants.rs"]
mod tenants;

use std::mem::MaybeUninit;

use support::{Setup, audited, order, range};
use tenants::{Housed, Temper, Tenants};
use zonal::{
    AllocError, FrameRange, FreeError, Gfp, HotRange, HotplugError, MemoryStep, NodeChange, NodeId, Obstacle,
    ObstacleCause, OneCpu, OnlineType, Order, PageAllocator, Pfn, Poisoned, Request, SECTION_FRAMES, Tuning,
    ZoneInfo, ZoneKind,
};
use zonal_testkit::{BLOCK, Machine};

const FRAME: Order = Order::ZERO;

/// The frames of `count` sections from number `first` on.
fn sections(first: u64, count: u64) -> FrameRange {
    range(first * SECTION_FRAMES, (first + count) * SECTION_FRAMES)
}

/// Eight blocks from frame 0 on, and behind them three sections of node 0 and two of node 1 that may be plugged in.
fn setup() -> Setup {
    let mut machine = Machine::one_node(2, &[(0, 8 * BLOCK)]);
    machine.distances = vec![10, 20, 20, 10];
    machine.cpus = vec![0, 1];
    let hot = |first, count, node| {
        let FrameRange { start, end } = sections(first, count);
        HotRange::new(start.get(), end.get(), node)
    };
    let setup = Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&machine) };
    setup.hotplug(&[hot(6, 2, 1), hot(2, 3, 0)])
}

fn both(test: impl Fn(&'static Housed, &'static Tenants)) {
    for setup in [setup(), setup().checked(), setup().named()] {
        let (allocator, tenants) = Tenants::housed(&setup);
        test(allocator, tenants);
        tenants.check();
    }
}

fn zone(allocator: &Housed, node: u16, kind: ZoneKind) -> ZoneInfo {
    let mut zones = allocator.zones();
    zones.find(|zone| zone.node == NodeId(node) && zone.kind == kind).expect("the node may have such a zone")
}

fn plug(allocator: &Housed, at: FrameRange, to: OnlineType) {
    assert_eq!(allocator.add_memory(at), Ok(()));
    assert_eq!(allocator.online_memory(at, to), Ok(at.frames()));
}

fn offline(allocator: &Housed, at: FrameRange) -> Result<u64, (HotplugError, Vec<Obstacle>)> {
    let mut obstacles = Vec::new();
    let outcome = allocator.offline_memory(at, &mut |obstacle| obstacles.push(*obstacle));
    outcome.map(|done| done.moved).map_err(|error| (error, obstacles))
}

/// Whether the frame is of no block.
fn is_foreign(allocator: &Housed, pfn: Pfn) -> bool {
    // SAFETY: nobody has the frame: a free of it must be refused, and changes nothing then.
    let freed = unsafe { allocator.free_raw(pfn, FRAME) };
    freed == Err(FreeError::Foreign { pfn })
}

fn steps(tenants: &Tenants) -> Vec<MemoryStep> {
    tenants.told().iter().map(|event| event.step).collect()
}

#[test]
fn a_section_is_nobodys_until_it_is_online_and_again_when_it_is_offline() {
    both(|allocator, tenants| {
        let at = sections(2, 1);
        let foreign = |what| assert!(is_foreign(allocator, at.start), "{what}");
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).managed, 0);
        foreign("absent");
        assert_eq!(allocator.add_memory(at), Ok(()));
        foreign("added");
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(SECTION_FRAMES));
        let movable = zone(allocator, 0, ZoneKind::Movable);
        assert_eq!(
            (movable.managed, movable.present, movable.free),
            (SECTION_FRAMES, SECTION_FRAMES, SECTION_FRAMES)
        );
        assert_eq!(movable.span, at);
        let pfn = tenants.enter(FRAME, Temper::Movable).expect("much is free");
        assert!(at.contains(pfn), "what is movable goes to the Movable zone");
        assert!(tenants.leave(pfn));
        assert_eq!(offline(allocator, at), Ok(0));
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).managed, 0);
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).span.frames(), 0);
        let pfn = tenants.enter(FRAME, Temper::Movable).expect("some is free");
        assert!(pfn.get() < 8 * BLOCK);
        assert_eq!(allocator.remove_memory(at), Ok(()));
        foreign("removed");
    });
}

#[test]
fn a_section_comes_back_in_another_zone() {
    both(|allocator, tenants| {
        let at = sections(3, 1);
        for to in [OnlineType::Kernel, OnlineType::Movable, OnlineType::Kernel] {
            plug(allocator, at, to);
            let kind = if to == OnlineType::Kernel { ZoneKind::Normal } else { ZoneKind::Movable };
            assert!(zone(allocator, 0, kind).managed >= SECTION_FRAMES);
            let all: Vec<Pfn> = (0..SECTION_FRAMES + 8 * BLOCK)
                .map(|_| tenants.enter(FRAME, Temper::Movable).expect("as many are free"))
                .collect();
            assert!(tenants.enter(FRAME, Temper::Movable).is_err(), "no more are");
            all.into_iter().for_each(|pfn| assert!(tenants.leave(pfn)));
            tenants.check();
            assert_eq!(offline(allocator, at), Ok(0));
            assert_eq!(allocator.remove_memory(at), Ok(()));
        }
    });
}

#[test]
fn what_is_used_moves_to_where_it_may_be() {
    both(|allocator, tenants| {
        plug(allocator, sections(2, 2), OnlineType::Movable);
        for length in [0, 0, 3, 8, 9, 10, 0, 5] {
            tenants.enter(order(length), Temper::Movable).expect("much is free");
        }
        let inside = tenants.runs().iter().filter(|&&pfn| sections(2, 1).contains(pfn)).count();
        assert!(inside > 0);
        assert!(offline(allocator, sections(2, 1)).expect("all of it moves") > 0);
        assert!(tenants.runs().iter().all(|&pfn| !sections(2, 1).contains(pfn)));
        tenants.check();
    });
}

#[test]
fn what_stays_is_named_and_everything_is_handed_out_again() {
    both(|allocator, tenants| {
        plug(allocator, sections(2, 1), OnlineType::Movable);
        let pinned = tenants.enter(order(2), Temper::Pinned).expect("much is free");
        let leaving = tenants.enter(FRAME, Temper::Leaving).expect("much is free");
        let moved = tenants.enter(FRAME, Temper::Movable).expect("much is free");
        let (error, obstacles) = offline(allocator, sections(2, 1)).expect_err("one is pinned");
        assert_eq!(error, HotplugError::InTheWay { frames: 4 });
        let [obstacle] = obstacles.as_slice() else { panic!("one run is in the way: {obstacles:?}") };
        assert_eq!((obstacle.pfn, obstacle.order), (pinned, order(2)));
        assert_eq!(obstacle.cause, ObstacleCause::Refused);
        assert_eq!(obstacle.owner, allocator.owner(pinned));
        assert!(!tenants.runs().contains(&leaving) && !tenants.runs().contains(&moved));
        let again = tenants.enter(FRAME, Temper::Movable).expect("much is free");
        assert!(sections(2, 1).contains(again), "the section is handed out again");
        assert_eq!(audited(allocator).isolated, 0);
        assert!(tenants.leave(pinned));
        assert_eq!(offline(allocator, sections(2, 1)), Ok(1));
    });
}

#[test]
fn an_objection_leaves_everything_as_it_was() {
    both(|allocator, tenants| {
        let at = sections(2, 1);
        let vetoed = |step| Err(HotplugError::Vetoed { step });
        tenants.veto(Some(MemoryStep::GoingToBeAdded));
        assert_eq!(allocator.add_memory(at), vetoed(MemoryStep::GoingToBeAdded));
        tenants.veto(None);
        assert_eq!(allocator.add_memory(at), Ok(()));
        tenants.veto(Some(MemoryStep::GoingOnline));
        assert_eq!(
            allocator.online_memory(at, OnlineType::Movable),
            vetoed(MemoryStep::GoingOnline).map(|()| 0)
        );
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).managed, 0);
        tenants.veto(None);
        tenants.told();
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(SECTION_FRAMES));
        assert_eq!(steps(tenants), [MemoryStep::GoingOnline, MemoryStep::Online]);
        tenants.veto(Some(MemoryStep::GoingOffline));
        let (error, _) = offline(allocator, at).expect_err("somebody objects");
        assert_eq!(error, HotplugError::Vetoed { step: MemoryStep::GoingOffline });
        assert_eq!(steps(tenants), [MemoryStep::GoingOffline, MemoryStep::CancelOffline]);
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).free, SECTION_FRAMES, "all of it can be allocated");
        tenants.veto(None);
        tenants.cancel(true);
        tenants.enter(FRAME, Temper::Movable).expect("much is free");
        assert_eq!(offline(allocator, at).expect_err("it is cancelled").0, HotplugError::Cancelled);
        assert_eq!(audited(allocator).isolated, 0);
        tenants.cancel(false);
        assert_eq!(offline(allocator, at), Ok(1));
        tenants.veto(Some(MemoryStep::GoingToBeRemoved));
        assert_eq!(allocator.remove_memory(at), vetoed(MemoryStep::GoingToBeRemoved));
        tenants.veto(None);
        assert_eq!(allocator.remove_memory(at), Ok(()));
    });
}

#[test]
fn a_nodes_first_and_last_memory_are_told() {
    both(|allocator, tenants| {
        for (at, online, offline_) in
            [(6, NodeChange::First, NodeChange::Last), (2, NodeChange::None, NodeChange::None)]
        {
            plug(allocator, sections(at, 1), OnlineType::Movable);
            let changes: Vec<_> = tenants.told().iter().skip(2).map(|event| event.change).collect();
            assert_eq!(changes, [online; 2]);
            assert_eq!(offline(allocator, sections(at, 1)), Ok(0));
            let changes: Vec<_> = tenants.told().iter().map(|event| event.change).collect();
            assert_eq!(changes, [offline_; 2]);
        }
    });
}

#[test]
fn a_node_without_memory_gets_some_and_loses_it() {
    both(|allocator, _| {
        let near = Request::order(FRAME).node(NodeId(1)).this_node().nowait();
        assert_eq!(allocator.alloc_raw(&near), Err(AllocError::NoZone));
        plug(allocator, sections(6, 1), OnlineType::Kernel);
        let pfn = allocator.alloc_raw(&near).expect("the node has memory now");
        assert!(sections(6, 1).contains(pfn));
        // SAFETY: just allocated.
        assert_eq!(unsafe { allocator.free_raw(pfn, FRAME) }, Ok(()));
        assert_eq!(offline(allocator, sections(6, 1)), Ok(0));
        assert_eq!(allocator.alloc_raw(&near), Err(AllocError::NoZone));
    });
}

#[test]
fn mistakes_are_named() {
    both(|allocator, _| {
        let add = |at| allocator.add_memory(at);
        let off = range(2 * SECTION_FRAMES + 1, 3 * SECTION_FRAMES);
        assert_eq!(add(off), Err(HotplugError::Unaligned { pfn: off.start }));
        let empty = sections(2, 0);
        assert_eq!(add(empty), Err(HotplugError::Unaligned { pfn: empty.start }));
        let boot = sections(0, 1);
        assert_eq!(add(boot), Err(HotplugError::NotPluggable { pfn: boot.start }));
        let beyond = sections(4, 2);
        assert_eq!(add(beyond), Err(HotplugError::NotPluggable { pfn: sections(5, 1).start }));
        let state =
            |at: u64, found, needed| HotplugError::State { pfn: sections(at, 1).start, found, needed };
        assert_eq!(allocator.remove_memory(sections(2, 1)), Err(state(2, "absent", "offline")));
        assert_eq!(offline(allocator, sections(2, 1)).map_err(|e| e.0), Err(state(2, "absent", "online")));
        plug(allocator, sections(2, 1), OnlineType::Kernel);
        plug(allocator, sections(3, 1), OnlineType::Movable);
        assert_eq!(add(sections(2, 3)), Err(state(2, "online", "absent")));
        let several = HotplugError::SeveralZones { pfn: sections(3, 1).start };
        assert_eq!(offline(allocator, sections(2, 2)).map_err(|e| e.0), Err(several));
    });
}

#[test]
fn by_itself_memory_stays_with_its_neighbours_zone() {
    both(|allocator, _| {
        plug(allocator, sections(2, 1), OnlineType::ContigZones);
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).managed, 0, "by address where it meets nothing");
        plug(allocator, sections(4, 1), OnlineType::Movable);
        assert_eq!(offline(allocator, sections(4, 1)), Ok(0));
        assert_eq!(allocator.online_memory(sections(4, 1), OnlineType::Movable), Ok(SECTION_FRAMES));
    });
}

#[test]
fn what_was_plugged_in_survives_its_allocator() {
    let setup = setup();
    let config = setup.config();
    let mut memory = setup.lend().expect("a good machine");
    memory.fill(MaybeUninit::new(0));
    let movable = Request::order(FRAME).gfp(Gfp::HIGHUSER_MOVABLE).expect("good flags");
    let held: Vec<Pfn> = {
        let allocator = PageAllocator::new(&config, OneCpu, &mut memory).expect("a good machine");
        for (at, to) in [(2, OnlineType::Movable), (3, OnlineType::Kernel), (6, OnlineType::Movable)] {
            allocator.add_memory(sections(at, 1)).expect("it is absent");
            allocator.online_memory(sections(at, 1), to).expect("nobody objects");
        }
        allocator.add_memory(sections(4, 1)).expect("it is absent");
        allocator.isolate(sections(6, 1)).expect("nobody is at work");
        (0..100).map(|_| allocator.alloc_raw(&movable).expect("much is free")).collect()
    };
    assert!(held.iter().all(|&pfn| sections(2, 1).contains(pfn)));
    let owned = |run: FrameRange| held.contains(&run.start);
    // SAFETY: the bytes are initialised, the allocator before left them, and who owns frames of it is asked.
    let recovered = unsafe { PageAllocator::recover(&config, OneCpu, &mut memory, owned) };
    let (allocator, recovery) = recovered.expect("an allocator left it");
    assert_eq!((recovery.managed, recovery.disowned), (8 * BLOCK + 3 * SECTION_FRAMES, 0));
    let summary = audited(&allocator);
    assert_eq!((summary.allocated, summary.isolated), (100, 0));
    assert_eq!(
        allocator.online_memory(sections(4, 1), OnlineType::Kernel),
        Ok(SECTION_FRAMES),
        "it was added"
    );
    for pfn in held {
        // SAFETY: held, and freed once.
        assert_eq!(unsafe { allocator.free_raw(pfn, FRAME) }, Ok(()));
    }
    for at in [2, 3, 4, 6] {
        assert!(allocator.offline_memory(sections(at, 1), &mut |_| {}).is_ok());
    }
    assert_eq!(audited(&allocator).managed, 8 * BLOCK);
}

#[test]
fn texts_show_a_zone_while_it_has_memory() {
    both(|allocator, _| {
        let buddyinfo =
            || allocator.buddyinfo().to_string().lines().filter(|line| line.contains("Movable")).count();
        let figures = || {
            let text = allocator.zoneinfo().to_string();
            let movable = text.split("Node ").find(|zone| zone.starts_with("0, zone  Movable"));
            movable.map(|zone| zone.lines().count()).expect("every zone is shown")
        };
        assert_eq!((buddyinfo(), figures()), (0, 12), "an empty zone is shown up to what it holds back");
        plug(allocator, sections(2, 1), OnlineType::Movable);
        assert_eq!(buddyinfo(), 1);
        assert!(figures() > 12);
        assert_eq!(offline(allocator, sections(2, 1)), Ok(0));
        assert_eq!((buddyinfo(), figures()), (0, 12));
    });
}

#[test]
fn marks_follow_the_memory() {
    let (allocator, tenants) = Tenants::housed(&setup());
    let tuning = Tuning { min_free_kbytes: Some(1024), ..Tuning::default() };
    assert_eq!(allocator.set_tuning(tuning), Ok(()));
    let before = zone(allocator, 0, ZoneKind::Normal);
    plug(allocator, sections(2, 1), OnlineType::Movable);
    let (normal, movable) = (zone(allocator, 0, ZoneKind::Normal), zone(allocator, 0, ZoneKind::Movable));
    assert!(movable.marks.min >= 32, "{movable:?}");
    assert!(normal.protection[3] > before.protection[3], "what lies above is larger");
    assert_eq!(offline(allocator, sections(2, 1)), Ok(0));
    assert_eq!(zone(allocator, 0, ZoneKind::Normal).marks, before.marks);
    assert_eq!(zone(allocator, 0, ZoneKind::Normal).protection, before.protection);
    tenants.check();
}

/// A section goes offline though a frame of it is poisoned, and comes back when it is healed.
#[test]
fn poisoned_frames_do_not_keep_a_section() {
    both(|allocator, _| {
        let at = sections(2, 1);
        plug(allocator, at, OnlineType::Movable);
        let bad = [at.start.add(1000), at.start.add(5)];
        assert_eq!(allocator.alloc_at(&Request::order(FRAME), bad[1]), Ok(()));
        assert_eq!(allocator.poison(bad[0]), Ok(Poisoned::Out));
        assert_eq!(allocator.poison(bad[1]), Ok(Poisoned::Pending));
        assert!(offline(allocator, at).is_err(), "a frame of it is in use");
        // SAFETY: allocated above.
        assert_eq!(unsafe { allocator.free_raw(bad[1], FRAME) }, Ok(()));
        assert_eq!(audited(allocator).poisoned, 2);
        assert_eq!(offline(allocator, at), Ok(0));
        assert_eq!(audited(allocator).poisoned, 0, "they are not managed any more");
        for pfn in bad {
            let refused = allocator.online_memory(at, OnlineType::Movable);
            assert!(
                matches!(refused, Err(HotplugError::Poisoned { pfn }) if bad.contains(&pfn)),
                "{refused:?}"
            );
            assert_eq!(allocator.unpoison(pfn), Ok(Poisoned::Out));
        }
        assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(SECTION_FRAMES));
        assert_eq!(offline(allocator, at), Ok(0));
    });
}
