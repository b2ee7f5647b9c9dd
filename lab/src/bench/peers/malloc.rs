//! Allocators of process memory. What they hand out is real memory: some of them write to a page before they hand it out,
//! or when they get it back.

use std::ffi::c_void;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance_mut};

use anyhow::Result;
use zonal::{FRAME_SIZE, Pfn};

use crate::bench::engine::{Engine, Setup};
use crate::bench::wrong::Wrong;

/// A malloc and its free.
pub(in crate::bench) trait Heap: Sync + 'static {
    /// What makes it faster for this process.
    fn tune() {}

    /// Takes `bytes` bytes, aligned to a page.
    fn take(bytes: usize) -> Option<NonNull<c_void>>;

    /// Gives them back.
    ///
    /// # Safety
    /// They came from `take` with as many bytes, and are given back once and not used any more.
    unsafe fn give(memory: NonNull<c_void>, bytes: usize);
}

/// A malloc as an engine: addresses stand for frames.
pub(in crate::bench) struct Malloc<H> {
    bytes: usize,
    heap: PhantomData<H>,
}

impl<H: Heap> Engine for Malloc<H> {
    fn build(setup: &Setup, _free: &[Range<u64>]) -> Result<Self> {
        H::tune();
        Ok(Self { bytes: usize::try_from(setup.order.frames() * FRAME_SIZE)?, heap: PhantomData })
    }

    #[inline]
    fn alloc(&self) -> Result<Pfn, Wrong> {
        let address = H::take(self.bytes).ok_or(Wrong::OutOfMemory)?.as_ptr().expose_provenance() as u64;
        if !address.is_multiple_of(FRAME_SIZE) {
            return Err(Wrong::NoPage { address });
        }
        Ok(Pfn::new(address / FRAME_SIZE))
    }

    #[inline]
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
        let memory = with_exposed_provenance_mut((pfn.get() * FRAME_SIZE) as usize);
        // SAFETY: the caller vouches that the run is one of `alloc`, so it is no null pointer, and of this many bytes.
        unsafe { H::give(NonNull::new_unchecked(memory), self.bytes) };
        Ok(())
    }

    fn free_frames(&self) -> Option<u64> {
        None
    }

    fn audit(&self, _taken: u64, _runs: u64) -> Result<(), Wrong> {
        Ok(())
    }
}

/// The C library's: `memalign`, and no system call for what it gets back.
#[cfg(target_env = "gnu")]
pub(in crate::bench) struct Glibc;

#[cfg(target_env = "gnu")]
impl Heap for Glibc {
    fn tune() {
        // SAFETY: both only set a figure. They are the largest there are.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }

    #[inline]
    fn take(bytes: usize) -> Option<NonNull<c_void>> {
        // SAFETY: any alignment that is a power of two, and any size, may be asked for.
        let memory = unsafe { libc::memalign(FRAME_SIZE as usize, bytes) };
        NonNull::new(black_box(memory)) // the compiler knows what it is, and leaves out what is freed at once
    }

    #[inline]
    unsafe fn give(memory: NonNull<c_void>, _bytes: usize) {
        // SAFETY: the caller vouches that `memalign` returned it.
        unsafe { libc::free(memory.as_ptr()) };
    }
}

/// mimalloc: `mi_malloc_aligned`, `mi_free`.
#[cfg(feature = "c-peers")]
pub(in crate::bench) struct Mimalloc;

#[cfg(feature = "c-peers")]
impl Heap for Mimalloc {
    #[inline]
    fn take(bytes: usize) -> Option<NonNull<c_void>> {
        // SAFETY: any alignment that is a power of two, and any size, may be asked for.
        NonNull::new(unsafe { libmimalloc_sys::mi_malloc_aligned(bytes, FRAME_SIZE as usize) }.cast())
    }

    #[inline]
    unsafe fn give(memory: NonNull<c_void>, _bytes: usize) {
        // SAFETY: the caller vouches that `mi_malloc_aligned` returned it.
        unsafe { libmimalloc_sys::mi_free(memory.as_ptr().cast()) };
    }
}

/// jemalloc: plain `malloc` for one page, whose size class is a page and aligned to one; above, `mallocx`.
#[cfg(feature = "c-peers")]
pub(in crate::bench) struct Jemalloc;

#[cfg(feature = "c-peers")]
impl Jemalloc {
    const ALIGNED: i32 = tikv_jemalloc_sys::MALLOCX_LG_ALIGN(FRAME_SIZE.trailing_zeros() as usize);
}

#[cfg(feature = "c-peers")]
impl Heap for Jemalloc {
    #[inline]
    fn take(bytes: usize) -> Option<NonNull<c_void>> {
        // SAFETY: any size but 0 may be asked for; a page's is none.
        NonNull::new(unsafe {
            match bytes as u64 {
                FRAME_SIZE => tikv_jemalloc_sys::malloc(bytes),
                _ => tikv_jemalloc_sys::mallocx(bytes, Self::ALIGNED),
            }
        })
    }

    #[inline]
    unsafe fn give(memory: NonNull<c_void>, bytes: usize) {
        let flags = if bytes as u64 == FRAME_SIZE { 0 } else { Self::ALIGNED };
        // SAFETY: the caller vouches that it came from `take` of this size; the flags are those of that call.
        unsafe { tikv_jemalloc_sys::sdallocx(memory.as_ptr(), bytes, flags) };
    }
}
