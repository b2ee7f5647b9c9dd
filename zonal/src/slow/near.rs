//! The fast walk, and what it asks the embedder of nodes on its way (linux-facts 2.8): whether more of their frames may be dirtied,
//! and whether a near one gives some back before others are asked.

use crate::events::Event;
use crate::frame::{NodeId, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::node::Node;
use crate::platform::{Platform, Step};
use crate::request::Request;
use crate::slow::Ladder;
use crate::zone::Zone;

/// Whether the request's frames will be dirtied and no more of the node's may be.
#[inline]
pub(crate) fn stays_clean(platform: &impl Platform, request: &Request, node: NodeId) -> bool {
    request.gfp.contains(Gfp::WRITE) && !platform.may_dirty(node) && !planted(Mutant::DirtyIgnored)
}

/// How hard a near node is looked through (Linux: NODE_RECLAIM_PRIORITY).
const PRIORITY: u8 = 4;

impl<P: Platform> Ladder<'_, '_, P> {
    pub(super) fn fast_walk(&mut self) -> Option<Pfn> {
        self.climb.walks += 1;
        if self.injects(Step::FastWalk) {
            return None;
        }
        self.hard()
            .fast(|node| stays_clean(self.platform, self.walk.request, node), |zone| self.gives_back(zone))
    }

    /// Has a node that is short give frames back, if the request may wait for that and the node is near enough; whether it did.
    fn gives_back(&self, zone: &Zone<'_>) -> bool {
        if !self.waits || self.recursive || planted(Mutant::NearUnasked) {
            return false;
        }
        let demand = self.demand(zone.node, PRIORITY);
        let Some(freed) = self.platform.reclaim_near(self.walk.node(), &demand) else { return false };
        let enough = freed >= self.order().frames();
        let event = if enough { Event::ZoneReclaimSuccess } else { Event::ZoneReclaimFailed };
        self.walk.cpu.count(event, 1);
        if freed > 0 {
            zone.daemons.into_iter().for_each(Node::note_progress);
        }
        freed > 0
    }
}
