//! The allocator's entry points as functions of their own: what the compiler inlines of the allocator is in them, and
//! nothing else is.

use zonal::{
    AllocError, Context, Daemon, FrameRange, FreeError, Gfp, Group, Marks, NodeId, OnlineType, Order, Owner,
    Pfn, Request, Tuning,
};

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

/// Empties the words of the first zone.
#[inline(never)]
pub(crate) fn drain_zone(pages: &Pages) -> u64 {
    pages.drain_zone(ZONE)
}

/// Empties all words.
#[inline(never)]
pub(crate) fn drain_all(pages: &Pages) -> u64 {
    pages.drain_all()
}

/// Lands what idle words hold.
#[inline(never)]
pub(crate) fn age(pages: &Pages) -> u64 {
    pages.age_caches()
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
pub(crate) fn alloc_nolock(pages: &Pages, node: Option<NodeId>, order: Order) -> Result<Pfn, AllocError> {
    pages.alloc_nolock(Gfp::empty(), node, order)
}

/// The same for a task of a cpuset.
#[inline(never)]
pub(crate) fn alloc_nolock_in(pages: &Pages, context: &Context<'_>, order: Order) -> Result<Pfn, AllocError> {
    pages.alloc_nolock_in(context, Gfp::empty(), None, order)
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

/// Scattered frames for a task of a cpuset with a policy.
#[inline(never)]
pub(crate) fn alloc_bulk_in(
    pages: &Pages,
    context: &Context<'_>,
    request: &Request,
    frames: u64,
    groups: &mut [Group],
) -> Result<usize, AllocError> {
    pages.alloc_bulk_in(context, request, frames, groups)
}

/// A run that is made by moving.
#[inline(never)]
pub(crate) fn alloc_contig(pages: &Pages, request: &Request) -> Result<Pfn, AllocError> {
    pages.alloc_contig(request)
}

/// Lets a daemon of the first node work.
#[inline(never)]
pub(crate) fn daemon(pages: &Pages, daemon: Daemon) -> bool {
    match daemon {
        Daemon::Kswapd => pages.kswapd(NodeId(0)),
        Daemon::Kcompactd => pages.kcompactd(NodeId(0)),
    }
}

/// Gives all zones the marks of these knobs.
#[inline(never)]
pub(crate) fn tune(pages: &Pages, tuning: Tuning) -> bool {
    pages.set_tuning(tuning).is_ok()
}

/// Gives the first zone marks.
#[inline(never)]
pub(crate) fn set_marks(pages: &Pages, marks: Marks) -> bool {
    pages.set_marks(ZONE, marks)
}

/// Takes a bad frame out.
#[inline(never)]
pub(crate) fn poison(pages: &Pages, pfn: Pfn) -> bool {
    pages.poison(pfn).is_ok()
}

/// Heals it.
#[inline(never)]
pub(crate) fn unpoison(pages: &Pages, pfn: Pfn) -> bool {
    pages.unpoison(pfn).is_ok()
}

/// Says whose a run is.
#[inline(never)]
pub(crate) fn name(pages: &Pages, pfn: Pfn, order: Order, owner: Owner) -> bool {
    pages.set_owner(pfn, order, owner).is_ok()
}

/// Has the zonelists rebuilt.
#[inline(never)]
pub(crate) fn rebuild(pages: &Pages) {
    pages.rebuild_zonelists();
}

/// Adds the section.
#[inline(never)]
pub(crate) fn add(pages: &Pages) -> bool {
    pages.add_memory(Stage::section()).is_ok()
}

/// Removes it.
#[inline(never)]
pub(crate) fn remove(pages: &Pages) -> bool {
    pages.remove_memory(Stage::section()).is_ok()
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
