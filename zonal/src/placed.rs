//! Runs whose place is restricted: below an address, aligned beyond their order, or at a given frame.
//!
//! These searches are linear in the zone: they ask for places, and hints only know sizes.

use crate::access::Access;
use crate::cache::hold::Barriers;
use crate::frame::{BLOCK_FRAMES, FrameRange, MAX_FRAMES, Order, Pfn, ROW_FRAMES};
use crate::request::Request;
use crate::state::State;
use crate::zone::take::Miss;
use crate::zone::{Block, Want, Zone};

/// Takes the lowest run of the zone that satisfies the request.
#[inline(never)]
pub(crate) fn take(zone: &Zone<'_>, request: &Request, want: Want) -> Result<Pfn, Miss> {
    let order = request.order;
    let limit = request.below.unwrap_or(Pfn::new(MAX_FRAMES));
    let fits = |start: Pfn| start.is_aligned(request.align) && start.get() + order.frames() <= limit.get();
    if order > Order::BLOCK {
        return zone.take_run(want, |block| fits(block.start)).map(|block| block.start);
    }
    for block in zone.blocks().take_while(|block| block.start < limit) {
        match take_in_block(zone, block, (request, want), &fits) {
            Err(Miss::NoRun) => {}
            taken => return taken,
        }
    }
    Err(Miss::NoRun)
}

fn take_in_block(
    zone: &Zone<'_>,
    block: Block<'_>,
    (request, want): (&Request, Want),
    fits: &impl Fn(Pfn) -> bool,
) -> Result<Pfn, Miss> {
    let order = request.order;
    if order == Order::BLOCK {
        if !block.entry.load().is_free_block() || !fits(block.start) {
            return Err(Miss::NoRun);
        }
        return zone.take_run_at_block(block.index.0 as usize, want).map(|()| block.start);
    }
    let entry = block.entry.load();
    if !entry.is_open() || entry.count() < order.frames() {
        return Err(Miss::NoRun);
    }
    let step = order.max(request.align).min(Order::BLOCK).frames() as usize;
    let offsets = (0..BLOCK_FRAMES).step_by(step);
    let mut offsets =
        offsets.filter(|&offset| fits(block.start.add(offset)) && is_free(block, offset, order));
    offsets
        .find_map(|offset| match zone.take_run_at(block, offset, want) {
            Ok(()) => Some(Ok(block.start.add(offset))),
            Err(Miss::AtMark) => Some(Err(Miss::AtMark)),
            Err(Miss::NoRun) => None,
        })
        .unwrap_or(Err(Miss::NoRun))
}

/// Whether the run at `offset` of the block is free now.
fn is_free(block: Block<'_>, offset: u64, order: Order) -> bool {
    let (row, mask) = crate::block::bitmap::row_and_mask(offset, order);
    let rows = (order.frames() / ROW_FRAMES).max(1) as usize;
    (row..row + rows).all(|row| block.bitmap.row(row).load() & mask == mask)
}

/// With every word of the zone empty: the run may be in several words and the zone at its mark, both.
fn try_all(zone: &Zone<'_>, take: impl Fn() -> Result<(), Miss>) -> Result<(), Miss> {
    zone.drain(Barriers::Allowed);
    take()
}

/// Takes exactly the run of the request's order at `pfn`, out of slot words if need be.
pub(crate) fn take_at(
    state: &State<'_>,
    (request, access): (&Request, Access),
    pfn: Pfn,
) -> Result<(), Miss> {
    let order = request.order;
    let (zone, block) = state.block(pfn).map_err(|_| Miss::NoRun)?;
    let want = Want::of(request, zone.marks.floor(access, request.highest, order));
    let take = || {
        if order < Order::BLOCK {
            return zone.take_run_at(block, pfn.get() % BLOCK_FRAMES, want);
        }
        zone.take_run_at_block(block.index.0 as usize, want)
    };
    take().or_else(|miss| {
        let drained = match miss {
            Miss::NoRun => zone.drain_range(FrameRange::new(pfn, pfn.add(order.frames()))).frames,
            Miss::AtMark => zone.collect_credits() + zone.drain(Barriers::Allowed),
        };
        match take() {
            // Nothing was cached, and what others landed between the first look and the drain the second look found.
            Err(_) if drained == 0 => Err(miss),
            Err(_) => try_all(zone, take),
            taken => taken,
        }
    })
}
