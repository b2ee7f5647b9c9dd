//! Every frame carries its owner's number: a frame handed out twice, or changed behind its owner's back, shows.
//!
//! The stamp is the first word of the frame itself, or, on a machine without frames, a word of a table. Invariant: the
//! word is 0 while nobody holds the frame and the owner's number while somebody does.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zonal::{MemoryRange, Order, Pfn, SECTION_FRAMES};
use zonal_linux::Pool;

use crate::plan::SlotId;

/// Who holds a frame; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u64);

impl From<SlotId> for Owner {
    fn from(slot: SlotId) -> Self {
        Self(u64::from(slot.0) + 1)
    }
}

/// A frame that was not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disagreement {
    /// Handed out while somebody holds it.
    HandedOutTwice {
        /// The frame.
        pfn: Pfn,
        /// Who held it.
        holder: u64,
        /// Who got it.
        owner: Owner,
    },
    /// Freed by its owner, but the stamp is not the owner's.
    Changed {
        /// The frame.
        pfn: Pfn,
        /// The stamp found.
        found: u64,
        /// Who held it.
        owner: Owner,
    },
    /// Handed out, but the machine has no such frame.
    Nowhere {
        /// The frame.
        pfn: Pfn,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HandedOutTwice { pfn, holder, owner } => {
                write!(f, "frame {pfn} handed out twice: to allocation {holder}, then to {}", owner.0)
            }
            Self::Changed { pfn, found, owner } => {
                write!(f, "frame {pfn} of allocation {} bears the stamp {found:#x} when freed", owner.0)
            }
            Self::Nowhere { pfn } => write!(f, "frame {pfn} was handed out, but the machine has none"),
        }
    }
}

/// Where stamps are kept.
pub(crate) trait Stamps: Sync {
    /// The word of a frame, or `None` for a frame that does not exist.
    fn word(&self, pfn: Pfn) -> Option<&AtomicU64>;

    /// Stamps a run that was just allocated. Relaxed: the word is the frame's content, and what orders accesses to it
    /// is the allocator's own free and alloc of the frame.
    fn take(&self, first: Pfn, order: Order, owner: Owner) -> Result<(), Disagreement> {
        (0..order.frames()).map(|frame| first.add(frame)).try_fold((), |(), pfn| {
            let word = self.word(pfn).ok_or(Disagreement::Nowhere { pfn })?;
            match word.swap(owner.0, Ordering::Relaxed) {
                0 => Ok(()),
                holder => Err(Disagreement::HandedOutTwice { pfn, holder, owner }),
            }
        })
    }

    /// Checks and clears the stamps of a run that is about to be freed.
    fn give_back(&self, first: Pfn, order: Order, owner: Owner) -> Result<(), Disagreement> {
        (0..order.frames()).map(|frame| first.add(frame)).try_fold((), |(), pfn| {
            let word = self.word(pfn).ok_or(Disagreement::Nowhere { pfn })?;
            match word.swap(0, Ordering::Relaxed) {
                found if found == owner.0 => Ok(()),
                found => Err(Disagreement::Changed { pfn, found, owner }),
            }
        })
    }
}

impl Stamps for Pool {
    #[inline]
    fn word(&self, pfn: Pfn) -> Option<&AtomicU64> {
        let frame = self.address(pfn)?;
        // SAFETY: a frame's address is a multiple of 4096 and mapped, readable and writable, as long as the pool that
        // the result borrows. Nobody accesses a frame of the replay's own pool but through these words: the requests
        // never ask for zeroing.
        Some(unsafe { AtomicU64::from_ptr(frame.as_ptr().cast()) })
    }
}

/// Bytes of a frame's stamp.
pub(crate) const STAMP: u64 = size_of::<AtomicU64>() as u64;

/// A word a frame, for machines whose frames do not exist. Sections get theirs when they are first used.
pub(crate) struct Table {
    sections: Vec<(u64, OnceLock<Box<[AtomicU64]>>)>,
}

impl Table {
    pub(crate) fn of(memory: &[MemoryRange]) -> Self {
        let section = |pfn: Pfn| pfn.get() / SECTION_FRAMES;
        let mut numbers: Vec<u64> = memory
            .iter()
            .map(|memory| memory.range)
            .filter(|range| range.frames() > 0)
            .flat_map(|range| section(range.start)..=section(Pfn::new(range.end.get() - 1)))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self { sections: numbers.into_iter().map(|number| (number, OnceLock::new())).collect() }
    }
}

impl Stamps for Table {
    fn word(&self, pfn: Pfn) -> Option<&AtomicU64> {
        let (section, frame) = (pfn.get() / SECTION_FRAMES, pfn.get() % SECTION_FRAMES);
        let at = self.sections.binary_search_by_key(&section, |&(number, _)| number).ok()?;
        let words =
            self.sections[at].1.get_or_init(|| (0..SECTION_FRAMES).map(|_| AtomicU64::new(0)).collect());
        words.get(frame as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_one_owner() {
        let table = Table::of(&[MemoryRange::new(0x100, 0x10_000, 0)]);
        let (first, second) = (Owner::from(SlotId(0)), Owner::from(SlotId(1)));
        let order = Order::new(2).unwrap();
        assert_eq!(table.take(Pfn::new(0x7ffc), order, first), Ok(()));
        let pfn = Pfn::new(0x7ffe);
        let twice = Disagreement::HandedOutTwice { pfn, holder: 1, owner: second };
        assert_eq!(table.take(pfn, Order::ZERO, second), Err(twice));
        let changed = Disagreement::Changed { pfn, found: 2, owner: first };
        assert_eq!(table.give_back(Pfn::new(0x7ffc), order, first), Err(changed));
        let nowhere = Disagreement::Nowhere { pfn: Pfn::new(0x10_000) };
        assert_eq!(table.take(Pfn::new(0x10_000), Order::ZERO, first), Err(nowhere));
    }
}
