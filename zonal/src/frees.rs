//! A free that no hinted word took, in its zone: into a word by the rule, a row, or a block.

use crate::block::bitmap::row_and_mask;
use crate::block::entry::Snapshot;
use crate::cache::CpuCache;
use crate::cache::word::Put;
use crate::error::FreeError;
use crate::frame::{BLOCK_FRAMES, Order, Pfn, ROW_FRAMES, ROWS};
use crate::zone::cpu::group_mask;
use crate::zone::land::NotLanded;
use crate::zone::{Block, Cpu, Zone};

/// Frees a run of at most a group that is the caller's to free: into a word that has its group, a word by the rule, else
/// the row.
#[inline(always)]
pub(crate) fn free_run<'m>(
    (zone, block, entry): (&'m Zone<'m>, Block<'m>, Snapshot),
    (cpu, cache): (&Cpu<'m>, Option<&'m CpuCache>),
    pfn: Pfn,
    order: Order,
) -> Result<(), FreeError> {
    let (row, bits) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
    let seen = block.bitmap.row(row).load();
    let Some(cache) = cache else {
        return zone
            .land_seen(None, (block, entry), row, bits, seen)
            .map_err(|cause| refused(cause, pfn, order));
    };
    let (group, mask) = (zone.group_of(pfn), group_mask(pfn, order));
    match cache.put(zone.own_words, cpu.last_put(), (group, mask)) {
        (Put::OtherGroup, _) => {}
        (Put::Kept, at) => {
            cpu.note_put(cache, CpuCache::kind_of(at), at);
            return Ok(());
        }
        (Put::AlreadyHere, _) => return Err(FreeError::DoubleFree { pfn, order }),
    }
    let (kind, is_short) = (entry.kind(), zone.is_bypassed());
    // Neither isolated nor reserved nor poisoned nor taken whole; and in a short zone others must find the frames.
    if entry.is_cacheable() && !is_short {
        let are_free = || seen & bits != 0;
        if zone.keep_freed(cpu, (cache, kind), (group, mask, block.entry), are_free) {
            return Ok(());
        }
    }
    cache.prefer_block(kind, block.index.0);
    let credited = if is_short { None } else { Some(cache) };
    zone.land_seen(credited, (block, entry), row, bits, seen).map_err(|cause| refused(cause, pfn, order))
}

/// Lands a run from a row to half a block, row by row.
pub(crate) fn land_run(zone: &Zone<'_>, block: Block<'_>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
    let (row, _) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
    let mut rows = row..row + (order.frames() / ROW_FRAMES) as usize;
    rows.try_for_each(|row| zone.land(None, block, row, u64::MAX)).map_err(|cause| refused(cause, pfn, order))
}

/// Frees a whole block: in one step if it is whole, else (split and merged again, or poisoned) row by row.
pub(crate) fn free_block<'m>(
    zone: &Zone<'m>,
    cache: Option<&CpuCache>,
    block: Block<'m>,
) -> Result<(), FreeError> {
    if zone.land_whole(cache, block).is_ok() {
        return Ok(());
    }
    let landed = match block.entry.load().is_whole() {
        true => zone.land_opened(block), // a frame of it is poisoned
        false => (0..ROWS).try_for_each(|row| zone.land(None, block, row, u64::MAX)),
    };
    landed.map_err(|cause| refused(cause, block.start, Order::BLOCK))
}

pub(crate) fn refused(cause: NotLanded, pfn: Pfn, order: Order) -> FreeError {
    match cause {
        NotLanded::AlreadyFree => FreeError::DoubleFree { pfn, order },
        NotLanded::NotParts => FreeError::NotSplit { pfn },
    }
}
