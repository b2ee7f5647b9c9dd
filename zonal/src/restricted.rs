//! Requests of tasks that may not have their frames from everywhere, or like some nodes better: by cpuset and policy.
//!
//! The policy says where to begin and what confines the walk, the first zone that is allowed serves as for any other request,
//! by this CPU's words and its blocks, and what that one does not serve goes up the ladder with its [`Reach`]. A context
//! without either is [`PageAllocator::alloc_raw`].

use crate::allocator::PageAllocator;
use crate::error::AllocError;
use crate::frame::{NodeId, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::owned::Frames;
use crate::platform::Platform;
use crate::policy::cpuset::Cpuset;
use crate::policy::mempolicy::Confines;
use crate::policy::nodemask::NodeMask;
use crate::policy::reach::{Context, Reach};
use crate::request::Request;
use crate::slow::walk::Walk;
use crate::topology::ZoneKind;
use crate::waiting;

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Allocates a run for who asks in this context. In an interrupt ([`crate::Task::interrupt`]) it does not count, and a
    /// policy does not where the request names a node or says [`Gfp::THISNODE`].
    ///
    /// Any context that the request is for. A hit: 1 locked operation, and 2 loads for each set on the way to the root.
    ///
    /// # Errors
    /// By cause, see [`AllocError`]: [`AllocError::NoZone`] where the context allows no zone that the request may use.
    pub fn alloc_raw_in(&self, context: &Context<'_>, request: &Request) -> Result<Pfn, AllocError> {
        let policy =
            context.policy.filter(|_| request.node.is_none() && !request.gfp.contains(Gfp::THISNODE));
        let is_free = context.cpuset.is_none() && policy.is_none();
        if is_free || self.platform.task().interrupt {
            return self.alloc_raw(request);
        }
        let anywhere = Reach::of(context, None);
        let Some(policy) = policy else { return self.alloc_reaching(anywhere, request) };
        let first = policy.start(|| allowed(context.cpuset), context.index);
        let request = &first.map_or(*request, |node| request.node(node));
        match policy.confines() {
            Confines::Nothing => {
                let pfn = self.alloc_reaching(anywhere, request)?;
                self.count_turn(first.filter(|_| policy.spreads()), pfn);
                Ok(pfn)
            }
            Confines::To(nodes) if self.binds(&nodes.load(|| allowed(context.cpuset)), request) => {
                self.alloc_reaching(Reach::of(context, Some(nodes)), request)
            }
            Confines::To(_) => self.alloc_reaching(anywhere, request),
            Confines::Before(nodes) => {
                let reclaims = planted(Mutant::PreferredReclaims);
                let light = if reclaims { *request } else { request.without_waiting().silent() };
                let near = self.alloc_reaching(Reach::of(context, Some(nodes)), &light);
                near.or_else(|_| self.alloc_reaching(anywhere, request))
            }
        }
    }

    /// The same as an owned value.
    ///
    /// # Errors
    /// As [`PageAllocator::alloc_raw_in`].
    pub fn alloc_in(
        &self,
        context: &Context<'_>,
        request: &Request,
    ) -> Result<Frames<'_, 'm, P>, AllocError> {
        let pfn = self.alloc_raw_in(context, request)?;
        // SAFETY: the run has just been allocated with this order, and is nobody else's.
        Ok(unsafe { self.adopt(pfn, request.order) })
    }

    /// A request that may go so far: served by the first zone that is allowed, else by the ladder.
    fn alloc_reaching(&self, reach: Reach<'_>, request: &Request) -> Result<Pfn, AllocError> {
        waiting::check(&self.state, &self.platform, request);
        let cpu = self.cpu();
        let walk = Walk { reach, ..self.walk(request, cpu) };
        let near =
            walk.zones().next().and_then(|zone| self.alloc_near((zone, zone.cache_of(cpu)), request, cpu));
        let pfn = near.map_or_else(|| self.climb(walk), Ok)?;
        self.finish(request, pfn)
    }

    /// Counts a run of the node whose turn it was.
    fn count_turn(&self, turn: Option<NodeId>, pfn: Pfn) {
        if let Some((zone, _)) = turn.and_then(|_| self.state.block(pfn).ok())
            && turn == Some(zone.node)
        {
            self.cpu().count_interleaved(zone);
        }
    }

    /// Whether a policy that binds to these nodes applies to a request (Linux: apply_policy_zone): not if it is for lower
    /// zones than most memory is in; and where all that the nodes have is Movable, only if it may have that.
    fn binds(&self, nodes: &NodeMask, request: &Request) -> bool {
        let populated = self.state.zones.iter().filter(|zone| zone.managed() > 0);
        let mut fixed = populated.filter(|zone| zone.kind < ZoneKind::Movable);
        let highest = request.highest;
        if !fixed.clone().any(|zone| nodes.has(zone.node)) {
            return highest == ZoneKind::Movable;
        }
        highest >= ZoneKind::Normal
            || fixed.all(|zone| zone.kind <= highest)
            || planted(Mutant::LowZonesBound)
    }
}

/// The nodes of who asks, if not all, and if something can be said of them.
fn allowed(cpuset: Option<&Cpuset<'_>>) -> Option<NodeMask> {
    cpuset.map(Cpuset::effective).filter(|allowed| !allowed.is_empty())
}
