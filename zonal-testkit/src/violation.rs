//! What the model objects to, with the values that show it.

use std::fmt;

/// An answer that no correct allocator gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A frame was handed out that is a hole or reserved.
    Absent {
        /// The frame.
        pfn: u64,
    },
    /// A frame was handed out that somebody holds.
    Taken {
        /// The frame.
        pfn: u64,
    },
    /// A frame of an isolated block was handed out.
    Isolated {
        /// The frame.
        pfn: u64,
    },
    /// A poisoned frame was handed out.
    Poisoned {
        /// The frame.
        pfn: u64,
    },
    /// A run lies in two zones.
    TwoZones {
        /// The first frame of the second zone.
        pfn: u64,
    },
    /// A run came from a zone the request does not allow.
    ForbiddenZone {
        /// The run's first frame.
        pfn: u64,
        /// Its zone.
        zone: usize,
    },
    /// A run is not aligned as asked.
    Misaligned {
        /// The run's first frame.
        pfn: u64,
        /// What it should be a multiple of.
        align: u64,
    },
    /// A run ends above the limit asked for.
    TooHigh {
        /// The run's first frame.
        pfn: u64,
        /// The limit.
        below: u64,
    },
    /// A run was handed out that took the zone below its mark.
    BelowMark {
        /// The zone.
        zone: usize,
        /// Frames free before.
        free: u64,
        /// Frames asked for.
        frames: u64,
        /// The zone's mark.
        mark: u64,
    },
    /// A request was refused though a run was usable.
    Refused {
        /// The usable run's first frame.
        pfn: u64,
        /// Its zone.
        zone: usize,
        /// Frames asked for.
        frames: u64,
    },
    /// A run was freed, split or counted on that nobody holds as one.
    NotHeld {
        /// The run's first frame.
        pfn: u64,
        /// Its frames.
        frames: u64,
    },
    /// A block was isolated twice, or unisolated without being isolated.
    Isolation {
        /// The block's first frame.
        block: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent { pfn } => write!(f, "frame {pfn:#x} is a hole or reserved and was handed out"),
            Self::Taken { pfn } => write!(f, "frame {pfn:#x} is held and was handed out again"),
            Self::Isolated { pfn } => write!(f, "frame {pfn:#x} is isolated and was handed out"),
            Self::Poisoned { pfn } => write!(f, "frame {pfn:#x} is poisoned and was handed out"),
            Self::TwoZones { pfn } => write!(f, "the run crosses into another zone at {pfn:#x}"),
            Self::ForbiddenZone { pfn, zone } => {
                write!(f, "the run at {pfn:#x} is in zone {zone}, not allowed here")
            }
            Self::Misaligned { pfn, align } => write!(f, "the run at {pfn:#x} is not a multiple of {align}"),
            Self::TooHigh { pfn, below } => write!(f, "the run at {pfn:#x} does not end below {below:#x}"),
            Self::BelowMark { zone, free, frames, mark } => {
                write!(f, "{frames} of {free} free frames were taken from zone {zone} with mark {mark}")
            }
            Self::Refused { pfn, zone, frames } => {
                write!(f, "{frames} frames were refused though {pfn:#x} in zone {zone} was usable")
            }
            Self::NotHeld { pfn, frames } => {
                write!(f, "nobody holds the {frames} frames at {pfn:#x} as one run")
            }
            Self::Isolation { block } => {
                write!(f, "the block at {block:#x} is isolated already, or not isolated")
            }
        }
    }
}

impl std::error::Error for Violation {}
