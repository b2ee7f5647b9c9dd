//! How an allocator is set up. Plain data; `topology` describes the machine, the rest chooses policy.

use crate::frame::{NodeId, Pfn};
use crate::own_rows::OwnRows;
use crate::own_words::OwnWords;
use crate::topology::{HotRange, Topology, ZoneKind};
use crate::watermark::Tuning;

/// Which (CPU, zone) pairs get slot words (448 bytes each).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Caching {
    /// A CPU caches frames of its own node's zones.
    #[default]
    Local,
    /// A CPU caches frames of every zone.
    All,
    /// No slot words: every operation goes to the blocks.
    Off,
}

/// Whether each free is checked against how the run was allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checking {
    /// Only what the words show anyway: frames of no block managed here, misaligned, already-free bits, part of an
    /// unsplit block. A hole or a reserved frame inside a managed block looks like an allocated one,
    /// and a slot word of this CPU that remembers a group takes any free of the group's frames.
    #[default]
    Off,
    /// Double, foreign, misaligned and wrong-order frees are detected in O(1). Costs one byte a frame (0.024 %),
    /// a store an allocation and one more compare-exchange a free.
    On,
}

/// Whether the allocator notes whom frames are allocated to ([`crate::PageAllocator::set_owner`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Naming {
    /// It does not.
    #[default]
    Off,
    /// Costs four bytes a frame (0.1 %), a store a frame freed, and hits: each operation takes the longer way that it
    /// takes in checked mode. A free that is refused may have taken the name away, unless checked mode refused it.
    On,
}

/// A zone's marks, all four at one figure, whatever the tuning makes of the zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The zone's node.
    pub node: NodeId,
    /// Which of its zones.
    pub zone: ZoneKind,
    /// Frames that stay free, but for requests that may go below. Also the bypass mark: at or below it caches neither refill by
    /// group nor keep frees, but for frames of groups that their words are of.
    pub frames: u64,
}

/// Everything an allocator is built from.
#[derive(Clone, Copy, Debug)]
pub struct Config<'c> {
    /// The machine.
    pub topology: Topology<'c>,
    /// Memory that may be plugged in later.
    pub hotplug: &'c [HotRange],
    /// Marks; a zone not named has those of the tuning.
    pub marks: &'c [Mark],
    /// What the other marks follow from, and what zones hold back from requests for higher ones; `None`: no marks,
    /// nothing held back.
    pub tuning: Option<Tuning>,
    /// Who caches what.
    pub caching: Caching,
    /// How CPUs change their slot words without a locked instruction, if they do.
    pub own_words: Option<OwnWords>,
    /// How sections that are plugged in hold their own rows, if they do; `None`: those of all that may come are lent.
    pub own_rows: Option<OwnRows>,
    /// Checked mode.
    pub checking: Checking,
    /// Whether owners of frames are noted.
    pub naming: Naming,
    /// How many frames can be poisoned at a time ([`crate::PageAllocator::poison`]; default 256): 8 bytes each.
    pub poisoned_frames: usize,
    /// First frame above DMA (default 16 MiB), rounded up to a block.
    pub dma_end: Pfn,
    /// First frame above DMA32 (default 4 GiB), rounded up to a block.
    pub dma32_end: Pfn,
}

impl<'c> Config<'c> {
    /// No marks, local caching, unchecked, unnamed, Linux's zone limits.
    pub const fn new(topology: Topology<'c>) -> Self {
        Self {
            topology,
            hotplug: &[],
            marks: &[],
            tuning: None,
            caching: Caching::Local,
            own_words: None,
            own_rows: None,
            checking: Checking::Off,
            naming: Naming::Off,
            poisoned_frames: 256,
            dma_end: Pfn::containing(16 << 20),
            dma32_end: Pfn::containing(4 << 30),
        }
    }
}
