//! Blocks kept for long requests from atomic context (Linux: MIGRATE_HIGHATOMIC).
//!
//! Such a request that went past the fast path leaves its block flagged as *reserved*: nobody else claims there, and what
//! is freed there is counted here and not in the zone's count, so that requests without reserves do not see it.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | `free` | frames of reserved blocks that may be claimed | [`Zone::reserve`] and frees up, [`Zone::release`] and claims down |
//! | `blocks` | reserved blocks | `reserve`, `release` |
//!
//! Moving a block's frames from one count to the other goes as isolation does: debit the one, flag the entry by an
//! exchange of the very word that was seen, credit the other; on the move meanwhile. So each count is at most the sum of
//! its blocks' counts at all times. An interrupt in between leaves up to a block's frames on the move.

use crate::block::bitmap::row_and_mask;
use crate::block::entry::{Raise, Snapshot};
use crate::block::row::{run_mask, run_starts};
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, Pfn, ROW_FRAMES, ROWS};
use crate::hint::HintTree;
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::Kind;
use crate::zone::count::ZoneCount;
use crate::zone::{Block, TREES, Want, Zone};

/// A zone keeps a hundredth of its frames at most, and none if that is less than a block.
const SHARE: u64 = 100;

/// The words. A `ZoneCount` of which only the free word is used.
pub(crate) struct Highatomic {
    count: ZoneCount,
    blocks: AtomicU64,
}

impl Highatomic {
    pub(crate) fn new() -> Self {
        Self { count: ZoneCount::new(0), blocks: AtomicU64::new(0) }
    }

    /// Frames that may be claimed.
    #[inline]
    pub(crate) fn free(&self) -> u64 {
        self.count.free()
    }

