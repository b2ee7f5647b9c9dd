//! One CPU as zones see it: the lines its hits find their frames in, and the hints that say in which word.
//!
//! The hints are plain bytes that only this CPU is likely to touch: any value is correct. They lie here and not beside
//! the words so that a hit reads the hint and the words' address at the same time.

use crate::cache::word::Put;
use crate::cache::{CpuCache, SLOTS, WORDS};
use crate::frame::{BLOCK_FRAMES, BlockIndex, FrameRange, GROUP_FRAMES, GroupIndex, NodeId, Order, Pfn};
use crate::sync::{AtomicU8, Ordering};
use crate::topology::{Kind, ZoneKind};
use crate::zone::{Block, Zone};

/// A CPU. A power of two long: found by a shift.
#[repr(align(256))]
pub(crate) struct Cpu<'m> {
    /// For each highest zone kind, the first zone of its node's list, if the CPU has words there.
    homes: [Option<Home<'m>>; 4],
    /// The frames of the home for [`ZoneKind::Normal`] where a frame's number leads to its block at once: the zone has
    /// no holes of whole sections, and no other zone's block lies in it. Else empty.
    stretch: FrameRange,
    pub(crate) node: NodeId,
    /// Its place in the order in which zones have lines for CPUs.
    pub(crate) rank: u32,
}

/// A zone and a CPU's words for it, and what a frame's number is made of.
pub(crate) struct Home<'m> {
    pub(crate) zone: &'m Zone<'m>,
    pub(crate) cache: &'m CpuCache,
    /// The zone's base.
    base: Pfn,
    /// Hints, a kind: the word that last had frames to give.
    giving: [AtomicU8; 3],
    /// Hint: the word that last matched a free.
    taking: AtomicU8,
}

impl<'m> Cpu<'m> {
    /// A CPU without homes.
    pub(crate) fn new(node: NodeId, rank: u32) -> Self {
        let nowhere = FrameRange::new(Pfn::new(0), Pfn::new(0));
        Self { homes: [const { None }; 4], stretch: nowhere, node, rank }
    }

    /// The CPU with `first(kind)`, the first zone of its node's list for requests up to `kind`, as its homes.
    pub(crate) fn at_home(self, first: impl Fn(ZoneKind) -> Option<&'m Zone<'m>>) -> Self {
        let homes = ZoneKind::ALL.map(|kind| {
            let zone = first(kind)?;
            Some(Home {
                zone,
                cache: zone.cache_of(&self)?,
                base: zone.base,
                giving: Kind::ALL.map(|kind| AtomicU8::new(CpuCache::first_word(kind) as u8)),
                taking: AtomicU8::new(0),
            })
        });
        let plain = homes[ZoneKind::Normal as usize].as_ref().filter(|home| home.zone.is_plain());
        let stretch = plain.map_or(self.stretch, |home| home.zone.span);
        Self { homes, stretch, ..self }
    }

    /// Takes a run of `order` (at most a group) from the word that last gave one of its kind: one locked step.
    #[inline]
    pub(crate) fn take(&self, highest: ZoneKind, kind: Kind, order: Order) -> Option<Pfn> {
        let home = self.home(highest)?;
        let at = usize::from(home.giving[kind as usize].load(Ordering::Relaxed)); // Relaxed: a hint
        let (group, first) = home.cache.word(at)?.take(order)?;
        Some(home.base.add(u64::from(group.0) * GROUP_FRAMES + u64::from(first)))
    }

    /// Puts frames of one group, the first of them `pfn`, into the word that last matched a free: one locked step.
    #[inline]
    pub(crate) fn put(&self, pfn: Pfn, mask: u32) -> Put {
        let Some(home) = self.home(ZoneKind::Normal).filter(|_| self.stretch.contains(pfn)) else {
            return Put::OtherGroup;
        };
        let group = GroupIndex((pfn.get().wrapping_sub(home.base.get()) / GROUP_FRAMES) as u32);
        let at = usize::from(home.taking.load(Ordering::Relaxed)); // Relaxed: a hint
        home.cache.word(at).map_or(Put::OtherGroup, |word| word.put(group, mask))
    }

    /// The first zone of the CPU's node for requests up to `highest`, if it has words there.
    #[inline]
    pub(crate) fn home(&self, highest: ZoneKind) -> Option<&Home<'m>> {
        self.homes[highest as usize].as_ref()
    }

    /// The home and the block of a frame in the CPU's stretch, if it is there and the block holds frames.
    #[inline]
    pub(crate) fn block(&self, pfn: Pfn) -> Option<(&Home<'m>, Block<'m>)> {
        let home = self.home(ZoneKind::Normal).filter(|_| self.stretch.contains(pfn))?;
        let index = (pfn.get().wrapping_sub(home.base.get()) / BLOCK_FRAMES) as usize;
        let block = Block {
            index: BlockIndex(index as u32),
            start: Pfn::new(pfn.get() / BLOCK_FRAMES * BLOCK_FRAMES),
            entry: home.zone.entries.get(index)?,
            bitmap: home.zone.bitmaps.get(index)?,
        };
        (block.entry.load().managed() > 0).then_some((home, block))
    }

    /// Remembers that word `at` of the cache has frames of this kind to give.
    pub(crate) fn note_giving(&self, cache: &CpuCache, kind: Kind, at: usize) {
        for home in self.homes.iter().flatten().filter(|home| core::ptr::eq(home.cache, cache)) {
            home.giving[kind as usize].store(at as u8, Ordering::Relaxed); // Relaxed: a hint
        }
    }

    /// Remembers that word `at` of the cache, one of the kind's, took what was freed: it has frames to give, too.
    pub(crate) fn note_put(&self, cache: &CpuCache, kind: Kind, at: usize) {
        // Relaxed, all: hints. Mostly they say so already, and all homes with these words say the same.
        let known = |home: &Home<'_>| home.giving[kind as usize].load(Ordering::Relaxed) == at as u8;
        if self.last_put(kind) == at && self.home(ZoneKind::Normal).is_some_and(known) {
            return;
        }
        for home in self.homes.iter().flatten().filter(|home| core::ptr::eq(home.cache, cache)) {
            home.giving[kind as usize].store(at as u8, Ordering::Relaxed);
            home.taking.store(at as u8, Ordering::Relaxed);
        }
    }

    /// The word of the kind that last matched a free of this CPU's; out of range if another kind's did.
    pub(crate) fn last_put(&self, kind: Kind) -> usize {
        let home = self.home(ZoneKind::Normal);
        let at = home.map_or(WORDS, |home| usize::from(home.taking.load(Ordering::Relaxed))); // Relaxed: a hint
        if at.wrapping_sub(CpuCache::first_word(kind)) < SLOTS { at } else { WORDS }
    }
}
