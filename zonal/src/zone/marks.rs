//! A zone's marks as requests read them: figures that upkeep changes while everybody allocates.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | `levels` | min, low, high, promo in frames | [`ZoneMarks::set`] |
//! | `reserve` | what requests for each kind of zone leave besides | `set` |
//! | `boost` | bit 0: raised since kswapd was last told; the rest: added to every level for a while | [`ZoneMarks::add_boost`], [`ZoneMarks::take_boost`], [`ZoneMarks::take_boosted`] |
//! | `most_boost` | what the boost may come to | `set` |
//! | `bypass` | bit 0: the zone is short; the rest: the count up to which caches are bypassed, low, or high while it is short | `set`, [`ZoneMarks::note_short`], [`ZoneMarks::note_ample`] |
//! | `given` | 1: the levels were given for the zone, and stay when other zones change | [`ZoneMarks::give`], [`ZoneMarks::set`] |
//!
//! All are read and written Relaxed: each figure is a policy by itself, and a request that reads an old one is a request
//! that came a moment earlier. What holds to the frame is the exchange of the zone's count against the floor that was
//! read.

use crate::access::{Access, AllocFlags, Level};
use crate::frame::{BLOCK_FRAMES, Order};
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::ZoneKind;
use crate::watermark::{Levels, Marks};

const SHORT: u64 = 1;
const BOOSTED: u64 = 1;

/// The words, away from those that every claim writes.
#[repr(align(128))]
pub(crate) struct ZoneMarks {
    /// Min, low, high, promo.
    levels: [AtomicU64; 4],
    reserve: [AtomicU64; 4],
    boost: AtomicU64,
    most_boost: AtomicU64,
    bypass: AtomicU64,
    given: AtomicU64,
}

impl ZoneMarks {
    pub(crate) fn new(Levels { marks, protection, most_boost }: Levels) -> Self {
        Self {
            levels: [marks.min, marks.low, marks.high, marks.promo].map(AtomicU64::new),
            reserve: protection.map(AtomicU64::new),
            boost: AtomicU64::new(0),
            most_boost: AtomicU64::new(most_boost),
            bypass: AtomicU64::new(marks.low << 1),
            given: AtomicU64::new(0),
        }
    }

    /// The levels, without the boost.
    pub(crate) fn get(&self) -> Marks {
        let [min, low, high, promo] = self.levels.each_ref().map(|level| level.load(Ordering::Relaxed));
        Marks { min, low, high, promo }
    }

    /// What requests for each kind of zone leave here besides the mark.
    pub(crate) fn reserves(&self) -> [u64; 4] {
        self.reserve.each_ref().map(|frames| frames.load(Ordering::Relaxed))
    }

    /// The boost now.
    pub(crate) fn boost(&self) -> u64 {
        self.boost.load(Ordering::Relaxed) >> 1
    }

    /// What the boost may come to.
    pub(crate) fn most_boost(&self) -> u64 {
        self.most_boost.load(Ordering::Relaxed)
    }

    /// Frames that a request leaves: it may take a run if as many frames are free afterwards. A single frame for who has
    /// part of the min mark is not kept back by the boost.
    #[inline]
    pub(crate) fn floor(&self, access: Access, highest: ZoneKind, order: Order) -> u64 {
        if access.flags.contains(AllocFlags::NO_WATERMARKS) {
            return 0;
        }
        let level = self.levels[access.level as usize].load(Ordering::Relaxed);
        let unboosted = access.level == Level::Min
            && order == Order::ZERO
            && access.flags.contains(AllocFlags::MIN_RESERVE)
            && !planted(Mutant::BoostKeepsBack);
        let mark = if unboosted { level } else { level + self.boost() };
        let mark = if planted(Mutant::ShareTooDeep) { access.share_of(mark) } else { mark };
        let held_back = self.reserve[highest as usize].load(Ordering::Relaxed);
        access.share_of(mark) + if planted(Mutant::ProtectionForgotten) { 0 } else { held_back }
    }

    /// What a request's first walk leaves, before the mixing of kinds and reserves are thought of.
    #[inline(always)]
    pub(crate) fn fast_floor(&self, highest: ZoneKind) -> u64 {
        let level = if planted(Mutant::FastToMin) { Level::Min } else { Level::Low };
        let low = self.levels[level as usize].load(Ordering::Relaxed);
        low + self.boost() + self.reserve[highest as usize].load(Ordering::Relaxed)
    }

