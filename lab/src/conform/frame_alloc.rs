//! The crate frame-alloc: its buddy of bitmaps, bare and under its depot.
//!
//! It keeps its bitmap among the frames it hands out and touches no other, so that addresses after the bitmap's stand for
//! the frames and nothing needs to be there.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::Arc;

use frame_alloc::{
    CpuId, DepotAllocator, InitError, PageSize, PhysRange, PhysicalAllocator, Provenance, RegionInit,
    SummaryBuddyAllocator,
};
use zonal::FRAME_SIZE;
use zonal_testkit::conformance::{Answer, Build, FrameAllocator, No, Setup};

const PAGE: PageSize = PageSize::from_log2(FRAME_SIZE.trailing_zeros() as u8);
const FRAME: usize = FRAME_SIZE as usize;
/// Orders 0 to 18.
const ORDERS: usize = 19;
/// What frame 0 is aligned to: the largest order.
const ALIGNMENT: usize = FRAME << (ORDERS - 1);
/// CPUs that the depot is made for, as many as any check has.
const SLOTS: usize = 64;

type Core = SummaryBuddyAllocator<ORDERS, Exposed>;
type Depot = DepotAllocator<Core, Named, SLOTS>;

/// The buddy by itself.
pub(super) fn bare() -> Build {
    Arc::new(|setup| Ok(Box::new(Peer::start(Box::new(Core::new(PAGE)), Caches::None, setup)?)))
}

/// The buddy under the depot; depths as by default.
pub(super) fn depot() -> Build {
    Arc::new(|setup| {
        let allocator = Box::new(Depot::new(PAGE, Core::new(PAGE)));
        Ok(Box::new(Peer::start(allocator, Caches::ByCpu, setup)?))
    })
}

/// Whether frames are kept by CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caches {
    None,
    ByCpu,
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Each thread is on the CPU it named last.
struct Named;

impl CpuId for Named {
    fn current_cpu() -> usize {
        CPU.get()
    }
}

/// Addresses of the bitmap are its physical addresses.
struct Exposed;

// SAFETY: (1) the bitmap's provenance is exposed, so that the pointer reaches all of it; (2) `destroy` ends nothing.
unsafe impl Provenance for Exposed {
    unsafe fn create(phys: usize) -> NonNull<u8> {
        // SAFETY: an address in the bitmap, which is never 0.
        unsafe { NonNull::new_unchecked(with_exposed_provenance_mut(phys)) }
    }

    unsafe fn destroy<T>(ptr: NonNull<T>) -> usize {
        ptr.addr().get()
    }
}

/// Memory for a bitmap.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; FRAME]);

/// An allocator, its bitmap, and the address that stands for frame 0.
struct Peer<A> {
    allocator: Box<A>,
    /// Dropped after the allocator.
    _bitmap: Vec<Page>,
    zone: usize,
    caches: Caches,
}

impl<A: PhysicalAllocator + RegionInit> Peer<A> {
    fn start(allocator: Box<A>, caches: Caches, setup: &Setup) -> Answer<Self> {
        let end = setup.memory.iter().map(|range| range.end).max().unwrap_or(0);
        let frames = usize::try_from(end).ok().filter(|frames| *frames < 1 << 32);
        let frames = frames.ok_or(No::Refused("frames above every address".to_owned()))?;
        // Two bits a frame, a 64th of that for the summary; what lies between bitmap and zone has bits too.
        let room = (frames + 3 * ALIGNMENT / FRAME) / 4 / 32 * 33;
        let mut bitmap = vec![Page([0; FRAME]); room.div_ceil(FRAME) + 1];
        let start = bitmap.as_mut_ptr().expose_provenance();
        let zone = (start + bitmap.len() * FRAME).next_multiple_of(ALIGNMENT);
        let length = zone + frames * FRAME - start;
        // SAFETY: without usable memory nothing can be set up; the allocator only says how much it would need.
        let needed = match unsafe { allocator.try_init(start, length, &[]) } {
            Err(InitError::MetadataWontFit { required_bytes }) => required_bytes,
            other => return Err(No::Refused(format!("no bitmap: {other:?}"))),
        };
        if needed > bitmap.len() * FRAME {
            return Err(No::Refused(format!("a bitmap of {needed} bytes")));
        }
        let mut usable = Vec::from([PhysRange { base: start, len: needed }]);
        for range in &setup.memory {
            usable.push(physical(range, zone)?);
        }
        // SAFETY: (1) the first range is the bitmap's alone and holds it; (2) nobody touches the other frames; (3) no
        // other thread knows the allocator yet.
        unsafe { allocator.try_init(start, length, &usable) }.map_err(No::refused)?;
        Ok(Self { allocator, _bitmap: bitmap, zone, caches })
    }

    fn take(&self, frames: Option<NonZeroUsize>) -> Answer<u64> {
        let frames = frames.ok_or(No::Refused("a count that cannot be written".to_owned()))?;
        match self.allocator.allocate_physical(PAGE, frames) {
            Ok(address) => Ok((address.wrapping_sub(self.zone) / FRAME) as u64),
            Err(error) => Err(No::Refused(format!("{error:?}"))),
        }
    }

    fn give(&self, pfn: u64, frames: Option<NonZeroUsize>) -> Answer<()> {
        let frames = frames.ok_or(No::Refused("a count that cannot be written".to_owned()))?;
        // SAFETY: the suite frees what it was given by a request for as many frames, and nothing else.
        unsafe { self.allocator.deallocate_physical(PAGE, frames, self.zone + pfn as usize * FRAME) };
        Ok(())
    }
}

impl<A: PhysicalAllocator + RegionInit + Send + Sync> FrameAllocator for Peer<A> {
    fn max_order(&self) -> u32 {
        ORDERS as u32 - 1
    }

    fn alloc(&self, order: u32) -> Answer<u64> {
        self.take(run(order))
    }

    fn free(&self, pfn: u64, order: u32) -> Answer<()> {
        self.give(pfn, run(order))
    }

    fn on_cpu(&self, cpu: usize) -> Answer<()> {
        if self.caches == Caches::None {
            return Err(No::Unsupported("nothing is kept by CPU"));
        }
        CPU.set(cpu);
        Ok(())
    }

    fn alloc_count(&self, frames: u64) -> Answer<u64> {
        self.take(count(frames))
    }

    fn free_count(&self, pfn: u64, frames: u64) -> Answer<()> {
        self.give(pfn, count(frames))
    }

    fn drain(&self) -> Answer<u64> {
        Err(No::Unsupported("caches are emptied without a count"))
    }
}

fn run(order: u32) -> Option<NonZeroUsize> {
    NonZeroUsize::new(1usize.checked_shl(order)?)
}

fn count(frames: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(frames).ok()?)
}

fn physical(range: &Range<u64>, zone: usize) -> Answer<PhysRange> {
    let frames = range.end.checked_sub(range.start);
    let frames = frames.ok_or(No::Refused("a length that cannot be written".to_owned()))?;
    Ok(PhysRange { base: zone + range.start as usize * FRAME, len: frames as usize * FRAME })
}