    /// Frames in reserved blocks, used ones among them.
    pub(crate) fn reserved(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) * BLOCK_FRAMES // Relaxed: a bound and a figure
    }

    /// Counts frames whose block's count has been raised already.
    pub(crate) fn raise(&self, frames: u64) {
        self.count.raise(frames);
    }

    /// Makes room for one more block, if the zone may keep it.
    pub(crate) fn enlarge(&self, managed: u64) -> bool {
        let share = if planted(Mutant::UnlimitedReserve) { managed } else { managed / SHARE };
        let most = if share < BLOCK_FRAMES { 0 } else { share.div_ceil(BLOCK_FRAMES) };
        let more = |blocks: u64| (blocks < most).then_some(blocks + 1);
        self.blocks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn shrink(&self) {
        self.blocks.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'m> Zone<'m> {
    fn reserved_tree(&self) -> &HintTree<'m> {
        &self.trees[TREES - 1]
    }

    /// Keeps the frame's block, out of which an atomic request has been served, for such requests.
    pub(crate) fn reserve(&self, pfn: Pfn) {
        let Some(block) = self.block_of(pfn) else { return };
        let seen = block.entry.load();
        if seen.is_open() && self.highatomic.enlarge(self.managed()) && !self.flag_reserved(block, seen) {
            self.highatomic.shrink();
        }
    }

    /// Flags the block as reserved if it is as it was seen still, and moves its frames from the zone's count to the reserve's.
    pub(crate) fn flag_reserved(&self, block: Block<'m>, seen: Snapshot) -> bool {
        let frames = seen.count();
        self.count.enter(frames);
        self.collect_credits();
        // Down to nothing: for requests without reserves the frames are gone either way.
        let flagged = self.count.claim(frames, frames, 0).is_ok() && {
            let flagged = block.entry.reserve(seen);
            if flagged {
                self.reserved_tree().set(block.index.0 as usize);
                self.highatomic.raise(frames);
            } else {
                self.count.raise(frames);
            }
            flagged
        };
        self.count.leave(frames);
        flagged
    }

    /// Gives up one reserved block that has free frames, to `kind`, if more than `keep` are kept. Whether one was.
    pub(crate) fn release(&self, kind: Kind, keep: u64) -> bool {
        if self.highatomic.reserved() <= keep * BLOCK_FRAMES || planted(Mutant::ReserveKept) {
            return false;
        }
        let release = |block: Block<'m>| {
            let seen = block.entry.load();
            (seen.count() > 0 && self.release_block(block, seen, kind)).then_some(())
        };
        self.find_reserved(release).is_some()
    }

    /// Whether it is a reserved block of this zone: hints may speak of one that has become another's.
    fn keeps(&self, entry: Snapshot) -> bool {
        entry.is_reserved() && (entry.zone() == self.id || planted(Mutant::ClaimIgnoresZone))
    }

    /// Gives up this block if it is reserved and still as it was seen.
    pub(crate) fn release_block(&self, block: Block<'m>, seen: Snapshot, kind: Kind) -> bool {
        if !self.keeps(seen) {
            return false;
        }
        let frames = seen.count();
        self.count.enter(frames);
        let released = self.highatomic.count.claim(frames, frames, 0).is_ok()
            && match block.entry.release(seen, kind) {
                Raise::Done(after) => {
                    self.highatomic.shrink();
                    self.reserved_tree().clear(block.index.0 as usize, || self.keeps(block.entry.load()));
                    self.refresh_hints(block, after);
                    self.count.raise(frames);
                    true
                }
                Raise::Refused => {
                    self.highatomic.raise(frames);
                    false
                }
            };
        self.count.leave(frames);
        released
    }

    /// What `look` finds first among the reserved blocks: the hinted ones, and all if a clear in progress may hide some.
    fn find_reserved<T>(&self, mut look: impl FnMut(Block<'m>) -> Option<T>) -> Option<T> {
        let stamp = self.reserved_tree().stamp();
        let found = self.hinted_reserved().find_map(&mut look);
        if found.is_some() || self.reserved_tree().settled(stamp) || planted(Mutant::ReservedUnseen) {
            return found;
        }
        self.blocks().filter(|block| self.keeps(block.entry.load())).find_map(look)
    }

    /// The blocks that are hinted as reserved.
    fn hinted_reserved(&self) -> impl Iterator<Item = Block<'m>> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let at = self.reserved_tree().next(from)?;
            from = at + 1;
            self.block(BlockIndex(at as u32))
        })
        .filter(|block| self.keeps(block.entry.load()))
    }

    /// Takes a run (a block at most) out of the reserved blocks, whatever the floor. Linear in them.
    pub(crate) fn take_reserved(&self, want: Want) -> Option<Pfn> {
        if want.order > Order::BLOCK || self.highatomic.free() < want.frames() {
            return None;
        }
        if want.order == Order::BLOCK {
            return self.find_reserved(|block| {
                let seen = block.entry.load();
                let whole = seen.count() == BLOCK_FRAMES && self.release_block(block, seen, want.kind);
                let taken = whole && self.take_run_at_block(block.index.0 as usize, want).is_ok();
                taken.then_some(block.start)
            });
        }
        self.find_reserved(|block| {
            let offset = run_in(block, want.order)?;
            self.take_reserved_at(block, offset, want.order).then(|| block.start.add(offset))
        })
    }

    pub(in crate::zone) fn take_reserved_at(&self, block: Block<'m>, offset: u64, order: Order) -> bool {
        let run = order.frames();
        self.count.enter(run);
        let taken = self.highatomic.count.claim(run, run, 0).is_ok() && {
            let claimed = block.entry.claim_reserved(self.id, run);
            let taken = claimed && take_bits(block, offset, order);
            if !taken {
                // Lost: to another's claim of the block, or of the bits.
                let returned = if claimed { self.give_claim_back(block, run) } else { 0 };
                match (claimed, returned) {
                    (false, _) if planted(Mutant::KeptClaimLost) => {}
                    (false, _) => self.highatomic.raise(run),
                    // Released meanwhile: they are the zone's now. (Reserved still: that has counted them.)
                    (true, frames) => self.raise_uncached(frames),
                }
            }
            taken
        };
        self.count.leave(run);
        taken
    }

    fn raise_uncached(&self, frames: u64) {
        if frames > 0 {
            self.count.raise(frames);
        }
    }
}

/// The offset of an aligned run that is free now.
fn run_in(block: Block<'_>, order: Order) -> Option<u64> {
    if order > Order::ROW {
        return block.bitmap.find_rows(order).map(|row| row as u64 * ROW_FRAMES);
    }
    (0..ROWS).find_map(|row| {
        let starts = run_starts(block.bitmap.row(row).load(), order);
        (starts != 0).then(|| row as u64 * ROW_FRAMES + u64::from(starts.trailing_zeros()))
    })
}

fn take_bits(block: Block<'_>, offset: u64, order: Order) -> bool {
    let (row, _) = row_and_mask(offset, Order::ZERO);
    if order >= Order::ROW {
        return block.bitmap.take_rows(row, order);
    }
    block.bitmap.row(row).take_exact(run_mask(order) << (offset % ROW_FRAMES))
}
