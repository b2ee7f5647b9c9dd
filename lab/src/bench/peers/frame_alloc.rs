//! The crate frame-alloc: its buddy of bitmaps, bare and under its depot.
//!
//! It keeps its bitmap in the zone and touches no other frame, so the zone is address space of which only the bitmap can
//! be reached, in front of the frames it hands out.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance_mut};

use anyhow::{Result, bail};
use frame_alloc::{
    AllocError, CpuId, DepotAllocator, InitError, PageSize, PhysRange, PhysicalAllocator, Provenance,
    RegionInit, SummaryBuddyAllocator,
};
use zonal::{FRAME_SIZE, Order, Pfn};

use super::ORDERS;
use super::span::Span;
use crate::bench::engine::{Engine, Setup, exhaust};
use crate::bench::threads::place;
use crate::bench::wrong::Wrong;

const PAGE: PageSize = PageSize::from_log2(FRAME_SIZE.trailing_zeros() as u8);

/// The buddy by itself.
pub(crate) type FrameAlloc = OnSpan<Core>;
/// The buddy under the depot, for `SLOTS` CPUs; depths as by default.
pub(in crate::bench) type FrameAllocDepot<const SLOTS: usize> = OnSpan<DepotAllocator<Core, Place, SLOTS>>;
type Core = SummaryBuddyAllocator<ORDERS, Exposed>;

/// Addresses of the span are its physical addresses.
pub(crate) struct Exposed;

// SAFETY: (1) the span's provenance is exposed, so that the pointer reaches all of it; (2) `destroy` ends nothing.
unsafe impl Provenance for Exposed {
    unsafe fn create(phys: usize) -> NonNull<u8> {
        // SAFETY: an address in a span, which is never 0.
        unsafe { NonNull::new_unchecked(with_exposed_provenance_mut(phys)) }
    }

    unsafe fn destroy<T>(ptr: NonNull<T>) -> usize {
        ptr.addr().get()
    }
}

/// A thread's place stands for its CPU: each is pinned to its own.
pub(crate) struct Place;

impl CpuId for Place {
    #[inline]
    fn current_cpu() -> usize {
        place()
    }
}

/// An allocator that can be made without memory.
pub(crate) trait Fresh: PhysicalAllocator + RegionInit + Sync + 'static {
    fn fresh() -> Self;
}

impl Fresh for Core {
    fn fresh() -> Self {
        Self::new(PAGE)
    }
}

impl<const SLOTS: usize> Fresh for DepotAllocator<Core, Place, SLOTS> {
    fn fresh() -> Self {
        Self::new(PAGE, Core::new(PAGE))
    }
}

/// An allocator and its zone.
pub(crate) struct OnSpan<A> {
    allocator: Box<A>,
    /// Where the bitmap is; dropped after the allocator.
    _span: Span,
    order: Order,
    frames: NonZeroUsize,
}

impl<A: Fresh> Engine for OnSpan<A> {
    fn build(setup: &Setup, free: &[Range<u64>]) -> Result<Self> {
        let bytes = usize::try_from(setup.bytes)?;
        // Two bits a frame, a 64th of that for the summary, and a page that begins.
        let room = (bytes / FRAME_SIZE as usize / 4).next_multiple_of(1 << 20) * 33 / 32 + (1 << 20);
        let span = Span::reserve(room, bytes)?;
        let allocator = Box::new(A::fresh());
        start(&*allocator, &span, room, bytes, free)?;
        let frames = NonZeroUsize::MIN
            .saturating_mul(NonZeroUsize::new(1 << setup.order.get()).unwrap_or(NonZeroUsize::MIN));
        Ok(Self { allocator, _span: span, order: setup.order, frames })
    }

    #[inline]
    fn alloc(&self) -> Result<Pfn, Wrong> {
        match self.allocator.allocate_physical(PAGE, self.frames) {
            Ok(address) => Ok(Pfn::new(address as u64 / FRAME_SIZE)),
            Err(AllocError::OutOfMemory) => Err(Wrong::OutOfMemory),
            Err(error) => Err(Wrong::Peer(error)),
        }
    }

    #[inline]
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
        let address = (pfn.get() * FRAME_SIZE) as usize;
        // SAFETY: the caller vouches that the run is one of `alloc`, which asked for as many pages of this size.
        unsafe { self.allocator.deallocate_physical(PAGE, self.frames, address) };
        Ok(())
    }

    fn free_frames(&self) -> Option<u64> {
        None
    }

    fn audit(&self, _taken: u64, runs: u64) -> Result<(), Wrong> {
        exhaust(self, self.order, runs)
    }
}

/// Tells the allocator its zone: as many bytes of the writable part as its bitmap takes, and the frames that are free.
fn start(
    allocator: &impl RegionInit,
    span: &Span,
    room: usize,
    bytes: usize,
    free: &[Range<u64>],
) -> Result<()> {
    let (first, zone) = (span.metadata(), span.zone(room));
    let length = zone + bytes - first;
    // SAFETY: without usable memory nothing can be set up; the allocator only says how much it would need.
    let needed = match unsafe { allocator.try_init(first, length, &[]) } {
        Err(InitError::MetadataWontFit { required_bytes }) if required_bytes <= zone - first => {
            required_bytes
        }
        other => bail!("frame-alloc cannot keep its bitmap in {room} bytes: {other:?}"),
    };
    let bitmap = PhysRange { base: zone - needed, len: needed };
    let frame = FRAME_SIZE as usize;
    let ranges = free.iter().map(|range| PhysRange {
        base: zone + range.start as usize * frame,
        len: (range.end - range.start) as usize * frame,
    });
    let usable: Vec<PhysRange> = std::iter::once(bitmap).chain(ranges).collect();
    // SAFETY: (1) the first range is writable, large enough for the bitmap, and nobody else's; (2) the other frames are
    // never touched, by nobody; (3) no other thread knows the allocator yet.
    match unsafe { allocator.try_init(first, length, &usable) } {
        Ok(()) => Ok(()),
        Err(error) => bail!("frame-alloc refuses its zone: {error}"),
    }
}
