//! Units: frame numbers, orders, groups, and the geometry that relates them.
//!
//! A frame is 4 KiB. 64 frames are a row (one word), 8 rows a block (512 frames, 2 MiB), 64 blocks a section
//! (128 MiB). A group is half a row: what one slot word can hold. Model-checker builds shrink block and section;
//! nothing outside this file spells a geometry number.
//!
//! Invariant: `SECTION_FRAMES = SECTION_BLOCKS * ROWS * 64` and every order up to [`Order::BLOCK`] divides a block.

use core::fmt;

/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 4096;
/// Frames in a group, the unit a per-CPU slot word caches.
pub const GROUP_FRAMES: u64 = 32;
/// Frames in a row, one word of a block's bitmap.
pub(crate) const ROW_FRAMES: u64 = 64;
/// log2 of the rows in a block.
pub(crate) const ROWS_LOG2: u8 = if cfg!(any(zonal_loom, zonal_shuttle)) { 1 } else { 3 };
/// Rows in a block.
pub(crate) const ROWS: usize = 1 << ROWS_LOG2;
/// Frames in a block (Linux: pageblock).
pub const BLOCK_FRAMES: u64 = ROW_FRAMES << ROWS_LOG2;
/// log2 of the blocks in a section.
pub(crate) const SECTION_BLOCKS_LOG2: u8 = if cfg!(any(zonal_loom, zonal_shuttle)) { 1 } else { 6 };
/// Blocks in a section.
pub(crate) const SECTION_BLOCKS: usize = 1 << SECTION_BLOCKS_LOG2;
/// log2 of the frames in a section.
pub(crate) const SECTION_FRAMES_LOG2: u8 = 6 + ROWS_LOG2 + SECTION_BLOCKS_LOG2;
/// Frames in a section, the unit of hotplug.
pub const SECTION_FRAMES: u64 = 1 << SECTION_FRAMES_LOG2;
/// Number of frames in the largest physical space understood: 52 address bits.
pub const MAX_FRAMES: u64 = 1 << 40;

/// A page frame number: a physical address divided by [`FRAME_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The frame that holds this physical byte address.
    #[inline]
    pub const fn containing(addr: u64) -> Self {
        Self(addr / FRAME_SIZE)
    }

    /// The frame's number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The physical address of the frame's first byte (wraps for a number no address reaches).
    #[inline]
    pub const fn addr(self) -> u64 {
        self.0.wrapping_mul(FRAME_SIZE)
    }

    /// The frame `frames` further on.
    #[inline]
    pub const fn add(self, frames: u64) -> Self {
        Self(self.0.wrapping_add(frames))
    }

    /// Whether the number is a multiple of the order's frames.
    #[inline]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.frames() - 1) == 0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A run of `2^order` frames that starts at a multiple of its length; 0 (4 KiB) to 18 (1 GiB).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One frame.
    pub const ZERO: Self = Self(0);
    /// A whole group: the largest order that slot words serve.
    pub const GROUP: Self = Self(5);
    /// A whole row.
    pub(crate) const ROW: Self = Self(6);
    /// A whole block: order 9, 2 MiB.
    pub const BLOCK: Self = Self(6 + ROWS_LOG2);
    /// The largest order: 18, 1 GiB.
    pub const MAX: Self = Self(18);

    /// The order, or `None` above [`Order::MAX`].
    #[inline]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 { Some(Self(order)) } else { None }
    }

    /// The smallest order of at least `frames` frames, or `None` for 0 or more than the largest order holds.
    pub const fn holding(frames: u64) -> Option<Self> {
        if frames == 0 || frames > Self::MAX.frames() {
            return None;
        }
        Some(Self(frames.next_power_of_two().trailing_zeros() as u8))
    }

    /// The order as a number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Frames in a run of this order.
    #[inline]
    pub const fn frames(self) -> u64 {
        1 << self.0
    }

    /// The largest order at which a run can start at `pfn` and be no longer than `frames` (at least 1).
    pub(crate) const fn fitting(pfn: Pfn, frames: u64) -> Self {
        let by_length = 63 - (frames | 1).leading_zeros() as u8;
        let by_start = pfn.0.trailing_zeros() as u8;
        let order = if by_start < by_length { by_start } else { by_length };
        if order > Self::MAX.0 { Self::MAX } else { Self(order) }
    }

    pub(crate) const fn from_raw(order: u8) -> Self {
        Self(order)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of frames inside one aligned run of 32: what bulk calls give and take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// The first of the 32 frames, a multiple of 32.
    pub base: Pfn,
    /// Bit `i` stands for frame `base + i`.
    pub mask: u32,
}

impl Group {
    /// No frames at all; what an output array is filled with before a bulk call.
    pub const EMPTY: Self = Self { base: Pfn(0), mask: 0 };

    /// Number of frames in the group.
    #[inline]
    pub const fn frames(self) -> u32 {
        self.mask.count_ones()
    }

    /// The frames, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Pfn> {
        (0..GROUP_FRAMES).filter(move |i| self.mask >> i & 1 == 1).map(move |i| self.base.add(i))
    }
}

/// Frames `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRange {
    /// First frame inside.
    pub start: Pfn,
    /// First frame outside.
    pub end: Pfn,
}

impl FrameRange {
    /// The range `start..end`, empty when `end <= start`.
    pub const fn new(start: Pfn, end: Pfn) -> Self {
        Self { start, end }
    }

    /// Number of frames inside.
    pub const fn frames(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// The parts of it that lie in one section each.
    pub(crate) fn by_section(self) -> impl Iterator<Item = Self> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let end = (rest.start.0 / SECTION_FRAMES + 1).saturating_mul(SECTION_FRAMES);
            let end = Pfn(end).min(rest.end);
            let part = Self::new(rest.start, end);
            rest.start = end;
            (part.frames() > 0).then_some(part)
        })
    }

    /// Whether the frame is inside.
    pub const fn contains(self, pfn: Pfn) -> bool {
        self.start.0 <= pfn.0 && pfn.0 < self.end.0
    }

    /// The smallest range that holds the frames of both.
    pub(crate) fn hull(self, other: Self) -> Self {
        match (self.frames(), other.frames()) {
            (0, _) => other,
            (_, 0) => self,
            _ => Self::new(self.start.min(other.start), self.end.max(other.end)),
        }
    }

    /// The frames in both ranges (empty if they do not meet).
    pub(crate) const fn intersect(self, other: Self) -> Self {
        let start = if self.start.0 > other.start.0 { self.start } else { other.start };
        let end = if self.end.0 < other.end.0 { self.end } else { other.end };
        Self { start, end }
    }
}

/// A NUMA node, 0 to 1023.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u16);

/// A zone's place in the allocator's zone table (nodes ascending, in a node DMA to Movable; zones that can hold no memory have none).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ZoneId(pub u16);

/// No zone, or several.
pub(crate) const NO_ZONE: ZoneId = ZoneId(u16::MAX);

/// A zone-relative number of a block: dense over the sections between the zone's first and last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct BlockIndex(pub(crate) u32);

/// A zone-relative number of a group: `(pfn - zone base) / 32`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GroupIndex(pub(crate) u32);
