//! Direct compaction: the request makes its run itself.

use crate::access::{Access, Level};
use crate::compact::{CompactSummary, Outcome, Priority};
use crate::events::Event;
use crate::frame::{BLOCK_FRAMES, Order, Pfn};
use crate::gfp::Gfp;
use crate::platform::{Platform, Step};
use crate::slow::{COSTLY, Ladder};
use crate::topology::Kind;
use crate::zone::{Cpu, Want};

/// What came of it in all zones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compacted {
    /// The run is the request's.
    Run(Pfn),
    /// No zone has frames enough for one (Linux: COMPACT_SKIPPED).
    Short,
    /// There is nothing to make at this priority.
    Nothing,
}

impl<P: Platform> Ladder<'_, '_, P> {
    /// Whether a light compaction comes before reclaim: for runs that reclaim alone seldom makes.
    pub(super) fn compacts_first(&self) -> bool {
        let request = self.walk.request;
        let seldom = request.order > COSTLY || request.order > Order::ZERO && request.kind != Kind::Movable;
        seldom && request.gfp.contains(Gfp::IO)
    }

    /// Makes the run in the first zone where that goes.
    pub(super) fn compact(&mut self, priority: Priority) -> Compacted {
        let request = self.walk.request;
        if request.order == Order::ZERO || request.is_placed() {
            return Compacted::Short;
        }
        let cpu = self.walk.cpu;
        cpu.count(Event::CompactStall, 1);
        let mut compacted = Compacted::Short;
        if !self.platform.injects(Step::Compaction) {
            let mut summary = CompactSummary::default();
            for zone in self.walk.zones() {
                let want = Want::of(request, self.walk.floor(zone, self.access_to_compact()));
                match self.compact_in((zone, want), priority, &mut summary) {
                    Outcome::Captured(pfn) => {
                        compacted = Compacted::Run(pfn);
                        break;
                    }
                    Outcome::Skipped => {}
                    Outcome::Partial | Outcome::Complete => compacted = Compacted::Nothing,
                }
            }
            note(cpu, &summary);
        }
        let made = matches!(compacted, Compacted::Run(_));
        cpu.count(if made { Event::CompactSuccess } else { Event::CompactFail }, 1);
        compacted
    }

    /// What it leaves meanwhile: more for runs that nobody is killed for.
    pub(super) fn access_to_compact(&self) -> Access {
        if self.order() > COSTLY { Access::at(Level::Low) } else { self.class }
    }
}

/// Counts what a compaction did.
pub(crate) fn note(cpu: &Cpu<'_>, summary: &CompactSummary) {
    cpu.count(Event::CompactMigrateScanned, summary.in_the_way);
    cpu.count(Event::CompactFreeScanned, summary.goals * BLOCK_FRAMES);
    cpu.count(Event::CompactIsolated, summary.moved + summary.refused);
}
