//! What keeps memory from running out too early: the checklist of linux-facts 2.10, by its numbers. (1 is in
//! `rebuilds`, 2 about cpusets, 11 about memory that is not there yet.)

use std::cell::Cell;
use std::rc::Rc;

use zonal::{Caching, Gfp, Marks, NodeId, Task};

use crate::reserves::with_reserved;
use crate::stage::{Deed, MARKS, Plan, Stage, act, give, lose, one_node};
use crate::support::audited;

fn vain(rounds: usize) -> impl Iterator<Item = Deed> {
    std::iter::repeat_with(|| lose(0)).take(rounds)
}

/// One node down to its min mark.
fn at_min() -> &'static Stage {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    stage
}

#[test]
fn protection_03_whose_turn_it_is_to_kill_looks_once_more_first() {
    let stage = at_min();
    // Somebody killed in parallel gives memory back after the last round of reclaim was called vain.
    stage.script.looks.borrow_mut().push_back(give(1));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));
    stage.check();
}

#[test]
fn protection_04_another_round_is_decided_by_what_could_be_free() {
    let stage = at_min();
    stage.script.reclaimable.set(1);
    stage.reclaims(vain(10).chain([give(1)]));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (11, 0));
    // Nothing could be: no second round.
    stage.script.reclaimable.set(0);
    assert!(stage.ask(Gfp::KERNEL, 0).is_err());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 1));
    stage.check();
}

#[test]
fn protection_05_what_cpus_cache_is_free() {
    let stage = Plan { caching: Caching::All, ..Plan::of(&[16]) }.build();
    let held: Vec<_> = (0..40).map(|_| stage.ask(Gfp::KERNEL, 0).expect("there is plenty")).collect();
    stage.leave(0, 0);
    stage.allocator.set_marks(stage.zones()[0].id, Marks::default());
    stage.script.cpu.set(1);
    held.iter().for_each(|&pfn| stage.free_run(pfn, 0));
    let zone = &stage.zones()[0];
    assert!(zone.cached >= 8, "{zone:?}");
    stage.script.cpu.set(0);
    // Single frames come out of the other CPU's words, longer runs out of the blocks that those are emptied into.
    assert_eq!((stage.ask(Gfp::KERNEL, 0).is_ok(), stage.ask(Gfp::KERNEL, 4).is_ok()), (true, true));
    assert_eq!((stage.demands(), stage.kills()), (vec![], 0));
    stage.check();
}

#[test]
fn protection_05_blocks_kept_for_atomic_requests_are_given_up_but_one_after_the_first_vain_reclaim() {
    let stage = with_reserved(2);
    let kept = audited(&stage.allocator).free;
    assert!(kept > 0);
    stage.reclaims([lose(32)]);
    stage.script.reclaimable.set(5000);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    let zone = &stage.zones()[0];
    assert_eq!((stage.demands().len(), stage.kills(), zone.reserved_highatomic), (1, 0, 512));
    stage.check();
}

#[test]
fn protection_06_the_last_block_kept_for_atomic_requests_is_given_up_before_a_kill() {
    let stage = with_reserved(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    let zone = &stage.zones()[0];
    assert_eq!((stage.demands().len(), stage.kills(), zone.reserved_highatomic), (2, 0, 0));
    stage.check();
}

#[test]
fn protection_07_progress_begins_the_rounds_anew() {
    let stage = at_min();
    stage.script.reclaimable.set(5000);
    stage.reclaims(vain(16).chain([lose(32)]).chain(vain(16)).chain([give(1)]));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (34, 0));
    // Without any: 16 rounds, and the one that shows it.
    stage.kills_free(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (18, 1));
    stage.check();
}

/// Every second frame is free. A light compaction looks only at runs that are nearly free; a harder one makes some.
#[test]
fn protection_08_compaction_is_tried_harder_before_anybody_is_killed() {
    let stage = one_node();
    stage.leave(0, 0);
    assert!(stage.allocator.set_marks(stage.zones()[0].id, Marks::at(0)));
    stage.scatter(900, 2);
    assert!(stage.ask(Gfp::KERNEL, 3).is_err());
    assert_eq!(stage.kills(), 1, "nothing moves here");
    stage.script.moves.set(true);
    assert!(stage.ask(Gfp::KERNEL, 3).is_ok());
    assert_eq!(stage.kills(), 0);
    stage.check();
}

#[test]
fn protection_09_a_kill_by_another_request_is_progress() {
    let stage = at_min();
    let inner = Rc::new(Cell::new(None));
    let seen = Rc::clone(&inner);
    // Somebody else is at it while the killing goes on: what that frees is there after two pauses.
    stage.script.pauses.borrow_mut().extend([lose(0), give(2)]);
    stage.script.kills.borrow_mut().push_back(act(move |stage| {
        seen.set(stage.again(Gfp::KERNEL, 0).ok());
        1
    }));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert!(inner.take().is_some(), "the request in between was served");
    assert_eq!((stage.pauses(), stage.kills()), (2, 1));
    stage.check();
}

