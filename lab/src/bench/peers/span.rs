//! Address space that stands for a zone: an allocator that keeps its metadata in the zone can write there, and nobody
//! anywhere else. Invariant: no page is there before it is written to.

use std::ptr;

use anyhow::{Context, Result};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// What the zone's first frame is aligned to: more than any order here.
const ALIGNMENT: usize = 4 << 20;

/// Address space of this process.
pub(super) struct Span {
    start: usize,
    bytes: usize,
}

impl Span {
    /// Reserves `metadata` writable bytes and `bytes` that nobody can reach; both whole multiples of [`ALIGNMENT`] in
    /// effect: sizes are rounded up.
    pub(super) fn reserve(metadata: usize, bytes: usize) -> Result<Self> {
        let metadata = metadata.next_multiple_of(ALIGNMENT);
        let length = metadata + bytes.next_multiple_of(ALIGNMENT) + ALIGNMENT;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping where the kernel likes; nobody knows its address yet.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::empty(), flags) }
            .with_context(|| format!("{length} bytes of address space"))?;
        let span = Self { start: start.expose_provenance(), bytes: length };
        let writable = start.map_addr(|address| address.next_multiple_of(ALIGNMENT));
        // SAFETY: the bytes lie in the mapping, which is `ALIGNMENT` longer than what it holds, and nobody uses it yet.
        unsafe { mprotect(writable, metadata, MprotectFlags::READ | MprotectFlags::WRITE) }
            .with_context(|| format!("{metadata} bytes of metadata"))?;
        // SAFETY: advice on the same bytes. Huge pages, where there are any: ours has them too.
        let _ = unsafe { madvise(writable, metadata, Advice::LinuxHugepage) };
        Ok(span)
    }

    /// The address of the first writable byte.
    pub(super) fn metadata(&self) -> usize {
        self.start.next_multiple_of(ALIGNMENT)
    }

    /// The address that `metadata` writable bytes end before.
    pub(super) fn zone(&self, metadata: usize) -> usize {
        self.metadata() + metadata.next_multiple_of(ALIGNMENT)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: the mapping is this span's own; who was given its addresses is dropped with it or before.
        let unmapped = unsafe { munmap(ptr::with_exposed_provenance_mut(self.start), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{} bytes at {:#x}: {unmapped:?}", self.bytes, self.start);
    }
}
