//! Several words at once, for a CPU that takes frame after frame, or frees them (Linux: `pcp->alloc_factor`, `free_count`).
//!
//! *Refills*: the groups come out of the block that served last, for one claim on the zone and one on the block, and are on the
//! move together until all of them are in words. How many is [`CpuCache::batch`]'s to say. Only above the high mark, only out of
//! a block that has two frames at least, and only into words that hold nothing: a CPU caches no more than its words hold. Where
//! frames lie scattered that is a frame or two a group, for one search and one claim.
//!
//! *Evictions*: with a word that is whole others go that are of the same block and whole, too.
//!
//! An interrupt between two steps leaves what is claimed or taken out on the move, as with a single group.

use crate::block::entry::Snapshot;
use crate::cache::hand::{AnyHand, Hand, Locked};
use crate::cache::hold::Barriers;
use crate::cache::known::Known;
use crate::cache::room::BESIDE;
use crate::cache::word::{Slot, SlotWord};
use crate::cache::{CpuCache, SLOTS};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, GroupIndex, Order, Pfn, ROW_FRAMES, ROWS};
use crate::mutant::{Mutant, planted};
use crate::topology::Kind;
use crate::zone::search::Offer;
use crate::zone::take::take_scattered;
use crate::zone::{Block, Cpu, Mixing, Want, Zone};

/// Frames that a block has for a batch, at least.
const LEAST: u64 = 2;
/// Frames of a batch, at most. Models have small zones.
const MOST: u64 = if cfg!(any(zonal_loom, zonal_shuttle)) { 0 } else { SLOTS as u64 * GROUP_FRAMES };

impl<'m> Zone<'m> {
    /// Serves a frame from the block that served last, or the next best, and puts the rest of that group and more of its groups
    /// into words: up to `groups` in all. `None`: the block does not have two frames for this, or the CPU not the words, or
    /// the zone is not above its high mark.
    #[inline(never)]
    pub(in crate::zone) fn refill_batch(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        want: Want,
        groups: usize,
    ) -> Option<Pfn> {
        match self.refill_near((cpu, cache), want, (groups, 2)) {
            Offer::Taken(pfn) => Some(pfn),
            Offer::Stop => None,
            Offer::Next => {
                let groups = groups.min(cache.vacant_words(want.kind));
                let want = Want { floor: self.batch_floor(want), ..want };
                self.search_batch((cpu, cache), want, cache.start_block(want.kind), groups)
            }
        }
    }

    /// The same from the block that served last, or one hinted beside it, into `least` words at least.
    #[inline(never)]
    fn refill_near(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        want: Want,
        (groups, least): (usize, usize),
    ) -> Offer<Pfn> {
        let vacant = cache.vacant_words(want.kind);
        let want = Want { floor: self.batch_floor(want), ..want };
        // Nor what all CPUs may have on the move at once: nobody is to be refused for what a batch that sleeps has in hand.
        if vacant < least || !self.count.spares(self.caches.len() as u64 * MOST, want.floor) {
            return Offer::Stop;
        }
        match self.near(want.kind, Order::ZERO, cache.start_block(want.kind)) {
            Some((block, entry)) => {
                self.offer_batch((cpu, cache), want, (block, entry, None), groups.min(vacant))
            }
            None => Offer::Next,
        }
    }

    /// A batch for who has taken frame after frame so far, and has none in a word: into all of them, from the block that served last,
    /// unless the zone is to be `passed`.
    #[inline(always)]
    pub(crate) fn refill_on(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        (kind, floor): (Kind, u64),
        passed: impl FnOnce() -> bool,
    ) -> Option<Pfn> {
        if !cache.takes_on(kind) || !self.is_ample() || passed() {
            return None;
        }
        let (mixing, barriers) = (Mixing::Avoided, Barriers::Forbidden);
        let want = Want { order: Order::ZERO, kind, floor, mixing, barriers };
        match self.refill_near((cpu, cache), want, (SLOTS, SLOTS)) {
            Offer::Taken(pfn) => Some(pfn),
            Offer::Next | Offer::Stop => None,
        }
    }

    /// Neither mark nor protection is left for what is not asked for yet.
    fn batch_floor(&self, want: Want) -> u64 {
        match planted(Mutant::BatchBelowFloor) {
            true => self.marks.high(),
            false => self.marks.high().max(want.floor),
        }
    }

