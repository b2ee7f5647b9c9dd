//! The rungs in their order, each with what it leaves and whom it calls.

use std::cell::RefCell;
use std::rc::Rc;

use zonal::{AllocError, Caching, Gfp, Group, Marks, Order, Request, Step, Task};

use crate::stage::{MARKS, Plan, act, give, lose, one_node};

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
    stage.script.injected.set(&[Step::FastWalk]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.free(0), stage.woken().len()), (MARKS.low - 1, 2));

    // Every walk that leaves the min mark: direct reclaim is begun beside free frames, and the last walk finds them.
    let stage = one_node();
    stage.leave(0, MARKS.low);
    stage.script.injected.set(&[Step::SlowWalk]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));

    // Reclaim: frames that could be had again are not, and somebody is killed.
    stage.script.injected.set(&[Step::Reclaim]);
    stage.leave(0, MARKS.min);
    stage.reclaims([give(100)]);
    stage.kills_free(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (0, 1));
    stage.check();
}

#[test]
fn words_and_the_first_zone_are_passed_over_where_they_are_made_to_fail() {
    let stage = Plan { caching: Caching::Local, ..Plan::of(&[16, 16]) }.build();
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    let cached = || stage.zones()[0].cached;
    let words = cached();
    assert!(words > 0);
    stage.script.injected.set(&[Step::Words]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((cached() / 8, stage.climb().walks), (2 * words / 8, 0), "a group more, out of a block");
    let words = cached();
    stage.script.injected.set(&[Step::Words, Step::FirstZone]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((cached() >= words, stage.climb().walks), (true, 1), "the walk finds it there");
    stage.script.injected.set(&[]);
    let words = cached();
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((cached(), stage.climb().walks), (words - 1, 0));
    stage.check();
}

/// Every second frame is free, and can be moved: a run is made unless that fails.
#[test]
fn compaction_and_moves_that_are_made_to_fail_make_no_run() {
    for (steps, served) in [(&[] as &[Step], true), (&[Step::Compaction], false), (&[Step::Migration], false)]
    {
        let stage = one_node();
        stage.leave(0, 0);
        assert!(stage.allocator.set_marks(stage.zones()[0].id, Marks::at(0)));
        stage.scatter(900, 2);
        stage.script.moves.set(true);
        stage.script.injected.set(steps);
        assert_eq!(stage.ask(Gfp::KERNEL, 3).is_ok(), served, "{steps:?}");
        assert_eq!(stage.kills(), usize::from(!served));
        stage.check();
    }
}

#[test]
fn a_kill_that_is_made_to_fail_kills_nobody() {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    stage.kills_free(1);
    stage.script.injected.set(&[Step::Kill]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_err());
    assert_eq!(stage.kills(), 0);
    stage.check();
}

#[test]
fn a_request_all_of_whose_steps_fail_fails_whatever_is_free() {
    for caching in [Caching::Off, Caching::Local] {
        let stage = Plan { caching, ..Plan::of(&[16, 16]) }.build();
        let warm = stage.ask(Gfp::KERNEL, 0).expect("there is plenty");
        stage.free_run(warm, 0);
        let free = || [0, 1].map(|zone| stage.free(zone));
        let before = free();
        stage.script.injected.set(&Step::ALL);
        for gfp in
            [Gfp::empty(), Gfp::NOWAIT, Gfp::ATOMIC, Gfp::KERNEL, Gfp::KERNEL | Gfp::THISNODE | Gfp::ZERO]
        {
            for order in [0, 3, 9, 10] {
                let outcome = stage.ask(gfp, order);
                assert!(
                    matches!(outcome, Err(AllocError::NoMemory { .. } | AllocError::NoRun { .. })),
                    "{outcome:?}"
                );
                assert_eq!((stage.demands(), stage.kills()), (vec![], 0));
            }
        }
        let allocator = &stage.allocator;
        assert!(allocator.alloc_nolock(Gfp::empty(), None, Order::ZERO).is_err());
        assert!(allocator.alloc_bulk(&Request::order(Order::ZERO), 40, &mut [Group::EMPTY; 4]).is_err());
        assert_eq!(free(), before);
        stage.script.injected.set(&[]);
        assert!(stage.ask(Gfp::ATOMIC, 0).is_ok());
        stage.check();
    }
}

/// Nothing of the request that it tells of is under way then: neither a step, nor its turn to kill.
#[test]
fn who_reads_a_report_may_ask_for_memory_himself() {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    let read: Rc<RefCell<Vec<bool>>> = Rc::default();
    let reads = |gfp: Gfp| {
        let read = Rc::clone(&read);
        let deed = act(move |stage| {
            read.borrow_mut().push(stage.again(gfp, 0).is_ok());
            0
        });
        stage.script.tellings.borrow_mut().push_back(deed);
    };
    // Somebody is killed in vain; who reads of it has another one killed for himself, of whose frames both have one.
    reads(Gfp::KERNEL);
    stage.script.kills.borrow_mut().push_back(lose(0));
    stage.kills_free(2);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((read.take(), stage.kills(), stage.pauses()), (vec![true], 2, 0));
    // A request fails; who reads of that fails too, which nobody is told of, or has his part of the mark.
    for (gfp, served, now_ms) in [(Gfp::KERNEL | Gfp::NORETRY, false, 20_000), (Gfp::ATOMIC, true, 40_000)] {
        reads(gfp);
        stage.script.now_ms.set(now_ms);
        stage.script.told.borrow_mut().clear();
        assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_err());
        assert_eq!((read.take(), stage.script.told.borrow().len()), (vec![served], 1));
    }
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
