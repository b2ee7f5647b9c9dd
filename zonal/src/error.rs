//! Errors, by cause and with the value that caused them. None of them is a panic, and none loses a frame.

use core::fmt;

use crate::frame::{NodeId, Order, Pfn};

/// Why a request was not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AllocError {
    /// Every allowed zone was at or below its mark.
    NoMemory {
        /// What was asked for.
        order: Order,
        /// Frames above the marks of the allowed zones (counted, cached or in flight) when the walk ended.
        free: u64,
        /// Frames in the hands of operations that had not returned: they count as allocated.
        in_flight: u64,
    },
    /// Enough frames are free, but no aligned run of the order is.
    NoRun {
        /// What was asked for.
        order: Order,
        /// Frames free in the allowed zones.
        free: u64,
        /// Frames in the hands of operations that had not returned.
        in_flight: u64,
    },
    /// No populated zone satisfies the request's zone bits, node and address limit.
    NoZone,
    /// The node is not in the topology.
    NoSuchNode {
        /// The node asked for.
        node: NodeId,
    },
    /// The mask has bits that exclude each other, or that are not flags.
    ForbiddenFlags {
        /// The offending bits.
        bits: u32,
    },
    /// At least one of the frames asked for by number is taken, absent or isolated.
    NotFree {
        /// The first frame asked for.
        pfn: Pfn,
        /// The order asked for.
        order: Order,
    },
    /// The frame asked for is not a multiple of the order's frames.
    Misaligned {
        /// The frame asked for.
        pfn: Pfn,
        /// The order asked for.
        order: Order,
    },
    /// An exact count of zero frames, or of more than the largest order holds.
    BadCount {
        /// The count asked for.
        frames: u64,
    },
    /// Zeroed frames were asked for, and the platform cannot reach them. The frames went back.
    CannotZero {
        /// The first frame it could not reach.
        pfn: Pfn,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { order, free, in_flight } => write!(
                f,
                "no memory for order {order}: {free} frames free above the marks, {in_flight} in flight"
            ),
            Self::NoRun { order, free, in_flight } => {
                write!(f, "no aligned run of order {order} among {free} free frames, {in_flight} in flight")
            }
            Self::NoZone => {
                f.write_str("no populated zone satisfies the request's zone, node and address limit")
            }
            Self::NoSuchNode { node } => write!(f, "node {} is not in the topology", node.0),
            Self::ForbiddenFlags { bits } => write!(f, "flags {bits:#x} are unknown or exclude each other"),
            Self::NotFree { pfn, order } => {
                write!(f, "the run of order {order} at {pfn:?} is not wholly free")
            }
            Self::Misaligned { pfn, order } => write!(f, "{pfn:?} is not aligned to order {order}"),
            Self::BadCount { frames } => write!(f, "{frames} frames is not a count between 1 and 262144"),
            Self::CannotZero { pfn } => write!(f, "the platform cannot reach {pfn:?} to zero it"),
        }
    }
}

impl core::error::Error for AllocError {}

/// Why a free (or split) was refused. Refused means: nothing changed but what the variant says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FreeError {
    /// No frame of that number is managed here.
    Foreign {
        /// The frame.
        pfn: Pfn,
    },
    /// The frame is not a multiple of the order's frames.
    Misaligned {
        /// The frame.
        pfn: Pfn,
        /// The order it was freed with.
        order: Order,
    },
    /// The frames are free already. (Checked mode: a run was freed here, and none was allocated from here since. Unchecked mode finds this where a free bit or a slot word shows it; frames of
    /// the run that were *not* free are free now.)
    DoubleFree {
        /// The first frame.
        pfn: Pfn,
        /// The order it was freed with.
        order: Order,
    },
    /// No allocated run starts at the frame (checked mode).
    NotAllocated {
        /// The frame.
        pfn: Pfn,
    },
    /// The run was allocated with another order (checked mode).
    WrongOrder {
        /// The frame.
        pfn: Pfn,
        /// The order it was allocated with.
        allocated: Order,
        /// The order it was freed with.
        freed: Order,
    },
    /// Part of a whole block was freed before the block was split.
    NotSplit {
        /// The frame.
        pfn: Pfn,
    },
    /// A split into runs longer than the run itself.
    BadSplit {
        /// The order to split.
        from: Order,
        /// The order asked for.
        to: Order,
    },
    /// A count of zero frames, or of more than the largest order holds.
    BadCount {
        /// The count.
        frames: u64,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Foreign { pfn } => write!(f, "{pfn:?} is not managed here"),
            Self::Misaligned { pfn, order } => write!(f, "{pfn:?} is not aligned to order {order}"),
            Self::DoubleFree { pfn, order } => write!(f, "{pfn:?} (order {order}) is free already"),
            Self::NotAllocated { pfn } => write!(f, "no allocated run starts at {pfn:?}"),
            Self::WrongOrder { pfn, allocated, freed } => {
                write!(f, "{pfn:?} was allocated with order {allocated} and freed with order {freed}")
            }
            Self::NotSplit { pfn } => write!(f, "{pfn:?} is part of a whole block that was not split"),
            Self::BadSplit { from, to } => write!(f, "cannot split order {from} into runs of order {to}"),
            Self::BadCount { frames } => write!(f, "{frames} frames is not a count between 1 and 262144"),
        }
    }
}

impl core::error::Error for FreeError {}

