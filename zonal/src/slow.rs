//! The ladder after a miss: blocks, then anybody's slot words, then once more if frames were on the move.
//!
//! A walk asks the request's zones in the order of its zonelist, first their blocks, then all CPUs' words. It fails
//! only after a whole walk in which nothing could be had; if something was on the move meanwhile it walks again, a
//! bounded number of times. It never waits: what is still in another operation's hands then counts as allocated,
//! and the error says how many frames that is.

use crate::cache::CpuCache;
use crate::error::AllocError;
use crate::frame::{MAX_FRAMES, Order, Pfn};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::placed;
use crate::request::Request;
use crate::state::State;
use crate::sync::load_barrier;
use crate::zone::{Cpu, Zone};

/// Walks a request makes before it fails, twice as many at most.
const WALKS: usize = 8;

/// Serves a request that its CPU's words and its first zone did not.
#[cold]
pub(crate) fn alloc(state: &State<'_>, request: &Request, cpu: &Cpu<'_>) -> Result<Pfn, AllocError> {
    check(state, request)?;
    if let Some(error) = glance(state, request, cpu) {
        return Err(error);
    }
    let mut walks = 0;
    loop {
        let before = Motion::of(state, request, cpu);
        if let Some(pfn) = walk(state, request, cpu) {
            return Ok(pfn);
        }
        walks += 1;
        load_barrier(); // the walk's looks stay before the second reading
        let after = Motion::of(state, request, cpu);
        // The last walk is one that began with nothing in flight, if there is one in twice as many.
        let enough = walks >= WALKS && (before.in_flight == 0 || walks >= 2 * WALKS);
        let patient = planted(Mutant::RetryForever) && after.in_flight > 0;
        if !patient && (enough || after.still_since(&before) || planted(Mutant::InFlightForgotten)) {
            return Err(refusal(state, request, cpu, before.in_flight.max(after.in_flight)));
        }
    }
}

/// Refuses what no walk could serve.
fn check(state: &State<'_>, request: &Request) -> Result<(), AllocError> {
    match request.node {
        Some(node) if !state.lists.has_node(node) => Err(AllocError::NoSuchNode { node }),
        _ => Ok(()),
    }
}

/// The request's zones, in order.
#[inline]
pub(crate) fn zones<'s, 'm>(
    state: &'s State<'m>,
    request: &Request,
    cpu: &Cpu<'_>,
) -> impl Iterator<Item = &'m Zone<'m>> + use<'s, 'm> {
    let node = request.node.unwrap_or(cpu.node);
    let this_node = request.gfp.contains(Gfp::THISNODE);
    let (highest, limit) = (request.highest, request.below.unwrap_or(Pfn::new(MAX_FRAMES)));
    let listed = state.lists.list(node).iter().filter_map(|id| state.zones.get(usize::from(id.0)));
    let asked = listed.filter(move |zone| zone.kind <= highest && (!this_node || zone.node == node));
    let asked = asked.enumerate().filter(|&(at, _)| !planted(Mutant::ZonelistStops) || at == 0);
    asked.map(|(_, zone)| zone).filter(move |zone| zone.span.start < limit)
}

/// Refuses at once where two looks at the zones show that they have nothing, and that nothing moved between.
#[inline(never)]
fn glance(state: &State<'_>, request: &Request, cpu: &Cpu<'_>) -> Option<AllocError> {
    let order = request.order;
    if request.is_placed() {
        return None;
    }
    let (mut free, mut most, mut moves) = (0, None, 0u64);
    for zone in zones(state, request, cpu) {
        let transit = zone.count.transit();
        if transit.frames() > 0 || !zone.is_out_of(order) {
            return None;
        }
        let above = zone.count.free().saturating_sub(zone.mark);
        (free, most, moves) = (free + above, most.max(Some(above)), moves.wrapping_add(transit.moves()));
    }
    load_barrier(); // the looks stay before the second reading
    for zone in zones(state, request, cpu) {
        let transit = zone.count.transit();
        if transit.frames() > 0 {
            return None;
        }
        moves = moves.wrapping_sub(transit.moves());
    }
    // Each zone's moves only grow, so equal sums mean equal terms.
    (moves == 0).then(|| without_run(order, free, most, 0))
}

