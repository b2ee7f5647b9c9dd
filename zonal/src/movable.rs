//! How much of each node is set aside for movable content: Linux's `kernelcore=` and `movablecore=`, before anything is built.
//!
//! What the kernel needs is spread evenly over the nodes with memory; a node that has less gives all it has, and what is
//! missing then is spread over the nodes that have more. In each node the kernel has the lowest frames, and only the highest
//! zone by address is ever cut: zones below it are the kernel's anyway and count towards its share. A plain function: it builds
//! nothing, allocates nothing, and lends the ranges' places from the caller. (Not here: `kernelcore=mirror`, and
//! `movable_node`, which is about memory that may go away.)
//!
//! Invariant: the ranges are the same frames as before, each in one range, and no block is in both kinds of them by its node.

use core::fmt;

use crate::config::Config;
use crate::frame::{BLOCK_FRAMES, FrameRange, Pfn};
use crate::topology::{MemoryRange, Placement};

/// An amount of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// So many frames.
    Frames(u64),
    /// A part of all memory, 0 to 100.
    Percent(u8),
}

/// What is said of the movable part. Nothing, or 0 for both: no memory is set aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MovableSizing {
    /// What any content may use, at least (Linux: `kernelcore=`). All memory or more: no memory is set aside.
    pub kernelcore: Option<Amount>,
    /// What is to be movable, rounded up to whole blocks, if `kernelcore` leaves that much (Linux: `movablecore=`). All memory
    /// or more: as in Linux, none is set aside if `kernelcore` says nothing.
    pub movablecore: Option<Amount>,
}

/// Why ranges were not divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MovableError {
    /// More than a hundred percent.
    Percent {
        /// The figure given.
        percent: u8,
    },
    /// A range is set aside already.
    AlreadyMovable {
        /// Its first frame.
        start: Pfn,
    },
    /// There is room for too few ranges.
    Room {
        /// Places lent.
        lent: usize,
        /// Places needed: two for each range that there is.
        needed: usize,
    },
}

impl fmt::Display for MovableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent { percent } => write!(f, "{percent} % is more than all memory"),
            Self::AlreadyMovable { start } => write!(f, "the range at {start} is movable already"),
            Self::Room { lent, needed } => {
                write!(f, "{lent} places for ranges were lent, {needed} are needed")
            }
        }
    }
}

impl core::error::Error for MovableError {}

/// Divides the configuration's memory as `sizing` says: the ranges to build with instead are written to the front of `out`,
/// ascending, and their number comes back. Ranges must not overlap.
///
/// Rounds where Linux does, but to blocks of 2 MiB and not to its largest order.
///
/// # Errors
/// A [`MovableError`] that names the mistake; what `out` holds then means nothing.
pub fn movable_split(
    config: &Config<'_>,
    sizing: MovableSizing,
    out: &mut [MemoryRange],
) -> Result<usize, MovableError> {
    let memory = config.topology.memory;
    let (lent, needed) = (out.len(), 2 * memory.len());
    let out = out.get_mut(..needed).ok_or(MovableError::Room { lent, needed })?;
    if let Some(range) = memory.iter().find(|range| range.placement == Placement::Movable) {
        return Err(MovableError::AlreadyMovable { start: range.range.start });
    }
    let total = memory.iter().fold(0u64, |total, range| total.saturating_add(range.range.frames()));
    let kernel = sizing.kernel(total)?;
    let (cores, movables) = out.split_at_mut(memory.len());
    cores.copy_from_slice(memory);
    cores.sort_unstable_by_key(|range| (range.node, range.range.start));
    for (movable, core) in movables.iter_mut().zip(&*cores) {
        let none = FrameRange::new(core.range.end, core.range.end);
        *movable = MemoryRange { range: none, placement: Placement::Movable, ..*core };
    }
    if (1..total).contains(&kernel) {
        spread(lowest_movable(config), kernel, cores, movables);
        nodes(cores, movables).for_each(|node| node.cut());
    }
    let mut kept = 0;
    for at in 0..out.len() {
        if out[at].range.frames() > 0 {
            out.swap(kept, at);
            kept += 1;
        }
    }
    out[..kept].sort_unstable_by_key(|range| range.range.start);
    Ok(kept)
}

