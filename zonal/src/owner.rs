//! Owners: a number a frame that says whom it is allocated to, where the configuration asks for it.
//!
//! | word | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 | nobody is named | construction | - |
//! | other | the frame belongs to this owner | [`Names::set`], by who owns the frame | [`Names::clear`], before it is freed |
//!
//! The allocator gives the numbers no meaning and decides nothing by them; they are for reports of who holds what. Each
//! frame of a run has the run's, so that parts of it may be freed, and any frame of it asked about.
//! Invariant at rest: a frame that is free has no owner.

use core::fmt;
use core::num::NonZeroU32;

use crate::frame::{Order, Pfn, SECTION_FRAMES};
use crate::mutant::{Mutant, planted};
use crate::section::{SectionMap, offset_in_section};
use crate::sync::{AtomicU32, Ordering};

/// Whom frames are allocated to: a number of the embedder's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner(NonZeroU32);

impl Owner {
    /// The owner with this number; 0 is nobody's.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// Why no owner was noted. Nothing changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OwnerError {
    /// The allocator was built without names ([`crate::Naming::Off`]).
    Unnamed,
    /// No frame of that number is managed here.
    Foreign {
        /// The frame.
        pfn: Pfn,
    },
    /// The frame is not a multiple of the order's frames.
    Misaligned {
        /// The frame.
        pfn: Pfn,
        /// The order.
        order: Order,
    },
    /// No run of this order was allocated from the frame (checked mode).
    NotAllocated {
        /// The frame.
        pfn: Pfn,
        /// The order.
        order: Order,
    },
}

impl fmt::Display for OwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("the allocator was built without names"),
            Self::Foreign { pfn } => write!(f, "{pfn:?} is not managed here"),
            Self::Misaligned { pfn, order } => write!(f, "{pfn:?} is not aligned to order {order}"),
            Self::NotAllocated { pfn, order } => {
                write!(f, "no run of order {order} was allocated from {pfn:?}")
            }
        }
    }
}

impl core::error::Error for OwnerError {}

/// The words, one section after the other.
pub(crate) struct Names<'m> {
    words: &'m [AtomicU32],
}

impl<'m> Names<'m> {
    pub(crate) fn new(words: &'m [AtomicU32]) -> Self {
        Self { words }
    }

    /// The words of a run's frames: a run longer than a section goes on in the next one's.
    fn words(&self, map: &SectionMap<'m>, pfn: Pfn, order: Order) -> impl Iterator<Item = &'m AtomicU32> {
        let (words, map) = (self.words, *map);
        let piece = order.frames().min(SECTION_FRAMES);
        (0..order.frames()).step_by(piece as usize).flat_map(move |at| {
            let first = map
                .find(pfn.add(at))
                .map(|section| section * SECTION_FRAMES as usize + offset_in_section(pfn.add(at)) as usize);
            first.and_then(|first| words.get(first..first + piece as usize)).unwrap_or(&[])
        })
    }

    /// Names the owner of every frame of a run. A store a frame.
    pub(crate) fn set(&self, map: &SectionMap<'m>, pfn: Pfn, order: Order, owner: Option<Owner>) {
        let number = owner.map_or(0, Owner::get);
        // Relaxed, here and in `of`: the frames' owner orders this before their free, and who else asks gets a hint.
        self.words(map, pfn, order).for_each(|word| word.store(number, Ordering::Relaxed));
    }

    /// Forgets the owners of a run's frames.
    pub(crate) fn clear(&self, map: &SectionMap<'m>, pfn: Pfn, order: Order) {
        if !planted(Mutant::OwnerKept) {
            self.set(map, pfn, order, None);
        }
    }

    /// The frame's owner, if one is named.
    pub(crate) fn of(&self, map: &SectionMap<'m>, pfn: Pfn) -> Option<Owner> {
        let word = self.words(map, pfn, Order::ZERO).next()?;
        Owner::new(word.load(Ordering::Relaxed))
    }
}
