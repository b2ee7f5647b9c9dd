//! Walks over a request's zones: their blocks, then anybody's slot words, and again if frames were on the move.
//!
//! A last walk fails only if in it nothing could be had; if something was on the move meanwhile it is made again, a
//! bounded number of times. It never waits: what is still in another operation's hands then counts as allocated,
//! and the error says how many frames that is.

use crate::access::{Access, AllocFlags};
use crate::cache::CpuCache;
use crate::cache::hold::Barriers;
use crate::error::AllocError;
use crate::frame::{MAX_FRAMES, NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::node::Work;
use crate::placed;
use crate::platform::{Daemon, Platform};
use crate::policy::reach::Reach;
use crate::request::Request;
use crate::state::State;
use crate::sync::load_barrier;
use crate::zone::{Cpu, Mixing, Want, Zone};
use crate::zonelist::set::ZoneSet;

/// Walks a request makes before it fails, twice as many at most.
const WALKS: u32 = 8;

/// Turns of a reader that is slow: some rebuilds' time.
const DAWDLE: u32 = 4000;

/// Faults under which a last walk does not go over all zones.
const SHORTENED: [Mutant; 3] = [Mutant::AllZonesSkipped, Mutant::ListTrusted, Mutant::ZonelistStops];

/// A request, and where it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'s, 'm> {
    pub(crate) state: &'s State<'m>,
    pub(crate) request: &'s Request,
    pub(crate) cpu: &'s Cpu<'m>,
    /// Where who asks may go.
    pub(crate) reach: Reach<'s>,
    /// Whether it may have other CPUs pass barriers, for frames that they have in words of their own.
    pub(crate) barriers: Barriers,
    /// Whether it may take frames of other kinds' blocks that are in use.
    pub(crate) mixing: Mixing,
}

impl<'s, 'm> Walk<'s, 'm> {
    /// The way of who may go everywhere.
    #[inline(always)]
    pub(crate) const fn new(state: &'s State<'m>, request: &'s Request, cpu: &'s Cpu<'m>) -> Self {
        let (barriers, mixing) = (Barriers::Forbidden, Mixing::Allowed);
        Self { state, request, cpu, reach: Reach::OPEN, barriers, mixing }
    }

    /// The node it starts at.
    pub(crate) fn node(&self) -> NodeId {
        self.request.node.unwrap_or(self.cpu.node)
    }

    /// The request's zones in the order of its node's list. The word that names the lists is read once.
    #[inline]
    pub(crate) fn zones(self) -> impl Iterator<Item = &'m Zone<'m>> + use<'s, 'm> {
        let state = self.state;
        let listed = state.lists.list(self.node()).filter_map(|id| state.zones.get(usize::from(id.0)));
        let asked = listed.inspect(|_| dawdle()).filter(move |zone| self.may_use(zone));
        asked.enumerate().filter(|&(at, _)| !planted(Mutant::ZonelistStops) || at == 0).map(|(_, zone)| zone)
    }

    /// All zones that the request may use, whatever the lists say at this moment, by their ids.
    #[inline(always)]
    pub(crate) fn possible(self) -> impl Iterator<Item = &'m Zone<'m>> + use<'s, 'm> {
        self.state.zones.iter().filter(move |zone| self.may_use(zone) && zone.managed() > 0)
    }

    /// The listed zones in order, then those of the possible ones that the list did not name.
    fn everywhere(self) -> impl Iterator<Item = &'m Zone<'m>> + use<'s, 'm> {
        let (mut listed, mut others, mut named) = (self.zones(), self.possible(), ZoneSet::new());
        core::iter::from_fn(move || match listed.next() {
            Some(zone) => {
                named.add(zone.id);
                Some(zone)
            }
            None if SHORTENED.iter().any(|&mutant| planted(mutant)) => None,
            None => others.find(|zone| !named.has(zone.id)),
        })
    }

    /// Whether the request's flags and limits, and who asks, let it have frames of the zone.
    #[inline(always)]
    fn may_use(&self, zone: &Zone<'_>) -> bool {
        let request = self.request;
        let this_node = request.gfp.contains(Gfp::THISNODE) && !planted(Mutant::NodeLeft);
        zone.kind <= request.highest
            && (!this_node || zone.node == self.node())
            && zone.reach.start < request.below.unwrap_or(Pfn::new(MAX_FRAMES))
            && self.reach.allows(zone.node)
    }

