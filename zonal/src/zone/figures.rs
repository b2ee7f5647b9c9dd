//! What a zone and its blocks hold, as plain figures. Every figure says how exact it is.
//!
//! Reads words and changes none; nothing here takes a step of a protocol, so it may be called while others work.

use crate::block::entry::Snapshot;
use crate::block::row::run_starts;
use crate::cache::CpuCache;
use crate::frame::{BLOCK_FRAMES, BlockIndex, FrameRange, NodeId, Order, Pfn, ROW_FRAMES, ZoneId};
use crate::topology::{Kind, ZoneKind};
use crate::watermark::Marks;
use crate::zone::{Block, Zone};

/// A zone's figures. Each is read by itself: the sum of different ones is exact at quiescence only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneInfo {
    /// Its place in the table.
    pub id: ZoneId,
    /// Its node.
    pub node: NodeId,
    /// Its place in the node.
    pub kind: ZoneKind,
    /// From its first block to its last, holes included.
    pub span: FrameRange,
    /// Frames that memory ranges name, reserved ones among them. Exact.
    pub present: u64,
    /// Frames it manages. Exact.
    pub managed: u64,
    /// Its watermarks, without the boost.
    pub marks: Marks,
    /// What is added to each of them for a while, after a block was taken from another kind.
    pub boost: u64,
    /// What requests for the four kinds of zones leave here besides the mark (Linux: lowmem_reserve).
    pub protection: [u64; 4],
    /// Frames in the blocks kept for long atomic requests, used ones among them.
    pub reserved_highatomic: u64,
    /// Of those, free: not among `free`. Exact at quiescence.
    pub free_highatomic: u64,
    /// Frames that may be claimed from blocks: the zone's count and the CPUs' credits. Exact at quiescence; in motion low
    /// by the claims and frees under way, and off by what passes between count and credits while they are read.
    pub free: u64,
    /// Frames in slot words. Each word is read once.
    pub cached: u64,
    /// Frames on the move. Exact when read.
    pub in_flight: u64,
    /// Free frames in isolated blocks. Each block is read once.
    pub isolated: u64,
    /// Poisoned frames that are out. The table is read once.
    pub poisoned: u64,
    /// How often words that a CPU owns stayed as they were because its barrier was refused ([`crate::OwnWords`]): by a drain, a
    /// closing, an isolation or the upkeep. A drain or a closing during which it did not grow has left no word out. Exact.
    pub refused_barriers: u64,
}

/// What a block is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Its frames are allocated and freed by the row (or all free).
    Rows,
    /// Allocated as one.
    Whole,
    /// Taken towards a longer run.
    Tentative,
}

/// A block's figures, read in one load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockInfo {
    /// Its first frame.
    pub start: Pfn,
    /// Its kind.
    pub kind: Kind,
    /// What it is used for.
    pub state: BlockState,
    /// Frames that may be claimed.
    pub free: u32,
    /// Frames that exist.
    pub managed: u32,
    /// Whether it is isolated.
    pub isolated: bool,
    /// Whether it is kept for long atomic requests.
    pub reserved: bool,
}

/// What a block's free frames count as in Linux's texts (its migratetypes, without CMA, which is not here).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    Unmovable,
    Movable,
    Reclaimable,
    HighAtomic,
    Isolate,
}

impl Share {
    /// All, in Linux's order.
    pub(crate) const ALL: [Self; 5] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Isolate];

    /// The name Linux prints.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Isolate => "Isolate",
        }
    }

    /// The letter Linux prints.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Unmovable => 'U',
            Self::Movable => 'M',
            Self::Reclaimable => 'E',
            Self::HighAtomic => 'H',
            Self::Isolate => 'I',
        }
    }

    /// The block's.
    pub(crate) fn of(entry: Snapshot) -> Self {
        match entry.kind() {
            _ if entry.is_isolated() => Self::Isolate,
            _ if entry.is_reserved() => Self::HighAtomic,
            Kind::Unmovable => Self::Unmovable,
            Kind::Movable => Self::Movable,
            Kind::Reclaimable => Self::Reclaimable,
        }
    }
}

