//! The owned type: frames that know their order and go back when dropped.

use core::fmt;
use core::mem::ManuallyDrop;

use crate::allocator::PageAllocator;
use crate::error::AllocError;
use crate::frame::{Order, Pfn};
use crate::platform::Platform;
use crate::request::Request;

/// An allocated run that is freed on drop. Owning it is the proof that frees need: no double or stale free.
pub struct Frames<'a, 'm, P: Platform> {
    allocator: &'a PageAllocator<'m, P>,
    pfn: Pfn,
    order: Order,
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Allocates a run as an owned value. Cost and errors as [`PageAllocator::alloc_raw`].
    ///
    /// # Errors
    /// By cause, see [`AllocError`].
    #[inline]
    pub fn alloc(&self, request: &Request) -> Result<Frames<'_, 'm, P>, AllocError> {
        let pfn = self.alloc_raw(request)?;
        Ok(Frames { allocator: self, pfn, order: request.order })
    }

    /// Takes ownership of a run, for instance one that was leaked.
    ///
    /// # Safety
    /// The caller owns the run of exactly this order, allocated here, and gives that ownership up.
    pub unsafe fn adopt(&self, pfn: Pfn, order: Order) -> Frames<'_, 'm, P> {
        Frames { allocator: self, pfn, order }
    }
}

impl<'a, 'm, P: Platform> Frames<'a, 'm, P> {
    /// The first frame.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// The order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Two halves, lower first; order 0 comes back as it is.
    ///
    /// # Errors
    /// The run itself if it is a single frame.
    pub fn split(self) -> Result<(Self, Self), Self> {
        let Some(half) = self.order.get().checked_sub(1).and_then(Order::new) else { return Err(self) };
        // SAFETY: `self` owns the run, and owned values free only whole runs of their own.
        if unsafe { self.allocator.split_raw(self.pfn, self.order, half) }.is_err() {
            return Err(self);
        }
        let whole = ManuallyDrop::new(self);
        let part = |pfn| Self { allocator: whole.allocator, pfn, order: half };
        Ok((part(whole.pfn), part(whole.pfn.add(half.frames()))))
    }

    /// The run of which the two are halves.
    ///
    /// # Errors
    /// Both values, if they are not the two halves of one run of this allocator, or already of the largest order.
    pub fn merge(self, other: Self) -> Result<Self, (Self, Self)> {
        let swap = self.pfn > other.pfn;
        let (low, high) = if swap { (other, self) } else { (self, other) };
        let whole = Order::new(low.order.get() + 1).filter(|&whole| low.pfn.is_aligned(whole));
        let adjacent = low.order == high.order && low.pfn.add(low.order.frames()) == high.pfn;
        let joined = whole.filter(|_| adjacent && core::ptr::eq(low.allocator, high.allocator));
        match joined {
            Some(order) if low.allocator.join(low.pfn, low.order, order) => {
                let (low, _high) = (ManuallyDrop::new(low), ManuallyDrop::new(high));
                Ok(Self { allocator: low.allocator, pfn: low.pfn, order })
            }
            _ if swap => Err((high, low)),
            _ => Err((low, high)),
        }
    }

    /// Gives up ownership without freeing: whoever gets the pair must free it.
    pub fn leak(self) -> (Pfn, Order) {
        let this = ManuallyDrop::new(self);
        (this.pfn, this.order)
    }
}

impl<P: Platform> PageAllocator<'_, P> {
    /// Makes one note of the two halves' notes in checked mode. The words need no change: a block freed whole that
    /// was split lands row by row.
    fn join(&self, pfn: Pfn, half: Order, whole: Order) -> bool {
        let Some(tags) = self.state.tags() else { return self.state.block(pfn).is_ok() };
        let map = &self.state.map;
        if tags.clear(map, pfn, half).is_err() {
            return false;
        }
        if tags.clear(map, pfn.add(half.frames()), half).is_err() {
            tags.set(map, pfn, half);
            return false;
        }
        tags.set(map, pfn, whole);
        true
    }
}

impl<P: Platform> Drop for Frames<'_, '_, P> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the run; it is gone after this. The result says nothing an owner could act on: an
        // owned run is refused only if somebody else's misuse freed it before.
        let _ = unsafe { self.allocator.free_raw(self.pfn, self.order) };
    }
}

impl<P: Platform> fmt::Debug for Frames<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({:?}, order {})", self.pfn, self.order)
    }
}