    /// Frames that the request must leave in the zone.
    pub(crate) fn floor(&self, zone: &Zone<'_>, access: Access) -> u64 {
        floor(self.request, zone, access)
    }

    /// What it asks of the zone.
    fn want(&self, zone: &Zone<'_>, access: Access) -> Want {
        let Self { barriers, mixing, .. } = *self;
        Want { barriers, mixing, ..Want::of(self.request, self.floor(zone, access)) }
    }

    /// What it asks of kswapd when frames are short, if it may.
    #[inline]
    pub(crate) fn kswapd_work(&self) -> Option<Work> {
        kswapd_work(self.request)
    }

    /// The first zone of each node on the way.
    #[inline]
    pub(crate) fn nodes(self) -> impl Iterator<Item = &'m Zone<'m>> + use<'s, 'm> {
        let mut before = None;
        self.zones().filter(move |zone| before.replace(zone.node) != Some(zone.node))
    }

    /// Tells kswapd of zones where frames that only a barrier frees may be all that the run lacked (see
    /// [`Zone::note_run_refused`]).
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_of_lost_run(self, platform: &impl Platform) {
        self.zones().for_each(|zone| self.tell_kswapd(platform, zone));
    }

    /// Tells kswapd that the zone's boost has been raised, or that its words are to be given up, if the request may; else the
    /// next one does.
    #[inline]
    pub(crate) fn tell_kswapd(self, platform: &impl Platform, zone: &Zone<'_>) {
        if zone.has_news() {
            tell_news(self.request, platform, zone);
        }
    }

