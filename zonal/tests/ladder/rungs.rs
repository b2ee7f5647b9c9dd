//! The rungs in their order, each with what it leaves and whom it calls.

use zonal::{AllocError, Gfp, Step, Task};

use crate::stage::{MARKS, Plan, give, lose, one_node};

#[test]
fn the_fast_walk_leaves_the_low_mark_and_calls_nobody() {
    let stage = one_node();
    stage.leave(0, MARKS.low + 1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.calls(), stage.free(0)), (vec![], MARKS.low));
    // The next one leaves it all the same, but kswapd hears of it.
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!(stage.woken().len(), 1);
    stage.check();
}

#[test]
fn the_slow_walk_leaves_the_min_mark_and_nobody_is_waited_for() {
    let stage = one_node();
    stage.leave(0, MARKS.min + 1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands(), stage.pauses(), stage.free(0)), (vec![], 0, MARKS.min));
    assert_eq!(stage.climb().walks, 2, "the fast one, and one more");
    stage.check();
}

#[test]
fn direct_reclaim_is_asked_for_the_run_and_harder_each_time_in_vain() {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    stage.script.reclaimable.set(5000);
    let vain = std::iter::repeat_with(|| lose(0)).take(14);
    stage.reclaims(vain.chain([give(1)]));
    assert!(stage.ask(Gfp::NOFS, 0).is_ok());
    let demands = stage.demands();
    let priorities: Vec<u8> = demands.iter().map(|demand| demand.priority).collect();
    assert_eq!(priorities, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
    assert!(demands.iter().all(|demand| (demand.frames, demand.gfp) == (32, Gfp::NOFS)));
    assert_eq!((stage.climb().reclaims, stage.kills()), (15, 0));
    stage.check();
}

#[test]
fn each_step_that_is_made_to_fail_fails_as_a_miss_there_would() {
    // The fast walk over the zones behind the first: the first one serves, below its low mark, and kswapd is told.
    let stage = Plan::of(&[16, 16]).build();
    stage.leave(0, MARKS.low);
    stage.script.injected.set(Some(Step::FastWalk));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.free(0), stage.woken().len()), (MARKS.low - 1, 2));

    // Every walk that leaves the min mark: direct reclaim is begun beside free frames, and the last walk finds them.
    let stage = one_node();
    stage.leave(0, MARKS.low);
    stage.script.injected.set(Some(Step::SlowWalk));
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));

    // Reclaim: frames that could be had again are not, and somebody is killed.
    stage.script.injected.set(Some(Step::Reclaim));
    stage.leave(0, MARKS.min);
    stage.reclaims([give(100)]);
    stage.kills_free(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (0, 1));
    stage.check();
}

#[test]
fn a_task_that_frees_memory_goes_down_to_nothing_and_does_not_reclaim() {
    let stage = one_node();
    stage.leave(0, 5);
    stage.reclaims([give(100)]);
    stage.script.task.set(Task { memalloc: true, ..Task::default() });
    assert_eq!(stage.ask_all(Gfp::KERNEL, 0), 5);
    assert_eq!((stage.demands(), stage.pauses(), stage.kills()), (vec![], 0, 0));
    // One that cannot fail waits for others, which reclaim does for it.
    stage.script.pauses.borrow_mut().extend([lose(0), give(1)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 0).is_ok());
    assert_eq!((stage.demands(), stage.pauses()), (vec![], 2));
    stage.check();
}

#[test]
fn a_victim_has_half_of_the_mark_and_nobody_is_killed_for_it() {
    let stage = one_node();
    stage.leave(0, MARKS.min / 2 + 3);
    stage.script.task.set(Task { oom_victim: true, ..Task::default() });
    assert_eq!(stage.ask_all(Gfp::KERNEL, 0), 3);
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));
    stage.check();
}

#[test]
fn this_node_is_not_left() {
    let stage = Plan::of(&[16, 16]).build();
    stage.leave(0, MARKS.low);
    assert!(stage.ask(Gfp::KERNEL | Gfp::THISNODE, 0).is_ok());
    assert_eq!((stage.free(0), stage.free(1)), (MARKS.low - 1, 16 * 512));
    stage.leave(0, 0);
    assert!(matches!(stage.ask(Gfp::NOWAIT | Gfp::THISNODE, 0), Err(AllocError::NoMemory { .. })));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok(), "others go on to the next");
    assert_eq!((stage.free(1), stage.calls()), (16 * 512 - 1, vec![]));
    stage.check();
}
