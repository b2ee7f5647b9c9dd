//! Objects that are freed when nobody can see them any more: the queue behind a `kfree_rcu`, as a client of the allocator.
//!
//! Who has taken an object out of everybody's sight queues it, in any context: under a raw lock, in an NMI, in the middle of
//! this queue. It takes the frames it keeps pointers in by [`PageAllocator::alloc_nolock`]; where none can be had, objects
//! hang on each other by their heads, so queueing never fails. Somebody [`DeferredFree::collect`]s now and then: what was queued
//! waits for a grace period of the [`DeferredHost`]'s, what has waited is freed, and frames go back.
//!
//! Nobody takes a lock here, collectors included, and nobody waits for a grace period or for who stops in the middle. Never freed early, never twice; the
//! protocol stands in ARCHITECTURE.md. Invariant at quiescence: objects queued = objects freed + objects on sheets and lists,
//! frames taken = sheets, of which each CPU has no more than its limit.

pub(crate) mod head;
pub(crate) mod host;
pub(crate) mod pile;
pub(crate) mod sheet;
mod stack;

use core::ptr::NonNull;

use crate::allocator::PageAllocator;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;

use head::Head;
use host::DeferredHost;
use pile::{Collected, Pile, Queued};

/// A queue of objects to be freed after a grace period, over one [`Pile`] for each CPU (`Box<[Pile]>`, `&[Pile]`).
///
/// What is still queued when it goes is leaked: collect until it [`DeferredFree::is_empty`].
#[derive(Debug)]
pub struct DeferredFree<S> {
    piles: S,
    limit: u64,
}

impl<S: AsRef<[Pile]>> DeferredFree<S> {
    /// A queue that keeps pointers in at most `frames_per_pile` frames of the allocator a pile, 508 in each; 0: in none.
    /// CPUs share piles if there are fewer: slower, as right. `None` if there are no piles.
    pub fn new(piles: S, frames_per_pile: u64) -> Option<Self> {
        (!piles.as_ref().is_empty()).then_some(Self { piles, limit: frames_per_pile })
    }

    /// Has an object freed by [`DeferredHost::free`], after a grace period that begins when it is queued.
    ///
    /// Any context, also in the middle of any operation of this queue and of the allocator. It calls [`Platform::cpu`] and
    /// [`DeferredHost::memory`]. On a sheet: 1 locked operation and a store; every 508th time a frame is allocated and filled
    /// with 508 stores. By its head: 4, after a frame was asked for in vain. Retries are caused by others that queued or collected on the same pile.
    ///
    /// # Safety
    /// (1) Who comes from now on cannot see the object, by what this thread did before. (2) The object stays until it is freed,
    /// and its head is the queue's until then; it is not queued a second time. (3) `allocator` and `host` are the same in
    /// every call of this queue's methods, and nobody else collects for another host.
    pub unsafe fn defer<P: Platform>(
        &self,
        allocator: &PageAllocator<'_, P>,
        host: &impl DeferredHost,
        object: NonNull<Head>,
    ) -> Queued {
        let piles = self.piles.as_ref();
        let at = allocator.platform.cpu().checked_rem(piles.len()).unwrap_or(0);
        // SAFETY: the caller's (2) and (3).
        piles
            .get(at)
            .map_or(Queued::ByHead, |pile| unsafe { pile.put(object, self.limit, (host, allocator)) })
    }

    /// Frees what has waited for its grace period, on all piles, and lets what was queued begin to wait. So what is queued now
    /// is freed by the first call after its grace period, that is by the second one at the soonest.
    ///
    /// Any context that bears the host's calls, made outside every protocol step; several at once, also one in the middle of another.
    /// A step for each object that is queued or waits by its head, or is freed; for each frame whose grace period is not over, one.
    /// Who stops in the middle keeps what it has in hand: what was on one pile.
    ///
    /// # Safety
    /// As (3) of [`DeferredFree::defer`].
    pub unsafe fn collect<P: Platform>(
        &self,
        allocator: &PageAllocator<'_, P>,
        host: &impl DeferredHost,
    ) -> Collected {
        let mut sum = Collected::default();
        for pile in self.piles.as_ref() {
            // SAFETY: the caller's.
            let Collected { objects, frames } = unsafe { pile.collect((host, allocator)) };
            sum.objects += objects;
            sum.frames += frames;
        }
        sum
    }

    /// Frames of the allocator that the queue has for its bookkeeping. Any context; exact at quiescence, else with those
    /// that are about to be taken.
    pub fn frames(&self) -> u64 {
        self.piles.as_ref().iter().map(Pile::frames).sum()
    }

    /// Objects queued and not freed. Any context; exact at quiescence, else about, with what collectors have in hand.
    pub fn objects(&self) -> u64 {
        self.piles.as_ref().iter().map(Pile::objects).sum()
    }

    /// About how many frames [`DeferredFree::shrink`] gives back if no reader is in the way, of whatever node: what a shrinker counts.
    /// Context as [`DeferredHost::worth`].
    pub fn reclaimable(&self, host: &impl DeferredHost) -> u64 {
        let objects = if planted(Mutant::DeferredObjectsUncounted) { 0 } else { self.objects() };
        self.frames() + host.worth(objects)
    }

    /// What a shrinker scans: collects until `frames` frames have come back, twice at most: once more for what was queued if
    /// grace periods are short. How many came back, with objects or of its own. Context and cost: two collections.
    ///
    /// # Safety
    /// As (3) of [`DeferredFree::defer`].
    pub unsafe fn shrink<P: Platform>(
        &self,
        allocator: &PageAllocator<'_, P>,
        host: &impl DeferredHost,
        frames: u64,
    ) -> u64 {
        // SAFETY: the caller's.
        let collect = || unsafe { self.collect(allocator, host) }.frames;
        let first = collect();
        if first >= frames || planted(Mutant::DeferredShrinksOnce) { first } else { first + collect() }
    }

    /// Whether nothing is queued or waits. Any context; while others queue or collect only a hint: what a collector has in hand
    /// is not seen.
    pub fn is_empty(&self) -> bool {
        self.piles.as_ref().iter().all(Pile::is_empty)
    }
}
