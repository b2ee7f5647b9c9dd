//! An owned piece of address space: mapped here, unmapped when dropped, never handed on.
//!
//! It knows nothing of frames. Invariant: `start..start + mapped` belongs to this mapping alone, from creation to drop.

use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::memory::MemoryError;

/// Bytes in a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// A mapping: private and anonymous, or shared of a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    /// Bytes that were asked for, at least 1.
    len: usize,
    /// Bytes that are mapped: no fewer.
    mapped: usize,
}

// SAFETY: a mapping owns address space, which any thread may unmap; it has no state besides.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out the address, which is harmless, and `bytes`, whose caller vouches for exclusiveness.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `bytes` (at least 1) of memory that reads as zero and is taken when it is touched: in huge pages where
    /// the kernel finds them, as it maps its own memory map. Whole ones are mapped, unless that were four times as
    /// much or there is no room.
    pub(crate) fn zeroed(bytes: usize) -> Result<Self, MemoryError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let bytes = bytes.max(1);
        let whole =
            bytes.checked_next_multiple_of(HUGE_PAGE).filter(|&whole| whole <= bytes.saturating_mul(4));
        let mapping = match whole.and_then(|whole| Self::aligned(whole, protection).ok()) {
            Some(mut mapping) => {
                mapping.len = bytes;
                mapping
            }
            None => Self::map(bytes, protection)?,
        };
        // SAFETY: advice on this mapping; it does not change what the bytes are. Where it is refused, ordinary pages serve.
        let _ = unsafe { mm::madvise(mapping.start.as_ptr().cast(), mapping.mapped, Advice::LinuxHugepage) };
        Ok(mapping)
    }

    /// `bytes` of address space that nobody can touch yet.
    pub(crate) fn reserved(bytes: usize) -> Result<Self, MemoryError> {
        Self::map(bytes.max(1), ProtFlags::empty())
    }

    /// The first `bytes` of a file, which outlive this process there.
    pub(crate) fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice replaces nothing. That the file's bytes may change by
        // other hands is up to who lends them out as a `bytes`.
        let start =
            unsafe { mm::mmap(ptr::null_mut(), bytes.max(1), protection, MapFlags::SHARED, file, 0) }?;
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, len: bytes.max(1), mapped: bytes.max(1) }),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    /// Whole huge pages.
    fn aligned(len: usize, protection: ProtFlags) -> Result<Self, MemoryError> {
        let longer = len.checked_add(HUGE_PAGE).ok_or(MemoryError::AddressSpace { bytes: len as u64 })?;
        let around = Self::map(longer, protection)?;
        let before = around.start.addr().get().wrapping_neg() % HUGE_PAGE;
        // SAFETY: less than a huge page, so within the mapping, which is longer than `len` by one.
        let start = unsafe { around.start.add(before) };
        // SAFETY: as far again.
        let end = unsafe { start.add(len) };
        for (rest, bytes) in [(around.start, before), (end, HUGE_PAGE - before)] {
            if bytes > 0 {
                // SAFETY: a part of the mapping that nobody has been told of. Where it is not unmapped it stays
                // reserved, and untouched.
                let _ = unsafe { mm::munmap(rest.as_ptr().cast(), bytes) };
            }
        }
        mem::forget(around);
        Ok(Self { start, len, mapped: len })
    }

    fn map(len: usize, protection: ProtFlags) -> Result<Self, MemoryError> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, protection, flags) };
        let start = start.ok().and_then(|start| NonNull::new(start.cast()));
        match start {
            Some(start) => Ok(Self { start, len, mapped: len }),
            None => Err(MemoryError::AddressSpace { bytes: len as u64 }),
        }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All bytes of a mapping made by [`Mapping::zeroed`] or [`Mapping::of_file`].
    ///
    /// # Safety
    /// What an earlier call returned is not used any more, nobody else uses the bytes of the file, and what this returns is
    /// not used after the mapping is dropped.
    pub(crate) unsafe fn bytes(&self) -> &'static mut [MaybeUninit<u8>] {
        // SAFETY: the bytes are mapped readable and writable, belong to nobody else (the caller vouches), and live as
        // long as they are used (the caller vouches); `MaybeUninit` asks for no initialisation.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and is this mapping's own; whoever lent it out vouched that the loan is
        // over. Unmapping one's own whole mapping does not fail, and nothing could be done if it did.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_memory_is_as_long_as_asked_for_and_whole_huge_pages_where_those_are_few() {
        for (bytes, mapped) in [
            (0, 1),
            (4096, 4096),
            (HUGE_PAGE / 4 - 1, HUGE_PAGE / 4 - 1),
            (HUGE_PAGE / 4, HUGE_PAGE),
            (HUGE_PAGE, HUGE_PAGE),
            (HUGE_PAGE + 1, 2 * HUGE_PAGE),
        ] {
            let mapping = Mapping::zeroed(bytes).unwrap();
            assert_eq!((mapping.len(), mapping.mapped), (bytes.max(1), mapped));
            assert!(mapped < HUGE_PAGE || mapping.start().addr().get().is_multiple_of(HUGE_PAGE));
            // SAFETY: the mapping is the test's own, and its bytes are asked for once. They read as zero.
            let bytes = unsafe { mapping.bytes() };
            bytes.fill(MaybeUninit::new(7));
        }
        assert!(matches!(Mapping::zeroed(usize::MAX), Err(MemoryError::AddressSpace { .. })));
        let refused = Mapping::zeroed(1 << 60);
        assert!(matches!(refused, Err(MemoryError::AddressSpace { bytes }) if bytes == 1 << 60));
    }
}
