//! Emptying any CPU's words: of all they hold, of a range, or for good until a reopening. From whatever CPU.
//!
//! The owner is neither asked nor delayed. Words that CPUs own are held first ([`crate::cache::hold`]); where they cannot be, they
//! are left alone.
//!
//! | gate, bits | field | changed by |
//! |---|---|---|
//! | 0..=31 | closings in force | [`Zone::close_caches`], [`Zone::reopen_caches`] |
//! | 32..=54 | epoch of the last closing | `close_caches` |

use core::ops::Range;

use crate::cache::CpuCache;
use crate::cache::hand::Locked;
use crate::cache::hold::Barriers;
use crate::cache::word::{Epoch, Slot, SlotWord};
use crate::frame::{BLOCK_FRAMES, FrameRange, GROUP_FRAMES};
use crate::mutant::{Mutant, planted};
use crate::sync::Ordering;
use crate::zone::Zone;
use crate::zone::cached::Look;

const CLOSINGS: u64 = 0xffff_ffff;
const EPOCH_SHIFT: u32 = 32;
/// Groups of a block.
const BLOCK_GROUPS: u64 = BLOCK_FRAMES / GROUP_FRAMES;

/// What a drain of a range came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Drained {
    /// Frames that landed.
    pub(crate) frames: u64,
    /// The last CPU whose words of the range stayed as they were: its barrier was refused.
    pub(crate) refused: Option<usize>,
}

impl Drained {
    /// This drain and that one.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, refused: other.refused.or(self.refused) }
    }
}

/// Whether more frames of a range may come into words while they are gone through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coming {
    /// What is freed meanwhile.
    More,
    /// None: its blocks say that they are kept out. But who put some there before it saw that may have done so by a plain store.
    None,
}

impl<'m> Zone<'m> {
    /// Lands what one CPU's words hold; the number of frames. A barrier if they are owned and hold any.
    pub(crate) fn drain_cache(&self, cache: &CpuCache, barriers: Barriers) -> u64 {
        let kept = self.drain_kept(cache) + self.collect_tab(cache);
        if !cache.holds_frames() {
            return kept;
        }
        while planted(Mutant::DrainAwaitsArrivals) && self.count.transit().frames() > 0 {
            core::hint::spin_loop();
        }
        if planted(Mutant::DrainSkipsBusy) && self.count.transit().frames() > 0 {
            return kept;
        }
        let Some(_held) = self.held(cache, barriers) else { return kept };
        kept + cache.words().map(|word| self.drain_word(word)).sum::<u64>()
    }

    fn drain_word(&self, word: &SlotWord) -> u64 {
        if word.load().mask() == 0 { 0 } else { self.land_emptied(|| word.empty()) }
    }

    /// Lands what all CPUs' words hold of frames in `range`, and makes the words forget the groups, so that a free
    /// of their frames does not come back to them. Reads every word of the zone.
    pub(crate) fn drain_range(&self, range: FrameRange) -> Drained {
        self.drain_words_of(range, Coming::More)
    }

    /// The same of blocks that have been isolated or poisoned just now: no word is of their groups any more, also where an owner filled it
    /// before seeing that. A barrier for each CPU that owns its words.
    pub(crate) fn drain_flagged(&self, range: FrameRange) -> Drained {
        self.drain_words_of(range, Coming::None)
    }

    fn drain_words_of(&self, range: FrameRange, coming: Coming) -> Drained {
        let groups = self.groups_of(range);
        let drained = self.caches.iter().map(|cache| self.drain_groups(cache, &groups, coming));
        drained.fold(Drained::default(), Drained::and)
    }

