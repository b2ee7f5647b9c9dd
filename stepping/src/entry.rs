//! The allocator's entry points as functions of their own: what the compiler inlines of the allocator is in them, and
//! nothing else is.

use zonal::{AllocError, Context, FrameRange, FreeError, Gfp, Group, OnlineType, Order, Pfn, Request};

use crate::stage::{Pages, Stage, ZONE};

/// A run.
#[inline(never)]
pub(crate) fn alloc(pages: &Pages, request: &Request) -> Result<Pfn, AllocError> {
    pages.alloc_raw(request)
}

/// A run at a frame.
#[inline(never)]
pub(crate) fn alloc_at(pages: &Pages, request: &Request, pfn: Pfn) -> Result<(), AllocError> {
    pages.alloc_at(request, pfn)
}

/// Adjacent frames.
#[inline(never)]
pub(crate) fn alloc_exact(pages: &Pages, request: &Request, frames: u64) -> Result<Pfn, AllocError> {
    pages.alloc_exact(request, frames)
}

/// Scattered frames.
#[inline(never)]
pub(crate) fn alloc_bulk(
    pages: &Pages,
    request: &Request,
    frames: u64,
    groups: &mut [Group],
) -> Result<usize, AllocError> {
    pages.alloc_bulk(request, frames, groups)
}

/// Frees a run.
#[inline(never)]
pub(crate) fn free(pages: &Pages, pfn: Pfn, order: Order) -> Result<(), FreeError> {
    // SAFETY: the case holds the run and has taken it off the ledger.
    unsafe { pages.free_raw(pfn, order) }
}

/// Frees scattered frames.
#[inline(never)]
pub(crate) fn free_bulk(pages: &Pages, groups: &[Group]) -> Result<(), FreeError> {
    // SAFETY: the case holds the frames and has taken them off the ledger.
    unsafe { pages.free_bulk(groups) }
}

/// Splits a run into frames.
#[inline(never)]
pub(crate) fn split(pages: &Pages, pfn: Pfn, from: Order) -> Result<(), FreeError> {
    // SAFETY: the case holds the run, and handlers free spares only, of which it is none.
    unsafe { pages.split_raw(pfn, from, Order::ZERO) }
}

/// Empties a CPU's words.
#[inline(never)]
pub(crate) fn drain_cpu(pages: &Pages, cpu: usize) -> u64 {
    pages.drain_cpu(cpu)
}

/// Empties words of a range.
#[inline(never)]
pub(crate) fn drain_range(pages: &Pages, range: FrameRange) -> u64 {
    pages.drain_range(range)
}

/// Closes the caches.
#[inline(never)]
pub(crate) fn close(pages: &Pages) -> u64 {
    pages.close_caches(ZONE)
}

/// Opens them again.
#[inline(never)]
pub(crate) fn reopen(pages: &Pages) -> bool {
    pages.reopen_caches(ZONE)
}

/// Isolates blocks.
#[inline(never)]
pub(crate) fn isolate(pages: &Pages, range: FrameRange) -> bool {
    pages.isolate(range).is_ok()
}

/// Ends their isolation.
#[inline(never)]
pub(crate) fn unisolate(pages: &Pages, range: FrameRange) -> bool {
    pages.unisolate(range).is_ok()
}

/// A run, from anywhere.
#[inline(never)]
pub(crate) fn alloc_nolock(pages: &Pages, order: Order) -> Result<Pfn, AllocError> {
    pages.alloc_nolock(Gfp::empty(), None, order)
}

/// Frees a run, from anywhere.
#[inline(never)]
pub(crate) fn free_nolock(pages: &Pages, pfn: Pfn, order: Order) -> Result<(), FreeError> {
    // SAFETY: the case holds the run and has taken it off the ledger.
    unsafe { pages.free_nolock(pfn, order) }
}

/// A run for a task of a cpuset with a policy.
#[inline(never)]
pub(crate) fn alloc_in(pages: &Pages, context: &Context<'_>, request: &Request) -> Result<Pfn, AllocError> {
    pages.alloc_raw_in(context, request)
}

/// Has the zonelists rebuilt.
#[inline(never)]
pub(crate) fn rebuild(pages: &Pages) {
    pages.rebuild_zonelists();
}

/// Onlines the section.
#[inline(never)]
pub(crate) fn online(pages: &Pages, kind: OnlineType) -> bool {
    pages.online_memory(Stage::section(), kind).is_ok()
}

/// Takes the section offline.
#[inline(never)]
pub(crate) fn offline(pages: &Pages) -> bool {
    pages.offline_memory(Stage::section(), &mut |_| {}).is_ok()
}
