//! A zone that a CPU has words for, as its hits see it: all that a hit of a frame touches lies on one line.
//!
//! The hints are plain words that only this CPU is likely to touch: any of the cache's words is correct. They lie here and not
//! beside the words so that a hit has its word's address at once.

use core::marker::PhantomData;
use core::ptr;

use crate::cache::CpuCache;
use crate::cache::hand::Hand;
use crate::cache::word::{Slot, SlotWord};
use crate::events::Counter;
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, Order, Pfn};
use crate::sync::{AtomicPtr, Ordering};
use crate::topology::Kind;
use crate::zone::Zone;

/// A zone and a CPU's words for it, and what a frame's number is made of. What a hit of a frame touches lies on one line.
#[repr(C, align(64))]
pub(crate) struct Home<'m> {
    pub(crate) cache: &'m CpuCache,
    /// The zone's base.
    pub(in crate::zone) base: Pfn,
    /// Hints, a kind: the word that last had frames to give.
    pub(in crate::zone) giving: [WordHint<'m>; 3],
    /// Hint: the word that last matched a free.
    pub(in crate::zone) taking: WordHint<'m>,
    /// Hits of requests, by order (of which there are six; a power of two is found without a check).
    pub(in crate::zone) hits: [Counter; 8],
    pub(crate) zone: &'m Zone<'m>,
}

/// A hint: a word of a cache. Where it is, not its number: a hit has its address at once, and addressed without an index what was
/// stored there last comes back to it without a wait (Intel from Golden Cove on: 0.3 ns instead of 2.5).
pub(in crate::zone) struct WordHint<'m>(AtomicPtr<SlotWord>, PhantomData<&'m SlotWord>);

impl<'m> WordHint<'m> {
    fn new(word: &'m SlotWord) -> Self {
        Self(AtomicPtr::new(ptr::from_ref(word).cast_mut()), PhantomData)
    }

    #[inline(always)]
    pub(in crate::zone) fn get(&self) -> &'m SlotWord {
        // SAFETY: `Home` stores nothing but words of its cache, which lives as long. Relaxed, as the store: any of them will do,
        // and they were there before this hint was.
        unsafe { &*self.0.load(Ordering::Relaxed) }
    }

    /// Notes a word of the home's cache.
    pub(in crate::zone) fn set(&self, word: &SlotWord) {
        self.0.store(ptr::from_ref(word).cast_mut(), Ordering::Relaxed);
    }
}

impl<'m> Home<'m> {
    pub(in crate::zone) fn new(zone: &'m Zone<'m>, cache: &'m CpuCache) -> Self {
        let giving = Kind::ALL.map(|kind| WordHint::new(cache.first_word_of(kind)));
        let taking = WordHint::new(cache.first_word_of(Kind::Unmovable));
        Self { cache, base: zone.base, giving, taking, hits: Default::default(), zone }
    }

    /// Takes a run of `order` (at most a group) from the word that last gave one of its kind: one step, by the hand that `hand`
    /// says.
    #[inline(always)]
    pub(in crate::zone) fn take<H: Hand>(
        &self,
        hand: impl FnOnce(&'m CpuCache) -> H,
        kind: Kind,
        order: Order,
    ) -> Option<Pfn> {
        let word = self.giving[kind as usize].get();
        // Told apart here so that the count of single frames is found without an index.
        let (group, first) = if order == Order::ZERO {
            let hit = word.take(hand(self.cache), Order::ZERO)?;
            self.hits[0].add(1);
            hit
        } else {
            let hit = word.take(hand(self.cache), order)?;
            self.hits[usize::from(order.get()) % self.hits.len()].add(1);
            hit
        };
        Some(self.base.add(u64::from(group.0) * GROUP_FRAMES + u64::from(first)))
    }

    /// The number of a frame's block, if the frame is the zone's.
    #[inline(always)]
    pub(in crate::zone) fn block_number(&self, pfn: Pfn) -> u64 {
        pfn.get().wrapping_sub(self.base.get()) / BLOCK_FRAMES
    }

    /// The word that last matched a free and what it says, if it has given all its frames since.
    #[inline(always)]
    pub(in crate::zone) fn given(&self, hand: impl Hand) -> Option<(&'m SlotWord, Slot)> {
        let word = self.taking.get();
        let slot = word.expected(hand);
        (slot.mask() == 0 && slot.is_owned()).then_some((word, slot))
    }
}
