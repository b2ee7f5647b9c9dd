//! What CPUs keep in words of a zone that is short: less below its high mark, nothing from its low mark up to the high one, and nothing
//! while kswapd is at work.

use zonal::{Caching, Daemon, Gfp, NodeId, Order, Pfn};

use crate::stage::{MARKS, Plan, Stage, act};

/// One node whose CPUs cache, and forty frames of it.
fn caching() -> (&'static Stage, Vec<Pfn>) {
    let stage = Plan { caching: Caching::Local, ..Plan::of(&[16]) }.build();
    let held = (0..40).map(|_| stage.ask(Gfp::KERNEL, 0).expect("there is plenty")).collect();
    (stage, held)
}

fn cached(stage: &Stage) -> u64 {
    stage.zones()[0].cached
}

#[test]
fn below_the_high_mark_a_refill_takes_what_was_asked() {
    let (stage, _) = caching();
    for (left, keeps) in [(MARKS.high + 100, true), (MARKS.high, false), (MARKS.low + 1, false)] {
        stage.leave(0, left);
        stage.allocator.drain_all();
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!(cached(stage) > 0, keeps, "{left} were left");
    }
    stage.check();
}

#[test]
fn a_zone_at_its_low_mark_keeps_nothing_in_words_until_it_is_above_high_again() {
    let (stage, held) = caching();
    stage.leave(0, MARKS.low + 4);
    for &pfn in &held[..4] {
        stage.free_run(pfn, 0);
    }
    assert_eq!(cached(stage), 4, "below high what is freed is kept");
    assert!(stage.ask(Gfp::NOWAIT, 9).is_ok());
    assert_eq!(cached(stage), 0, "it has been found short");
    stage.free_run(held[4], 0);
    assert_eq!(cached(stage), 0);
    stage.give(1300);
    assert!(stage.free(0) > MARKS.low);
    stage.free_run(held[5], 0);
    assert_eq!(cached(stage), 0, "up to the high mark");
    stage.give(300);
    stage.free_run(held[6], 0);
    assert!(stage.free(0) > MARKS.high && cached(stage) > 0);
    stage.check();
}

#[test]
fn nothing_is_kept_in_words_while_kswapd_is_at_work() {
    let (stage, held) = caching();
    stage.leave(0, MARKS.low + 500);
    held[..4].iter().for_each(|&pfn| stage.free_run(pfn, 0));
    assert_eq!(cached(stage), 4);
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    let [one, other] = [held[4], held[5]];
    stage.reclaims([act(move |stage| {
        assert_eq!(cached(stage), 0);
        stage.free_run(one, 0);
        assert_eq!(cached(stage), 0);
        stage.give(600)
    })]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    stage.free_run(other, 0);
    assert!(cached(stage) > 0, "it is above the high mark");
    stage.check();
}
