//! What each class of requests gets before it may fail (linux-facts 2.9), and that it does not before.

use zonal::{AllocError, Gfp, NodeId};

use crate::stage::{MARKS, Plan, Stage, give, lose, one_node};

const EMPTY: Gfp = Gfp::empty();

/// Nothing above any mark, and reclaim that says each time that it has freed something, though nothing is left of it.
fn fruitless() -> &'static Stage {
    let stage = one_node();
    stage.leave(0, 0);
    stage.script.reclaimable.set(5000);
    stage.reclaims(std::iter::repeat_with(|| lose(32)).take(100));
    stage
}

#[test]
fn a_mask_of_nothing_wakes_nobody_and_waits_for_nobody() {
    let stage = one_node();
    stage.leave(0, MARKS.min + 2);
    assert_eq!(stage.ask_all(EMPTY, 0), 2);
    assert!(stage.ask(EMPTY, 1).is_err());
    assert_eq!(stage.calls(), []);
    stage.check();
}

#[test]
fn nowait_wakes_kswapd_and_leaves_the_min_mark() {
    let stage = one_node();
    stage.leave(0, MARKS.min + 2);
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(stage.woken(), [NodeId(0)]);
    assert_eq!(stage.ask_all(Gfp::NOWAIT, 0), 1);
    assert_eq!((stage.woken(), stage.demands(), stage.pauses()), (vec![NodeId(0)], vec![], 0));
    stage.check();
}

#[test]
fn atomic_neither_waits_nor_pauses() {
    let stage = one_node();
    stage.leave(0, 377);
    stage.reclaims([give(100)]);
    assert_eq!(stage.ask_all(Gfp::ATOMIC, 0), 2);
    assert_eq!((stage.demands(), stage.pauses(), stage.kills()), (vec![], 0, 0));
    assert!(stage.ask(Gfp::ATOMIC | Gfp::NOFAIL, 0).is_err(), "it may not wait, so it fails");
    assert_eq!((stage.demands(), stage.pauses()), (vec![], 0));
    stage.check();
}

#[test]
fn noretry_fails_after_one_round() {
    let stage = fruitless();
    assert!(matches!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 0), Err(AllocError::NoMemory { .. })));
    assert_eq!((stage.demands().len(), stage.pauses(), stage.kills()), (1, 0, 0));
}

#[test]
fn noretry_beats_retry_mayfail() {
    let stage = fruitless();
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY | Gfp::RETRY_MAYFAIL, 0).is_err());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));
}

#[test]
fn a_run_above_order_3_fails_after_one_round() {
    let stage = fruitless();
    assert!(stage.ask(Gfp::KERNEL, 4).is_err());
    assert_eq!((stage.demands().len(), stage.kills()), (1, 0));
    // The same run is worth more with RETRY_MAYFAIL: 16 rounds at least, but they end, whatever each has brought.
    assert!(stage.ask(Gfp::KERNEL | Gfp::RETRY_MAYFAIL, 4).is_err());
    assert!((17..60).contains(&stage.demands().len()), "{} rounds", stage.demands().len());
    assert_eq!(stage.kills(), 0);
}

#[test]
fn retry_mayfail_goes_on_while_reclaim_helps_and_then_fails_without_a_kill() {
    let stage = fruitless();
    stage.script.reclaims.borrow_mut().truncate(40);
    stage.kills_free(10);
    assert!(stage.ask(Gfp::KERNEL | Gfp::RETRY_MAYFAIL, 0).is_err());
    assert_eq!((stage.demands().len(), stage.kills()), (40 + 17, 0));
}

#[test]
fn an_ordinary_request_has_somebody_killed_before_it_fails() {
    let stage = one_node();
    stage.leave(0, MARKS.min);
    stage.kills_free(1);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.demands().len(), stage.kills()), (2, 1));
    assert!(stage.ask(Gfp::KERNEL, 0).is_err(), "nobody is left to be killed");
    assert_eq!((stage.demands().len(), stage.kills(), stage.climb().kills), (1, 1, 1));
    stage.check();
}

#[test]
fn nofail_gets_its_frames_in_the_end() {
    let stage = one_node();
    stage.leave(0, 2);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 0).is_ok(), "below every mark");
    assert_eq!((stage.free(0), stage.pauses()), (1, 0));
    stage.leave(0, 0);
    stage.script.pauses.borrow_mut().extend([lose(0), lose(0), give(1)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 0).is_ok());
    assert_eq!(stage.pauses(), 3);
    // It is no light attempt, whatever is said besides.
    stage.script.pauses.borrow_mut().extend([give(32)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL | Gfp::NORETRY, 4).is_ok());
    assert_eq!(stage.kills(), 0);
    stage.check();
}

#[test]
fn nofail_goes_below_every_mark_rather_than_have_a_second_one_killed() {
    let stage = one_node();
    stage.leave(0, 2);
    // The victim takes its time.
    stage.script.kills.borrow_mut().extend([lose(0), lose(0)]);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 0).is_ok());
    assert_eq!((stage.kills(), stage.free(0), stage.pauses()), (1, 1, 0));
    assert!(stage.ask(Gfp::KERNEL, 0).is_err(), "the mark is others' all the same");
    stage.check();
}

#[test]
fn nofail_does_not_wait_for_what_cannot_be() {
    let stage = one_node();
    stage.leave(0, 0);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 11).is_err());
    assert_eq!(stage.pauses(), 0);
    let memoryless = Plan { dma32_blocks: 0, ..Plan::of(&[16]) }.build();
    assert_eq!(memoryless.ask(Gfp::KERNEL | Gfp::NOFAIL | Gfp::DMA32, 0), Err(AllocError::NoZone));
    assert_eq!(memoryless.pauses(), 0);
}
