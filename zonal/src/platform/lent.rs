//! A platform that is lent is one, too: each call is passed on.

use core::fmt;

use crate::frame::{NodeId, Order, Pfn, ZoneId};
use crate::memory_event::{MemoryEvent, Veto};
use crate::platform::{Climb, Daemon, Demand, Migration, Oom, Platform, RebuildStep, Step, Task, Verdict};
use crate::usage::Usage;
use crate::wait::{InvalidWait, WaitContext};

impl<P: Platform + ?Sized> Platform for &P {
    #[inline]
    fn cpu(&self) -> usize {
        (**self).cpu()
    }

    fn zero(&self, first: Pfn, frames: u64) -> bool {
        (**self).zero(first, frames)
    }

    fn task(&self) -> Task {
        (**self).task()
    }

    fn wake(&self, daemon: Daemon, node: NodeId) {
        (**self).wake(daemon, node);
    }

    fn reclaim(&self, demand: &Demand) -> u64 {
        (**self).reclaim(demand)
    }

    fn reclaimable(&self, zone: ZoneId) -> u64 {
        (**self).reclaimable(zone)
    }

    fn reclaim_near(&self, from: NodeId, demand: &Demand) -> Option<u64> {
        (**self).reclaim_near(from, demand)
    }

    fn may_dirty(&self, node: NodeId) -> bool {
        (**self).may_dirty(node)
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        (**self).migrate(from, to)
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        (**self).run_of(pfn)
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        (**self).migrate_run(from, to, order)
    }

    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        (**self).memory_event(event)
    }

    fn cancelled(&self) -> bool {
        (**self).cancelled()
    }

    fn oom(&self, oom: &Oom) -> Verdict {
        (**self).oom(oom)
    }

    fn pause(&self) {
        (**self).pause();
    }

    fn rebuild_step(&self, step: RebuildStep) {
        (**self).rebuild_step(step);
    }

    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }

    fn climbed(&self, climb: &Climb) {
        (**self).climbed(climb);
    }

    fn report(&self, report: &dyn fmt::Display) {
        (**self).report(report);
    }

    fn comm(&self) -> &str {
        (**self).comm()
    }

    fn usage(&self) -> &dyn Usage {
        (**self).usage()
    }

    fn wait_context(&self) -> WaitContext {
        (**self).wait_context()
    }

    fn invalid_wait(&self, found: &InvalidWait) {
        (**self).invalid_wait(found);
    }

    #[inline(always)]
    fn injects(&self, failure: Step) -> bool {
        (**self).injects(failure)
    }
}
