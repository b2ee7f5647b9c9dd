//! A tab: frames that one CPU frees one after the other into one block, whose count is raised for all of them at once.
//!
//! Their bits are set; neither the block's count nor the zone's has them yet. Two words:
//!
//! | word, bits | field | changed by |
//! |---|---|---|
//! | `own`, 0..=31 | the block | [`Tab::open`], while nothing is on the tab |
//! | `own`, 32..=63 | `noted`: frames put on the tab so far, modulo 2^32 | [`Tab::note`] up |
//! | `settled`, 0..=31 | how often the tab was settled (wraps) | [`Tab::settle`] |
//! | `settled`, 32..=63 | of the frames noted, those that somebody has counted, or has in hand to count | [`Tab::settle`] up, to `noted` at most |
//!
//! `own` is changed by the CPU that owns the words alone, without a locked instruction ([`crate::cache::hand`]); `settled` by anybody.
//! So every CPU can settle every tab in any context, and who does is alone in it: a settlement changes `settled` from what it was
//! when the frames were looked at.
//!
//! Who reads both reads `settled` first (Acquire: who changed it had read `own` before). Then `noted` is never behind it; and if
//! `settled` has not changed when a settlement succeeds, the tab was never empty since `own` was read, so it is of the same block
//! still. (A sleeper must not miss exactly 2^32 settlements.)

use crate::cache::hand::{Tries, Try};
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

const SHIFT: u32 = u32::BITS;
const ONE: u64 = 1 << SHIFT;
const LOW: u64 = ONE - 1;

/// What a note came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Noted {
    /// The frame is on the tab, to which the credit's hint leads.
    Hinted,
    /// It is on the tab; the hint has been given up meanwhile: the caller settles.
    Unhinted,
    /// Nothing has changed: the tab is of another block, or the credit is not hinted, or it cannot be done without a lock.
    No,
}

/// The words.
pub(crate) struct Tab {
    own: AtomicU64,
    settled: AtomicU64,
}

impl Tab {
    /// Of no block.
    pub(crate) fn new() -> Self {
        Self { own: AtomicU64::new(LOW), settled: AtomicU64::new(0) }
    }

    /// Whether the tab is of the block. A hint: [`Tab::note`] decides.
    #[inline(always)]
    pub(crate) fn is_of(&self, block: u64) -> bool {
        self.own.load(Ordering::Relaxed) & LOW == block
    }

    /// Frames on the tab. SeqCst: as [`crate::cache::credit::Credit::frames`].
    #[inline(always)]
    pub(crate) fn frames(&self) -> u64 {
        let settled = self.settled.load(Ordering::SeqCst);
        between(settled, self.own.load(Ordering::SeqCst))
    }

    /// The block that it is of, or was a moment ago.
    pub(crate) fn block(&self) -> u32 {
        self.own.load(Ordering::Relaxed) as u32
    }

    /// Frames on the tab that are of the block: for who counts at rest.
    pub(crate) fn frames_of(&self, block: u32) -> u64 {
        if self.is_of(u64::from(block)) { self.frames() } else { 0 }
    }

    /// Whether there are several: then more are to come of the next block, mostly.
    #[inline(always)]
    pub(crate) fn is_used(&self) -> bool {
        self.frames() > 1
    }

    /// Puts a frame of the block on the tab whose bit is set, by the CPU's owner; false, and nothing has changed, if the tab is of
    /// another by now, or it cannot be done without a lock.
    #[inline(always)]
    #[must_use]
    pub(crate) fn note(&self, owner: impl Tries, block: u32) -> bool {
        let own = self.own.load(Ordering::Relaxed); // Relaxed: the change decides
        // An owner's change releases: the frame's bit; partner: `frames`, `settle`.
        own as u32 == block && owner.plain(&self.own, own, own.wrapping_add(ONE)) == Try::Done
    }

    /// Makes the tab one of the block, by the CPU's owner, if nothing is on it.
    #[inline(always)]
    pub(crate) fn open(&self, owner: impl Tries, block: u32) {
        let settled = self.settled.load(Ordering::Acquire);
        let own = self.own.load(Ordering::Relaxed);
        if between(settled, own) == 0 || planted(Mutant::TabReopened) {
            let _ = owner.plain(&self.own, own, own & !LOW | u64::from(block));
        }
    }

    /// Takes frames off the tab, `most` at most: how many, and the block, whose count the caller raises by them.
    #[must_use]
    pub(crate) fn settle(&self, most: u64) -> Option<(u64, u32)> {
        // Acquire, both: the bits of the frames; partner: `note`.
        let settled = self.settled.load(Ordering::Acquire);
        let own = self.own.load(Ordering::Acquire);
        let frames = between(settled, own).min(most);
        let next = (settled & !LOW).wrapping_add(frames << SHIFT) | settled.wrapping_add(1) & LOW;
        // AcqRel: who reads this reads an `own` that is not behind it.
        let is_alone =
            || self.settled.compare_exchange(settled, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        (frames > 0 && is_alone()).then_some((frames, own as u32))
    }
}

/// Frames noted that are not settled.
const fn between(settled: u64, own: u64) -> u64 {
    (own & !LOW).wrapping_sub(settled & !LOW) >> SHIFT
}