    /// The same of one CPU's words. A barrier if they are owned and hold any of the groups, or may hold them yet unseen.
    fn drain_groups(&self, cache: &CpuCache, groups: &Range<u32>, coming: Coming) -> Drained {
        // A word that is EMPTY or closed is of a group that no zone has.
        let inside = |word: &SlotWord| Some(word.load().group()).filter(|group| groups.contains(&group.0));
        let kept = self.drain_kept_of(cache, groups) + self.collect_tab_of(cache, groups);
        let unseen = coming == Coming::None && cache.is_owned() && !planted(Mutant::LooksUnbarred);
        if !unseen && cache.words().all(|word| inside(word).is_none()) {
            return Drained { frames: kept, refused: None };
        }
        let Some(_held) = self.held(cache, Barriers::Allowed) else {
            let refused = (!planted(Mutant::RefusalUntold)).then(|| cache.owner()).flatten();
            return Drained { frames: kept, refused };
        };
        let take = |word: &SlotWord, group| match planted(Mutant::WordsRememberOffline) {
            true => word.empty(),
            false => word.forget(Locked, group).unwrap_or(Slot::EMPTY),
        };
        let words = cache.words().filter_map(|word| Some((word, inside(word)?)));
        let frames: u64 = words.map(|(word, group)| self.land_emptied(|| take(word, group))).sum();
        Drained { frames: kept + frames, refused: None }
    }

    /// Settles the CPU's tab, if it is of a block of these groups; the number of frames.
    fn collect_tab_of(&self, cache: &CpuCache, groups: &Range<u32>) -> u64 {
        let first = u64::from(cache.tab.block()) * BLOCK_GROUPS;
        let is_inside = first + BLOCK_GROUPS > u64::from(groups.start) && first < u64::from(groups.end);
        if is_inside { self.collect_tab(cache) } else { 0 }
    }

    /// Lands what a word holds and makes it forget the group; the number of frames.
    pub(in crate::zone) fn land_group_of(&self, word: &SlotWord) -> u64 {
        let slot = word.load();
        if slot.mask() == 0 {
            0
        } else {
            self.land_emptied(|| word.forget(Locked, slot.group()).unwrap_or(Slot::EMPTY))
        }
    }

    /// Lands what all CPUs' words hold; the number of frames. Reads the words that the hints name.
    pub(crate) fn drain(&self, barriers: Barriers) -> u64 {
        self.collect_credits();
        let (mut frames, mut from) = (0, 0);
        let look = Look::at(self);
        while let Some(rank) = self.cpu_hints.next(from) {
            let Some(cache) = self.caches.get(rank) else { break };
            let drained = self.drain_cache(cache, barriers);
            if drained == 0 {
                self.clear_hint(rank, cache);
            }
            frames += drained;
            from = rank + 1;
        }
        if !look.saw_all(self) {
            frames += self.caches.iter().map(|cache| self.drain_cache(cache, barriers)).sum::<u64>();
        }
        frames
    }

    /// Empties every word and lets nothing in until as many reopenings: one swap a word.
    pub(crate) fn close_caches(&self) -> u64 {
        let mut gate = self.gate.load(Ordering::Relaxed); // Relaxed: the exchange decides
        let epoch = loop {
            let epoch = (gate >> EPOCH_SHIFT).wrapping_add(1) & 0x007f_ffff;
            let next = ((gate & CLOSINGS) + 1) | (epoch << EPOCH_SHIFT);
            // AcqRel: closings and reopenings of a zone are one history.
            match self.gate.compare_exchange(gate, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break Epoch(epoch as u32),
                Err(now) => gate = now,
            }
        };
        let close = |cache: &CpuCache| {
            let kept = self.close_kept(cache, epoch);
            let Some(_held) = self.held(cache, Barriers::Allowed) else { return kept };
            kept + cache.words().map(|word| self.land_emptied(|| word.close(epoch))).sum::<u64>()
        };
        self.caches.iter().map(close).sum()
    }

    /// Ends one closing; when none is left, words closed in the last epoch open. False if none was in force.
    pub(crate) fn reopen_caches(&self) -> bool {
        let mut gate = self.gate.load(Ordering::Relaxed); // Relaxed: the exchange decides
        loop {
            if gate & CLOSINGS == 0 {
                return false;
            }
            // AcqRel: as in `close_caches`.
            match self.gate.compare_exchange(gate, gate - 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => gate = now,
            }
        }
        if gate & CLOSINGS == 1 {
            let epoch = Epoch((gate >> EPOCH_SHIFT) as u32);
            let words = |cache: &'m CpuCache| cache.words().chain([cache.block_word()]);
            self.caches.iter().flat_map(words).for_each(|word| word.reopen(epoch));
        }
        true
    }
}
