//! The steps from reserved addresses to memory of a node, and back.
//!
//! Invariant: a step that the kernel refuses leaves what was mapped there before; nothing outside the part changes.

use std::ptr;

use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use zonal::{FrameRange, NodeId};

use super::{MemoryError, Pages, Step};
use crate::binding::{self, Binding};

/// A range of one node: its frames, and where they are.
pub(super) struct Part {
    pub(super) frames: FrameRange,
    pub(super) node: NodeId,
    pub(super) start: *mut std::ffi::c_void,
    pub(super) len: usize,
}

impl Part {
    fn refused(&self, step: Step) -> impl Fn(Errno) -> MemoryError {
        let FrameRange { start, end } = self.frames;
        move |errno| MemoryError::Refused { step, start, end, errno: errno.raw_os_error() }
    }

    /// Makes the reserved addresses memory.
    pub(super) fn commit(&self, pages: Pages) -> Result<(), MemoryError> {
        if pages == Pages::HugeTlb {
            return self.commit_huge().map_err(self.refused(Step::HugeTlb));
        }
        // SAFETY: the addresses are reserved by the span this part lies in and not used by anyone yet.
        unsafe { mm::mprotect(self.start, self.len, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(self.refused(Step::Commit))
    }

    /// Takes huge pages where the kernel likes and moves them here. (Mapped here at once, a refusal may leave a hole in the
    /// reserved addresses, where another thread's mapping could end up, which the span would unmap with its own.)
    fn commit_huge(&self) -> Result<(), Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice replaces nothing.
        let taken = unsafe { mm::mmap_anonymous(ptr::null_mut(), self.len, protection, flags) }?;
        // SAFETY: the pages were mapped just above with this length and nobody knows them; the addresses they move to are
        // reserved by the span this part lies in and not used by anyone yet.
        let moved = unsafe { mm::mremap_fixed(taken, self.len, self.len, MremapFlags::MAYMOVE, self.start) };
        if moved.is_err() {
            // SAFETY: still where they were mapped, and nobody knows them.
            unsafe { mm::munmap(taken, self.len) }?;
        }
        moved.map(drop)
    }

    pub(super) fn bind(&self, binding: &Binding) -> Result<(), MemoryError> {
        match binding.node_here(self.node) {
            // SAFETY: the addresses are this part's own mapping.
            Some(node) => unsafe { binding::bind(self.start, self.len, node) }
                .map_err(self.refused(Step::Bind(self.node))),
            None => Ok(()),
        }
    }

    /// Takes the pages now, where asked.
    pub(super) fn fill(&self, pages: Pages) -> Result<(), MemoryError> {
        if pages == Pages::TransparentHuge {
            // SAFETY: advice on this part's own mapping; it does not change what the bytes are.
            unsafe { mm::madvise(self.start, self.len, Advice::LinuxHugepage) }
                .map_err(self.refused(Step::AdviseHuge))?;
        }
        if pages == Pages::Lazy {
            return Ok(());
        }
        // SAFETY: populating this part's own mapping for writing; bytes that are there already stay as they are.
        unsafe { mm::madvise(self.start, self.len, Advice::LinuxPopulateWrite) }
            .map_err(self.refused(Step::Prefault))
    }

    /// Gives the pages back: what is left are reserved addresses, as they were before the commit.
    pub(super) fn release(&self) -> Result<(), MemoryError> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the addresses belong to the span this part lies in, and its frames are nobody's.
        unsafe { mm::mmap_anonymous(self.start, self.len, ProtFlags::empty(), flags) }
            .map(drop)
            .map_err(self.refused(Step::Release))
    }
}
