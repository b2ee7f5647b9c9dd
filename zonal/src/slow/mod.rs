//! The ladder of a request that its first zone did not serve, rung by rung, in Linux's order (linux-facts 2.9).
//!
//! | rung | who | what |
//! |---|---|---|
//! | fast walk | all | every zone down to its low mark; zones whose kswapd is at work come last, and those where nothing more may be dirtied are left out |
//! | wake | all that may | kswapd of each node on the way |
//! | slow walk | all | down to what the request's class leaves of the min mark |
//! | reserves | MEMALLOC, victims | down to nothing, or half of that |
//! | last walk | those that may not wait | the same, until a walk has seen everything at rest; then failure; from here on kinds may be mixed ([`apart`]) |
//! | compaction first | long runs that may wait | a light one, where frames are free but no run is |
//! | reclaim, walk | those that may wait | [`Platform::reclaim`], until it brings nothing any more |
//! | compaction | the same, for runs | [`crate::compact`], harder each time it is in vain |
//! | mixing | those that may wait | a walk over other kinds' blocks, once, if kinds were kept apart until here |
//! | out of memory | those that may not fail | one at a time: a last walk, then [`Platform::oom`] |
//!
//! Up to the last walk nothing waits for anybody: each step is bounded, whatever others do. What may wait calls the
//! platform between its walks, never inside a protocol step.

mod apart;
pub(crate) mod compaction;
pub(crate) mod cookie;
pub(crate) mod glance;
mod kill;
pub(crate) mod near;
pub(crate) mod nolock;
pub(crate) mod retry;
pub(crate) mod walk;

