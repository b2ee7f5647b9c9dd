//! Runs at a given frame, of exact counts, and splitting what was allocated.

use crate::access::Access;
use crate::allocator::PageAllocator;
use crate::error::{AllocError, FreeError};
use crate::frame::{BLOCK_FRAMES, Order, Pfn};
use crate::placed;
use crate::platform::Platform;
use crate::request::Request;
use crate::zone::take::Miss;

impl<P: Platform> PageAllocator<'_, P> {
    /// Allocates exactly the run of the request's order that starts at `pfn`, wherever it is cached. Zone, node and
    /// address limits of the request do not apply; marks do.
    ///
    /// # Errors
    /// [`AllocError::NotFree`] if a frame of it is taken, absent or isolated; [`AllocError::Misaligned`];
    /// [`AllocError::NoMemory`] at the zone's mark; [`AllocError::CannotZero`].
    pub fn alloc_at(&self, request: &Request, pfn: Pfn) -> Result<(), AllocError> {
        let order = request.order;
        if !pfn.is_aligned(order) {
            return Err(AllocError::Misaligned { pfn, order });
        }
        match placed::take_at(&self.state, (request, self.access(request)), pfn) {
            Ok(()) => {
                if let Ok((zone, _)) = self.state.block(pfn) {
                    self.cpu().count_taken(zone, order);
                }
                self.deliver(request, pfn).map(|_| ())
            }
            Err(Miss::NoRun) => Err(AllocError::NotFree { pfn, order }),
            Err(Miss::AtMark) => Err(AllocError::NoMemory { order, free: 0, in_flight: 0 }),
        }
    }

    /// What the request may have of a zone, all reserves included.
    fn access(&self, request: &Request) -> Access {
        let task = self.platform.task();
        Access::of_class(request.urgency(), request.order, task).with_reserves(request.urgency(), task)
    }

    /// Allocates `frames` adjacent frames (1 to 262,144, any number) and returns the first; its alignment is that of
    /// the smallest order that holds them. The request's own order does not matter. Free with
    /// [`PageAllocator::free_exact`].
    ///
    /// # Errors
    /// [`AllocError::BadCount`], else as [`PageAllocator::alloc_raw`].
    pub fn alloc_exact(&self, request: &Request, frames: u64) -> Result<Pfn, AllocError> {
        self.exact(request, frames, |whole| self.alloc_raw(whole))
    }

    /// The same of a run that `alloc` allocates.
    pub(crate) fn exact(
        &self,
        request: &Request,
        frames: u64,
        alloc: impl FnOnce(&Request) -> Result<Pfn, AllocError>,
    ) -> Result<Pfn, AllocError> {
        let order = Order::holding(frames).ok_or(AllocError::BadCount { frames })?;
        let pfn = alloc(&request.with_order(order))?;
        if frames == order.frames() && order <= Order::BLOCK {
            return Ok(pfn);
        }
        // The run is this call's own, so each of these steps is allowed and finds what it expects.
        let cut = if order > Order::BLOCK && frames.is_multiple_of(BLOCK_FRAMES) {
            Order::BLOCK
        } else {
            Order::ZERO
        };
        if order >= Order::BLOCK && cut == Order::ZERO {
            self.open_block(pfn.add(frames / BLOCK_FRAMES * BLOCK_FRAMES));
        }
        if let Some(tags) = self.state.tags() {
            let _ = tags.clear(&self.state.map, pfn, order);
            pieces(pfn, frames).for_each(|(pfn, order)| tags.set(&self.state.map, pfn, order));
        }
        for (pfn, order) in pieces(pfn.add(frames), order.frames() - frames) {
            self.free_own(pfn, order);
        }
        Ok(pfn)
    }

    /// Frees what [`PageAllocator::alloc_exact`] returned.
    ///
    /// # Errors
    /// [`FreeError::BadCount`], else as [`PageAllocator::free_raw`] for the first part that was refused; parts before
    /// it are free then.
    ///
    /// # Safety
    /// As for [`PageAllocator::free_raw`], for all `frames` frames.
    pub unsafe fn free_exact(&self, pfn: Pfn, frames: u64) -> Result<(), FreeError> {
        if Order::holding(frames).is_none() {
            return Err(FreeError::BadCount { frames });
        }
        pieces(pfn, frames).try_for_each(|(pfn, order)| {
            // SAFETY: the caller owns all frames from `pfn` on, of which this is a part.
            unsafe { self.free_raw(pfn, order) }
        })
    }

    /// Splits an allocated run into runs of order `to`, to be freed one by one (Linux: split_page). Needed before
    /// part of a run of order 9 or more is freed, and in checked mode before part of any run is.
    ///
    /// Any context. Costs a store a row for each block, in checked mode one a resulting run.
    ///
    /// # Errors
    /// [`FreeError::BadSplit`] if `to` is above `from`, else as [`PageAllocator::free_raw`]; nothing changed then.
    ///
    /// # Safety
    /// The caller owns the run and nobody frees a part of it meanwhile.
    pub unsafe fn split_raw(&self, pfn: Pfn, from: Order, to: Order) -> Result<(), FreeError> {
        if to > from {
            return Err(FreeError::BadSplit { from, to });
        }
        if !pfn.is_aligned(from) {
            return Err(FreeError::Misaligned { pfn, order: from });
        }
        self.state.block(pfn)?;
        if let Some(tags) = self.state.tags() {
            tags.clear(&self.state.map, pfn, from)?;
            let parts = (0..from.frames()).step_by(to.frames() as usize);
            parts.for_each(|part| tags.set(&self.state.map, pfn.add(part), to));
        }
        if from >= Order::BLOCK && to < Order::BLOCK {
            let blocks = (0..from.frames()).step_by(BLOCK_FRAMES as usize);
            blocks.for_each(|block| self.open_block(pfn.add(block)));
        }
        Ok(())
    }

    /// Makes the frames of a block that the caller owns whole single ones. One split or merged before stays as it is.
    fn open_block(&self, pfn: Pfn) {
        if let Ok((_, block)) = self.state.block(pfn) {
            block.split();
        }
    }
}

/// The aligned runs that `frames` frames from `pfn` consist of, largest first from each start; none above a block.
fn pieces(pfn: Pfn, frames: u64) -> impl Iterator<Item = (Pfn, Order)> {
    let (mut at, mut left) = (pfn, frames);
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let order = Order::fitting(at, left).min(Order::BLOCK);
        let piece = (at, order);
        at = at.add(order.frames());
        left -= order.frames();
        Some(piece)
    })
}