impl Amount {
    fn frames(self, total: u64) -> Result<u64, MovableError> {
        match self {
            Self::Frames(frames) => Ok(frames),
            Self::Percent(percent @ 101..) => Err(MovableError::Percent { percent }),
            Self::Percent(percent) => Ok((u128::from(total) * u128::from(percent) / 100) as u64),
        }
    }
}

impl MovableSizing {
    /// Frames that must be the kernel's, of `total`; 0 if nothing is said.
    fn kernel(self, total: u64) -> Result<u64, MovableError> {
        let frames = |amount: Option<Amount>| amount.map_or(Ok(0), |amount| amount.frames(total));
        let (kernel, movable) = (frames(self.kernelcore)?, frames(self.movablecore)?);
        if movable == 0 {
            return Ok(kernel);
        }
        Ok(kernel.max(total - round_up(movable).min(total)))
    }
}

/// The lowest frame that may be movable: where the highest zone by address that holds memory begins.
fn lowest_movable(config: &Config<'_>) -> u64 {
    let end = config.topology.memory.iter().map(|range| range.range.end).max().unwrap_or(Pfn::new(0));
    let starts = [config.dma32_end, config.dma_end].map(|start| round_up(start.get()));
    starts.into_iter().find(|&start| start < end.get()).unwrap_or(0)
}

/// Spreads `kernel` frames over the nodes: each pass gives every node an equal share of what is still missing, and counts on
/// one node less, until less than a frame a node is missing.
fn spread(lowest: u64, mut kernel: u64, cores: &mut [MemoryRange], movables: &mut [MemoryRange]) {
    nodes(cores, movables).for_each(|mut node| node.set_boundary(0));
    let mut shares = nodes(cores, movables).count() as u64;
    loop {
        let mut share = kernel / shares;
        for node in nodes(cores, movables) {
            if kernel < share {
                share = kernel / shares;
            }
            kernel = kernel.saturating_sub(node.give(lowest, share));
        }
        shares -= 1;
        if shares == 0 || kernel <= shares {
            return;
        }
    }
}

/// To whole blocks.
fn round_up(frames: u64) -> u64 {
    frames.checked_next_multiple_of(BLOCK_FRAMES).unwrap_or(u64::MAX)
}

/// The ranges of a node, ascending, and places for their movable parts. While frames are spread, the first place's start is the
/// node's boundary: frames below it are the kernel's.
struct NodeRanges<'r> {
    cores: &'r mut [MemoryRange],
    movables: &'r mut [MemoryRange],
}

/// The nodes that have ranges.
fn nodes<'r>(
    cores: &'r mut [MemoryRange],
    movables: &'r mut [MemoryRange],
) -> impl Iterator<Item = NodeRanges<'r>> {
    let mut rest = movables;
    cores.chunk_by_mut(|one, next| one.node == next.node).map(move |cores| {
        let (movables, others) = core::mem::take(&mut rest).split_at_mut(cores.len());
        rest = others;
        NodeRanges { cores, movables }
    })
}

impl NodeRanges<'_> {
    fn boundary(&self) -> u64 {
        self.movables.first().map_or(0, |first| first.range.start.get())
    }

    fn set_boundary(&mut self, pfn: u64) {
        if let Some(first) = self.movables.first_mut() {
            first.range.start = Pfn::new(pfn);
        }
    }

    /// Moves the boundary up over as many frames, if there are so many; those below `lowest` in any case. Returns how many
    /// it went over.
    fn give(mut self, lowest: u64, share: u64) -> u64 {
        let (mut left, mut given) = (share, 0);
        for at in 0..self.cores.len() {
            let FrameRange { start, end } = self.cores[at].range;
            let (start, end) = (start.get().max(self.boundary()), end.get());
            if start >= end {
                continue;
            }
            let low = lowest.clamp(start, end) - start;
            left -= low.min(left);
            let more = left.min(end - start - low);
            left -= more;
            given += low + more;
            self.set_boundary(start + low + more);
            if left == 0 && end > lowest {
                break;
            }
        }
        given
    }

    /// Divides the ranges at the boundary, rounded up to a block.
    fn cut(self) {
        let boundary = round_up(self.boundary());
        for (core, movable) in self.cores.iter_mut().zip(self.movables) {
            let FrameRange { start, end } = core.range;
            let middle = Pfn::new(boundary.max(start.get()).min(end.get()));
            (core.range, movable.range) = (FrameRange::new(start, middle), FrameRange::new(middle, end));
        }
    }
}
