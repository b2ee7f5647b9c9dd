//! The word behind which the lists are: which of the two buffers readers follow, and the generation.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0 | the buffer that readers follow | [`Published::publish`] |
//! | 1..=63 | generation | `publish` (by its carry), [`Published::bump`] |
//!
//! The word as a whole only grows: a publication adds 1, which turns the buffer over, and a bump adds 2, which does not.
//! So whoever finds the word he has seen knows that in between no list was published and nothing was bumped. There is no value
//! that says "being changed": readers never wait.

use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicU64, Ordering, load_barrier};

const TURN_OVER: u64 = 1;
const GENERATION: u64 = 2;

/// The word.
pub(crate) struct Published(AtomicU64);

/// The word as it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The buffer that readers follow.
    #[inline]
    pub(crate) const fn buffer(self) -> Buffer {
        if self.0 & TURN_OVER == 0 { Buffer::Even } else { Buffer::Odd }
    }
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Buffer {
    Even,
    Odd,
}

impl Buffer {
    /// The one that this one is not.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

impl Published {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Any context: one load.
    #[inline]
    pub(crate) fn load(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Acquire)) // Acquire: the lists; partner: `publish`. What was bumped for; `bump`.
    }

    /// Makes readers follow the other buffer, which has been written. Whose turn to write it is only.
    pub(crate) fn publish(&self) {
        // AcqRel: Release: the lists; partner: `load`. Acquire: bumps before it go on being seen.
        self.0.fetch_add(TURN_OVER, Ordering::AcqRel);
    }

    /// Has requests that are about to fail look again: frames have come within reach without a change of the lists. Any
    /// context; called after that change.
    pub(crate) fn bump(&self) {
        if !planted(Mutant::BumpForgotten) {
            self.0.fetch_add(GENERATION, ordering_unless(Mutant::BumpRelaxed, Ordering::AcqRel)); // AcqRel: as `publish`
        }
    }

    /// Whether lists were published or something was bumped since, as far as what was read before this call can tell: an
    /// entry that was written into the followed buffer was written after a publication that this finds.
    #[inline]
    pub(crate) fn has_moved(&self, since: Stamp) -> bool {
        load_barrier(); // partner: the Release stores of entries; what was read before stays before the second reading
        self.load() != since
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_publication_turns_over_and_a_bump_does_not() {
        let word = Published::new();
        let start = word.load();
        assert!(!word.has_moved(start));
        word.bump();
        assert!(word.has_moved(start));
        assert_eq!(word.load().buffer(), start.buffer());
        word.publish();
        assert_eq!(word.load().buffer(), start.buffer().other());
        word.publish();
        assert_eq!(word.load().buffer(), start.buffer());
        assert!(word.has_moved(start), "the same buffer is not the same lists");
    }
}