    /// Whether caches are bypassed while the zone's count is `free`; `ample` is called if that is above what they are
    /// bypassed up to in a short zone.
    #[inline(always)]
    pub(crate) fn bypass(&self, free: u64, ample: impl FnOnce()) -> bool {
        let word = self.bypass.load(Ordering::Relaxed);
        let is_above = free > word >> 1;
        if is_above && word & SHORT == 0 {
            return false; // mostly
        }
        if is_above {
            ample();
        }
        !is_above
    }

    /// Whether nothing is bypassed while the zone's count is `free`, nor has been: there is nobody to be told of it.
    #[inline(always)]
    pub(crate) fn is_quiet(&self, free: u64) -> bool {
        let word = self.bypass.load(Ordering::Relaxed);
        free > word >> 1 && word & SHORT == 0
    }

    /// Whether refills take whole groups while the zone's count is `free`; `ample` is called if the zone was short so far:
    /// when it is again, that is news, and what the words hold by then lands.
    #[inline(always)]
    pub(crate) fn is_ample(&self, free: u64, ample: impl FnOnce()) -> bool {
        let is_ample = free > self.high();
        if is_ample && self.bypass.load(Ordering::Relaxed) & SHORT != 0 {
            ample();
        }
        is_ample
    }

    /// The high mark with the boost.
    #[inline(always)]
    pub(crate) fn high(&self) -> u64 {
        self.levels[Level::High as usize].load(Ordering::Relaxed) + self.boost()
    }

    /// The zone has been found at its low mark: caches are bypassed up to high. Whether that is news.
    pub(crate) fn note_short(&self) -> bool {
        let high = self.high();
        high > 0 && self.bypass.swap(high << 1 | SHORT, Ordering::Relaxed) & SHORT == 0
    }

    /// The zone is above its high mark again: caches are bypassed up to low.
    pub(crate) fn note_ample(&self) {
        self.bypass.store(self.get().low << 1, Ordering::Relaxed);
    }

    /// Adds a block to the boost, up to the most there may be: frames were taken from another kind. Whether there was one
    /// to add, and a count of `free` is not above the high mark any more.
    pub(crate) fn add_boost(&self, free: u64) -> bool {
        let most = self.most_boost.load(Ordering::Relaxed);
        let boosted =
            |now: u64| (now >> 1 < most).then(|| most.min((now >> 1) + BLOCK_FRAMES) << 1 | BOOSTED);
        self.boost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, boosted).is_ok() && free <= self.high()
    }

    /// Takes `frames` of the boost away: what kswapd saw when it began has been made up for.
    pub(crate) fn take_boost(&self, frames: u64) {
        let less = |now: u64| Some((now >> 1).saturating_sub(frames) << 1 | now & BOOSTED);
        let _ = self.boost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether the boost has been raised since kswapd was last told.
    #[inline(always)]
    pub(crate) fn is_boosted(&self) -> bool {
        self.boost.load(Ordering::Relaxed) & BOOSTED != 0
    }

    /// The same, and from now on it has been told: by the caller.
    pub(crate) fn take_boosted(&self) -> bool {
        self.boost.fetch_and(!BOOSTED, Ordering::Relaxed) & BOOSTED != 0
    }

    /// Replaces the figures by some that are the zone's own.
    pub(crate) fn give(&self, levels: Levels) {
        self.set(levels);
        self.given.store(1, Ordering::Relaxed);
    }

    /// Replaces the figures by what knobs make of the zone as it has become; levels that were given stay.
    pub(crate) fn follow(&self, levels: Levels) {
        if self.given.load(Ordering::Relaxed) == 0 {
            self.set(levels);
        } else {
            self.give(Levels { marks: self.get(), ..levels });
        }
    }

    /// Replaces the figures. Requests meanwhile see some of the old and some of the new.
    pub(crate) fn set(&self, Levels { marks, protection, most_boost }: Levels) {
        let levels = [marks.min, marks.low, marks.high, marks.promo];
        self.levels.iter().zip(levels).for_each(|(word, frames)| word.store(frames, Ordering::Relaxed));
        self.reserve.iter().zip(protection).for_each(|(word, frames)| word.store(frames, Ordering::Relaxed));
        self.most_boost.store(most_boost, Ordering::Relaxed);
        self.bypass.store(marks.low << 1, Ordering::Relaxed);
        self.given.store(0, Ordering::Relaxed);
    }
}
