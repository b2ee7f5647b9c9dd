//! Where moved frames go: partly used blocks, the fullest first, so that moves make no new holes.

use core::ops::Range;

use crate::compact::Priority;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, Pfn};
use crate::topology::Kind;
use crate::zone::search::Class;
use crate::zone::{Block, Zone};

/// Which blocks are asked for a frame.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// Movable ones with at most this many free frames.
    Fuller(u64),
    /// Wholly free ones: for runs longer than a block.
    Free,
    /// Partly used ones of another kind: with full priority.
    Other(Kind),
}

/// In this order.
const GOALS: [Goal; 6] = [
    Goal::Fuller(BLOCK_FRAMES / 8),
    Goal::Fuller(BLOCK_FRAMES / 2),
    Goal::Fuller(BLOCK_FRAMES),
    Goal::Free,
    Goal::Other(Kind::Reclaimable),
    Goal::Other(Kind::Unmovable),
];

/// The first goal that counts all Movable blocks.
const ANY_MOVABLE: usize = 2;

/// How far a compaction has come among them. It goes forward, and back to the start only where there is no
/// room ahead.
#[derive(Clone)]
pub(super) struct Goals {
    order: Order,
    priority: Priority,
    /// Blocks of the run that is being made.
    avoid: Range<usize>,
    goal: usize,
    at: usize,
}

impl Goals {
    pub(super) fn new(order: Order, priority: Priority) -> Self {
        Self { order, priority, avoid: 0..0, goal: 0, at: 0 }
    }

    /// From now on no frame of these blocks will do.
    pub(super) fn avoid(&mut self, blocks: Range<usize>) {
        self.avoid = blocks;
    }

    /// Whether there is room for so many frames now, if need be from the start again: what was passed may have room since
    /// frames were moved out of it. Looks at one block for each frame at most, or twice at every block.
    pub(super) fn has_room(&mut self, zone: &Zone<'_>, frames: u64) -> bool {
        if self.has_room_ahead(zone, frames) {
            return true;
        }
        (self.goal, self.at) = (0, 0);
        self.has_room_ahead(zone, frames)
    }

    fn has_room_ahead(&self, zone: &Zone<'_>, frames: u64) -> bool {
        let mut ahead = self.clone();
        if ahead.goal < ANY_MOVABLE {
            (ahead.goal, ahead.at) = (ANY_MOVABLE, 0);
        }
        let mut room = 0;
        while room < frames {
            let Some((_, block)) = ahead.next_block(zone) else { return false };
            room += block.entry.load().count();
            ahead.at += 1;
        }
        true
    }

    /// Takes a frame to move to; adds the blocks that were looked at to `looked`.
    pub(super) fn take(&mut self, zone: &Zone<'_>, funds: &mut u64, looked: &mut u64) -> Option<Pfn> {
        while let Some((retype, block)) = self.next_block(zone) {
            *looked += 1;
            if let Some(pfn) = zone.take_target(block, retype, funds) {
                return Some(pfn);
            }
            self.at += 1;
        }
        None
    }

    /// The first block at or behind the place reached that will do, and the kind it gets.
    fn next_block<'m>(&mut self, zone: &Zone<'m>) -> Option<(Option<Kind>, Block<'m>)> {
        while let Some(&goal) = GOALS.get(self.goal) {
            let Some(block) = self.next_hinted(zone, goal) else {
                (self.goal, self.at) = (self.goal + 1, 0);
                continue;
            };
            self.at = block.index.0 as usize;
            let elsewhere = !self.avoid.contains(&self.at) && !block.entry.load().is_vacating();
            if let Some(retype) = fits(zone, goal, block).filter(|_| elsewhere) {
                return Some((retype, block));
            }
            self.at += 1;
        }
        None
    }

    /// The first hinted block at or behind the place reached.
    fn next_hinted<'m>(&self, zone: &Zone<'m>, goal: Goal) -> Option<Block<'m>> {
        let tree = match goal {
            Goal::Fuller(_) => zone.tree(Kind::Movable, Class::Frame),
            Goal::Free if self.order > Order::BLOCK => zone.free_tree(),
            Goal::Other(kind) if self.priority == Priority::Full => zone.tree(kind, Class::Frame),
            Goal::Free | Goal::Other(_) => return None,
        };
        zone.block(BlockIndex(tree.next(self.at)? as u32))
    }
}

/// Whether the block is what the goal says, and the kind it gets if it changes.
fn fits(zone: &Zone<'_>, goal: Goal, block: Block<'_>) -> Option<Option<Kind>> {
    let partly = |kind: Kind| zone.is_partly_used(block, kind, Class::Frame);
    match goal {
        Goal::Fuller(most) => (partly(Kind::Movable) && block.entry.load().count() <= most).then_some(None),
        Goal::Free => block.entry.load().is_free_block().then_some(Some(Kind::Movable)),
        Goal::Other(kind) => partly(kind).then_some(None),
    }
}
