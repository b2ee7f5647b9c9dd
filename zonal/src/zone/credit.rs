//! Claiming frames of a zone and giving claims back: from this CPU's credit where it has one, else the zone's count.
//!
//! A free leaves its frames in its CPU's credit and the next claim takes them from there, so that CPUs which free as
//! much as they take leave the zone's line alone. Credits cost nobody a frame: a request that is not served collects
//! them all before it looks again. They are filled only while the count is above the low mark.

use crate::cache::CpuCache;
use crate::cache::credit::{Added, Credit, HintEpoch};
use crate::cache::hold::Barriers;
use crate::frame::BLOCK_FRAMES;
use crate::mutant::{Mutant, planted};
use crate::zone::Zone;

/// Frames a credit holds at most; half of it goes to the zone's count where a free would make it more.
const MOST: u64 = 2 * HALF;
const HALF: u64 = BLOCK_FRAMES;

impl Zone<'_> {
    /// Claims `most` frames, from the count at least `least` of them if that leaves the floor; the number, or the frames
    /// seen above the floor. One locked operation.
    #[inline]
    pub(crate) fn claim(
        &self,
        cache: Option<&CpuCache>,
        (most, least): (u64, u64),
        floor: u64,
    ) -> Result<u64, u64> {
        if cache.is_some_and(|cache| cache.credit.spend(most)) {
            return Ok(most);
        }
        self.count.claim(most, least, floor)
    }

    /// Counts frames whose blocks' counts have been raised already. One locked operation, and three more now and then.
    #[inline]
    pub(crate) fn raise(&self, cache: Option<&CpuCache>, frames: u64) {
        self.raise_freed(cache.filter(|_| !self.is_bypassed()), frames);
    }

    /// The same where a look has shown whether the zone is short: then there is no cache.
    #[inline(always)]
    pub(crate) fn raise_freed(&self, cache: Option<&CpuCache>, frames: u64) {
        let Some(cache) = cache else { return self.raise_count(frames) };
        match cache.add_credit(self.own_words, frames, MOST) {
            Added::Hinted => self.look_again(cache),
            Added::Unhinted(epoch) => self.hint_credit(cache, epoch),
            Added::Full => self.raise_above(cache, frames),
        }
    }

    /// Counts frames past the credits. A zone without them finds here that it is not short any more.
    #[inline]
    pub(crate) fn raise_count(&self, frames: u64) {
        self.count.raise(frames);
        let _ = self.is_bypassed();
    }

    /// Makes a credit known that has just been filled. An interrupt before the end leaves it to the next free.
    #[cold]
    fn hint_credit(&self, cache: &CpuCache, epoch: HintEpoch) {
        self.credit_hints.set(cache.rank());
        cache.credit.note_hinted(epoch);
        self.look_again(cache);
    }

    /// After an add to a credit that is hinted. Isolation may have taken the count below the mark since it was looked at, and does
    /// not see what is added after it collected. It looks after its debit, this after the add: one of the two sees the other.
    #[inline(always)]
    fn look_again(&self, cache: &CpuCache) {
        if self.is_short_now() {
            self.collect(&cache.credit);
        }
    }

    /// Whether the count, read again, does not allow a credit any more.
    #[inline]
    fn is_short_now(&self) -> bool {
        self.is_bypassed() && !planted(Mutant::MarkNotReread)
    }

    /// Counts frames that the credit does not hold: half of it makes room, on the move meanwhile.
    #[cold]
    fn raise_above(&self, cache: &CpuCache, frames: u64) {
        if frames < HALF {
            self.count.enter(HALF);
            if cache.credit.spend(HALF) {
                self.count.raise(HALF);
            }
            self.count.leave(HALF);
        }
        match cache.credit.add(frames, MOST) {
            Added::Hinted => self.look_again(cache),
            Added::Unhinted(epoch) => self.hint_credit(cache, epoch),
            Added::Full => self.count.raise(frames),
        }
    }

    /// Settles all CPUs' tabs and moves their credits to the zone's count, on the move meanwhile; the number of frames. Reads the credits that
    /// the hints name if those name all.
    pub(crate) fn collect_credits(&self) -> u64 {
        if planted(Mutant::CreditForgotten) || self.credit_hints.is_clear() {
            return 0;
        }
        let stamp = self.credit_hints.stamp();
        let (mut frames, mut from) = (0, 0);
        while let Some(rank) = self.credit_hints.next(from) {
            let Some(cache) = self.caches.get(rank) else { break };
            let collected = self.collect_tab(cache) + self.collect(&cache.credit);
            if collected == 0 && cache.credit.is_hinted_empty() {
                self.unhint_credit(rank, cache);
            }
            frames += collected;
            from = rank + 1;
        }
        if !self.credit_hints.settled(stamp) {
            let collect = |cache| self.collect_tab(cache) + self.collect(&cache.credit);
            frames += self.caches.iter().map(collect).sum::<u64>();
        }
        frames
    }

    /// Gives up the hint of a credit without frames, if the CPU's words can be held without a barrier: it is only a hint.
    fn unhint_credit(&self, rank: usize, cache: &CpuCache) {
        let Some(held) = self.held(cache, Barriers::Forbidden) else { return };
        self.credit_hints.clear(rank, || !cache.unhint_credit(&held));
    }

    #[inline(never)]
    fn collect(&self, credit: &Credit) -> u64 {
        let frames = credit.frames();
        if frames == 0 {
            return 0;
        }
        self.count.enter(frames);
        // Lost to another's step on this word: whoever took from it or added to it got on, and the walk comes again.
        let collected = if credit.collect(frames) { frames } else { 0 };
        if collected > 0 {
            self.count.raise(collected);
        }
        self.count.leave(frames);
        collected
    }

    /// Frames in credits and on tabs now, each read once.
    pub(crate) fn credits(&self) -> u64 {
        if self.credit_hints.is_clear() {
            return 0;
        }
        let stamp = self.credit_hints.stamp();
        let (mut frames, mut from) = (0, 0);
        while let Some(rank) = self.credit_hints.next(from) {
            frames += self.caches.get(rank).map_or(0, CpuCache::credited);
            from = rank + 1;
        }
        if self.credit_hints.settled(stamp) {
            return frames;
        }
        self.caches.iter().map(CpuCache::credited).sum()
    }

    /// Frames that may be claimed from the zone's blocks: the count and the credits, read one after the other (what passes
    /// from the one to the other meanwhile is counted twice or not at all).
    pub(crate) fn free(&self) -> u64 {
        self.count.free() + self.credits()
    }
}
