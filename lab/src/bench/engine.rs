//! Whoever hands out frames: one small interface, so that every bench is the same code for each of them.
//!
//! An engine is set up for one order and called from any thread. Engines are compiled into the benches (no dynamic
//! dispatch on a timed path).

use anyhow::Result;
use zonal::{Group, Order, PageAllocator, Pfn, Request};
use zonal_linux::{LinuxPlatform, Machine, Pages, Pool};

use super::wrong::Wrong;

/// Memory for each thread to hold, and as much again that nobody does.
const BYTES_PER_THREAD: u64 = 1 << 30;

/// What an engine is set up for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) threads: u16,
    pub(super) cpus: u16,
    pub(super) order: Order,
}

/// Allocates and frees runs of one order.
pub(super) trait Engine: Sync + Sized + 'static {
    /// Sets the engine up; everything is free.
    fn build(setup: &Setup) -> Result<Self>;

    /// Takes a run.
    fn alloc(&self) -> Result<Pfn, Wrong>;

    /// Gives a run back.
    ///
    /// # Safety
    /// The run came from `alloc` (or, at order 0, in a group), is given back once and not used any more.
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong>;

    /// Frames free, while nobody allocates or frees.
    fn free_frames(&self) -> u64;

    /// Recounts everything, while nobody allocates or frees and `held` frames are out.
    fn audit(&self, held: u64) -> Result<(), Wrong>;
}

/// Allocates and frees scattered frames by the group.
pub(super) trait BulkEngine: Engine {
    /// Takes up to `frames` frames and says how many groups it filled.
    fn alloc_groups(&self, frames: u64, out: &mut [Group]) -> Result<usize, Wrong>;

    /// Gives groups back.
    ///
    /// # Safety
    /// As for [`Engine::free`], for every frame of every group.
    unsafe fn free_groups(&self, groups: &[Group]) -> Result<(), Wrong>;
}

/// The page allocator on a pool of this process, through its public calls: one node, marks 0, caching as by default.
pub(super) struct Zonal {
    pool: Pool,
    request: Request,
    order: Order,
}

impl Zonal {
    #[inline]
    fn allocator(&self) -> &PageAllocator<'_, LinuxPlatform> {
        self.pool.allocator()
    }
}

impl Engine for Zonal {
    fn build(setup: &Setup) -> Result<Self> {
        let bytes = BYTES_PER_THREAD * (u64::from(setup.threads) + 1);
        let machine = Machine::uniform(1, bytes, usize::from(setup.cpus))?;
        Ok(Self {
            pool: Pool::build(&machine, Pages::Lazy)?,
            request: Request::order(setup.order),
            order: setup.order,
        })
    }

    #[inline]
    fn alloc(&self) -> Result<Pfn, Wrong> {
        Ok(self.allocator().alloc_raw(&self.request)?)
    }

    #[inline]
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
        // SAFETY: the caller vouches for what `free_raw` asks; the order is that of every allocation here.
        Ok(unsafe { self.allocator().free_raw(pfn, self.order) }?)
    }

    fn free_frames(&self) -> u64 {
        self.allocator().zones().map(|zone| zone.free + zone.cached).sum()
    }

    fn audit(&self, held: u64) -> Result<(), Wrong> {
        let mut first = None;
        let summary = self.allocator().audit(&mut |finding| {
            first.get_or_insert_with(|| finding.to_string());
        });
        match first {
            Some(finding) => Err(Wrong::Audit(finding)),
            None if summary.allocated != held || summary.in_flight != 0 => {
                Err(Wrong::Audit(format!("{summary:?} with {held} frames held")))
            }
            None => Ok(()),
        }
    }
}

impl BulkEngine for Zonal {
    #[inline]
    fn alloc_groups(&self, frames: u64, out: &mut [Group]) -> Result<usize, Wrong> {
        Ok(self.allocator().alloc_bulk(&self.request, frames, out)?)
    }

    #[inline]
    unsafe fn free_groups(&self, groups: &[Group]) -> Result<(), Wrong> {
        // SAFETY: the caller vouches for what `free_bulk` asks.
        Ok(unsafe { self.allocator().free_bulk(groups) }?)
    }
}
