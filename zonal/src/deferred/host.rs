//! What the queue asks of others: memory, grace periods, frees of its embedder; frames of the allocator.

use core::ptr::NonNull;

use super::head::Head;
use crate::allocator::PageAllocator;
use crate::frame::{Order, Pfn};
use crate::gfp::Gfp;
use crate::platform::Platform;

/// What an embedder brings to a [`crate::DeferredFree`].
///
/// If [`DeferredHost::start`], `is_over` or `free` panics, the collection ends there, and what was not freed stays queued.
///
/// # Safety
/// (1) [`DeferredHost::memory`] names the [`crate::FRAME_SIZE`] bytes of the frame, aligned as much, which whoever allocated
/// it may read and write until it is freed; for as long it names the same ones, and does not panic. (2) [`DeferredHost::is_over`]
/// is true only if everybody has left who may have seen an object that was out of sight, by what its thread did before, when
/// [`DeferredHost::start`] was called.
pub unsafe trait DeferredHost {
    /// Where a frame is that the queue has allocated, or had a moment ago. Called in the context of who queues (any), and of
    /// who collects. `None`: it cannot be reached, and objects are queued by their heads.
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>>;

    /// Names a grace period that begins now or later (Linux: `start_poll_synchronize_rcu`). Called by who collects, outside
    /// every protocol step, once a frame of objects; must order what was done before against what readers do.
    fn start(&self) -> u64;

    /// Whether that grace period has ended. Called as [`DeferredHost::start`]. What was over once need not be ever after.
    fn is_over(&self, cookie: u64) -> bool;

    /// Frees an object; how many frames came back to the allocator with it. Called by who collects, outside every protocol
    /// step, once for each object that was queued: may allocate, free and queue.
    ///
    /// # Safety
    /// The object was queued, its grace period is over, and nobody else frees it.
    unsafe fn free(&self, object: NonNull<Head>) -> u64;

    /// About how many frames would come back to the allocator with so many objects: what a shrinker counts. Any context.
    fn worth(&self, objects: u64) -> u64;
}

/// Where bookkeeping frames come from.
pub(crate) trait FrameSource {
    /// A frame, in any context.
    fn take(&self) -> Option<Pfn>;

    /// Gives one back.
    fn give(&self, pfn: Pfn);
}

impl<P: Platform> FrameSource for PageAllocator<'_, P> {
    fn take(&self) -> Option<Pfn> {
        self.alloc_nolock(Gfp::empty(), None, Order::ZERO).ok()
    }

    fn give(&self, pfn: Pfn) {
        // SAFETY: of `take`, and given back once: who does it took the last reference to the frame (see `pile.rs`).
        let _ = unsafe { self.free_nolock(pfn, Order::ZERO) };
    }
}