#[test]
fn protection_10_nobody_is_killed_for_a_request_that_cannot_gain_by_it() {
    let stage = Plan { dma32_blocks: 8, ..Plan::of(&[16]) }.build();
    stage.leave(0, 0);
    stage.leave(1, 0);
    let victim = Task { oom_victim: true, ..Task::default() };
    let ordinary = Task::default();
    let cannot = [
        (Gfp::KERNEL | Gfp::RETRY_MAYFAIL, 0, ordinary),
        (Gfp::KERNEL | Gfp::NORETRY, 0, ordinary),
        (Gfp::KERNEL | Gfp::THISNODE, 0, ordinary),
        (Gfp::KERNEL | Gfp::DMA32, 0, ordinary),
        (Gfp::KERNEL, 4, ordinary),
        (Gfp::KERNEL, 0, victim),
    ];
    for (gfp, order, task) in cannot {
        stage.script.task.set(task);
        assert!(stage.ask(gfp, order).is_err());
        assert_eq!(stage.kills(), 0, "{gfp} {order}");
    }
    stage.script.task.set(ordinary);
    stage.script.pauses.borrow_mut().extend([lose(0), lose(0), give(32)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 4).is_ok());
    assert_eq!((stage.kills(), stage.pauses()), (0, 3), "it waits");
    assert!(stage.ask(Gfp::KERNEL, 0).is_err());
    assert_eq!(stage.kills(), 1, "one that can");
    stage.check();
}

#[test]
fn protection_10_a_request_that_cannot_help_itself_waits_for_those_that_can() {
    let stage = at_min();
    assert!(stage.ask(Gfp::NOFS, 0).is_err());
    assert_eq!((stage.pauses(), stage.kills()), (0, 0), "there is nothing for the others either");
    stage.script.reclaimable.set(1);
    stage.script.pauses.borrow_mut().extend([lose(0), lose(0), give(1)]);
    assert!(stage.ask(Gfp::NOFS, 0).is_ok());
    assert_eq!((stage.pauses(), stage.kills()), (3, 0));
    stage.check();
}

/// Two nodes, the first of which is so long in want of frames that nobody wakes its kswapd.
fn hopeless() -> &'static Stage {
    let stage = Plan::of(&[16, 16]).build();
    stage.leave(0, 0);
    stage.leave(1, MARKS.low);
    for _ in 0..16 {
        let _ = stage.ask(Gfp::NOWAIT, 0);
        assert!(stage.woken().contains(&NodeId(0)));
        assert!(stage.allocator.kswapd(NodeId(0)));
    }
    stage
}

#[test]
fn protection_12_a_hopeless_kswapd_is_not_woken_and_is_after_progress() {
    let stage = hopeless();
    let _ = stage.ask(Gfp::NOWAIT, 0);
    assert!(!stage.woken().contains(&NodeId(0)), "{:?}", stage.woken());
    stage.leave(1, 0);
    stage.reclaims([lose(1)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0).is_err());
    let _ = stage.ask(Gfp::NOWAIT, 0);
    assert!(stage.woken().contains(&NodeId(0)), "direct reclaim found something");
    stage.check();
}

#[test]
fn protection_12_frees_up_to_the_high_mark_give_a_hopeless_kswapd_another_chance() {
    for caching in [Caching::Off, Caching::Local] {
        let stage = Plan { caching, ..Plan::of(&[16, 16]) }.build();
        let spare: Vec<_> = (0..MARKS.high + 2)
            .map(|_| stage.ask(Gfp::KERNEL | Gfp::THISNODE, 0).expect("there is plenty"))
            .collect();
        stage.leave(0, 0);
        stage.leave(1, MARKS.low);
        for _ in 0..17 {
            let _ = stage.ask(Gfp::NOWAIT, 0);
            stage.allocator.kswapd(NodeId(0));
        }
        let _ = stage.ask(Gfp::NOWAIT, 0);
        assert!(!stage.woken().contains(&NodeId(0)), "{:?}", stage.woken());
        // Another node's frames served meanwhile, so nobody reclaimed here. Owners' frees alone bring it back.
        spare.iter().for_each(|&pfn| stage.free_run(pfn, 0));
        assert!(stage.free(0) > MARKS.high);
        stage.leave(0, 0);
        let _ = stage.ask(Gfp::NOWAIT, 0);
        assert!(stage.woken().contains(&NodeId(0)), "{caching:?}");
        stage.check();
    }
}