    /// The zones' blocks in order, down to their low marks; which of them is short is noted, and asked whether it gives frames
    /// back. Kinds are kept apart first where the zones of the first node may do without, and throughout where the walk says so;
    /// nodes whose kswapd is at work come last, and those that must stay clean are left out.
    pub(crate) fn fast(
        self,
        stays_clean: impl Fn(NodeId) -> bool,
        gives_back: impl Fn(&Zone<'_>) -> bool,
    ) -> Option<Pfn> {
        let first = self.zones().next()?;
        let apart = first.mixing == Mixing::Avoided && !planted(Mutant::MixedAtOnce);
        let several = self.state.nodes.len() > 1 && !planted(Mutant::BusyNodeFirst);
        let busy = |zone: &&Zone<'_>| several && zone.is_busy();
        let apart = apart && self.mixing == Mixing::Allowed;
        let near = |zone: &&Zone<'_>| apart && zone.node == first.node && !busy(zone);
        let zones = || self.zones().filter(|zone| !stays_clean(zone.node));
        let take = |zone, mixing| self.fast_in(zone, mixing, &gives_back);
        (zones().filter(near).find_map(|zone| take(zone, Mixing::Avoided)))
            .or_else(|| zones().filter(|zone| !busy(zone)).find_map(|zone| take(zone, self.mixing)))
            .or_else(|| zones().filter(busy).find_map(|zone| take(zone, self.mixing)))
    }

    fn fast_in(
        self,
        zone: &'m Zone<'m>,
        mixing: Mixing,
        gives_back: impl Fn(&Zone<'_>) -> bool,
    ) -> Option<Pfn> {
        let want = Want { mixing, ..Want::of(self.request, zone.marks.fast_floor(self.request.highest)) };
        let mut asked = false;
        loop {
            let found = take(zone, zone.cache_of(self.cpu), self.request, want, self.cpu);
            if asked || found.is_some() || zone.count.spares(want.frames(), want.floor) {
                return found;
            }
            zone.note_short();
            asked = true;
            if !gives_back(zone) {
                return None;
            }
        }
    }

    /// One walk along the list: blocks first, then slot words.
    pub(crate) fn once(self, access: Access) -> Option<Pfn> {
        self.once_over(|| self.zones(), access)
    }

    /// One walk over these zones.
    fn once_over<Z: Iterator<Item = &'m Zone<'m>>>(
        self,
        zones: impl Fn() -> Z,
        access: Access,
    ) -> Option<Pfn> {
        let take_from = |zone: &'m Zone<'m>| {
            zone.collect_credits();
            take(zone, zone.cache_of(self.cpu), self.request, self.want(zone, access), self.cpu)
        };
        let reserved = |zone: &'m Zone<'m>| self.take_reserved(zone, access);
        let first = access.flags.contains(AllocFlags::HIGHATOMIC);
        (first.then(|| zones().find_map(reserved)).flatten())
            .or_else(|| zones().find_map(take_from))
            .or_else(|| zones().find_map(|zone| self.take_cached(zone, access)))
            .or_else(|| zones().find_map(reserved))
    }

    /// Takes a run out of the blocks kept for atomic requests, if this one may and the mark allows.
    fn take_reserved(self, zone: &'m Zone<'m>, access: Access) -> Option<Pfn> {
        let may = AllocFlags::HIGHATOMIC | AllocFlags::OOM | AllocFlags::NON_BLOCK;
        let want = self.want(zone, access);
        if !access.flags.intersects(may) || self.request.is_placed() || zone.highatomic.free() < want.frames()
        {
            return None;
        }
        // The floor has been lowered by what is free there.
        let left = zone.free() + zone.cached() + zone.highatomic.free();
        let allowed = left >= zone.marks.floor(access, self.request.highest, want.order) + want.frames();
        if allowed { zone.take_reserved(want) } else { None }
    }

    /// Walks over all zones until one has seen everything at rest, a bounded number of times: what came of it, and how many.
    pub(crate) fn last(self, access: Access) -> (Result<Pfn, AllocError>, u32) {
        let mut walks = 0;
        loop {
            let before = Motion::of(self);
            if let Some(pfn) = self.once_over(|| self.everywhere(), access) {
                return (Ok(pfn), walks + 1);
            }
            walks += 1;
            load_barrier(); // the walk's looks stay before the second reading
            let after = Motion::of(self);
            // The last walk is one that began with nothing in flight, if there is one in twice as many.
            let enough = walks >= WALKS && (before.in_flight == 0 || walks >= 2 * WALKS);
            let patient = planted(Mutant::RetryForever) && after.in_flight > 0;
            if !patient && (enough || after.still_since(&before) || planted(Mutant::InFlightForgotten)) {
                return (Err(self.refusal(access, before.in_flight.max(after.in_flight))), walks);
            }
        }
    }

    /// Takes a run out of any CPU's words; a run that no word holds may form in the blocks once they are empty. So may whole
    /// blocks; where kinds are kept apart all of it lands, since a word that is not the CPU's own may be of any kind.
    fn take_cached(self, zone: &'m Zone<'m>, access: Access) -> Option<Pfn> {
        let (request, want) = (self.request, self.want(zone, access));
        let of_any_kind = self.mixing == Mixing::Allowed || planted(Mutant::DefragSteals);
        if of_any_kind && !request.is_placed() && request.order <= Order::GROUP {
            let stolen = zone.steal(self.cpu, want);
            if stolen.is_some() || request.order == Order::ZERO {
                return stolen;
            }
        }
        let found = match planted(Mutant::CachedForgotten) || zone.drain(self.barriers) == 0 {
            true => None,
            false => take(zone, zone.cache_of(self.cpu), request, want, self.cpu),
        };
        if of_any_kind && found.is_none() && self.barriers == Barriers::Forbidden {
            zone.note_run_refused();
        }
        found
    }

    /// Why the walk failed, with the figures it ended with.
    pub(crate) fn refusal(self, access: Access, in_flight: u64) -> AllocError {
        let above = |zone: &Zone<'_>| (zone.free() + zone.cached()).saturating_sub(self.floor(zone, access));
        let free = self.possible().map(above).sum();
        without_run(self.request.order, free, self.possible().map(above).max(), in_flight)
    }
}

#[inline]
fn kswapd_work(request: &Request) -> Option<Work> {
    let may = request.wakes() || planted(Mutant::WakesUnasked);
    let work = Work { order: request.order, highest: request.highest };
    (may && !planted(Mutant::WakeLost)).then_some(work)
}

/// Tells the zone's kswapd that frames are short.
#[inline]
pub(crate) fn wake_kswapd(platform: &impl Platform, zone: &Zone<'_>, work: Work) {
    if zone.daemons.is_some_and(|node| !node.is_hopeless() && node.kswapd.ask(work)) {
        platform.wake(Daemon::Kswapd, zone.node);
    }
}

#[cold]
#[inline(never)]
fn tell_news<P: Platform>(request: &Request, platform: &P, zone: &Zone<'_>) {
    let may = || request.wakes() || planted(Mutant::BoostUntold);
    let news = || zone.marks.is_boosted() && zone.marks.take_boosted() || zone.take_near();
    if may() && news() {
        kswapd_work(request).into_iter().for_each(|work| wake_kswapd(platform, zone, work));
    }
}

/// Frames that a request must leave in a zone.
#[inline]
pub(crate) fn floor(request: &Request, zone: &Zone<'_>, access: Access) -> u64 {
    let floor = zone.marks.floor(access, request.highest, request.order);
    // For a request with reserves what atomic requests keep is as good as free.
    if access.flags.intersects(AllocFlags::RESERVES) && !planted(Mutant::ReserveUncounted) {
        floor.saturating_sub(zone.highatomic.free())
    } else {
        floor
    }
}

/// Under a fault: who believes its list reads it slowly, so that it changes meanwhile.
#[inline]
fn dawdle() {
    if planted(Mutant::ListTrusted) {
        (0..DAWDLE).for_each(|_| core::hint::spin_loop());
    }
}

/// Takes a run from a zone's blocks, the way its order is kept; `cache` is what the CPU has of the zone.
#[inline]
pub(crate) fn take(
    zone: &Zone<'_>,
    cache: Option<&CpuCache>,
    request: &Request,
    want: Want,
    cpu: &Cpu<'_>,
) -> Option<Pfn> {
    let order = request.order;
    let start = || cache.map_or(0, |cache| cache.start_block(request.kind));
    if request.is_placed() {
        placed::take(zone, request, want).ok()
    } else if order <= Order::GROUP {
        zone.refill((cpu, cache), want).ok()
    } else if order < Order::BLOCK {
        zone.take_rows(cache, want, start()).ok()
    } else if order == Order::BLOCK {
        let kept = cache.filter(|_| zone.count.free() >= want.floor);
        let kept = kept.and_then(|cache| zone.take_kept_block(cache, want.kind));
        kept.or_else(|| zone.take_block(cache, want))
    } else {
        zone.take_run(want, |_| true).map(|block| block.start).ok()
    }
}

/// What moves between rows, words and hands in the zones of a request.
struct Motion {
    in_flight: u64,
    moves: u64,
    /// Frames in credits and on tabs, which a walk collects: more of them have been freed since.
    credits: u64,
    zones: usize,
}

impl Motion {
    fn of(walk: Walk<'_, '_>) -> Self {
        let start = Self { in_flight: 0, moves: 0, credits: 0, zones: 0 };
        // Credits first: what leaves them for the count meanwhile has moved.
        let look = |zone: &Zone<'_>| {
            let credits = zone.credits();
            (zone.transit(), credits)
        };
        walk.possible().map(look).fold(start, |sum, (transit, credits)| Self {
            in_flight: sum.in_flight + transit.frames(),
            moves: sum.moves + transit.moves(),
            credits: sum.credits + credits,
            zones: sum.zones + 1,
        })
    }

    /// Whether nothing moved between the two readings and no credit is left. (Each zone's moves only grow, so equal sums
    /// of as many zones mean equal terms.)
    fn still_since(&self, before: &Self) -> bool {
        let at_rest = self.in_flight == 0 && before.in_flight == 0 && self.credits == 0;
        at_rest && self.moves == before.moves && self.zones == before.zones
    }
}

/// Why no zone has such a run, of which the fullest has `most` frames above its mark.
pub(crate) fn without_run(order: Order, free: u64, most: Option<u64>, in_flight: u64) -> AllocError {
    match most {
        None => AllocError::NoZone,
        Some(most) if most < order.frames() => AllocError::NoMemory { order, free, in_flight },
        Some(_) => AllocError::NoRun { order, free, in_flight },
    }
}
