//! Who asks from within a cpuset or with a policy: how far up the ladder which of the two counts, and what becomes of a request
//! when they change under it (protection 2 of linux-facts 2.10).

use std::rc::Rc;

use zonal::{AllocError, Context, Cpuset, Gfp, Mempolicy, NodeId, NodeMask, Task};

use crate::stage::{MARKS, Plan, Stage, act, lose};

const HARD: Gfp = Gfp::KERNEL.union(Gfp::HARDWALL);

fn nodes(list: &str) -> NodeMask {
    list.parse().expect("a list")
}

fn root(list: &str) -> Rc<Cpuset<'static>> {
    Rc::new(Cpuset::root(nodes(list)).expect("it has nodes"))
}

fn within<'c>(set: &'c Cpuset<'c>) -> Context<'c> {
    Context { cpuset: Some(set), ..Context::default() }
}

/// Two nodes, the first down to its min mark.
fn near_at_min() -> &'static Stage {
    let stage = Plan::of(&[16, 16]).build();
    stage.leave(0, MARKS.min);
    stage
}

fn nodes_of(stage: &Stage) -> Vec<NodeId> {
    stage.demands().iter().map(|demand| demand.node).collect()
}

#[test]
fn protection_02_a_policy_that_a_moved_cpuset_has_nothing_of_is_dropped_before_a_kill() {
    let stage = near_at_min();
    let (set, policy) = (root("0-1"), Mempolicy::bind(nodes("0")).expect("a node"));
    let context = Context { policy: Some(&policy), ..within(&set) };
    let moved = Rc::clone(&set);
    stage.reclaims([act(move |_| {
        assert_eq!(moved.set_mems(nodes("1")), Ok(()));
        0
    })]);
    assert_eq!(stage.ask_in(&context, HARD, 0), Ok(1));
    assert_eq!((nodes_of(stage), stage.kills(), stage.climb().restarts), (vec![NodeId(0)], 0, 1));
    // From now on it does not count from the beginning.
    assert_eq!(stage.ask_in(&context, HARD, 0), Ok(1));
    assert_eq!((stage.demands(), stage.climb().walks), (vec![], 1));
    stage.check();
}

#[test]
fn protection_02_a_policy_that_is_changed_is_followed_before_a_kill() {
    let stage = near_at_min();
    let policy = Rc::new(Mempolicy::bind(nodes("0")).expect("a node"));
    let said = Rc::clone(&policy);
    stage.script.looks.borrow_mut().push_back(act(move |_| {
        assert_eq!(said.set_nodes(nodes("1")), Ok(()));
        0
    }));
    let context = Context { policy: Some(&policy), ..Context::default() };
    assert_eq!(stage.ask_in(&context, Gfp::KERNEL, 0), Ok(1));
    assert_eq!((nodes_of(stage), stage.kills()), (vec![NodeId(0), NodeId(1)], 0));
    stage.check();
}

#[test]
fn protection_02_a_request_that_waits_begins_anew_as_often_as_its_set_moves() {
    let stage = Plan::of(&[16, 16, 16]).build();
    (0..2).for_each(|zone| stage.leave(zone, MARKS.min));
    let (set, policy) = (root("0-2"), Mempolicy::bind(nodes("0-1")).expect("nodes"));
    let context = Context { policy: Some(&policy), ..within(&set) };
    let moves = (0..40).map(|round| {
        let set = Rc::clone(&set);
        act(move |_| {
            let to = if round == 39 { "2" } else { ["0", "1"][round % 2] };
            assert_eq!(set.set_mems(nodes(to)), Ok(()));
            0
        })
    });
    stage.reclaims(moves);
    assert_eq!(stage.ask_in(&context, HARD, 0), Ok(2));
    assert_eq!(stage.kills(), 0);
    assert!(stage.climb().restarts > 16, "more often than one that may not wait: {:?}", stage.climb());
    stage.check();
}

