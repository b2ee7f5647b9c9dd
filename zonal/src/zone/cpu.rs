//! One CPU as zones see it: its homes, which of them comes first, and what it counts.

use core::ptr;

use crate::block::entry::Snapshot;
use crate::cache::CpuCache;
use crate::cache::hand::Hand;
use crate::cache::word::{Put, SlotWord};
use crate::events::{Counter, Counting, Event, EventRow, Numa, Traffic};
use crate::frame::{
    BLOCK_FRAMES, BlockIndex, FrameRange, GROUP_FRAMES, GroupIndex, NodeId, Order, Pfn, ZoneId,
};
use crate::sync::{AtomicU8, Ordering};
use crate::topology::{Kind, ZoneKind};
use crate::zone::home::Home;
use crate::zone::{Block, Zone};

/// No home.
const AWAY: u8 = u8::MAX;

/// A CPU. A power of two long: found by a shift.
#[repr(align(1024))]
pub(crate) struct Cpu<'m> {
    /// The zones that come first in its node's list or may do so one day, where it has words ([`Cpu::at_home`]).
    homes: [Option<Home<'m>>; 4],
    /// Hint: for each highest zone kind, the home that is its list's first zone now, or [`AWAY`].
    first: [AtomicU8; 4],
    /// The frames of the home at [`ZoneKind::Normal`] where a frame's number leads to its block at once and for good
    /// ([`Zone::stretch`]). Else empty.
    stretch: FrameRange,
    /// Frames from the base of the home at [`ZoneKind::Normal`] to the end of its reach.
    reach: u64,
    pub(crate) node: NodeId,
    /// Its place in the order in which zones have lines for CPUs.
    pub(crate) rank: u32,
    /// Frames freed here, in whatever zone.
    freed: Counter,
    counting: Counting,
    events: &'m EventRow,
    /// What it took otherwise than by hits, by zone.
    traffic: &'m [Traffic],
}

impl<'m> Cpu<'m> {
    /// A CPU without homes.
    pub(crate) fn new(
        (node, rank): (NodeId, u32),
        (events, traffic): (&'m EventRow, &'m [Traffic]),
        counting: Counting,
    ) -> Self {
        Self {
            homes: [const { None }; 4],
            first: ZoneKind::ALL.map(|_| AtomicU8::new(AWAY)),
            stretch: FrameRange::new(Pfn::new(0), Pfn::new(0)),
            reach: 0,
            node,
            rank,
            freed: Counter::default(),
            counting,
            events,
            traffic,
        }
    }

