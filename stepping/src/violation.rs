//! What an interruption broke, by promise.
//!
//! A child writes it as text; which count it belongs to is told by its kind.

use std::fmt;

use zonal::{AllocError, FreeError, Order, Pfn};

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) enum Violation {
    /// A call or a handler did not return.
    Hung,
    /// A call or a handler ended the process.
    Died { status: i32 },
    /// A run was handed out that is held, or that does not exist.
    Double { pfn: Pfn, order: Order },
    /// A request was refused although it could have been served.
    Premature { error: AllocError },
    /// A request was refused, and neither free frames nor frames in flight explain it.
    Unexplained { error: AllocError, free: u64 },
    /// A free, a split or an isolation of what is held was refused.
    RefusedFree { error: FreeError },
    /// Frames are cached although the caches are closed.
    CachedWhileClosed { frames: u64 },
    /// Less than the mark is left.
    BelowMark { left: u64, mark: u64 },
    /// Frames held by nobody are not free.
    Lost { frames: u64 },
    /// A block that is wholly free cannot be had.
    BlockHidden { error: AllocError },
    /// The recount disagrees.
    Audit { finding: String },
}

impl Violation {
    /// For the counts of a report: one letter that a child's text begins with.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Double { .. } => b'd',
            Self::Premature { .. } | Self::Unexplained { .. } => b'p',
            Self::Lost { .. } | Self::BlockHidden { .. } => b'l',
            Self::Audit { .. } => b'a',
            _ => b'o',
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hung => f.write_str("P1: a call did not return"),
            Self::Died { status } => write!(f, "P8: the process ended with wait status {status:#x}"),
            Self::Double { pfn, order } => {
                write!(f, "P5: the run of order {} at {pfn} was handed out twice", order.get())
            }
            Self::Premature { error } => write!(f, "P2: refused and then served: {error}"),
            Self::Unexplained { error, free } => write!(f, "P3: refused with {free} frames free: {error}"),
            Self::RefusedFree { error } => write!(f, "P5: the owner's free was refused: {error}"),
            Self::CachedWhileClosed { frames } => {
                write!(f, "P4: {frames} frames are cached while the caches are closed")
            }
            Self::BelowMark { left, mark } => write!(f, "P3: {left} frames are left below the mark {mark}"),
            Self::Lost { frames } => write!(f, "P5: {frames} frames are lost"),
            Self::BlockHidden { error } => write!(f, "P2: a free block cannot be had: {error}"),
            Self::Audit { finding } => write!(f, "P5: {finding}"),
        }
    }
}
