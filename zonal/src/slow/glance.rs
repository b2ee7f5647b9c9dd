//! A refusal at a glance: what becomes of a request that may not wait where its zones have nothing.
//!
//! Two looks at each zone, and it is told so: it need not go up the ladder to learn that. Never takes a frame; says nothing
//! where it cannot be sure, or where zones may be missing that have been listed since.

use crate::access::Access;
use crate::error::AllocError;
use crate::frame::{BLOCK_FRAMES, Order};
use crate::gfp::Gfp;
use crate::platform::{Climb, Platform, Task};
use crate::policy::reach::Reach;
use crate::report::failure;
use crate::request::Request;
use crate::slow::cookie::Cookie;
use crate::slow::walk::{Walk, floor, wake_kswapd, without_run};
use crate::state::State;
use crate::sync::load_barrier;
use crate::urgency::Urgency;
use crate::zone::{Cpu, Zone};

impl<'m> State<'m> {
    /// Whether a request of this order that may not wait finds no run above its first zone's low mark, as far as the zone's
    /// blocks tell.
    #[inline(always)]
    pub(crate) fn is_scarce(&self, request: &Request, order: Order, cpu: &Cpu<'m>) -> bool {
        let home = cpu.home(request.highest).filter(|_| request.glances && self.is_bare());
        home.is_some_and(|home| {
            let zone = home.zone;
            zone.count.free() == 0 || zone.is_short_of(order, zone.marks.fast_floor(request.highest))
        })
    }

    /// The same of a request for a block, as far as one look tells.
    #[inline(always)]
    pub(crate) fn has_no_block(&self, request: &Request, cpu: &Cpu<'m>) -> bool {
        let home = cpu.home(request.highest).filter(|_| request.glances && self.is_bare());
        home.is_some_and(|home| {
            let zone = home.zone;
            let spares = || zone.count.spares(BLOCK_FRAMES, zone.marks.fast_floor(request.highest));
            zone.free_tree().seems_clear() || !spares()
        })
    }
}

/// Refuses a request that neither waits nor says where ([`Request::glances`]), and tells the daemons.
#[inline(always)]
pub(crate) fn refusal<P: Platform>(walk: Walk<'_, '_>, platform: &P) -> Option<AllocError> {
    let (zones, highest) = (walk.state.zones, walk.request.highest);
    let may_serve = |zone: &&Zone<'_>| zone.kind <= highest && zone.managed() > 0;
    match zones {
        // Nothing to go through: as short as it gets.
        [zone] if may_serve(&zone) => refusal_of(walk, platform, || core::iter::once(zone)),
        zones => refusal_of(walk, platform, || zones.iter().filter(may_serve)),
    }
}

#[inline(always)]
fn refusal_of<'z, P: Platform, Zones: Iterator<Item = &'z Zone<'z>>>(
    walk: Walk<'_, '_>,
    platform: &P,
    zones: impl Fn() -> Zones,
) -> Option<AllocError> {
    let (state, request) = (walk.state, walk.request);
    let cookie = Cookie::of(state, Reach::OPEN);
    let mut looks = Looks::new(request.order);
    if !zones().all(|zone| looks.first(zone, || above(request, platform, zone))) {
        return None;
    }
    load_barrier(); // the looks stay before the second reading
    let work = walk.kswapd_work();
    let mut before = None;
    for zone in zones() {
        if !looks.second(zone) {
            return None;
        }
        walk.tell_kswapd(platform, zone);
        if let Some(work) = work
            && before != Some(zone.node)
        {
            before = Some(zone.node);
            wake_kswapd(platform, zone, work);
        }
    }
    let error = looks.refusal()?;
    if cookie.is_stale(state) {
        return None;
    }
    platform.climbed(&Climb::default());
    failure::failed(state, platform, request, Reach::OPEN);
    Some(error)
}

/// Frames that are free in a zone above what who asks must leave there, if they are too few, or no run.
#[inline(always)]
fn above<P: Platform>(request: &Request, platform: &P, zone: &Zone<'_>) -> Option<u64> {
    const PLAIN: Urgency = Urgency::of(Gfp::NOWAIT);
    let task = platform.task();
    if request.urgency().reserves == PLAIN.reserves && task == Task::default() {
        above_of(request, zone, (PLAIN, task)) // nothing to be worked out, mostly
    } else {
        above_with_reserves(request, zone, (request.urgency(), task))
    }
}

#[cold]
#[inline(never)]
fn above_with_reserves(request: &Request, zone: &Zone<'_>, asker: (Urgency, Task)) -> Option<u64> {
    above_of(request, zone, asker)
}

#[inline(always)]
fn above_of(request: &Request, zone: &Zone<'_>, (urgency, task): (Urgency, Task)) -> Option<u64> {
    let access = Access::of_class(urgency, request.order, task).with_reserves(urgency, task);
    above_floor(zone, request.order, floor(request, zone, access))
}

#[inline(always)]
fn above_floor(zone: &Zone<'_>, order: Order, floor: u64) -> Option<u64> {
    let above = zone.count.free().saturating_sub(floor);
    zone.is_short_of(order, floor).then_some(above)
}

impl Walk<'_, '_> {
    /// Refuses at once where two looks at the zones show that they have nothing, and that nothing moved between.
    #[inline(never)]
    pub(crate) fn glance(self, access: Access) -> Option<AllocError> {
        if self.request.is_placed() {
            return None;
        }
        let mut looks = Looks::new(self.request.order);
        if !self
            .possible()
            .all(|zone| looks.first(zone, || above_floor(zone, self.request.order, self.floor(zone, access))))
        {
            return None;
        }
        load_barrier(); // the looks stay before the second reading
        if self.possible().all(|zone| looks.second(zone)) { looks.refusal() } else { None }
    }
}

/// What two looks at each of some zones have shown.
struct Looks {
    order: Order,
    /// Frames above the floors: of all zones, and of the fullest one more than that, where there is one.
    free: u64,
    most: u64,
    /// All zones' transit words as seen first less those seen then, and 1 for each zone. Each counts its moves, which only grow, so
    /// equal sums mean equal terms, where as many zones were seen.
    moved: u64,
}

impl Looks {
    fn new(order: Order) -> Self {
        Self { order, free: 0, most: 0, moved: 0 }
    }

    /// Whether the zone has no such run, and nothing moves.
    #[inline(always)]
    fn first(&mut self, zone: &Zone<'_>, above: impl FnOnce() -> Option<u64>) -> bool {
        let since = zone.credit_hints.stamp();
        let (transit, free) = (zone.count.transit(), zone.count.free());
        self.moved = self.moved.wrapping_add(transit.word()).wrapping_add(1);
        // Of nothing nothing is had, whatever must be left.
        let above = if free == 0 { Some(0) } else { above() };
        let Some(above) = above else { return false };
        self.free += above;
        self.most = self.most.max(above + 1);
        // With no hint of a credit now, and none given up since, no CPU had frames on the move by its own word.
        transit.frames() == 0 && zone.has_all_in_blocks(since)
    }

    /// Whether nothing moves still.
    #[inline(always)]
    fn second(&mut self, zone: &Zone<'_>) -> bool {
        let transit = zone.count.transit();
        self.moved = self.moved.wrapping_sub(transit.word()).wrapping_sub(1);
        transit.frames() == 0
    }

    /// The refusal, if nothing moved between the looks.
    fn refusal(&self) -> Option<AllocError> {
        (self.moved == 0).then(|| without_run(self.order, self.free, self.most.checked_sub(1), 0))
    }
}
