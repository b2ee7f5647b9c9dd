//! Each promise broken on purpose: a replay that cannot fail would prove nothing.

use std::num::NonZero;
use std::sync::atomic::AtomicU64;

use zonal::{Checking, Gfp, Order, Pfn, Request};
use zonal_linux::{CpuSource, Simulation};

use super::setting::{Origin, Setting};
use super::stamp::{Stamps, Table};
use super::{Outcome, perform};
use crate::ledger::Ledger;
use crate::plan::{Op, Part, Plan, SlotId};
use crate::trace::{Event, Run};

const ONE: NonZero<usize> = NonZero::<usize>::MIN;

/// A recording that holds `count` runs of `order` and frees none.
fn held(count: u64, order: Order) -> Plan {
    let mut ledger = Ledger::default();
    for first in 1..=count {
        let recorded = Run { first: Pfn::new(first * order.frames()), order };
        ledger.event(Event::Alloc(recorded, Gfp::KERNEL));
    }
    ledger.finish()
}

/// Replays on the machine made for `made_for`, after `before` had the allocator to itself.
fn outcome(plan: &Plan, made_for: &Plan, before: impl FnOnce(&Simulation)) -> Outcome {
    let setting = Setting::fitting(made_for).unwrap();
    let simulation = Simulation::build(&setting.machine, CpuSource::Thread).unwrap();
    before(&simulation);
    perform(simulation.allocator(), &Table::of(setting.machine.memory()), plan, &setting, ONE).unwrap()
}

#[test]
fn a_clean_replay_breaks_nothing() {
    let plan = held(3, Order::GROUP);
    let Outcome { report, refusals, .. } = outcome(&plan, &plan, |_| {});
    assert_eq!(report.broken(Origin::Fitting), [""; 0]);
    assert_eq!((report.audit.len(), refusals.len()), (0, 0));
}

#[test]
fn a_frame_that_does_not_come_back_is_lost() {
    let plan = held(3, Order::ZERO);
    let steal = |simulation: &Simulation| {
        simulation.allocator().alloc_raw(&Request::order(Order::GROUP)).unwrap();
    };
    let Outcome { report, .. } = outcome(&plan, &plan, steal);
    assert_eq!(report.lost, 32);
    assert_eq!(report.broken(Origin::Given), ["32 frames lost"]);
}

#[test]
fn a_run_freed_twice_is_a_double() {
    let mut plan = held(1, Order::ZERO);
    let again = Op::Free(Part { slot: SlotId(0), offset: 0, order: Order::ZERO });
    plan.ops.push(again);
    let mut setting = Setting::fitting(&plan).unwrap();
    // Unchecked, the second free of a frame that is cached elsewhere by now is not noticed by the allocator.
    setting.machine = setting.machine.with_checking(Checking::On);
    let simulation = Simulation::build(&setting.machine, CpuSource::Thread).unwrap();
    let stamps = Table::of(setting.machine.memory());
    let outcome = perform(simulation.allocator(), &stamps, &plan, &setting, ONE).unwrap();
    let Outcome { report, refusals, .. } = outcome;
    assert_eq!((report.double, report.lost), (1, 0));
    assert_eq!(refusals.len(), 1);
    // The owner's stamp was gone at the second free.
    assert_eq!(report.audit.len(), 1, "{:?}", report.audit);
    assert_eq!(report.broken(Origin::Given).len(), 2);
}

/// Stamps of a machine all of whose frames are the same memory.
struct OneWord(AtomicU64);

impl Stamps for OneWord {
    fn word(&self, _: Pfn) -> Option<&AtomicU64> {
        Some(&self.0)
    }
}

#[test]
fn memory_of_two_owners_is_a_disagreement() {
    let plan = held(2, Order::ZERO);
    let setting = Setting::fitting(&plan).unwrap();
    let simulation = Simulation::build(&setting.machine, CpuSource::Thread).unwrap();
    let Outcome { report, .. } =
        perform(simulation.allocator(), &OneWord(AtomicU64::new(0)), &plan, &setting, ONE).unwrap();
    assert!(report.audit.iter().any(|finding| finding.contains("handed out twice")), "{:?}", report.audit);
    assert!(report.audit.iter().any(|finding| finding.contains("bears the stamp")), "{:?}", report.audit);
    assert_eq!(report.broken(Origin::Given).len(), 1);
}

#[test]
fn a_refusal_breaks_a_promise_only_where_there_was_room() {
    let plan = held(40, Order::MAX);
    let Outcome { report, refusals, .. } = outcome(&plan, &held(1, Order::MAX), |_| {});
    assert!(report.failed > 0 && report.failed < 40);
    assert!(!refusals.is_empty());
    assert_eq!(report.broken(Origin::Given), [""; 0]);
    assert_eq!(report.broken(Origin::Fitting).len(), 1);
}
