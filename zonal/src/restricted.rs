//! Requests of tasks that may not have their frames from everywhere, or like some nodes better: by cpuset and policy.
//!
//! The policy says where to begin and what confines the walk, the first zone that is allowed serves as for any other request,
//! by this CPU's words and its blocks, and what that one does not serve goes up the ladder with its [`Reach`]. A context
//! without either is [`PageAllocator::alloc_raw`].

mod calls;

use crate::allocator::PageAllocator;
use crate::error::AllocError;
use crate::frame::{NodeId, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::owned::Frames;
use crate::platform::Platform;
use crate::policy::cpuset::Cpuset;
use crate::policy::mempolicy::{Confines, Mempolicy};
use crate::policy::nodemask::NodeMask;
use crate::policy::reach::{Context, Reach};
use crate::request::Request;
use crate::slow::near::stays_clean;
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
        let Some(asker) = self.restricted(context, request) else { return self.alloc_raw(request) };
        let first = asker.start();
        let request = first.map_or(*request, |node| request.node(node));
        let pfn = self.within(asker, &request, |reach, request| self.alloc_reaching(reach, request))?;
        self.count_turn(first.filter(|_| asker.policy.is_some_and(Mempolicy::spreads)), pfn);
        Ok(pfn)
    }

    /// Who asks, if anything of the context counts for the request.
    fn restricted<'c>(&self, context: &'c Context<'c>, request: &Request) -> Option<Asker<'c>> {
        let names_node = request.node.is_some() || request.gfp.contains(Gfp::THISNODE);
        let asker = Asker { context, policy: context.policy.filter(|_| !names_node) };
        let is_free = context.cpuset.is_none() && asker.policy.is_none();
        (!is_free && !self.platform.task().interrupt).then_some(asker)
    }

    /// Has a request served within what confines it; where nodes are preferred, there first, without waiting.
    fn within<T>(
        &self,
        asker: Asker<'_>,
        request: &Request,
        mut serve: impl FnMut(Reach<'_>, &Request) -> Result<T, AllocError>,
    ) -> Result<T, AllocError> {
        let reach = |nodes| Reach::of(asker.context, nodes);
        match asker.policy.map_or(Confines::Nothing, Mempolicy::confines) {
            Confines::To(nodes) if self.binds(&nodes.load(|| asker.allowed()), request) => {
                serve(reach(Some(nodes)), request)
            }
            Confines::Nothing | Confines::To(_) => serve(reach(None), request),
            Confines::Before(nodes) => {
                let reclaims = planted(Mutant::PreferredReclaims);
                let light = if reclaims { *request } else { request.without_waiting().silent() };
                let near = serve(reach(Some(nodes)), &light);
                near.or_else(|_| serve(reach(None), request))
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
        let first = walk.zones().next().filter(|zone| !stays_clean(&self.platform, request, zone.node));
        let near = first.and_then(|zone| self.alloc_near((zone, zone.cache_of(cpu)), request, cpu));
        let pfn = near.map_or_else(|| self.climb(walk), Ok)?;
        self.finish(request, pfn)
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

/// Who asks, as far as it counts for a request.
#[derive(Clone, Copy)]
struct Asker<'c> {
    context: &'c Context<'c>,
    policy: Option<&'c Mempolicy<'c>>,
}

impl<'c> Asker<'c> {
    /// The node to begin with, if the policy says one. Takes a turn, where nodes take turns.
    fn start(self) -> Option<NodeId> {
        self.policy?.start(|| self.allowed(), self.context.index)
    }

    /// How many of so many frames each node has before others, where nodes take turns.
    fn shares(self, frames: u64) -> Option<impl Iterator<Item = (NodeId, u64)> + use<'c>> {
        self.policy?.shares(self.allowed(), self.context.index, frames)
    }

    /// The nodes of the cpuset, if there is one, and something can be said of them.
    fn allowed(self) -> Option<NodeMask> {
        self.context.cpuset.map(Cpuset::effective).filter(|allowed| !allowed.is_empty())
    }
}