    /// The CPU with homes: `first(kind)`, the first zone of its node's list for requests up to `kind`, and the zones of its
    /// node, `own`, that may come first one day. Where its stretch may lie, the first zone for [`ZoneKind::Normal`], stands
    /// at that kind's place, the others as they come.
    pub(crate) fn at_home(
        self,
        own: &'m [Zone<'m>],
        first: impl Fn(ZoneKind) -> Option<&'m Zone<'m>>,
    ) -> Self {
        let mut homes = [const { None }; 4];
        let (normal, firsts) = (first(ZoneKind::Normal), ZoneKind::ALL.into_iter().filter_map(&first));
        let mut places = [ZoneKind::Normal, ZoneKind::Movable, ZoneKind::Dma32, ZoneKind::Dma].into_iter();
        for zone in normal.into_iter().chain(own.iter().rev()).chain(firsts) {
            let is_new = !homes.iter().flatten().any(|home: &Home<'_>| home.zone.id == zone.id);
            if let Some(cache) = zone.cache_of(&self).filter(|_| is_new) {
                let Some(place) = places.next() else { break };
                homes[place as usize] = Some(Home::new(zone, cache));
            }
        }
        let normal = homes[ZoneKind::Normal as usize].as_ref().map(|home| home.zone);
        let stretch = normal.and_then(Zone::stretch).unwrap_or(self.stretch);
        let reach = normal.map_or(0, |zone| zone.reach.end.get().saturating_sub(zone.base.get()));
        let cpu = Self { homes, stretch, reach, ..self };
        cpu.rehome(|kind| first(kind).map(|zone| zone.id));
        cpu
    }

    /// Notes which homes are the first zones of its node's list now.
    pub(crate) fn rehome(&self, first: impl Fn(ZoneKind) -> Option<ZoneId>) {
        for (kind, place) in ZoneKind::ALL.into_iter().zip(&self.first) {
            let is_first = |home: &Option<Home<'_>>| home.as_ref().map(|home| home.zone.id) == first(kind);
            let at = self.homes.iter().position(|home| home.is_some() && is_first(home));
            place.store(at.map_or(AWAY, |at| at as u8), Ordering::Relaxed); // Relaxed: a hint
        }
    }

    /// Whether the home at [`ZoneKind::Normal`] comes first for such requests, as it mostly does.
    #[inline(always)]
    pub(crate) fn is_at_home(&self, highest: ZoneKind) -> bool {
        self.first[highest as usize].load(Ordering::Relaxed) == ZoneKind::Normal as u8 // Relaxed: a hint
    }

    /// Takes a frame from the word that last gave one of its kind, at home: one step, by the hand that `hand` says.
    #[inline(always)]
    pub(crate) fn take_frame<H: Hand>(
        &self,
        hand: impl FnOnce(&'m CpuCache) -> H,
        highest: ZoneKind,
        kind: Kind,
    ) -> Option<Pfn> {
        // Asked beforehand so that the processor need not wait for the hint to find the word.
        if !self.is_at_home(highest) {
            return None;
        }
        self.stretch_home()?.take(hand, kind, Order::ZERO)
    }

    /// The same of a run of `order` (at most a group), wherever the requests' first zone is.
    #[inline]
    pub(crate) fn take<H: Hand>(
        &self,
        hand: impl FnOnce(&'m CpuCache) -> H,
        highest: ZoneKind,
        kind: Kind,
        order: Order,
    ) -> Option<Pfn> {
        self.home(highest)?.take(hand, kind, order)
    }

    /// Takes a frame from the word behind the one that last gave one of its kind: a batch fills words in their order.
    #[inline]
    pub(crate) fn take_next<H: Hand>(
        &self,
        hand: impl FnOnce(&'m CpuCache) -> H,
        highest: ZoneKind,
        kind: Kind,
    ) -> Option<Pfn> {
        let home = self.home(highest)?;
        let giving = &home.giving[kind as usize];
        let word = home.cache.word_behind(kind, giving.get())?;
        let hand = hand(home.cache);
        let (group, first) = word.take(hand, Order::ZERO)?;
        // Mostly one of a batch that gives single frames: the next one is a hit then.
        let next = if word.expected(hand).mask() != 0 { None } else { home.cache.word_behind(kind, word) };
        giving.set(next.unwrap_or(word));
        home.hits[0].add(1);
        Some(home.zone.frame((group, first)))
    }

    /// Puts a run (at most a group) into the word that last matched a free: one step, by the hand that `hand` says.
    #[inline]
    pub(crate) fn put<H: Hand>(&self, hand: impl FnOnce(&'m CpuCache) -> H, pfn: Pfn, order: Order) -> Put {
        let Some(home) = self.stretch_home() else { return Put::OtherGroup };
        // No word has a group of another zone's frames: what lies in the zone's reach is told apart by its word.
        let frame = pfn.get().wrapping_sub(home.base.get());
        if frame >= self.reach {
            return Put::OtherGroup;
        }
        let group = GroupIndex((frame / GROUP_FRAMES) as u32);
        let put = home.taking.get().put(hand(home.cache), group, group_mask(pfn, order));
        if put == Put::Kept {
            self.freed.add(order.frames());
        }
        put
    }

    /// Whether the word that last matched a free has given all its frames since.
    #[inline(always)]
    pub(crate) fn has_given(&self, hand: impl Hand) -> bool {
        self.stretch_home().and_then(|home| home.given(hand)).is_some()
    }

    /// Puts a frame of a group that no word has into that word, in place of its group, if the next frame of this kind is to come
    /// from it: what becomes of most frees in a zone that is freed all over. False, and nothing has changed, where the
    /// frame is free already or goes another way.
    #[inline]
    pub(crate) fn replace_frame<H: Hand>(&self, hand: impl FnOnce(&'m CpuCache) -> H, pfn: Pfn) -> bool {
        let Some((home, block, entry)) = self.block(pfn) else { return false };
        let hand = hand(home.cache);
        let Some((word, given)) = home.given(hand) else { return false };
        let goes = ptr::eq(word, home.giving[entry.kind() as usize].get())
            && home.zone.replace_given((home.cache, hand), (word, given), (block, entry), pfn);
        if goes {
            self.freed.add(1);
        }
        goes
    }

    /// Whether the frame is of the block that the CPU's tab is of.
    #[inline(always)]
    pub(crate) fn has_tab_of(&self, pfn: Pfn) -> bool {
        self.stretch_home().is_some_and(|home| home.cache.tab.is_of(home.block_number(pfn)))
    }

    /// Frees a frame of that block; false, and nothing has changed, if it goes another way.
    #[inline(always)]
    pub(crate) fn put_on_tab(&self, pfn: Pfn) -> bool {
        let Some(home) = self.stretch_home() else { return false };
        let goes = home.zone.put_on_tab(home.cache, pfn, home.block_number(pfn));
        if goes {
            self.freed.add(1);
        }
        goes
    }

    /// Frees a frame of another block on the tab, if the CPU has freed several along the one before it. Else, if this is the second
    /// in its block, the next one may come there.
    #[inline(always)]
    pub(crate) fn turn_tab(&self, pfn: Pfn) -> bool {
        let Some(home) = self.stretch_home().filter(|home| home.zone.own_words.is_some()) else {
            return false;
        };
        let number = home.block_number(pfn);
        let opens = home.cache.tab.is_used() || home.cache.frees_on_in(number as u32);
        opens
            && self.stretch.contains(pfn)
            && !home.cache.tab.is_of(number)
            && self.turn_tab_to(home, pfn, number)
    }

    #[inline(never)]
    fn turn_tab_to(&self, home: &Home<'m>, pfn: Pfn, number: u64) -> bool {
        home.zone.turn_over(home.cache, number as u32);
        home.cache.tab.is_of(number) && self.put_on_tab(pfn)
    }

    /// Notes that something happened here, `number` times.
    pub(crate) fn count(&self, event: Event, number: u64) {
        self.events.of(event).add_by(self.counting, number);
    }

    /// Notes frames that are freed here otherwise than by a hit.
    #[inline]
    pub(crate) fn count_freed(&self, frames: u64) {
        self.freed.add_by(self.counting, frames);
    }

    /// Notes a run of `order` taken from the zone that the request preferred, otherwise than by a hit.
    #[inline]
    pub(crate) fn count_taken(&self, zone: &Zone<'_>, order: Order) {
        if let Some(traffic) = self.traffic.get(usize::from(zone.id.0)) {
            traffic.runs.add_by(self.counting, 1);
            traffic.frames.add_by(self.counting, order.frames());
        }
    }

    /// Notes `runs` runs of `order` taken from a zone, for requests that may have preferred another one.
    pub(crate) fn count_found(&self, zone: &Zone<'_>, preferred: &Zone<'_>, (runs, order): (u64, Order)) {
        let of = |zone: &Zone<'_>| self.traffic.get(usize::from(zone.id.0));
        let (Some(traffic), Some(wanted)) = (of(zone), of(preferred)) else { return };
        traffic.runs.add_by(self.counting, runs);
        traffic.frames.add_by(self.counting, runs * order.frames());
        if preferred.node != zone.node {
            traffic.missed.add_by(self.counting, runs);
            wanted.foreign.add_by(self.counting, runs);
        }
    }

    /// Notes runs taken from a zone of the node whose turn it was.
    pub(crate) fn count_interleaved(&self, zone: &Zone<'_>, runs: u64) {
        let traffic = self.traffic.get(usize::from(zone.id.0));
        traffic.into_iter().for_each(|traffic| traffic.interleaved.add_by(self.counting, runs));
    }

    /// How often something happened here.
    pub(crate) fn events(&self, event: Event) -> u64 {
        self.events.of(event).get()
    }

    /// Frames freed here.
    pub(crate) fn freed(&self) -> u64 {
        self.freed.get()
    }

    /// Frames taken here from a zone, and where requests found their runs.
    pub(crate) fn taken(&self, zone: &Zone<'_>) -> (u64, Numa) {
        let homes = self.homes.iter().flatten().filter(|home| home.zone.id == zone.id);
        let hits = homes.flat_map(|home| home.hits.iter().zip(0..).map(|(hits, order)| (hits.get(), order)));
        let (runs, frames) = hits.fold((0, 0), |(runs, frames), (hits, order)| {
            (runs + hits, frames + hits * Order::from_raw(order).frames())
        });
        let Some(traffic) = self.traffic.get(usize::from(zone.id.0)) else { return (0, Numa::default()) };
        let (runs, miss) = (runs + traffic.runs.get(), traffic.missed.get());
        let (local, other) = if zone.node == self.node { (runs, 0) } else { (0, runs) };
        let (hit, foreign) = (runs.saturating_sub(miss), traffic.foreign.get());
        let numa = Numa { hit, miss, foreign, interleave: traffic.interleaved.get(), local, other };
        (frames + traffic.frames.get(), numa)
    }

    /// The first zone of the CPU's node for requests up to `highest`, if it has words there.
    #[inline]
    pub(crate) fn home(&self, highest: ZoneKind) -> Option<&Home<'m>> {
        let at = self.first[highest as usize].load(Ordering::Relaxed); // Relaxed: a hint
        self.homes.get(usize::from(at))?.as_ref()
    }

    /// The home at [`ZoneKind::Normal`], which the CPU's reach and stretch are of.
    #[inline]
    fn stretch_home(&self) -> Option<&Home<'m>> {
        self.homes[ZoneKind::Normal as usize].as_ref()
    }

    /// The home and the block of a frame in the CPU's stretch, if it is there and the block holds frames, and the entry as it was seen.
    #[inline]
    pub(crate) fn block(&self, pfn: Pfn) -> Option<(&Home<'m>, Block<'m>, Snapshot)> {
        let home = self.stretch_home().filter(|_| self.stretch.contains(pfn))?;
        let index = (pfn.get().wrapping_sub(home.base.get()) / BLOCK_FRAMES) as usize;
        let block = Block {
            index: BlockIndex(index as u32),
            start: Pfn::new(pfn.get() / BLOCK_FRAMES * BLOCK_FRAMES),
            entry: home.zone.entries.get(index)?,
            bitmap: home.zone.bitmaps.get(index)?,
        };
        let entry = block.entry.load();
        (entry.managed() > 0).then_some((home, block, entry))
    }

    /// Remembers that word `at` of the cache has frames of this kind to give.
    pub(crate) fn note_giving(&self, cache: &CpuCache, kind: Kind, at: usize) {
        // Mostly; and no other home has these words then.
        if let Some((home, word)) = self.stretch_home().zip(cache.word(at))
            && ptr::eq(home.cache, cache)
        {
            return home.giving[kind as usize].set(word);
        }
        for (home, word) in self.words_at(cache, at) {
            home.giving[kind as usize].set(word);
        }
    }

    /// Remembers that word `at` of the cache, one of the kind's, took what was freed: it has frames to give, too.
    #[inline]
    pub(crate) fn note_put(&self, cache: &CpuCache, kind: Kind, at: usize) {
        // Mostly they say so already, and all homes with these words say the same.
        let is_noted = |(home, word): (&Home<'_>, &SlotWord)| {
            ptr::eq(home.giving[kind as usize].get(), word) && ptr::eq(home.taking.get(), word)
        };
        if !self.stretch_home().zip(cache.word(at)).is_some_and(is_noted) {
            self.note_putting(cache, kind, at);
        }
    }

    #[inline(never)]
    fn note_putting(&self, cache: &CpuCache, kind: Kind, at: usize) {
        for (home, word) in self.words_at(cache, at) {
            home.giving[kind as usize].set(word);
            home.taking.set(word);
        }
    }

    /// The homes with these words, and word `at`.
    fn words_at(&self, cache: &CpuCache, at: usize) -> impl Iterator<Item = (&Home<'m>, &'m SlotWord)> {
        let homes = self.homes.iter().flatten().filter(move |home| ptr::eq(home.cache, cache));
        homes.filter_map(move |home| Some((home, home.cache.word(at)?)))
    }

    /// The word that last matched a free of this CPU's, whatever its kind.
    #[inline(always)]
    pub(crate) fn last_put(&self) -> Option<&'m SlotWord> {
        self.stretch_home().map(|home| home.taking.get())
    }
}

/// A run's frames in its group; order at most a group.
#[inline]
pub(crate) fn group_mask(pfn: Pfn, order: Order) -> u32 {
    let run = ((1u64 << order.frames()) - 1) as u32;
    run << (pfn.get() % GROUP_FRAMES)
}
