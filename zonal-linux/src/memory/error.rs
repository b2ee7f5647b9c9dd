//! Why frames have no memory, by step and range, with the kernel's number.

use std::fmt;

use zonal::{NodeId, Pfn};

/// Why memory is not there. Nothing stays mapped.
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
    /// Giving pages back.
    Release,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("mapping"),
            Self::HugeTlb => f.write_str("mapping huge pages"),
            Self::Bind(node) => write!(f, "binding to node {}", node.0),
            Self::AdviseHuge => f.write_str("asking for transparent huge pages"),
            Self::Prefault => f.write_str("prefaulting"),
            Self::Release => f.write_str("giving back"),
        }
    }
}

fn errno_text(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}