/// One walk: blocks first, then slot words.
fn walk(state: &State<'_>, request: &Request, cpu: &Cpu<'_>) -> Option<Pfn> {
    let take_from = |zone: &'_ Zone<'_>| {
        zone.collect_credits();
        take(zone, zone.cache_of(cpu), request, cpu)
    };
    zones(state, request, cpu)
        .find_map(take_from)
        .or_else(|| zones(state, request, cpu).find_map(|zone| take_cached(zone, request, cpu)))
}

/// Takes a run from a zone's blocks, the way its order is kept; `cache` is what the CPU has of the zone.
#[inline]
pub(crate) fn take(
    zone: &Zone<'_>,
    cache: Option<&CpuCache>,
    request: &Request,
    cpu: &Cpu<'_>,
) -> Option<Pfn> {
    let (order, kind) = (request.order, request.kind);
    let start = || cache.map_or(0, |cache| cache.start_block(kind));
    if request.is_placed() {
        placed::take(zone, request).ok()
    } else if order <= Order::GROUP {
        zone.refill((cpu, cache), order, kind).ok()
    } else if order < Order::BLOCK {
        zone.take_rows(cache, (order, kind), start()).ok()
    } else if order == Order::BLOCK {
        zone.take_block(cache, kind)
    } else {
        zone.take_run(order, kind, |_| true).map(|block| block.start).ok()
    }
}

/// Takes a run out of any CPU's words; a run that no word holds may form in the blocks once they are empty.
fn take_cached(zone: &Zone<'_>, request: &Request, cpu: &Cpu<'_>) -> Option<Pfn> {
    if !request.is_placed() && request.order <= Order::GROUP {
        let stolen = zone.steal(request.order);
        if stolen.is_some() || request.order == Order::ZERO {
            return stolen;
        }
    }
    if planted(Mutant::CachedForgotten) || zone.drain() == 0 {
        return None;
    }
    take(zone, zone.cache_of(cpu), request, cpu)
}

/// What moves between rows, words and hands in the zones of a request.
struct Motion {
    in_flight: u64,
    moves: u64,
    /// Frames in credits, which a walk collects: more of them have been freed since.
    credits: u64,
}

impl Motion {
    fn of(state: &State<'_>, request: &Request, cpu: &Cpu<'_>) -> Self {
        let start = Self { in_flight: 0, moves: 0, credits: 0 };
        zones(state, request, cpu).map(|zone| (zone.count.transit(), zone.credits())).fold(
            start,
            |sum, (transit, credits)| Self {
                in_flight: sum.in_flight + transit.frames(),
                moves: sum.moves + transit.moves(),
                credits: sum.credits + credits,
            },
        )
    }

    /// Whether nothing moved between the two readings and no credit is left. (Each zone's moves only grow, so equal sums
    /// mean equal terms.)
    fn still_since(&self, before: &Self) -> bool {
        self.in_flight == 0 && before.in_flight == 0 && self.moves == before.moves && self.credits == 0
    }
}

/// Why the walk failed, with the figures it ended with.
fn refusal(state: &State<'_>, request: &Request, cpu: &Cpu<'_>, in_flight: u64) -> AllocError {
    let order = request.order;
    let above = |zone: &Zone<'_>| (zone.free() + zone.cached()).saturating_sub(zone.mark);
    let free = zones(state, request, cpu).map(above).sum();
    without_run(order, free, zones(state, request, cpu).map(above).max(), in_flight)
}

/// Why no zone has such a run, of which the fullest has `most` frames above its mark.
fn without_run(order: Order, free: u64, most: Option<u64>, in_flight: u64) -> AllocError {
    match most {
        None => AllocError::NoZone,
        Some(most) if most < order.frames() => AllocError::NoMemory { order, free, in_flight },
        Some(_) => AllocError::NoRun { order, free, in_flight },
    }
}
