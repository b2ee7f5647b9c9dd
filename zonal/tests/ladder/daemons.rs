//! kswapd: who wakes it, what it does, which nodes are passed over while it is at work; and kinds that are kept apart.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zonal::{Daemon, Event, Gfp, NodeId, Order, Tuning};

use crate::stage::{MARKS, Plan, act, give, lose, one_node};

#[test]
fn kswapd_reclaims_up_to_the_high_mark() {
    let stage = one_node();
    stage.leave(0, MARKS.high - 100);
    assert!(!stage.allocator.kswapd(NodeId(0)), "nobody has asked");
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    assert!(stage.allocator.has_work(Daemon::Kswapd, NodeId(0)));
    stage.reclaims([give(60), lose(0), give(40)]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    let demands = stage.demands();
    let seen: Vec<_> = demands.iter().map(|demand| (demand.priority, demand.frames)).collect();
    assert_eq!(seen, [(12, 100), (12, 40), (11, 40)]);
    assert!(!stage.allocator.has_work(Daemon::Kswapd, NodeId(0)));
    stage.check();
}

#[test]
fn kswapd_passes_over_zones_without_memory() {
    let tuning = Tuning { min_free_kbytes: Some(4000), ..Tuning::default() };
    let stage = Plan { tuning: Some(tuning), hot_sections: 1, ..Plan::of(&[16]) }.build();
    let high = stage.zones()[0].marks.high;
    stage.leave(0, high - 100);
    // For requests that may have Movable frames, of which there are none.
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    stage.reclaims([give(100)]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    let frames: Vec<_> = stage.demands().iter().map(|demand| demand.frames).collect();
    assert_eq!(frames, [100]);
    stage.check();
}

#[test]
fn what_is_asked_of_a_daemon_at_work_is_told_when_it_ends() {
    let stage = one_node();
    stage.leave(0, MARKS.low);
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(stage.woken(), [NodeId(0)]);
    stage.reclaims([act(|stage| {
        // While it is at work nobody is told; it will look itself.
        assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
        assert_eq!((stage.woken(), stage.allocator.kswapd(NodeId(0))), (vec![], false));
        stage.give(900) + stage.give(110)
    })]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    assert_eq!(stage.woken(), [NodeId(0)]);
    assert!(stage.allocator.kswapd(NodeId(0)), "the work waits");
    stage.check();
}

#[test]
fn the_first_walk_passes_over_nodes_whose_kswapd_is_at_work() {
    let stage = Plan::of(&[16, 16, 16]).build();
    stage.leave(0, MARKS.low);
    stage.leave(1, MARKS.low + 100);
    stage.allocator.ask(Daemon::Kswapd, NodeId(1), Order::ZERO);
    stage.reclaims([act(|stage| {
        let before = [0, 1, 2].map(|zone| stage.free(zone));
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!([0, 1, 2].map(|zone| stage.free(zone)), [before[0], before[1], before[2] - 1]);
        // Where the others have nothing it is as good as any.
        stage.leave(2, MARKS.low);
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!(stage.free(1), before[1] - 1);
        0
    })]);
    assert!(stage.allocator.kswapd(NodeId(1)));
    assert_eq!(stage.woken(), [NodeId(1)], "it is not at its high mark, and goes on");
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!(stage.free(1), MARKS.low + 98, "the nearer one, now that it is not at work");
    stage.check();
}

#[test]
fn nor_does_the_nearest_node_serve_while_its_kswapd_is_at_work() {
    let stage = Plan::of(&[16, 16]).build();
    stage.leave(0, MARKS.low + 100);
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    stage.reclaims([act(|stage| {
        let before = [0, 1].map(|zone| stage.free(zone));
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!([0, 1].map(|zone| stage.free(zone)), [before[0], before[1] - 1]);
        stage.give(2000)
    })]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    stage.check();
}

/// Nor where kinds could be kept apart on it.
#[test]
fn a_busy_node_is_passed_over_before_kinds_are_kept_apart() {
    let stage = Plan { dma32_blocks: 8, ..Plan::of(&[16, 16]) }.build();
    [0, 1].into_iter().for_each(|zone| stage.leave(zone, MARKS.low + 100));
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    stage.reclaims([act(|stage| {
        let before = [0, 1, 2].map(|zone| stage.free(zone));
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!([0, 1, 2].map(|zone| stage.free(zone)), [before[0], before[1], before[2] - 1]);
        stage.give(1000)
    })]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    stage.check();
}

#[test]
fn a_platform_that_panics_leaves_the_work_to_the_next() {
    let stage = one_node();
    stage.leave(0, MARKS.low);
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    stage.reclaims([act(|_| panic!("on purpose"))]);
    let outcome = catch_unwind(AssertUnwindSafe(|| stage.allocator.kswapd(NodeId(0))));
    assert!(outcome.is_err());
    assert_eq!(stage.woken(), [NodeId(0), NodeId(0)], "by the request, and when it ended");
    assert!(stage.allocator.has_work(Daemon::Kswapd, NodeId(0)));
    stage.reclaims([give(1001)]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    assert_eq!(stage.free(0), MARKS.high);
    stage.check();
}

/// As one whose reclaim brings nothing, it gives up in the end.
#[test]
fn a_platform_that_panics_each_time_is_not_called_for_ever() {
    let stage = one_node();
    stage.leave(0, MARKS.low);
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    let mut passes = 0;
    while stage.allocator.has_work(Daemon::Kswapd, NodeId(0)) && passes < 100 {
        stage.reclaims([act(|_| panic!("on purpose"))]);
        assert!(catch_unwind(AssertUnwindSafe(|| stage.allocator.kswapd(NodeId(0)))).is_err());
        passes += 1;
    }
    assert_eq!(passes, 16);
    stage.check();
}

#[test]
fn a_kswapd_that_hardly_slept_is_counted() {
    let stage = one_node();
    let count = || {
        let events = stage.allocator.events();
        [Event::KswapdLowWmarkHitQuickly, Event::KswapdHighWmarkHitQuickly].map(|event| events.count(event))
    };
    // What is left when kswapd is called, when, and what has been counted then.
    let calls = [
        (MARKS.low - 1, 1000, [0, 0]), // it never slept
        (MARKS.low - 1, 1099, [1, 0]),
        (MARKS.high - 1, 1150, [1, 1]),
        (MARKS.low - 1, 1250, [1, 1]), // for long enough
        (MARKS.high, 1251, [1, 1]),    // it was called in vain
    ];
    for (left, now_ms, counted) in calls {
        stage.leave(0, left);
        stage.script.now_ms.set(now_ms);
        stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
        stage.reclaims([act(move |stage| stage.give((MARKS.high - left) as usize))]);
        assert!(stage.allocator.kswapd(NodeId(0)));
        assert_eq!(count(), counted, "{left} at {now_ms}");
        stage.script.reclaims.borrow_mut().clear();
    }
    stage.check();
}

/// A Normal zone above a DMA32 zone, a block of frames of another kind in each; Normal has marks, and a boost.
fn mixed() -> &'static crate::stage::Stage {
    let stage = Plan { dma32_blocks: 16, tuning: Some(Tuning::default()), ..Plan::of(&[32]) }.build();
    stage.leave(0, 600);
    stage.leave(1, 600);
    stage
}

#[test]
fn kinds_are_kept_apart_while_the_zone_below_can_help() {
    let stage = mixed();
    stage.zones().iter().for_each(|zone| assert!(stage.allocator.set_marks(zone.id, zonal::Marks::at(50))));
    let (below, own) = (stage.free(0), stage.free(1));
    let mut served = 0;
    while stage.zones()[1].boost == 0 {
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        served += 1;
    }
    // Blocks that are free are the kind's own; then the zone below has one; and then only are kinds mixed.
    assert!(stage.free(0) < below, "{served}: {} of {below} and {} of {own}", stage.free(0), stage.free(1));
    stage.check();
}

#[test]
fn mixing_kinds_raises_the_marks_and_kswapd_is_told() {
    let stage = Plan { tuning: Some(Tuning::default()), ..Plan::of(&[32]) }.build();
    stage.leave(0, 0);
    stage.scatter(1000, 2);
    // No block is free, and all that are used are of movable frames: another kind is served out of theirs.
    assert!(stage.ask(Gfp::empty(), 0).is_ok());
    assert_eq!((stage.zones()[0].boost, stage.woken()), (512, vec![]));
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok(), "it wakes for who did not");
    assert_eq!(stage.woken(), [NodeId(0)]);
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(stage.calls(), [], "once");
    stage.check();
}

#[test]
fn a_boost_keeps_no_single_frame_from_who_has_part_of_the_mark() {
    let stage = Plan { tuning: Some(Tuning::default()), ..Plan::of(&[32]) }.build();
    stage.leave(0, 0);
    stage.scatter(1000, 2);
    assert!(stage.ask_all(Gfp::NOWAIT, 0) > 0);
    let zone = stage.zones().remove(0);
    assert_eq!((zone.marks.min, zone.boost), (256, 512));
    assert_eq!(stage.free(0), 256 + 512, "the boost is on top for others");
    assert!(stage.ask_all(Gfp::ATOMIC, 0) > 0);
    assert_eq!(stage.free(0), 256 * 3 / 8);
    stage.check();
}

#[test]
fn kswapd_makes_up_for_the_boost_that_it_saw_when_it_began() {
    let stage = Plan { tuning: Some(Tuning::default()), ..Plan::of(&[32]) }.build();
    stage.leave(0, 0);
    stage.scatter(860, 2);
    assert!(stage.again(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(stage.zones()[0].boost, 512);
    stage.reclaims([act(|stage| {
        assert!(stage.ask(Gfp::MEMALLOC | Gfp::RECLAIMABLE, 0).is_ok());
        assert_eq!(stage.zones()[0].boost, 576, "three halves of the high mark");
        stage.give(200)
    })]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    assert_eq!(stage.zones()[0].boost, 64);
    stage.check();
}
