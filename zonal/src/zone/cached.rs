//! Slot words and blocks: refilling a word, keeping or landing a freed group, finding frames in any CPU's words.
//!
//! Whatever moves between a word and the rows is in the transit word meanwhile. A word is only ever filled by a
//! compare-exchange from the value read and only ever emptied for good by a drain, so a refiller that slept cannot
//! fill a word that was closed in between.
//!
//! Invariant of the CPU hints: a word is of a group => its CPU's hint is set, or who filled the word when it was EMPTY is
//! on the move still, or a clear of hints is in progress.

use crate::block::bitmap::row_and_mask;
use crate::block::entry::{Entry, Snapshot};
use crate::cache::CpuCache;
use crate::cache::hand::{Hand, Locked};
use crate::cache::hold::Barriers;
use crate::cache::room::Room;
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, GroupIndex, Order, Pfn};
use crate::hint::Stamp;
use crate::mutant::{Mutant, planted};
use crate::request::Request;
use crate::topology::Kind;
use crate::zone::count::Transit;
use crate::zone::cpu::group_mask;
use crate::zone::take::{Miss, TakenGroup};
use crate::zone::{Block, Cpu, Want, Zone};

/// The beginning of a search of the CPU hints.
pub(in crate::zone) struct Look {
    stamp: Stamp,
    transit: Transit,
}

impl Look {
    pub(in crate::zone) fn at(zone: &Zone<'_>) -> Self {
        Self { stamp: zone.cpu_hints.stamp(), transit: zone.count.transit() }
    }

    /// Whether the search has named every CPU whose words hold frames put there by then: no clear was in progress, and
    /// nobody filled an EMPTY word meanwhile, whose hint might have been set behind the search.
    pub(in crate::zone) fn saw_all(&self, zone: &Zone<'_>) -> bool {
        self.transit.frames() == 0
            && zone.count.transit() == self.transit
            && zone.cpu_hints.settled(self.stamp)
    }
}

impl<'m> Zone<'m> {
    /// Serves a run of `order` (at most a group) from any of the CPU's words of the kind.
    #[inline]
    pub(crate) fn take_cached(
        &self,
        cpu: &Cpu<'_>,
        cache: &CpuCache,
        kind: Kind,
        order: Order,
    ) -> Option<Pfn> {
        let (at, hit) = cache.take_of(self.own_words, kind, order)?;
        cpu.note_giving(cache, kind, at);
        Some(self.frame(hit))
    }