#[test]
fn a_request_that_no_zone_is_allowed_to_fails_at_once() {
    let stage = Plan { movable_nodes: 1, ..Plan::of(&[16, 16]) }.build();
    let set = root("1");
    stage.script.reclaimable.set(5000);
    stage.reclaims([lose(32)]);
    stage.kills_free(0);
    assert_eq!(stage.ask_in(&within(&set), HARD, 0), Err(AllocError::NoZone));
    assert_eq!((stage.demands(), stage.kills(), stage.pauses()), (vec![], 0, 0));
    let movable = HARD | Gfp::MOVABLE | Gfp::HIGHMEM;
    assert_eq!(stage.ask_in(&within(&set), movable, 0), Ok(1));
    assert_eq!(stage.ask_in(&within(&set), HARD | Gfp::NOFAIL, 0), Ok(0), "it goes beyond its set at last");
    stage.check();
}

#[test]
fn only_its_own_nodes_are_reclaimed_for_a_request() {
    let stage = near_at_min();
    let top = root("0-1");
    let set = Cpuset::inside(&top, nodes("0")).expect("within");
    assert_eq!(stage.ask_in(&within(&set), HARD, 0).ok(), None);
    assert_eq!(nodes_of(stage), [NodeId(0)]);
    assert_eq!(stage.ask_in(&within(&set), Gfp::KERNEL, 0), Ok(1), "up to the next hard wall");
    assert_eq!((stage.demands(), stage.climb().walks), (vec![], 2));
    stage.check();
}

#[test]
fn a_victim_goes_beyond_its_set() {
    let stage = near_at_min();
    let set = root("0");
    let policy = Mempolicy::bind(nodes("0")).expect("a node");
    let context = Context { policy: Some(&policy), ..within(&set) };
    stage.leave(0, 0);
    assert!(stage.ask_in(&context, HARD, 0).is_err());
    stage.script.task.set(Task { oom_victim: true, ..Task::default() });
    assert_eq!(stage.ask_in(&context, HARD, 0), Ok(1));
    stage.script.task.set(Task { memalloc: true, ..Task::default() });
    assert_eq!(stage.ask_in(&context, HARD, 0), Ok(1));
    stage.check();
}

#[test]
fn in_an_interrupt_neither_counts() {
    let stage = Plan::of(&[16, 16]).build();
    let (set, policy) = (root("1"), Mempolicy::interleave(nodes("1")).expect("a node"));
    let context = Context { policy: Some(&policy), ..within(&set) };
    stage.script.task.set(Task { interrupt: true, ..Task::default() });
    assert_eq!(stage.ask_in(&context, Gfp::ATOMIC | Gfp::HARDWALL, 0), Ok(0));
    stage.check();
}

#[test]
fn preferred_nodes_are_not_reclaimed_while_others_have_frames() {
    let stage = near_at_min();
    let policy = Mempolicy::preferred_many(nodes("0")).expect("a node");
    let context = Context { policy: Some(&policy), ..Context::default() };
    assert_eq!(stage.ask_in(&context, Gfp::KERNEL, 0), Ok(1));
    assert_eq!(stage.demands(), []);
    stage.leave(1, 0);
    stage.reclaims([act(|stage| stage.give(1500))]);
    assert_eq!(stage.ask_in(&context, Gfp::KERNEL, 0), Ok(1), "what was given back is the other's");
    assert_eq!(nodes_of(stage), [NodeId(0)], "then with reclaim, and everywhere");
    stage.check();
}

#[test]
fn a_set_without_memory_stands_for_the_next_above_that_has_some() {
    let stage = Plan::of(&[16, 16]).build();
    let top = root("0-5");
    let middle = Cpuset::inside(&top, nodes("1,4-5")).expect("within").hardwalled();
    let set = Cpuset::inside(&middle, nodes("5")).expect("within");
    assert_eq!(stage.ask_in(&within(&set), HARD, 0), Ok(1));
    stage.check();
}
