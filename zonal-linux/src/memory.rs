//! The frames of a machine as memory of this process.
//!
//! Each run of touching ranges gets one reservation, congruent to its frame numbers modulo 2 MiB, so that whole blocks
//! can be huge pages; frames in no range stay inaccessible. Never touched here but by prefaulting. Invariant:
//! `address(pfn + 1) = address(pfn) + 4096` whenever both frames are in touching ranges.

use std::fmt;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use zonal::{BLOCK_FRAMES, FRAME_SIZE, FrameRange, MemoryRange, NodeId, Pfn};

use crate::binding::{self, Binding};
use crate::mapping::Mapping;
use crate::meminfo;

/// Bytes in a block and in a huge page.
const BLOCK_BYTES: u64 = BLOCK_FRAMES * FRAME_SIZE;

/// What kind of pages a pool's frames are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pages {
    /// Ordinary pages, taken from the machine when they are first touched. More can be described than there is.
    #[default]
    Lazy,
    /// Ordinary pages, all taken when the pool is built.
    Prefault,
    /// Transparent huge pages where the kernel finds them, all taken when the pool is built.
    TransparentHuge,
    /// 2 MiB pages from the administrator's pool, all taken when the pool is built.
    HugeTlb,
}

/// Why the memory of a machine is not there. Nothing stays mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// No address space of that size.
    #[error("no address space for {bytes} bytes")]
    AddressSpace {
        /// How much.
        bytes: u64,
    },
    /// Less memory is available than is to be taken at once.
    #[error("{asked} bytes of memory asked for at once, {available} available")]
    Short {
        /// How much was asked for.
        asked: u64,
        /// How much the kernel can give.
        available: u64,
    },
    /// Huge pages can only back ranges of whole blocks.
    #[error("the range {start}..{end} is not made of whole 2 MiB blocks, as huge pages need")]
    NotBlocks {
        /// The range's start.
        start: Pfn,
        /// The range's end.
        end: Pfn,
    },
    /// The kernel refused a step.
    #[error("{step} of frames {start}..{end}: {}", errno_text(*errno))]
    Refused {
        /// Which.
        step: Step,
        /// First frame concerned.
        start: Pfn,
        /// One past the last.
        end: Pfn,
        /// The error number.
        errno: i32,
    },
}

/// A step on the way to mapped frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Making reserved address space usable.
    Commit,
    /// Taking huge pages from the administrator's pool.
    HugeTlb,
    /// Binding to a node.
    Bind(NodeId),
    /// Asking for transparent huge pages.
    AdviseHuge,
    /// Taking the pages now: fewer are free than needed.
    Prefault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("mapping"),
            Self::HugeTlb => f.write_str("mapping huge pages"),
            Self::Bind(node) => write!(f, "binding to node {}", node.0),
            Self::AdviseHuge => f.write_str("asking for transparent huge pages"),
            Self::Prefault => f.write_str("prefaulting"),
        }
    }
}