    /// Serves a run (at most a group) from the blocks; above the high mark keeps the rest of its group in a slot word.
    #[inline(never)]
    pub(crate) fn refill(
        &self,
        (cpu, cache): (&Cpu<'_>, Option<&CpuCache>),
        want: Want,
    ) -> Result<Pfn, Miss> {
        let Some(cache) = cache else {
            let start = self.start_without_cache(cpu);
            let taken = self.take_group(None, want, start, want.frames())?;
            self.arrived(&taken);
            return Ok(self.frame((taken.group, taken.first)));
        };
        if cache.tab.frames() > 0 {
            self.settle(cache); // what it freed last comes first
        }
        let kind = want.kind;
        let is_ample = self.is_ample();
        if is_ample
            && want.order == Order::ZERO
            && let groups @ 2.. = cache.batch(kind)
        {
            match self.refill_batch((cpu, cache), want, groups) {
                Some(pfn) => return Ok(pfn),
                None => cache.note_no_batch(kind),
            }
        }
        let most = if is_ample || planted(Mutant::RefillsBelowHigh) { GROUP_FRAMES } else { want.frames() };
        let taken = self.take_group(Some(cache), want, cache.start_block(kind), most)?;
        cache.remember_block(kind, taken.block);
        let run = (((1u64 << want.frames()) - 1) << taken.first) as u32;
        let rest = taken.mask & !run;
        // The take itself may have brought the zone below its high mark, or raised that.
        if self.count.free() >= self.marks.high() || planted(Mutant::RefillsBelowHigh) {
            self.keep(cpu, (cache, kind), &taken, rest);
        } else if rest != 0 {
            self.land_group(taken.group, rest);
        }
        self.arrived(&taken);
        Ok(self.frame((taken.group, taken.first)))
    }

    /// Where a CPU without lines starts to look, spread by its number.
    fn start_without_cache(&self, cpu: &Cpu<'_>) -> usize {
        self.place_of(cpu).wrapping_mul(61) % self.entries.len().max(1)
    }

    /// Puts the rest of a taken group into a word of the kind, or back into its block.
    fn keep(&self, cpu: &Cpu<'_>, (cache, kind): (&CpuCache, Kind), taken: &TakenGroup, rest: u32) {
        if rest == 0 {
            return;
        }
        let entry = self.entries.get(taken.block as usize);
        if entry.is_some_and(|entry| entry.load().is_poisoned()) {
            return self.land_group(taken.group, rest);
        }
        match self.fill(cache, cache.room_for_refill(kind), Slot::new(taken.group, rest)) {
            Some(at) => {
                cpu.note_giving(cache, kind, at);
                if let Some(entry) = entry {
                    self.expel_group(cache, at, (taken.group, entry));
                }
            }
            None => self.land_group(taken.group, rest),
        }
    }

    /// After an install: empties the word again if the group's block has been isolated or poisoned since it was looked at.
    /// Who does that flags the block and then goes through the words: one of the two sees the other. (An owner's install is a
    /// plain store: who flags has the owner's CPU pass a barrier in between.)
    #[inline]
    fn expel_group(&self, cache: &CpuCache, at: usize, (group, entry): (GroupIndex, &Entry)) {
        if entry.load().is_kept_out() && !planted(Mutant::InstalledWhileIsolated) {
            self.expel_now(cache, at, group);
        }
    }

    #[cold]
    #[inline(never)]
    pub(in crate::zone) fn expel_now(&self, cache: &CpuCache, at: usize, group: GroupIndex) {
        let Some(word) = cache.word(at) else { return };
        // As the words' owner; if this is no longer the owner's CPU, as anybody.
        self.land_emptied(|| {
            word.forget(self.hand(cache), group).unwrap_or_else(|| {
                let held = self.held(cache, Barriers::Allowed);
                held.and_then(|_held| word.forget(Locked, group)).unwrap_or(Slot::EMPTY)
            })
        });
    }

    /// Keeps a freed group's frames in a slot word if the rule says so; false: they go to the row. `are_free` says that
    /// they are free already.
    #[inline(always)]
    pub(crate) fn keep_freed(
        &self,
        cpu: &Cpu<'_>,
        (cache, kind): (&'m CpuCache, Kind),
        (group, mask, entry): (GroupIndex, u32, &Entry),
        are_free: impl FnOnce() -> bool,
    ) -> bool {
        let room = cache.room_for_free(kind, group, cpu.last_put());
        if matches!(room, Room::None) || are_free() {
            return false;
        }
        let freed = Slot::new(group, mask);
        // The word gives next: its frame is the warmest, and the word has room again then.
        let Some(at) = self.fill(cache, room, freed) else { return false };
        cpu.note_put(cache, kind, at);
        self.expel_group(cache, at, (group, entry));
        true
    }

    /// Puts a freed frame into a word that has given all its frames, in place of its group, if no other word has the frame's.
    /// False, and nothing has changed, where the frame is free already or goes another way.
    #[inline(always)]
    pub(in crate::zone) fn replace_given(
        &self,
        (cache, hand): (&CpuCache, impl Hand),
        (word, given): (&SlotWord, Slot),
        (block, entry): (Block<'_>, Snapshot),
        pfn: Pfn,
    ) -> bool {
        let group = self.group_of(pfn);
        let (row, bits) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        let goes = entry.is_cacheable()
            && self.marks.is_quiet(self.count.free())
            && !cache.groups.may_have(group)
            && block.bitmap.row(row).load() & bits == 0
            && word.refill(hand, given, Slot::new(group, group_mask(pfn, Order::ZERO)));
        if goes {
            cache.note_freed(entry.kind());
            cache.note_group(given.group(), group);
            self.expel_group(cache, cache.place(word), (group, block.entry));
        }
        goes
    }

    /// Fills the room with `to`; the number of the word, or `None` if another was faster.
    #[inline(never)]
    fn fill(&self, cache: &CpuCache, room: Room, to: Slot) -> Option<usize> {
        let (at, from) = match room {
            Room::Vacant(at, slot) | Room::Evict(at, slot) => (at, slot),
            Room::None => return None,
        };
        let word = cache.word(at)?;
        let filled = if from.mask() != 0 {
            self.evict(cache, at, from, to)
        } else if from.is_owned() {
            word.refill(self.hand(cache), from, to)
        } else {
            self.own((cache, word), self.hand(cache), u64::from(to.mask().count_ones()), (from, to))
        };
        filled.then(|| {
            match from.is_owned() {
                true => cache.note_group(from.group(), to.group()),
                false => cache.note_groups(),
            }
            at
        })
    }

    /// Fills an EMPTY word and sets the CPU's hint, on the move meanwhile: others that find the word of a group set
    /// nothing.
    #[inline(never)]
    pub(in crate::zone) fn own(
        &self,
        (cache, word): (&CpuCache, &SlotWord),
        hand: impl Hand,
        frames: u64,
        (from, to): (Slot, Slot),
    ) -> bool {
        self.count.enter(frames);
        let installed = word.exchange(hand, from, to);
        if installed && !planted(Mutant::FillUnhinted) {
            self.cpu_hints.set(cache.rank());
        }
        self.count.leave(frames);
        installed
    }

    /// Puts frames of a group into their block's row. They were taken from there, so they land.
    pub(in crate::zone) fn land_group(&self, group: GroupIndex, mask: u32) {
        let start = self.group_start(group);
        let Some(block) = self.block_of(start) else { return };
        let (row, _) = row_and_mask(start.get() % BLOCK_FRAMES, Order::ZERO);
        let _ = self.land(None, block, row, u64::from(mask) << (start.get() % 64));
    }

    /// Takes a run (at most a group) out of any CPU's words, if the floor allows; `cpu` asks. Words that their CPUs own are
    /// passed over where nobody holds them and no barrier is allowed.
    pub(crate) fn steal(&self, cpu: &Cpu<'_>, want: Want) -> Option<Pfn> {
        let order = want.order;
        if planted(Mutant::CachedForgotten) || !self.cached_above_floor(want) {
            return None;
        }
        let own = self.cache_of(cpu).filter(|cache| cache.is_owned());
        if let Some(hit) = own.and_then(|cache| cache.take_any(self.hand(cache), order)) {
            return Some(self.frame(hit));
        }
        let look = Look::at(self);
        // All CPUs' words first: a block is broken up for what no word has.
        let found = self.steal_hinted(|cache| self.steal_word(cache, want));
        let found = found.or_else(|| self.steal_hinted(|cache| self.steal_kept(cache, want)));
        if found.is_some() || look.saw_all(self) {
            return found;
        }
        let found = self.caches.iter().find_map(|cache| self.steal_word(cache, want));
        found.or_else(|| self.caches.iter().find_map(|cache| self.steal_kept(cache, want)))
    }

    fn steal_hinted(&self, steal: impl Fn(&CpuCache) -> Option<Pfn>) -> Option<Pfn> {
        let mut from = 0;
        while let Some(rank) = self.cpu_hints.next(from) {
            let cache = self.caches.get(rank)?;
            if let Some(pfn) = steal(cache) {
                return Some(pfn);
            }
            self.clear_hint(rank, cache);
            from = rank + 1;
        }
        None
    }

    /// Clears the hint of a CPU whose words hold nothing, if they can be held without a barrier: it is only a hint.
    pub(in crate::zone) fn clear_hint(&self, rank: usize, cache: &CpuCache) {
        let Some(_held) = self.held(cache, Barriers::Forbidden) else { return };
        if cache.frames() == 0 {
            if planted(Mutant::HintClearKeepsGroups) {
                return self.cpu_hints.clear(rank, || cache.frames() > 0);
            }
            cache.disown();
            self.cpu_hints.clear(rank, || cache.is_owner());
        }
    }

    fn steal_word(&self, cache: &CpuCache, want: Want) -> Option<Pfn> {
        if cache.is_owned() && cache.in_words() < want.frames() {
            return None; // not worth a barrier
        }
        let _held = self.held(cache, want.barriers)?;
        cache.take_any(Locked, want.order).map(|hit| self.frame(hit))
    }

    /// Serves a run of up to a block from what the CPU has here itself.
    #[inline(always)]
    pub(crate) fn take_own(&self, cpu: &Cpu<'_>, cache: &CpuCache, request: &Request) -> Option<Pfn> {
        match request.order {
            _ if request.cacheable => self.take_cached(cpu, cache, request.kind, request.order),
            Order::BLOCK if !request.is_placed() => self.take_kept_block(cache, request.kind),
            _ => None,
        }
    }

    /// Whether taking a cached run leaves count and cached frames at or above the floor.
    fn cached_above_floor(&self, want: Want) -> bool {
        let free = self.free();
        free >= want.floor || free + self.cached() >= want.floor + want.frames()
    }

    /// Frames in slot words now, each read once. Reads the words that the hints name if those name all.
    pub(crate) fn cached(&self) -> u64 {
        let look = Look::at(self);
        let (mut frames, mut from) = (0, 0);
        while let Some(rank) = self.cpu_hints.next(from) {
            frames += self.caches.get(rank).map_or(0, CpuCache::frames);
            from = rank + 1;
        }
        if !look.saw_all(self) {
            return self.caches.iter().map(CpuCache::frames).sum();
        }
        frames
    }

    /// Takes a word's frames by `take` and lands them, on the move meanwhile.
    pub(in crate::zone) fn land_emptied(&self, take: impl FnOnce() -> Slot) -> u64 {
        self.count.enter(GROUP_FRAMES);
        let slot = take();
        if slot.mask() != 0 {
            self.land_group(slot.group(), slot.mask());
        }
        self.count.leave(GROUP_FRAMES);
        u64::from(slot.mask().count_ones())
    }
}
