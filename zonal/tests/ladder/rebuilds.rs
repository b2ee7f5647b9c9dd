//! Zonelists that are rebuilt under requests: protection 1 of linux-facts 2.10, and what neither may do to the other.

use std::iter::repeat_with;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zonal::{Fallback, FrameRange, Gfp, NodeId, Order, RebuildStep, Request, Tuning, ZoneId};

use crate::stage::{BLOCK, Deed, MARKS, Plan, Stage, act, give, lose, one_node};

/// One node down to its min mark.
fn at_min() -> &'static Stage {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    stage
}

/// The lists are rebuilt meanwhile, and nothing is brought.
fn rebuild() -> Deed {
    act(|stage| {
        stage.allocator.rebuild_zonelists();
        0
    })
}

/// All nodes' lists.
fn lists(stage: &Stage) -> Vec<Vec<ZoneId>> {
    let nodes = stage.zones().last().map_or(0, |zone| zone.node.0 + 1);
    (0..nodes).map(|node| stage.allocator.zonelist(NodeId(node), Fallback::Nodes).collect()).collect()
}

#[test]
fn protection_01_nobody_is_killed_where_the_lists_have_changed() {
    let stage = at_min();
    stage.reclaims([rebuild(), give(1)]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills(), stage.climb().restarts), (2, 0, 1));
    // Nothing has changed: somebody is killed, and the next round finds what that frees.
    stage.kills_free(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills(), stage.climb().restarts), (2, 1, 0));
    stage.check();
}

#[test]
fn protection_01_the_lists_are_looked_at_last_before_a_kill() {
    let stage = at_min();
    // It is asked about when it begins, and under its turn to kill, after the last walk.
    stage.script.asks.borrow_mut().extend([lose(0), rebuild()]);
    stage.reclaims([lose(0), give(1)]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills(), stage.climb().restarts), (2, 0, 1));
    stage.check();
}

#[test]
fn protection_01_nobody_gives_up_early_where_the_lists_have_changed() {
    let stage = at_min();
    stage.reclaims([rebuild(), give(1)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.climb().restarts), (2, 1));
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_err());
    assert_eq!((stage.demands().len(), stage.climb().restarts), (1, 0));
    stage.check();
}

#[test]
fn protection_01_what_comes_within_reach_without_a_rebuild_counts_as_a_change() {
    let stage = at_min();
    let held = stage.zones()[0].span.start;
    let nothing = FrameRange::new(held, held.add(BLOCK));
    let changes: [Deed; 3] = [
        act(move |stage| stage.allocator.unisolate(nothing).expect("a block")),
        act(|stage| u64::from(!stage.allocator.set_marks(stage.zones()[0].id, MARKS))),
        act(|stage| {
            let tuned =
                stage.allocator.set_tuning(Tuning { min_free_kbytes: Some(1 << 15), ..Tuning::default() });
            u64::from(tuned.is_err())
        }),
    ];
    for change in changes {
        stage.reclaims([change]);
        assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_err());
        assert_eq!((stage.demands().len(), stage.climb().restarts), (2, 1));
    }
    stage.check();
}

#[test]
fn an_atomic_request_walks_again_a_bounded_number_of_times() {
    let stage = one_node();
    stage.leave(0, 375);
    stage.script.wakes.borrow_mut().extend([rebuild(), rebuild()]);
    assert!(stage.ask(Gfp::ATOMIC, 0).is_err());
    assert_eq!(stage.climb().restarts, 2);
    stage.script.wakes.borrow_mut().extend(repeat_with(rebuild).take(100));
    assert!(stage.ask(Gfp::ATOMIC, 0).is_err());
    assert_eq!(stage.climb().restarts, 16);
    stage.check();
}

#[test]
fn a_rebuild_tells_the_orders_when_it_is_over() {
    let stage = Plan::of(&[16, 16, 16]).build();
    // The sink has the lists rebuilt: it may, since it is nobody's turn.
    stage.script.tellings.borrow_mut().push_back(rebuild());
    stage.allocator.rebuild_zonelists();
    let orders = ["Node 0: 0 1 2", "Node 1: 1 2 0", "Node 2: 2 1 0"]
        .map(|order| format!("Fallback order for {order}"));
    let mut told = stage.script.told.take();
    assert_eq!(told.split_off(4), orders[1..]);
    assert_eq!((&told[0], &told[1..]), (&orders[0], &orders[..]));
}

#[test]
fn at_each_step_of_a_rebuild_lists_are_whole_and_requests_are_served() {
    let stage = Plan::of(&[16, 16, 16]).build();
    stage.leave(0, 0);
    let whole = lists(stage);
    let served = |stage: &Stage, gfp, node| {
        let request = Request::order(Order::ZERO).gfp(gfp).expect("good flags").node(NodeId(node));
        stage.allocator.alloc_raw(&request).is_ok()
    };
    stage.script.steps.borrow_mut().extend(
        repeat_with(|| {
            let whole = whole.clone();
            act(move |stage| {
                assert_eq!(lists(stage), whole);
                assert!(served(stage, Gfp::ATOMIC, 0) && served(stage, Gfp::ATOMIC | Gfp::THISNODE, 2));
                0
            })
        })
        .take(6),
    );
    stage.allocator.rebuild_zonelists();
    let listed = (0..3).map(|node| RebuildStep::Listed(NodeId(node)));
    let steps: Vec<_> = [RebuildStep::Begun]
        .into_iter()
        .chain(listed)
        .chain([RebuildStep::Written, RebuildStep::Published])
        .collect();
    assert_eq!(stage.script.stepped.take(), steps);
    assert_eq!(stage.script.steps.borrow().len(), 0);
    stage.check();
}

#[test]
fn a_rebuild_that_is_given_up_at_any_step_leaves_whole_lists_and_another_one_goes() {
    let stage = Plan::of(&[16, 16]).build();
    let whole = lists(stage);
    for step in 0..5 {
        let before = repeat_with(|| lose(0)).take(step);
        stage.script.steps.borrow_mut().extend(before.chain([act(|_| panic!("the platform gives up"))]));
        let given_up = catch_unwind(AssertUnwindSafe(|| stage.allocator.rebuild_zonelists()));
        assert!(given_up.is_err());
        assert_eq!(lists(stage), whole);
        stage.allocator.rebuild_zonelists();
        assert_eq!(lists(stage), whole);
    }
}