fn errno_text(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

/// A run of touching ranges and where its first frame is mapped.
#[derive(Debug)]
struct Span {
    frames: FrameRange,
    first: NonNull<u8>,
    /// Holds the address space; longer than the span by what alignment cost.
    _mapping: Mapping,
}

// SAFETY: `first` points into `_mapping`, which is Send; it is an address, not a borrow.
unsafe impl Send for Span {}
// SAFETY: a shared span only gives out addresses.
unsafe impl Sync for Span {}

impl Span {
    fn reserve(frames: FrameRange) -> Result<Self, MemoryError> {
        let too_large = MemoryError::AddressSpace { bytes: u64::MAX };
        let skew = (frames.start.get() % BLOCK_FRAMES) * FRAME_SIZE;
        let bytes = frames.frames().checked_mul(FRAME_SIZE).ok_or(too_large)?;
        let len = bytes
            .checked_add(skew + BLOCK_BYTES)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(too_large)?;
        let mapping = Mapping::reserved(len)?;
        let pad = mapping.start().align_offset(BLOCK_BYTES as usize);
        // SAFETY: `pad` is under 2 MiB for a page-aligned start, so pad + skew lies inside the mapping, which is longer
        // than the span by 2 MiB and the skew.
        let first = unsafe { mapping.start().add(pad + skew as usize) };
        Ok(Self { frames, first, _mapping: mapping })
    }

    /// Where a frame of the span is mapped.
    #[inline]
    fn address(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        if !self.frames.contains(pfn) {
            return None;
        }
        let offset = (pfn.get() - self.frames.start.get()) * FRAME_SIZE;
        // SAFETY: the frame is in the span, all of which is mapped from `first` on.
        Some(unsafe { self.first.add(offset as usize) })
    }
}

/// A range to be mapped: its frames, and where they are.
struct Part {
    frames: FrameRange,
    node: NodeId,
    start: *mut std::ffi::c_void,
    len: usize,
}

impl Part {
    fn refused(&self, step: Step) -> impl Fn(Errno) -> MemoryError {
        let FrameRange { start, end } = self.frames;
        move |errno| MemoryError::Refused { step, start, end, errno: errno.raw_os_error() }
    }

    /// Makes the reserved addresses memory.
    fn commit(&self, pages: Pages) -> Result<(), MemoryError> {
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

    fn bind(&self, binding: &Binding) -> Result<(), MemoryError> {
        match binding.node_here(self.node) {
            // SAFETY: the addresses are this part's own mapping.
            Some(node) => unsafe { binding::bind(self.start, self.len, node) }
                .map_err(self.refused(Step::Bind(self.node))),
            None => Ok(()),
        }
    }

    /// Takes the pages now, where asked.
    fn fill(&self, pages: Pages) -> Result<(), MemoryError> {
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
}

/// The mapped frames of a machine.
#[derive(Debug)]
pub(crate) struct FrameMemory {
    /// Ascending and apart.
    spans: Box<[Span]>,
    binding: Binding,
}

impl FrameMemory {
    /// Maps the ranges.
    pub(crate) fn map(ranges: &[MemoryRange], pages: Pages) -> Result<Self, MemoryError> {
        check(ranges, pages)?;
        let spans: Result<Box<[Span]>, _> = touching(ranges).into_iter().map(Span::reserve).collect();
        let memory = Self { spans: spans?, binding: Binding::of(ranges.iter().map(|range| range.node)) };
        let parts = || ranges.iter().filter_map(|range| memory.part(range));
        parts().try_for_each(|part| part.commit(pages).and_then(|()| part.bind(&memory.binding)))?;
        parts().try_for_each(|part| part.fill(pages))?;
        Ok(memory)
    }

    fn part(&self, range: &MemoryRange) -> Option<Part> {
        let start = self.address(range.range.start)?.as_ptr().cast();
        let len = (range.range.frames() * FRAME_SIZE) as usize;
        Some(Part { frames: range.range, node: range.node, start, len })
    }

    /// Where a frame is mapped.
    #[inline]
    pub(crate) fn address(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        let after = self.spans.partition_point(|span| span.frames.start <= pfn);
        self.spans.get(after.checked_sub(1)?)?.address(pfn)
    }

    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }
}

/// Refuses what would end in a signal or a kill later.
fn check(ranges: &[MemoryRange], pages: Pages) -> Result<(), MemoryError> {
    match pages {
        Pages::Lazy => Ok(()),
        Pages::Prefault | Pages::TransparentHuge => {
            let frames: u128 = ranges.iter().map(|range| u128::from(range.range.frames())).sum();
            let asked = u64::try_from(frames * u128::from(FRAME_SIZE)).unwrap_or(u64::MAX);
            match meminfo::available() {
                Some(available) if available < asked => Err(MemoryError::Short { asked, available }),
                _ => Ok(()),
            }
        }
        Pages::HugeTlb => {
            let whole = |pfn: Pfn| pfn.get().is_multiple_of(BLOCK_FRAMES);
            match ranges
                .iter()
                .map(|range| range.range)
                .find(|range| !whole(range.start) || !whole(range.end))
            {
                Some(FrameRange { start, end }) => Err(MemoryError::NotBlocks { start, end }),
                None => Ok(()),
            }
        }
    }
}

/// The ranges, sorted, those that touch made one.
fn touching(ranges: &[MemoryRange]) -> Vec<FrameRange> {
    let mut sorted: Vec<FrameRange> = ranges.iter().map(|range| range.range).collect();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.dedup_by(|next, last| {
        let joins = next.start <= last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    sorted
}
