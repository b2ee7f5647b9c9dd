//! What the machine is: memory ranges with their nodes, distances, CPUs; and what zones and kinds are called.
//!
//! Everything here is plain data of the caller; [`crate::config`] checks it before anything is built.

use crate::frame::{FrameRange, NodeId, Pfn};

/// A zone's place in a node, lowest first (Linux: `enum zone_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ZoneKind {
    /// Frames below 16 MiB.
    Dma = 0,
    /// Frames below 4 GiB.
    Dma32 = 1,
    /// Everything else that any request may use.
    Normal = 2,
    /// Ranges set aside for movable content.
    Movable = 3,
}

impl ZoneKind {
    /// All four, lowest first.
    pub const ALL: [Self; 4] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable];

    /// The name Linux prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }
}

/// What a block's frames are used for, so that like sits with like (Linux: migratetype).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Cannot be moved (kernel objects).
    Unmovable = 0,
    /// Can be moved (user pages, page cache).
    Movable = 1,
    /// Can be dropped on demand (caches with shrinkers).
    Reclaimable = 2,
}

impl Kind {
    /// All three, in Linux's order.
    pub const ALL: [Self; 3] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// Where to look when blocks of this kind and free blocks are used up (linux-facts: fallback order).
    pub const fn fallbacks(self) -> [Self; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        if bits & 2 != 0 {
            Self::Reclaimable
        } else if bits & 1 != 0 {
            Self::Movable
        } else {
            Self::Unmovable
        }
    }
}

/// Which zone a memory range goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// DMA, DMA32 or Normal, by frame number.
    ByAddress,
    /// The node's Movable zone.
    Movable,
}

/// A range of usable memory. Ends need no alignment; ranges need no order but must not overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    /// The frames.
    pub range: FrameRange,
    /// The node they belong to.
    pub node: NodeId,
    /// How their zone is chosen.
    pub placement: Placement,
}

impl MemoryRange {
    /// Frames `start..end` of `node`, zone by frame number.
    pub const fn new(start: u64, end: u64, node: u16) -> Self {
        Self {
            range: FrameRange::new(Pfn::new(start), Pfn::new(end)),
            node: NodeId(node),
            placement: Placement::ByAddress,
        }
    }

    /// The same frames, in the node's Movable zone.
    pub const fn movable(self) -> Self {
        Self { placement: Placement::Movable, ..self }
    }
}

/// Memory that may be plugged in while the allocator runs: whole sections (128 MiB each) that share none with other
/// memory. Their metadata is lent from the start and stays; their frames are nobody's until they are onlined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotRange {
    /// The frames.
    pub range: FrameRange,
    /// The node they would belong to.
    pub node: NodeId,
}

impl HotRange {
    /// Frames `start..end` of `node`.
    pub const fn new(start: u64, end: u64, node: u16) -> Self {
        Self { range: FrameRange::new(Pfn::new(start), Pfn::new(end)), node: NodeId(node) }
    }
}

/// The machine an allocator is built for.
#[derive(Clone, Copy, Debug)]
pub struct Topology<'t> {
    /// Usable memory; frames in no range are holes.
    pub memory: &'t [MemoryRange],
    /// Frames never handed out (firmware, the kernel image, the metadata itself); may overlap anything. Where memory may be
    /// plugged in they mean nothing: all of a section that goes online is handed out.
    pub reserved: &'t [FrameRange],
    /// Number of nodes, 1 to 1024.
    pub nodes: usize,
    /// Row-major `nodes x nodes` distances as in ACPI SLIT: 10 on the diagonal, more elsewhere, at most 254
    /// (255: unreachable).
    pub distances: &'t [u8],
    /// The node of each CPU; its length is the number of CPUs, 1 to 4096.
    pub cpus: &'t [NodeId],
}