    #[inline(never)]
    fn search_batch(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        want: Want,
        start: usize,
        groups: usize,
    ) -> Option<Pfn> {
        let offer = |block: Block<'m>, retype| {
            self.offer_batch((cpu, cache), want, (block, block.entry.load(), retype), groups)
        };
        self.search(want, start, offer).ok()
    }

    /// A batch from this block; [`Offer::Stop`] where it is a refill of one group that serves better.
    #[inline(always)]
    fn offer_batch(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        Want { kind, floor, .. }: Want,
        (block, entry, retype): (Block<'m>, Snapshot, Option<Kind>),
        groups: usize,
    ) -> Offer<Pfn> {
        let frames = entry.count().min(groups as u64 * GROUP_FRAMES);
        let is_own = entry.kind() == kind || retype.is_some();
        // Looked at first, so that a batch that may not be costs nothing on the zone's line.
        let spares = self.count.spares(frames, floor);
        if groups < 2 || frames < LEAST || !is_own || !entry.is_cacheable() || !spares {
            return Offer::Stop;
        }
        let announced = if planted(Mutant::BatchUnannounced) { 0 } else { frames };
        let announcement = (self.enter(cache, announced), announced);
        let offer = match self.claim(Some(cache), (frames, frames), floor) {
            Ok(counted) => self.take_batch((cpu, cache), kind, (block, retype), (counted, groups)),
            Err(_) => Offer::Stop,
        };
        self.leave(cache, announcement);
        offer
    }

    /// With `counted` frames claimed from the zone: takes groups of the block, and gives the zone back what is left.
    #[inline(always)]
    fn take_batch(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        kind: Kind,
        (block, retype): (Block<'m>, Option<Kind>),
        (counted, groups): (u64, usize),
    ) -> Offer<Pfn> {
        let claimed = self.claim_block(block, counted, 1, retype);
        let (served, taken) = match claimed {
            Some(claimed) => self.fill_batch((cpu, cache), kind, block, (claimed, groups)),
            None => (None, 0),
        };
        let claimed = claimed.unwrap_or(0);
        let spare = counted - claimed + self.return_claim(block, claimed - taken);
        if spare > 0 {
            self.count.raise(spare);
        }
        cache.remember_block(kind, block.index.0);
        served.map_or(Offer::Next, Offer::Taken)
    }

    /// Puts up to `groups` groups of the block into words, of which `claimed` frames are claimed, but for the frame that is
    /// served: that, and how many frames it took.
    #[inline(always)]
    fn fill_batch(
        &self,
        (cpu, cache): (&Cpu<'_>, &CpuCache),
        kind: Kind,
        block: Block<'m>,
        (claimed, groups): (u64, usize),
    ) -> (Option<Pfn>, u64) {
        let mut haul = gather(block, self.group_of(block.start), claimed as u32, groups);
        let [first, ..] = haul.slots;
        let Some((frame, left)) = first.without_frame() else { return (None, u64::from(haul.frames)) };
        let served = self.frame((left.group(), frame));
        // Mostly that was all of its group.
        haul.slots[0] = left;
        let slots = haul.slots.get(usize::from(left.mask() == 0)..haul.filled).unwrap_or_default();
        match self.hand(cache) {
            AnyHand::Locked => self.fill_words((cpu, cache, Locked), kind, slots),
            AnyHand::Own(own) => self.fill_words((cpu, cache, own), kind, slots),
        }
        self.expel_block((cache, kind), block);
        (Some(served), u64::from(haul.frames))
    }

    /// Puts groups of one block into words that hold nothing, on the move already, or back.
    #[inline(never)]
    fn fill_words(&self, (cpu, cache, hand): (&Cpu<'_>, &CpuCache, impl Hand), kind: Kind, slots: &[Slot]) {
        let (mut giving, mut left, mut joined) = (None, Known::default(), Known::default());
        let mut words = cache.words_of(kind);
        for &to in slots {
            let Some((at, word, from)) = next_vacant(&mut words) else {
                self.land_group(to.group(), to.mask());
                continue;
            };
            giving = giving.or(Some(at));
            joined = joined.with(to.group());
            if !from.is_owned() {
                self.fill_empty(cache, word, (from, to));
            } else if word.refill(hand, from, to) {
                left = cache.groups.leave_with(left, from.group());
            } else {
                self.land_group(to.group(), to.mask());
            }
        }
        if let Some(at) = giving {
            cpu.note_giving(cache, kind, at);
        }
        cache.groups.finish(left, joined);
    }

    /// Fills a word that is of no group, on the move already, or puts the frames back.
    #[cold]
    #[inline(never)]
    fn fill_empty(&self, cache: &CpuCache, word: &SlotWord, (from, to): (Slot, Slot)) {
        let frames = u64::from(to.mask().count_ones());
        let owns = || self.own((cache, word), self.hand(cache), frames, (from, to));
        if owns() {
            cache.note_groups();
        } else {
            self.land_group(to.group(), to.mask());
        }
    }

    /// After the installs: empties the words again if the block has been isolated or poisoned since it was looked at, as after
    /// any install.
    #[inline(always)]
    fn expel_block(&self, (cache, kind): (&CpuCache, Kind), block: Block<'m>) {
        if block.entry.load().is_kept_out() && !planted(Mutant::BatchWhileIsolated) {
            self.expel_words((cache, kind), block);
        }
    }

    #[cold]
    #[inline(never)]
    fn expel_words(&self, (cache, kind): (&CpuCache, Kind), block: Block<'m>) {
        let groups = self.group_of(block.start)..=self.group_of(block.start.add(BLOCK_FRAMES - 1));
        for (at, word) in cache.words_of(kind) {
            let group = word.load().group();
            if groups.contains(&group) {
                self.expel_now(cache, at, group);
            }
        }
    }

    /// Exchanges what a word holds for `to` and lands it; if that is a whole group, other whole groups of its block with it.
    #[inline(never)]
    pub(crate) fn evict(&self, cache: &CpuCache, at: usize, from: Slot, to: Slot) -> bool {
        let Some(word) = cache.word(at) else { return false };
        let others = if from.is_whole() { cache.whole_beside(at, from.group()) } else { [None; BESIDE] };
        let count = others.iter().flatten().count() as u64;
        let frames = u64::from(from.mask().count_ones()) + count * GROUP_FRAMES;
        self.count.enter(frames);
        let evicted = word.refill(self.hand(cache), from, to);
        if evicted {
            let lost = if planted(Mutant::EvictionDropsFrame) {
                from.mask() & from.mask().wrapping_neg()
            } else {
                0
            };
            let landing = Slot::new(from.group(), from.mask() & !lost);
            match count {
                0 => self.land_group(landing.group(), landing.mask()),
                _ => self.land_with(cache, landing, others),
            }
        }
        self.count.leave(frames);
        evicted
    }

    /// Lands a group, and what those words of its block still hold: the entry and the zone's count are raised once.
    fn land_with(&self, cache: &CpuCache, landing: Slot, others: [Option<(usize, Slot)>; BESIDE]) {
        let mut masks = [0; ROWS];
        let mut add = |slot: Slot| {
            let (row, shift) = place(slot.group());
            masks[row] |= u64::from(slot.mask()) << shift;
        };
        add(landing);
        let hand = self.hand(cache);
        let emptied =
            |&(at, slot): &(usize, Slot)| cache.word(at).is_some_and(|word| word.take_all(hand, slot));
        others.into_iter().flatten().filter(emptied).for_each(|(_, slot)| add(slot));
        let Some(block) = self.block_of(self.group_start(landing.group())) else { return };
        let (counted, _) = self.land_rows_uncounted(block, &masks); // they were taken from there, so they land
        if counted > 0 {
            self.raise_count(counted);
        }
    }
}

/// The next of the words that holds nothing, and what it says.
#[inline(always)]
fn next_vacant<'c>(
    words: &mut impl Iterator<Item = (usize, &'c SlotWord)>,
) -> Option<(usize, &'c SlotWord, Slot)> {
    words.map(|(at, word)| (at, word, word.load())).find(|(.., slot)| slot.is_fillable())
}

/// Groups that were taken out of a block.
struct Haul {
    slots: [Slot; SLOTS],
    filled: usize,
    frames: u32,
}

/// Takes `claimed` frames of the block, fewer if they do not fit in `groups` groups. A function of its own: all it needs stays in registers.
#[inline(never)]
fn gather(block: Block<'_>, first: GroupIndex, claimed: u32, groups: usize) -> Haul {
    let (mut slots, mut filled) = ([Slot::EMPTY; SLOTS], 0);
    let frames = take_scattered(block, claimed, groups.min(SLOTS), |row, half, mask| {
        let group = first.0 + (row * 2) as u32 + half as u32;
        if let Some(slot) = slots.get_mut(filled) {
            *slot = Slot::new(GroupIndex(group), mask);
            filled += 1;
        }
    });
    Haul { slots, filled, frames }
}

/// A group's row in its block, and its first bit there.
fn place(group: GroupIndex) -> (usize, u64) {
    let half = u64::from(group.0) % (ROW_FRAMES / GROUP_FRAMES);
    ((u64::from(group.0) * GROUP_FRAMES / ROW_FRAMES) as usize % ROWS, half * GROUP_FRAMES)
}