/// Why an allocator was not built. Nothing was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The number of nodes is not 1 to 1024.
    Nodes {
        /// The number given.
        nodes: usize,
    },
    /// The number of CPUs is not 1 to 4096.
    Cpus {
        /// The number given.
        cpus: usize,
    },
    /// The distance table does not have `nodes * nodes` entries.
    DistanceCount {
        /// Entries given.
        entries: usize,
        /// Entries needed.
        needed: usize,
    },
    /// A distance is out of range: 10 on the diagonal, 11 to 255 elsewhere.
    Distance {
        /// From this node.
        from: NodeId,
        /// To this node.
        to: NodeId,
        /// The value given.
        distance: u8,
    },
    /// A CPU or a memory range names a node that is not in the topology.
    NoSuchNode {
        /// The node named.
        node: NodeId,
    },
    /// A memory range holds no frame.
    EmptyRange {
        /// Its start.
        start: Pfn,
        /// Its end.
        end: Pfn,
    },
    /// A memory range ends above the 52-bit physical space.
    RangeTooHigh {
        /// Its end.
        end: Pfn,
    },
    /// Two memory ranges share frames.
    Overlap {
        /// First frame in both.
        pfn: Pfn,
    },
    /// A zone's span is over 510 TiB: groups could not be numbered in 32 bits.
    SpanTooLarge {
        /// The zone's node.
        node: NodeId,
        /// Its first frame.
        start: Pfn,
        /// One past its last frame.
        end: Pfn,
    },
    /// A range that may be plugged in that does not begin and end with a section.
    HotUnaligned {
        /// Its first frame or the one past its last.
        pfn: Pfn,
    },
    /// A range that may be plugged in with a section on both sides of the end of DMA or DMA32.
    HotAcrossZones {
        /// The first frame above that zone.
        limit: Pfn,
    },
    /// No usable frame at all.
    NoMemory,
    /// A mark names a zone that holds no memory.
    MarkWithoutZone {
        /// The node named.
        node: NodeId,
    },
    /// DMA must end at or below DMA32.
    ZoneLimits {
        /// End of DMA.
        dma: Pfn,
        /// End of DMA32.
        dma32: Pfn,
    },
    /// More is to be kept free than 52 address bits reach.
    MinFree {
        /// The KiB given.
        kbytes: u64,
    },
    /// The scale factor of the watermarks is not 1 to 3000.
    WatermarkScale {
        /// The factor given.
        factor: u16,
    },
    /// The metadata memory lent is too small.
    Metadata {
        /// Bytes lent (after alignment).
        lent: usize,
        /// Bytes needed.
        needed: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nodes { nodes } => write!(f, "{nodes} nodes: 1 to 1024 are possible"),
            Self::Cpus { cpus } => write!(f, "{cpus} CPUs: 1 to 4096 are possible"),
            Self::DistanceCount { entries, needed } => {
                write!(f, "the distance table has {entries} entries, {needed} are needed")
            }
            Self::Distance { from, to, distance } => write!(
                f,
                "distance {distance} from node {} to node {}: 10 on the diagonal, 11 to 255 elsewhere",
                from.0, to.0
            ),
            Self::NoSuchNode { node } => write!(f, "node {} is not in the topology", node.0),
            Self::EmptyRange { start, end } => write!(f, "the memory range {start}..{end} holds no frame"),
            Self::RangeTooHigh { end } => write!(f, "a memory range ends at {end:?}, above 52 address bits"),
            Self::Overlap { pfn } => write!(f, "two memory ranges hold {pfn:?}"),
            Self::SpanTooLarge { node, start, end } => {
                write!(f, "a zone of node {} spans {start}..{end}, over 510 TiB", node.0)
            }
            Self::HotUnaligned { pfn } => {
                write!(
                    f,
                    "hot-pluggable memory begins or ends at {pfn}: whole sections of 128 MiB are plugged"
                )
            }
            Self::HotAcrossZones { limit } => {
                write!(f, "a hot-pluggable section lies on both sides of {limit}, where a zone ends")
            }
            Self::NoMemory => f.write_str("the memory map holds no usable frame"),
            Self::MarkWithoutZone { node } => {
                write!(f, "a mark names a zone of node {} without memory", node.0)
            }
            Self::ZoneLimits { dma, dma32 } => write!(f, "DMA ends at {dma}, above DMA32's end {dma32}"),
            Self::MinFree { kbytes } => {
                write!(f, "{kbytes} KiB to be kept free, more than 52 address bits reach")
            }
            Self::WatermarkScale { factor } => {
                write!(f, "watermark scale factor {factor}: 1 to 3000 ten-thousandths are possible")
            }
            Self::Metadata { lent, needed } => write!(f, "{lent} bytes of metadata lent, {needed} needed"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Why a range was not isolated. Nothing stays isolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IsolateError {
    /// The range is not made of whole blocks managed here.
    NotBlocks {
        /// The first frame that is not.
        pfn: Pfn,
    },
    /// A block of the range is isolated already.
    AlreadyIsolated {
        /// The block's first frame.
        pfn: Pfn,
    },
    /// The zone's free count could not spare a block's free frames: other operations hold claims on them.
    Busy {
        /// The block's first frame.
        pfn: Pfn,
        /// Frames in flight in the zone.
        in_flight: u64,
    },
    /// Frames of the range may be in words that a CPU owns, whose barrier was refused ([`crate::OwnWords`]).
    Undrained {
        /// The CPU.
        cpu: usize,
    },
}

impl fmt::Display for IsolateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotBlocks { pfn } => write!(f, "{pfn:?} is not in a whole block managed here"),
            Self::AlreadyIsolated { pfn } => write!(f, "the block at {pfn:?} is isolated already"),
            Self::Busy { pfn, in_flight } => {
                write!(f, "the free frames of the block at {pfn:?} are claimed, {in_flight} in flight")
            }
            Self::Undrained { cpu } => write!(f, "CPU {cpu} keeps words of its own: its barrier was refused"),
        }
    }
}

impl core::error::Error for IsolateError {}
