//! Each promise broken on purpose: a storm that cannot fail would prove nothing.

use std::sync::Arc;

use anyhow::Result;
use zonal::{Order, PageAllocator, Request};
use zonal_linux::{Machine, MachineError, WordKind};

use super::engine::{self, Outcome, Run};
use super::hand::{Hand, Whose};
use super::request::Class;
use super::stage::Stage;
use super::violation::Violation;
use super::{Finding, Storm, Threads};

/// A storm of one kind of step.
struct Only(fn(&mut Hand));

impl Storm for Only {
    fn name(&self) -> &'static str {
        "only"
    }

    fn about(&self) -> &'static str {
        "one kind of step"
    }

    fn faults(&self) -> &'static [&'static str] {
        &[]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for Only {
    fn machine(&self) -> Result<Machine, MachineError> {
        Machine::uniform(1, 96 << 20, 2)
    }

    fn step(&self, hand: &mut Hand) {
        (self.0)(hand);
    }
}

fn outcome(storm: &'static Only) -> Outcome {
    engine::run(storm, Run { words: WordKind::Locked, seconds: 1, seed: 1, rounds: u64::MAX }).unwrap()
}

#[track_caller]
fn broken(storm: &'static Only, promise: &str) -> Outcome {
    let outcome = outcome(storm);
    assert_eq!(outcome.tally.first.map(|violation| violation.promise()), Some(promise), "{outcome:?}");
    outcome
}

/// A frame behind the storm's back.
fn steal(allocator: &PageAllocator<'_, zonal_linux::SimulatedPlatform>) -> zonal::Pfn {
    allocator.alloc_raw(&Request::order(Order::ZERO)).unwrap()
}

#[test]
fn a_storm_that_breaks_nothing_is_clean() {
    static CLEAN: Only = Only(|hand| hand.take_and_give(Class::Kernel, Order::ZERO));
    let outcome = outcome(&CLEAN);
    assert!(outcome.tally.first.is_none(), "{outcome:?}");
    assert!(outcome.rounds > 2 && outcome.audit.is_empty());
}

#[test]
fn a_frame_that_does_not_come_back_is_lost() {
    static LOSES: Only = Only(|hand| {
        if hand.whose.thread == 0 && hand.dice.u16(..1000) == 0 {
            steal(hand.stage.allocator());
        }
    });
    assert!(broken(&LOSES, "P5").tally.lost > 0);
}

#[test]
fn a_frame_freed_behind_its_holders_back_is_handed_out_twice() {
    static FREES: Only = Only(|hand| {
        if let Some(run) = hand.take(Class::User, Order::ZERO) {
            hand.hold(run);
            // SAFETY: not the storm's to free, which is what it must notice; nobody touches frames.
            let _ = unsafe { hand.stage.allocator().free_raw(run.pfn(), Order::ZERO) };
        }
        hand.trim();
    });
    assert!(broken(&FREES, "P5").tally.double > 0);
}

#[test]
fn who_takes_more_than_its_share_has_others_refused() {
    static GREEDY: Only = Only(|hand| {
        for _ in 0..8 {
            hand.take(Class::Kernel, Order::ZERO).into_iter().for_each(|run| hand.hold(run));
        }
        if hand.frames > 12_000 {
            hand.give_all();
        }
    });
    let outcome = broken(&GREEDY, "P2");
    assert!(outcome.tally.failed_blocking > 0 && outcome.tally.premature == 0, "{outcome:?}");
}

#[test]
fn a_panic_is_caught_and_named() {
    static PANICS: Only = Only(|_| panic!("on purpose"));
    let first = broken(&PANICS, "P8").tally.first;
    assert!(matches!(first, Some(Violation::Panicked { .. })), "{first:?}");
}

#[test]
fn a_request_may_take_longer_only_where_others_got_on() {
    let machine = Machine::uniform(1, 64 << 20, 2).unwrap();
    let stage = Arc::new(Stage::build(&machine, 1, 1).unwrap());
    let judged = |order, steps, others| {
        let mut hand = Hand::new(&stage, Whose { thread: 0, depth: 0 }, 1);
        hand.stepped(order, steps, others);
        assert_eq!(hand.tally.max_steps, steps);
        hand.tally.first.map(|violation| violation.promise())
    };
    assert_eq!(judged(Order::ZERO, 60_000, 0), None);
    assert_eq!(judged(Order::ZERO, 70_000, 0), Some("P1"));
    assert_eq!(judged(Order::ZERO, 70_000, 10), None);
    assert_eq!(judged(Order::ZERO, 200_000, 1000), Some("P1"), "however many others got on");
    assert_eq!(judged(Order::BLOCK, 200_000, 0), None);
}
