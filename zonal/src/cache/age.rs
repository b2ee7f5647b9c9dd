//! How long a CPU's words for a zone have looked the same, in passes of the upkeep.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=5 | look: what the words held at the last pass and the frames taken by then, folded | [`Age::pass`], [`Age::settle`] |
//! | 6..=7 | passes in a row at which they looked the same, [`OLDEST`] at most | `pass` |
//!
//! A hint: it decides when frames land, not whether. One look in 64 is mistaken for the one before: then a CPU at work has to
//! refill words that it would have had. Passes at the same time may count twice.

use crate::sync::{AtomicU8, Ordering};

/// The most passes that are counted.
pub(crate) const OLDEST: u8 = 3;

const LOOK_BITS: u32 = 6;
const LOOK: u8 = (1 << LOOK_BITS) - 1;

/// What words and counts came to, folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Look(u8);

impl Look {
    /// Folds what there is to be seen.
    pub(crate) fn of(seen: impl Iterator<Item = u64>) -> Self {
        // By a number without pattern (2^64 by the golden ratio); all that was seen comes up to the upper bits.
        let mix = |word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let folded = seen.map(mix).fold(0u64, |folded, word| mix(folded ^ word ^ (folded ^ word) >> 32));
        Self((folded >> (u64::BITS - LOOK_BITS)) as u8)
    }
}

/// The byte.
#[repr(transparent)]
pub(crate) struct Age(AtomicU8);

impl Age {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// A pass sees this: for how many in a row it has been the same, this one included. Relaxed, as all here: a hint.
    pub(crate) fn pass(&self, look: Look) -> u8 {
        let before = self.0.load(Ordering::Relaxed);
        let passes = if before & LOOK == look.0 { OLDEST.min((before >> LOOK_BITS) + 1) } else { 0 };
        self.0.store(passes << LOOK_BITS | look.0, Ordering::Relaxed);
        passes
    }

    /// The pass itself has made the words look so: that is no sign of life.
    pub(crate) fn settle(&self, look: Look) {
        let passes = self.0.load(Ordering::Relaxed) & !LOOK;
        self.0.store(passes | look.0, Ordering::Relaxed);
    }
}
