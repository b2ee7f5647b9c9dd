//! The block word: a whole block that a CPU has freed and keeps for its next request (Linux: the THP lists of `pcp`).
//!
//! It is a slot word ([`crate::cache::word`]) of the block's first group whose mask is 1 while the block is here, and always
//! changed by locked instructions, whosever the CPU's other words are. The block's entry says `whole` all the while, as if it
//! were allocated, and none of its frames is in the zone's count; so keeping it and taking it again is one step each.
//!
//! | transition | steps | an interrupt in between leaves |
//! |---|---|---|
//! | keep | look at the entry; exchange of a word without a block; look at the entry again | the block here; if it has been isolated or poisoned meanwhile, here until the free returns: who did that goes through the words after it has said so, and one of the two sees the other |
//! | take | [`crate::cache::word::SlotWord::take`]; the entry's kind, if that differs | the taker's block |
//! | land | on the move; the word emptied; the entry and the count as in any free | on the move |
//!
//! A word that was EMPTY is filled as every such word: on the move, and the CPU's hint set ([`crate::zone::cached`]).

use core::ops::Range;

use crate::block::entry::Snapshot;
use crate::cache::CpuCache;
use crate::cache::hand::Locked;
use crate::cache::word::{Epoch, Put, Slot};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, GroupIndex, Order, Pfn};
use crate::mutant::{Mutant, planted};
use crate::topology::Kind;
use crate::zone::{Block, Want, Zone};

/// Groups of a block.
const BLOCK_GROUPS: u32 = (BLOCK_FRAMES / GROUP_FRAMES) as u32;
/// One in so many of a zone's frames may be kept, at most (Linux: by `pcp->high`). Models have small zones.
const SHARE: u64 = if cfg!(any(zonal_loom, zonal_shuttle)) { 1 } else { 4 };
/// The mask of a block word while the block is here.
const HERE: u32 = 1;

impl<'m> Zone<'m> {
    /// Keeps a block that its owner frees, if the CPU keeps none and the block is an ordinary one. One locked operation.
    #[inline(always)]
    pub(crate) fn keep_block(&self, cache: &CpuCache, block: Block<'m>) -> Put {
        if !is_keepable(block.entry.load()) || self.is_bypassed() || !self.keeps_blocks() {
            return Put::OtherGroup;
        }
        let (word, group) = (cache.block_word(), self.group_of(block.start));
        let slot = word.load();
        if slot.mask() != 0 && slot.is_of(group) {
            return Put::AlreadyHere;
        }
        if !slot.is_fillable() {
            return Put::OtherGroup;
        }
        let to = Slot::new(group, HERE);
        let kept = match slot.is_owned() {
            true => word.exchange(Locked, slot, to),
            false => self.own((cache, word), Locked, BLOCK_FRAMES, (slot, to)),
        };
        if !kept {
            return Put::OtherGroup;
        }
        // After the install, as after any; partner: who isolates or poisons, and then goes through the words.
        if block.entry.load().is_kept_out() && !planted(Mutant::KeptWhileIsolated) {
            self.land_kept(|| word.forget(Locked, group).unwrap_or(Slot::EMPTY));
        }
        Put::Kept
    }

    /// Takes the block that the CPU keeps, for content of this kind. One locked operation, two if it was of another.
    #[inline(always)]
    pub(crate) fn take_kept_block(&self, cache: &CpuCache, kind: Kind) -> Option<Pfn> {
        let (group, _) = cache.block_word().take(Locked, Order::ZERO)?;
        let start = self.group_start(group);
        let block = self.block_of(start)?;
        let entry = block.entry.load();
        if entry.is_kept_out() && !planted(Mutant::KeptWhileIsolated) {
            self.land_taken(group);
            return None;
        }
        if entry.kind() != kind {
            block.entry.retype_whole(kind);
        }
        Some(start)
    }

    /// Lands a block that was taken out of a word and has been isolated or poisoned since it was put there.
    #[cold]
    #[inline(never)]
    fn land_taken(&self, group: GroupIndex) {
        self.count.enter(BLOCK_FRAMES);
        self.land_block(group);
        self.count.leave(BLOCK_FRAMES);
    }

    /// Whether CPUs keep blocks here: if each kept one, that would be a small part of the zone.
    #[inline]
    pub(crate) fn keeps_blocks(&self) -> bool {
        self.caches.len() as u64 * (SHARE * BLOCK_FRAMES) <= self.managed()
    }

    /// Frames that a CPU keeps so, at most.
    pub(crate) fn most_kept(&self) -> u64 {
        if self.keeps_blocks() { BLOCK_FRAMES } else { 0 }
    }

    /// Lands the block that the CPU keeps, if it keeps one; the number of frames.
    pub(in crate::zone) fn drain_kept(&self, cache: &CpuCache) -> u64 {
        let word = cache.block_word();
        if word.load().mask() == 0 || planted(Mutant::KeptForgotten) {
            return 0;
        }
        self.land_kept(|| word.empty())
    }

    /// The same if the block has one of these groups, which the word forgets.
    pub(in crate::zone) fn drain_kept_of(&self, cache: &CpuCache, groups: &Range<u32>) -> u64 {
        let word = cache.block_word();
        let group = word.load().group();
        // A word that is EMPTY or closed is of a group that no zone has.
        if group.0 >= groups.end || group.0 + BLOCK_GROUPS <= groups.start {
            return 0;
        }
        self.land_kept(|| word.forget(Locked, group).unwrap_or(Slot::EMPTY))
    }

    /// Lands what the CPU keeps and keeps nothing there until a reopening.
    pub(in crate::zone) fn close_kept(&self, cache: &CpuCache, epoch: Epoch) -> u64 {
        self.land_kept(|| cache.block_word().close(epoch))
    }

    /// Takes a run (at most a group) of the block that a CPU keeps, which lands for it.
    pub(in crate::zone) fn steal_kept(&self, cache: &CpuCache, want: Want) -> Option<Pfn> {
        if self.drain_kept(cache) == 0 {
            return None;
        }
        let taken = self.take_group(None, want, 0, want.frames()).ok()?;
        self.arrived(&taken);
        Some(self.frame((taken.group, taken.first)))
    }

    /// Takes the block out of a word by `take` and lands it, on the move meanwhile.
    fn land_kept(&self, take: impl FnOnce() -> Slot) -> u64 {
        self.count.enter(BLOCK_FRAMES);
        let slot = take();
        let landed = if slot.mask() == 0 { 0 } else { self.land_block(slot.group()) };
        self.count.leave(BLOCK_FRAMES);
        landed
    }

    /// Frees a block that a word held, whatever has become of it there; its frames.
    fn land_block(&self, group: GroupIndex) -> u64 {
        let Some(block) = self.block_of(self.group_start(group)) else { return 0 };
        if self.land_whole(None, block).is_err() && block.entry.load().is_whole() {
            let _ = self.land_opened(block); // a frame of it is poisoned; the others land
        }
        BLOCK_FRAMES
    }
}

/// Whether a CPU may keep the block: nothing is to be seen to when it is freed.
const fn is_keepable(entry: Snapshot) -> bool {
    entry.is_whole() && !entry.is_kept_out() && !entry.is_tentative() && !entry.is_reserved()
}
