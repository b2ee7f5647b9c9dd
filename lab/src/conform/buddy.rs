//! The crate buddy_system_allocator: a tree of free runs for each order, all under one spin lock.

use std::sync::Arc;

use buddy_system_allocator::LockedFrameAllocator;
use zonal_testkit::conformance::{Answer, Build, FrameAllocator, No, Setup};

/// The allocator with as many orders as by default.
pub(super) fn build() -> Build {
    Arc::new(|setup| Ok(Box::new(Peer::start(setup)?)))
}

const ORDERS: usize = 33;

struct Peer(LockedFrameAllocator<ORDERS>);

impl Peer {
    fn start(setup: &Setup) -> Answer<Self> {
        let allocator = LockedFrameAllocator::new();
        for range in &setup.memory {
            allocator.lock().add_frame(word(range.start)?, word(range.end)?);
        }
        Ok(Self(allocator))
    }
}

impl FrameAllocator for Peer {
    fn max_order(&self) -> u32 {
        ORDERS as u32 - 1
    }

    fn alloc(&self, order: u32) -> Answer<u64> {
        self.alloc_count(run(order)?)
    }

    fn free(&self, pfn: u64, order: u32) -> Answer<()> {
        self.free_count(pfn, run(order)?)
    }

    fn misuse(&self, pfn: u64, order: u32) -> Answer<()> {
        self.free(pfn, order)
    }

    fn alloc_at(&self, order: u32, pfn: u64) -> Answer<()> {
        self.0
            .lock()
            .alloc_at(word(pfn)?, word(run(order)?)?)
            .map(drop)
            .ok_or_else(|| No::refused("not free"))
    }

    fn alloc_count(&self, frames: u64) -> Answer<u64> {
        let start = self.0.lock().alloc(word(frames)?);
        start.map(|pfn| pfn as u64).ok_or_else(|| No::refused("no such run"))
    }

    fn free_count(&self, pfn: u64, frames: u64) -> Answer<()> {
        self.0.lock().dealloc(word(pfn)?, word(frames)?);
        Ok(())
    }

    fn alloc_aligned(&self, _order: u32, _align: u32) -> Answer<u64> {
        Err(No::Unsupported("an aligned run is one of a larger order"))
    }
}

fn run(order: u32) -> Answer<u64> {
    1u64.checked_shl(order).ok_or_else(|| No::refused("a count that cannot be written"))
}

fn word(number: u64) -> Answer<usize> {
    usize::try_from(number).map_err(No::refused)
}
