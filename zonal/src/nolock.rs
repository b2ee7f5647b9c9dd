//! Requests from anywhere: in an NMI, under whatever lock, in the middle of this allocator (Linux: `alloc_pages_nolock`).
//!
//! Any call here that does not wait may be made from there. What this pair adds is what it never does: it wakes nobody, tells
//! nobody, reclaims nothing, touches no reserve, and leaves the min mark whole, in the zones' order, the first down to its
//! mark before the second. So who calls it needs to know of no context but its own.
//!
//! | | Linux (linux-facts 1.2) | here |
//! |---|---|---|
//! | orders | those its CPU lists hold | all |
//! | NMI and hard interrupts of a real-time kernel, NMI on one CPU | always refused | as anywhere |
//! | somebody holds the zone's lock | refused, with any amount free | there is no lock |
//! | what others' lists or kinds hold | not had | had before a refusal |
//! | a free under contention | parked until an ordinary free comes | allocatable when it returns |
//! | flags | ACCOUNT; others are a bug; always zeroed | ACCOUNT, ZERO; others are refused by name |
//!
//! ZERO is the caller's choice, since the allocator reaches no frame: a platform that does not either would have to refuse them all.

use crate::allocator::PageAllocator;
use crate::error::{AllocError, FreeError};
use crate::frame::{NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::{Platform, Step};
use crate::policy::reach::{Context, Reach};
use crate::request::Request;
use crate::slow;
use crate::slow::walk::{Walk, take};
use crate::zone::{Want, Zone};

/// What the caller may say.
const ACCEPTED: Gfp = Gfp::ACCOUNT.union(Gfp::ZERO);

/// What is always said: silent, no reserve whoever asks, one object, no further than the cpuset.
const SAID: Gfp = Gfp::NOWARN.union(Gfp::NOMEMALLOC).union(Gfp::COMP).union(Gfp::HARDWALL);

/// Faults under which such a request goes up the ladder like others.
const CLIMBING: [Mutant; 2] = [Mutant::NolockWakes, Mutant::NolockTells];

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Allocates an Unmovable run from zones up to Normal, near `node`, or near the CPU this runs on.
    ///
    /// Any context, also in the middle of any operation of this allocator. It calls [`Platform::cpu`]; with [`Gfp::ZERO`]
    /// [`Platform::zero`]; and, if the first zone did not serve it, [`Platform::climbed`]. A hit: 1 locked operation. At most
    /// 16 walks over the zones, each bounded, and those 17 times if zonelists change each time.
    ///
    /// # Errors
    /// [`AllocError::ForbiddenFlags`] with the bits that are not [`Gfp::ACCOUNT`] or [`Gfp::ZERO`]; else as
    /// [`PageAllocator::alloc_raw`]: for lack of memory only if in one walk every zone was at its min mark or held no such run.
    pub fn alloc_nolock(&self, gfp: Gfp, node: Option<NodeId>, order: Order) -> Result<Pfn, AllocError> {
        self.alloc_straight(Reach::OPEN, &asked(gfp, node, order)?)
    }

    /// The same for a task of a cpuset, which it keeps to; not in an interrupt ([`crate::Task::interrupt`]). The context's
    /// policy does not count.
    ///
    /// # Errors
    /// As [`PageAllocator::alloc_nolock`]; [`AllocError::NoZone`] where the set has no memory that the request may use.
    pub fn alloc_nolock_in(
        &self,
        context: &Context<'_>,
        gfp: Gfp,
        node: Option<NodeId>,
        order: Order,
    ) -> Result<Pfn, AllocError> {
        let request = asked(gfp, node, order)?;
        if planted(Mutant::NolockByPolicy) {
            return self.alloc_raw_in(context, &request);
        }
        let anywhere = self.platform.task().interrupt || planted(Mutant::NolockRoams);
        let reach = if anywhere { Reach::OPEN } else { Reach::of(context, None) };
        self.alloc_straight(reach, &request)
    }

    /// Frees a run, however it was allocated: [`PageAllocator::free_raw`], which takes no lock anywhere and parks nothing.
    /// When it returns the frames are anybody's: in a word of this CPU, out of which every other one takes, or in their block.
    ///
    /// Any context. A hit: 1 locked operation; straight to the row: 3.
    ///
    /// # Errors
    /// As [`PageAllocator::free_raw`].
    ///
    /// # Safety
    /// As for [`PageAllocator::free_raw`].
    #[inline]
    pub unsafe fn free_nolock(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if planted(Mutant::NolockParks) {
            return Ok(());
        }
        // SAFETY: the caller vouches for the same.
        unsafe { self.free_raw(pfn, order) }
    }

    /// A request that has one rung: the first zone that it may use, else all of them, down to the min mark.
    fn alloc_straight(&self, reach: Reach<'_>, request: &Request) -> Result<Pfn, AllocError> {
        let walk = Walk { reach, ..self.walk(request, self.cpu()) };
        let first = walk.zones().next().filter(|_| !self.platform.injects(Step::FirstZone));
        let near = first.and_then(|zone| take_near(walk, zone));
        let pfn = near.map_or_else(|| self.walk_straight(walk), Ok)?;
        self.finish(request, pfn)
    }

    #[inline(never)]
    fn walk_straight(&self, walk: Walk<'_, 'm>) -> Result<Pfn, AllocError> {
        if CLIMBING.iter().any(|&mutant| planted(mutant)) {
            return self.climb(walk);
        }
        self.count_found(walk, slow::nolock::alloc(walk, &self.platform))
    }
}

/// The request that is meant.
fn asked(gfp: Gfp, node: Option<NodeId>, order: Order) -> Result<Request, AllocError> {
    let refused = gfp.difference(ACCEPTED);
    if !refused.is_empty() && !planted(Mutant::NolockAccepts) {
        return Err(AllocError::ForbiddenFlags { bits: refused.bits() });
    }
    let mut said = SAID.union(gfp);
    if planted(Mutant::NolockTells) {
        said = said.difference(Gfp::NOWARN);
    }
    if planted(Mutant::NolockWakes) {
        said = said.union(Gfp::KSWAPD_RECLAIM);
    }
    let request = Request::order(order).gfp(said)?;
    Ok(node.map_or(request, |node| request.node(node)))
}

/// What the CPU's words for the zone hold, else what its blocks have above the min mark.
fn take_near<'m>(walk: Walk<'_, 'm>, zone: &'m Zone<'m>) -> Option<Pfn> {
    let Walk { request, cpu, .. } = walk;
    let cache = zone.cache_of(cpu);
    let hit = cache.and_then(|cache| zone.take_own(cpu, cache, request));
    let floor = walk.floor(zone, slow::nolock::access());
    let want = Want { mixing: walk.state.mixing(), ..Want::of(request, floor) };
    let taken = hit.or_else(|| take(zone, cache, request, want, cpu));
    taken.inspect(|_| cpu.count_taken(zone, request.order))
}
