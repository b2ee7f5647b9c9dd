//! The crate buddy_system_allocator: a tree of free runs for each order, all under one spin lock.

use std::ops::Range;

use anyhow::Result;
use buddy_system_allocator::LockedFrameAllocator;
use zonal::{Order, Pfn};

use super::ORDERS;
use crate::bench::engine::{Engine, Setup, exhaust};
use crate::bench::wrong::Wrong;

/// Frame numbers are those of the zone; its trees live on the heap.
pub(crate) struct BuddySpin {
    allocator: LockedFrameAllocator<ORDERS>,
    order: Order,
}

impl Engine for BuddySpin {
    fn build(setup: &Setup, free: &[Range<u64>]) -> Result<Self> {
        let allocator = LockedFrameAllocator::new();
        let mut locked = allocator.lock();
        for range in free {
            locked.add_frame(usize::try_from(range.start)?, usize::try_from(range.end)?);
        }
        drop(locked);
        Ok(Self { allocator, order: setup.order })
    }

    #[inline]
    fn alloc(&self) -> Result<Pfn, Wrong> {
        let first = self.allocator.lock().alloc(1 << self.order.get()).ok_or(Wrong::OutOfMemory)?;
        Ok(Pfn::new(first as u64))
    }

    #[inline]
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
        self.allocator.lock().dealloc(pfn.get() as usize, 1 << self.order.get());
        Ok(())
    }

    fn free_frames(&self) -> Option<u64> {
        None
    }

    fn audit(&self, _taken: u64, runs: u64) -> Result<(), Wrong> {
        exhaust(self, self.order, runs)
    }
}
