//! Runs made by moving: an allocation that compacts where no run is free, and compaction for its own sake.

use crate::access::{Access, Level};
use crate::allocator::PageAllocator;
use crate::cache::hold::Barriers;
use crate::compact::{CompactSummary, Compactor, Outcome, Priority, compact};
use crate::error::AllocError;
use crate::frame::{NodeId, Order, Pfn};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::policy::reach::Reach;
use crate::request::Request;
use crate::slow::walk::Walk;
use crate::topology::Kind;
use crate::zone::{Mixing, Want};

impl<P: Platform> PageAllocator<'_, P> {
    /// Allocates a run of the request's order, wherever need be by moving what is in its way (Linux: alloc_contig_pages).
    /// Its place cannot be restricted: such a request is served only as [`PageAllocator::alloc_raw`] would.
    ///
    /// Task context: [`Platform::migrate`] is called.
    ///
    /// # Errors
    /// As [`PageAllocator::alloc_raw`].
    pub fn alloc_contig(&self, request: &Request) -> Result<Pfn, AllocError> {
        match self.alloc_raw(request) {
            Err(error) if !request.is_placed() => self.make_run(Reach::OPEN, request, error),
            served => served,
        }
    }

    /// A run that is made where the request may go; else the error that there was.
    pub(crate) fn make_run(
        &self,
        reach: Reach<'_>,
        request: &Request,
        error: AllocError,
    ) -> Result<Pfn, AllocError> {
        let reach = if planted(Mutant::ContigRoams) { Reach::OPEN } else { reach };
        let walk = Walk { reach, ..self.walk(request, self.cpu()) };
        for priority in Priority::ALL {
            for zone in walk.zones() {
                let want = Want::of(request, walk.floor(zone, Access::at(Level::Low)));
                let mut summary = CompactSummary::default();
                if let Outcome::Captured(pfn) =
                    compact(&self.state, &self.platform, (zone, want), priority, &mut summary)
                {
                    return self.deliver(request, pfn);
                }
            }
        }
        Err(error)
    }

    /// Empties as many blocks of a node as can be, by moving their frames into fuller ones (Linux: vm.compact_memory).
    /// Linear in the node's memory, however often frames change hands meanwhile.
    ///
    /// Task context: [`Platform::migrate`] is called.
    pub fn compact(&self, node: NodeId) -> CompactSummary {
        let mut summary = CompactSummary::default();
        for zone in self.state.zones.iter().filter(|zone| zone.node == node) {
            let floor = zone.marks.floor(Access::at(Level::Low), zone.kind, Order::BLOCK);
            let want = Want {
                order: Order::BLOCK,
                kind: Kind::Movable,
                floor,
                mixing: Mixing::Allowed,
                barriers: Barriers::Allowed,
            };
            let mut compactor = Compactor::new(&self.state, &self.platform, (zone, want), Priority::Full);
            while let Outcome::Captured(pfn) = compactor.next_run(&mut summary) {
                self.free_own(pfn, Order::BLOCK);
            }
        }
        summary
    }
}