/// Maximal free runs of a zone, for each [`Share`] by order: aligned, disjoint, blocks joined up to order 10.
pub(crate) type FreeRuns = [[u64; 19]; Share::ALL.len()];

impl Zone<'_> {
    /// Its free runs. Frames in slot words are not in them. Each row is read once.
    pub(crate) fn free_runs(&self) -> FreeRuns {
        let mut runs = FreeRuns::default();
        self.blocks().for_each(|block| count_runs(self, block, &mut runs));
        runs
    }

    pub(crate) fn info(&self) -> ZoneInfo {
        let isolated = self.blocks().map(|block| block.entry.load()).filter(|entry| entry.is_isolated());
        ZoneInfo {
            id: self.id,
            node: self.node,
            kind: self.kind,
            span: self.span.get(),
            present: self.present(),
            managed: self.managed(),
            marks: self.marks.get(),
            boost: self.marks.boost(),
            protection: self.marks.reserves(),
            reserved_highatomic: self.highatomic.reserved(),
            free_highatomic: self.highatomic.free(),
            free: self.free(),
            cached: self.caches.iter().map(CpuCache::frames).sum(),
            in_flight: self.transit().frames(),
            isolated: isolated.map(|entry| entry.count()).sum(),
            poisoned: self.poisoned(),
            refused_barriers: self.refused_barriers(),
        }
    }
}

impl Block<'_> {
    pub(crate) fn info(self) -> BlockInfo {
        let entry = self.entry.load();
        let state = match entry {
            entry if entry.is_tentative() => BlockState::Tentative,
            entry if entry.is_whole() => BlockState::Whole,
            _ => BlockState::Rows,
        };
        BlockInfo {
            start: self.start,
            kind: entry.kind(),
            state,
            free: entry.count() as u32,
            managed: entry.managed() as u32,
            isolated: entry.is_isolated(),
            reserved: entry.is_reserved(),
        }
    }
}

/// Adds a block's maximal free runs.
fn count_runs(zone: &Zone<'_>, block: Block<'_>, runs: &mut FreeRuns) {
    let entry = block.entry.load();
    let runs = &mut runs[Share::of(entry) as usize];
    if !entry.is_open_to_frees() || entry.count() == 0 {
        return;
    }
    if entry.count() == BLOCK_FRAMES {
        let pair = Order::from_raw(Order::BLOCK.get() + 1);
        let buddy = zone.block(BlockIndex(block.index.0 ^ 1)).map(|buddy| (buddy.start, buddy.entry.load()));
        let paired = buddy.is_some_and(|(start, buddy)| {
            buddy.is_open_to_frees()
                && buddy.is_isolated() == entry.is_isolated()
                && buddy.count() == BLOCK_FRAMES
                && start.get() ^ BLOCK_FRAMES == block.start.get()
        });
        match (paired, block.start.is_aligned(pair)) {
            (true, true) => runs[usize::from(pair.get())] += 1,
            (true, false) => {}
            (false, _) => runs[usize::from(Order::BLOCK.get())] += 1,
        }
        return;
    }
    count_part(block, 0, Order::BLOCK, runs);
}

/// Adds the maximal free runs of the aligned part of `order` at `offset`, which is known not to be wholly free if it
/// is the block itself.
fn count_part(block: Block<'_>, offset: u64, order: Order, runs: &mut [u64; 19]) {
    if order <= Order::ROW {
        let row = block.bitmap.row((offset / ROW_FRAMES) as usize).load() >> (offset % ROW_FRAMES);
        if run_starts(row, order) & 1 == 1 {
            runs[usize::from(order.get())] += 1;
            return;
        }
    } else if order < Order::BLOCK {
        let rows = (offset / ROW_FRAMES) as usize..((offset + order.frames()) / ROW_FRAMES) as usize;
        if rows.clone().all(|row| block.bitmap.row(row).load() == u64::MAX) {
            runs[usize::from(order.get())] += 1;
            return;
        }
    }
    if let Some(half) = order.get().checked_sub(1).map(Order::from_raw) {
        count_part(block, offset, half, runs);
        count_part(block, offset + half.frames(), half, runs);
    }
}
