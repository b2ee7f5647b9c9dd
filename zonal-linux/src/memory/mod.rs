//! The frames of a machine as memory of this process.
//!
//! Each run of touching ranges gets one reservation, congruent to its frame numbers modulo 2 MiB, so that whole blocks
//! can be huge pages; frames in no range, and those that are not plugged in, stay inaccessible. Never touched here but by
//! prefaulting. Invariant: `address(pfn + 1) = address(pfn) + 4096` whenever both frames are in touching ranges, as long as
//! this lives, whatever comes and goes.

mod error;
mod part;

use std::ptr::NonNull;

use zonal::{BLOCK_FRAMES, FRAME_SIZE, FrameRange, HotRange, MemoryRange, NodeId, Pfn};

use crate::binding::Binding;
use crate::mapping::Mapping;
use crate::meminfo;
use part::Part;

pub use error::{MemoryError, Step};

/// Bytes in a block and in a huge page.
const BLOCK_BYTES: u64 = BLOCK_FRAMES * FRAME_SIZE;

/// What kind of pages a pool's frames are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pages {
    /// Ordinary pages, taken from the machine when they are first touched. More can be described than there is.
    #[default]
    Lazy,
    /// Ordinary pages, all taken when the pool is built, or what they are for is plugged in.
    Prefault,
    /// Transparent huge pages where the kernel finds them, all taken at the same time.
    TransparentHuge,
    /// 2 MiB pages from the administrator's pool, all taken at the same time.
    HugeTlb,
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

/// The mapped frames of a machine.
#[derive(Debug)]
pub(crate) struct FrameMemory {
    /// Ascending and apart.
    spans: Box<[Span]>,
    pages: Pages,
    binding: Binding,
}

impl FrameMemory {
    /// Maps the ranges, and keeps addresses for those that may be plugged in.
    pub(crate) fn map(memory: &[MemoryRange], hot: &[HotRange], pages: Pages) -> Result<Self, MemoryError> {
        check(memory.iter().map(|memory| memory.range), pages)?;
        let ranges = memory.iter().map(|memory| memory.range).chain(hot.iter().map(|hot| hot.range));
        let spans: Result<Box<[Span]>, _> = touching(ranges).into_iter().map(Span::reserve).collect();
        let nodes = memory.iter().map(|memory| memory.node).chain(hot.iter().map(|hot| hot.node));
        let frames = Self { spans: spans?, pages, binding: Binding::of(nodes) };
        let parts = || memory.iter().filter_map(|memory| frames.part(memory.range, memory.node));
        parts().try_for_each(|part| part.commit(pages).and_then(|()| part.bind(&frames.binding)))?;
        parts().try_for_each(|part| part.fill(pages))?;
        Ok(frames)
    }

    /// Makes the addresses of a range of one node memory, as those of the first ranges are. Refused, they are what they were.
    pub(crate) fn plug(&self, range: FrameRange, node: NodeId) -> Result<(), MemoryError> {
        check([range].into_iter(), self.pages)?;
        let Some(part) = self.part(range, node) else { return Ok(()) };
        let made = part.commit(self.pages).and_then(|()| part.bind(&self.binding));
        made.and_then(|()| part.fill(self.pages)).inspect_err(|_| {
            let _ = part.release(); // the first error is the one to know
        })
    }

    /// Gives the memory of a range that was plugged in back to the system, and keeps its addresses. Refused, it stays.
    pub(crate) fn unplug(&self, range: FrameRange, node: NodeId) -> Result<(), MemoryError> {
        self.part(range, node).map_or(Ok(()), |part| part.release())
    }

    fn part(&self, frames: FrameRange, node: NodeId) -> Option<Part> {
        let start = self.address(frames.start)?.as_ptr().cast();
        let len = (frames.frames() * FRAME_SIZE) as usize;
        Some(Part { frames, node, start, len })
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
fn check(mut ranges: impl Iterator<Item = FrameRange>, pages: Pages) -> Result<(), MemoryError> {
    match pages {
        Pages::Lazy => Ok(()),
        Pages::Prefault | Pages::TransparentHuge => {
            let frames: u128 = ranges.map(|range| u128::from(range.frames())).sum();
            let asked = u64::try_from(frames * u128::from(FRAME_SIZE)).unwrap_or(u64::MAX);
            match meminfo::available() {
                Some(available) if available < asked => Err(MemoryError::Short { asked, available }),
                _ => Ok(()),
            }
        }
        Pages::HugeTlb => {
            let whole = |pfn: Pfn| pfn.get().is_multiple_of(BLOCK_FRAMES);
            match ranges.find(|range| !whole(range.start) || !whole(range.end)) {
                Some(FrameRange { start, end }) => Err(MemoryError::NotBlocks { start, end }),
                None => Ok(()),
            }
        }
    }
}

/// The ranges, sorted, those that touch made one.
fn touching(ranges: impl Iterator<Item = FrameRange>) -> Vec<FrameRange> {
    let mut sorted: Vec<FrameRange> = ranges.collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RANGE: FrameRange = FrameRange::new(Pfn::new(0), Pfn::new(BLOCK_FRAMES));

    /// What the kernel says of the first of these frames' addresses: `rw-p`, `---p`.
    fn access(frames: &FrameMemory) -> String {
        let address = frames.address(RANGE.start).unwrap().addr().get();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let holds = |line: &&str| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|end| usize::from_str_radix(end, 16).unwrap());
            (start..end).contains(&address)
        };
        maps.lines().find(holds).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn what_is_refused_in_the_middle_is_as_it_was() {
        let hot = [HotRange { range: RANGE, node: NodeId(0) }];
        let mut frames = FrameMemory::map(&[], &hot, Pages::Lazy).unwrap();
        assert_eq!(access(&frames), "---p");
        frames.binding = Binding::Bound { nodes: vec![1023] }; // no machine has this node
        let bind = Step::Bind(NodeId(0));
        let refused = frames.plug(RANGE, NodeId(0)).expect_err("refused");
        let errno = rustix::io::Errno::INVAL.raw_os_error();
        let (start, end) = (RANGE.start, RANGE.end);
        assert_eq!(refused, MemoryError::Refused { step: bind, start, end, errno });
        assert_eq!(access(&frames), "---p");
        frames.binding = Binding::Unbound { described: 1, here: 1 };
        frames.plug(RANGE, NodeId(0)).unwrap();
        assert_eq!(access(&frames), "rw-p");
        frames.unplug(RANGE, NodeId(0)).unwrap();
        assert_eq!(access(&frames), "---p");
    }
}