use crate::access::{Access, AllocFlags};
use crate::cache::hold::Barriers;
use crate::error::AllocError;
use crate::events::Event;
use crate::frame::{NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::{Climb, Demand, Platform, Step};
use crate::policy::reach::Reach;
use crate::report::failure;
use crate::slow::compaction::Compacted;
use crate::slow::cookie::{Cookie, RESTARTS};
use crate::slow::retry::Retry;
use crate::slow::walk::{Walk, wake_kswapd};
use crate::urgency::{Effort, Urgency};
use crate::zone::Zone;

/// Orders above are costly: nobody is killed for them (Linux: PAGE_ALLOC_COSTLY_ORDER).
pub(crate) const COSTLY: Order = Order::from_raw(3);

/// Orders above fail whatever was asked (Linux: MAX_PAGE_ORDER).
const LONGEST: Order = Order::from_raw(10);

/// Frames that direct reclaim is asked for at least (Linux: SWAP_CLUSTER_MAX).
pub(crate) const CLUSTER: u64 = 32;

/// The priority that reclaim begins with (Linux: DEF_PRIORITY).
pub(crate) const FIRST_PRIORITY: u8 = 12;

/// Serves a request that its CPU's words and its first zone did not.
#[cold]
pub(crate) fn alloc<P: Platform>(walk: Walk<'_, '_>, platform: &P) -> Result<Pfn, AllocError> {
    if let Some(node) = walk.request.node.filter(|&node| !walk.state.lists.has_node(node)) {
        return Err(AllocError::NoSuchNode { node });
    }
    let (urgency, task) = (walk.request.urgency(), platform.task());
    let class = Access::of_class(urgency, walk.request.order, task);
    let reserve = class.with_reserves(urgency, task);
    // What waits in an interrupt would wait for whom it interrupts: it is served as one that does not wait.
    let waits = urgency.waits && !task.interrupt || planted(Mutant::AtomicWaits);
    let recursive = task.memalloc && !task.interrupt && !planted(Mutant::MemallocReclaims);
    let atomic = !urgency.waits && class.flags.contains(AllocFlags::MIN_RESERVE);
    let freely = atomic || reserve != class && !planted(Mutant::ReserveWalled);
    let asked = walk.reach;
    // A barrier that waits for calls to end would wait for this one.
    let passes_barriers = waits && walk.state.zones.first().is_some_and(Zone::may_give_up_in_a_call);
    let walk = if passes_barriers { Walk { barriers: Barriers::Allowed, ..walk } } else { walk };
    if passes_barriers {
        walk.zones().for_each(Zone::give_words_up);
    }
    // Those that only requests from elsewhere empty, too.
    walk.zones().for_each(|zone| walk.tell_kswapd(platform, zone));
    let (cookie, climb) = (Cookie::of(walk.state, asked), Climb::default());
    let mut ladder =
        Ladder { walk, asked, platform, class, reserve, freely, waits, recursive, cookie, climb };
    let outcome = ladder.alloc(Ladder::go_up);
    if outcome.is_ok() && ladder.climb.walks > 1 {
        ladder.remind_kswapds();
    }
    if outcome.is_err() && walk.request.order > Order::ZERO && walk.state.has_own_words() {
        walk.tell_of_lost_run(platform);
    }
    platform.climbed(&ladder.climb);
    if let Err(AllocError::NoMemory { .. } | AllocError::NoRun { .. } | AllocError::NoZone) = outcome {
        failure::failed(walk.state, platform, walk.request, ladder.walk.reach);
    }
    outcome
}

/// A request on its way up.
struct Ladder<'s, 'm, P> {
    /// The way of its class.
    walk: Walk<'s, 'm>,
    /// Where who asks may go, of which it is decided anew with each beginning what counts.
    asked: Reach<'s>,
    platform: &'s P,
    /// What its class leaves.
    class: Access,
    /// What it leaves with the reserves that it may use; as `class` if none.
    reserve: Access,
    /// With those, or at last, it may go anywhere.
    freely: bool,
    waits: bool,
    /// Who asks is reclaim itself, which must not be begun again.
    recursive: bool,
    /// What was so when it began, or began anew.
    cookie: Cookie,
    climb: Climb,
}

/// How an attempt to make memory ended.
enum Rung {
    Got(Pfn),
    /// Something was done for it: try again.
    Progress,
    Nothing,
}

impl<'s, 'm, P: Platform> Ladder<'s, 'm, P> {
    /// Goes up, and up anew where the lists have changed under a request that would fail, or where it may go.
    fn alloc(&mut self, go: impl Fn(&mut Self) -> Result<Pfn, AllocError>) -> Result<Pfn, AllocError> {
        loop {
            self.settle();
            while planted(Mutant::WriterAwaited) && self.walk.state.lists.are_being_rebuilt() {
                self.platform.pause();
            }
            let outcome = go(self);
            if outcome.is_ok() || !self.is_outdated() {
                return outcome;
            }
            self.climb.restarts += 1;
            self.cookie = Cookie::of(self.walk.state, self.asked);
        }
    }

    /// Whether what it has found says little, and it may begin anew.
    fn is_outdated(&self) -> bool {
        let again = self.climb.restarts < RESTARTS;
        let moved = self.cookie.have_sets_moved(self.asked) && !planted(Mutant::CpusetMoveUnseen);
        again && self.cookie.is_stale(self.walk.state) || (again || self.waits) && moved
    }

    fn go_up(&mut self) -> Result<Pfn, AllocError> {
        let waits = self.waits;
        if !waits && let Some(error) = self.freely().glance(self.reserve) {
            self.wake_kswapds();
            return Err(error);
        }
        if let Some(pfn) = self.fast_walk() {
            return Ok(pfn);
        }
        self.wake_kswapds();
        if (self.reserve != self.class || waits || !self.walk.reach.is_open())
            && let Some(pfn) = self.slow_walk(self.walk, self.class)
        {
            return Ok(pfn);
        }
        // No zone at all is allowed: whatever others gave back, it would not help.
        if self.walk.possible().next().is_none() && !planted(Mutant::InsaneAwaited) {
            return self.nopage();
        }
        match (waits, self.recursive) {
            (true, false) => self.wait(),
            (true, true) => self.nopage(),
            (false, _) => self.last_walk(),
        }
    }

    /// Decides where it may go, as sets and policies are now.
    fn settle(&mut self) {
        let state = self.walk.state;
        self.walk.mixing = self.mixing_at_first();
        self.walk.reach = self.asked.settled(self.walk.request, |nodes| state.has_memory(nodes));
    }

    /// The way of what is done for who asks alone.
    fn hard(&self) -> Walk<'s, 'm> {
        Walk { reach: self.walk.reach.hard(), ..self.walk }
    }

    /// The way through all that it may have at last.
    fn freely(&self) -> Walk<'s, 'm> {
        if self.freely { Walk { reach: Reach::OPEN, ..self.walk } } else { self.walk }
    }

    fn urgency(&self) -> Urgency {
        self.walk.request.urgency()
    }

    fn order(&self) -> Order {
        self.walk.request.order
    }

    fn injects(&self, step: Step) -> bool {
        self.platform.injects(step) && !planted(Mutant::InjectionIgnored)
    }

    fn slow_walk(&mut self, walk: Walk<'s, 'm>, access: Access) -> Option<Pfn> {
        self.climb.walks += 1;
        let found = if self.injects(Step::SlowWalk) { None } else { walk.once(access) };
        self.keep_block(found, access);
        found
    }

    /// A long request from atomic context has been served: its block is kept for the next.
    fn keep_block(&self, found: Option<Pfn>, access: Access) {
        let Some(pfn) = found.filter(|_| access.flags.contains(AllocFlags::HIGHATOMIC)) else { return };
        if let Ok((zone, _)) = self.walk.state.block(pfn) {
            zone.reserve(pfn);
        }
    }

    /// Tells the daemons of the nodes on the way that frames are short.
    fn wake_kswapds(&self) {
        let Some(work) = self.walk.kswapd_work() else { return };
        self.walk.nodes().for_each(|zone| wake_kswapd(self.platform, zone, work));
    }

    /// Tells those again that have done their work since: they may have found enough before this request took it.
    fn remind_kswapds(&self) {
        let Some(work) = self.walk.kswapd_work() else { return };
        let idle = |zone: &&Zone<'_>| zone.daemons.is_some_and(|node| !node.kswapd.has_work());
        let idle = self.walk.nodes().filter(idle);
        idle.for_each(|zone| wake_kswapd(self.platform, zone, work));
    }

    /// From the first reclaim on.
    fn wait(&mut self) -> Result<Pfn, AllocError> {
        let mut retry = Retry::new();
        if self.compacts_first() {
            match self.compact(retry.compaction()) {
                Compacted::Run(pfn) => return Ok(pfn),
                // A run so long is not worth the reclaim.
                Compacted::Short if self.urgency().effort == Effort::Once && self.order() > COSTLY => {
                    return self.nopage();
                }
                _ => {}
            }
        }
        self.walk.cpu.count(Event::allocstall(self.walk.request.highest), 1);
        loop {
            self.wake_kswapds();
            let progress = match self.reclaim(&retry) {
                Rung::Got(pfn) => return Ok(pfn),
                rung => matches!(rung, Rung::Progress),
            };
            let compacted = self.compact(retry.compaction());
            if let Compacted::Run(pfn) = compacted {
                return Ok(pfn);
            }
            if self.gives_up_early() {
                break;
            }
            // What was freed in blocks of other kinds is none for who keeps kinds apart.
            let progress = progress && (!self.keeps_apart() || planted(Mutant::DefragReclaimsOn));
            if retry.after_reclaim(self.walk, self.platform, self.class, progress)
                || retry.after_compaction(self.walk, self.platform, &compacted)
            {
                continue;
            }
            if self.keeps_apart() && !planted(Mutant::DefragKept) {
                match self.mix() {
                    Some(pfn) => return Ok(pfn),
                    None => continue,
                }
            }
            if self.is_outdated() {
                break; // to begin anew, if the last walk finds nothing either
            }
            // The last thing to try before a kill: success is worth another round.
            if self.release(0) {
                continue;
            }
            match self.out_of_memory() {
                Rung::Got(pfn) => return Ok(pfn),
                Rung::Progress => retry = Retry::new(),
                Rung::Nothing => break,
            }
        }
        self.nopage()
    }

    /// One light attempt, or a run too long to try hard for.
    fn gives_up_early(&self) -> bool {
        if planted(Mutant::HardBeatsOnce) && self.walk.request.gfp.contains(Gfp::RETRY_MAYFAIL) {
            return false;
        }
        match self.urgency().effort {
            Effort::Once => !planted(Mutant::OnceMore),
            Effort::Usual => self.order() > COSTLY && !planted(Mutant::CostlyRetries),
            Effort::Hard => planted(Mutant::HardIsOnce),
        }
    }

    /// Asks the platform for frames, for each node on the way, and looks again.
    fn reclaim(&mut self, retry: &Retry) -> Rung {
        self.climb.reclaims += 1;
        let freed = if self.injects(Step::Reclaim) { 0 } else { self.reclaim_nodes(retry.priority()) };
        // What is kept for atomic requests is given up but for a block a zone, once, before reclaim is called vain.
        let found = self.slow_walk(self.freely(), self.reserve).or_else(|| {
            let first = freed > 0 && retry.is_new() && !planted(Mutant::ReserveKeptAtFirst);
            let released = first && self.release(1);
            if released { self.slow_walk(self.freely(), self.reserve) } else { None }
        });
        match found {
            Some(pfn) => Rung::Got(pfn),
            None if freed > 0 => Rung::Progress,
            None => Rung::Nothing,
        }
    }

    /// Gives up a block that is kept for atomic requests in each zone that keeps more than `keep`.
    fn release(&mut self, keep: u64) -> bool {
        let kind = self.walk.request.kind;
        let released = self.walk.possible().filter(|zone| zone.release(kind, keep)).count() > 0;
        if released {
            self.walk.state.lists.bump();
            // Another walk follows: this change and those before it are none to begin anew for.
            self.cookie = self.cookie.of_lists_now(self.walk.state);
        }
        released
    }

    fn reclaim_nodes(&self, priority: u8) -> u64 {
        let mut freed = 0u64;
        let walk = if self.freely { self.freely() } else { self.hard() };
        for zone in walk.nodes() {
            let demand = self.demand(zone.node, priority);
            let from_here = self.platform.reclaim(&demand);
            if let Some(node) = zone.daemons.filter(|_| from_here > 0) {
                node.note_progress();
            }
            freed = freed.saturating_add(from_here);
            if freed >= demand.frames {
                break;
            }
        }
        freed
    }

    fn demand(&self, node: NodeId, priority: u8) -> Demand {
        let request = self.walk.request;
        let frames = request.order.frames().max(CLUSTER);
        Demand { node, highest: request.highest, order: request.order, gfp: request.gfp, frames, priority }
    }

    /// The way of its class beyond its cpuset.
    fn unwalled(&self) -> Walk<'s, 'm> {
        Walk { reach: self.walk.reach.unwalled(), ..self.walk }
    }

    /// With these reserves besides what is its class's, within its cpuset and then beyond: for a request that cannot fail.
    fn at_last(&mut self, reserves: AllocFlags) -> Option<Pfn> {
        let (walks, access) = ([self.walk, self.unwalled()], self.class.with(reserves));
        walks.into_iter().find_map(|walk| self.slow_walk(walk, access))
    }

    /// Nothing helped: failure, but for a request that cannot fail.
    fn nopage(&mut self) -> Result<Pfn, AllocError> {
        loop {
            let failed = self.last_walk();
            let short = self.order() <= LONGEST || planted(Mutant::ImpossibleAwaited);
            let possible = short && self.unwalled().possible().next().is_some();
            let goes_on = self.urgency().never_fails && !planted(Mutant::NofailFails);
            if failed.is_ok() || !possible || !goes_on || self.is_outdated() {
                return failed;
            }
            // Below the mark by half, then below everything; each beyond its cpuset, too.
            let reserves = [AllocFlags::MIN_RESERVE, AllocFlags::NO_WATERMARKS];
            if let Some(pfn) = reserves.into_iter().find_map(|flags| self.at_last(flags)) {
                return Ok(pfn);
            }
            self.climb.pauses += 1;
            self.platform.pause();
            self.wake_kswapds();
            if self.recursive {
                continue;
            }
            if let Rung::Got(pfn) = self.reclaim(&Retry::new()) {
                return Ok(pfn);
            }
            let _ = !planted(Mutant::LastBlockKept) && self.release(0);
        }
    }
}
