//! The poisoned frames: a table of as many words as the configuration lends.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=1 | state: 0 nothing, 1 *pending* (in use, or in somebody's hands), 2 *out* (nobody's, and never handed out) | see below |
//! | 2..=41 | the frame | [`PoisonTable::insert`] |
//!
//! | from | to | by |
//! |---|---|---|
//! | nothing | pending | [`PoisonTable::insert`], whose turn it is to poison |
//! | pending | out | [`PoisonTable::leave`], who has the frame in hand: the one who poisons it, or a free |
//! | any | nothing | [`PoisonTable::remove`], whose turn it is |
//!
//! Invariant: a frame stands here once at most, and the bit of one that is out is clear. So an out frame looks allocated to
//! everybody: its owner is the table.

use core::fmt;

use crate::frame::{FrameRange, Pfn};
use crate::sync::{AtomicU64, Ordering};

const STATE: u64 = 3;
const PENDING: u64 = 1;
const OUT: u64 = 2;
const FRAME_SHIFT: u32 = 2;

/// Where a poisoned frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poisoned {
    /// It is nobody's, and is never handed out.
    Out,
    /// It is in use, or in the hands of an operation that has not returned: it goes out when it is freed.
    Pending,
}

/// Why a frame was not poisoned, or is still. Nothing changed then, but for [`PoisonError::Undrained`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PoisonError {
    /// No frame of that number is managed here.
    Foreign {
        /// The frame.
        pfn: Pfn,
    },
    /// The frame is not poisoned.
    NotPoisoned {
        /// The frame.
        pfn: Pfn,
    },
    /// As many frames are poisoned as there are words for.
    Full {
        /// [`crate::Config::poisoned_frames`].
        words: usize,
    },
    /// Somebody else is poisoning a frame, or healing one: one at a time.
    Busy,
    /// The frame may be in a word that a CPU owns, whose barrier was refused ([`crate::OwnWords`]): that CPU may hand it out. It
    /// is as if [`Poisoned::Pending`]; poison it again.
    Undrained {
        /// The CPU.
        cpu: usize,
    },
}

impl fmt::Display for PoisonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { pfn } => write!(f, "{pfn:?} is not managed here"),
            Self::NotPoisoned { pfn } => write!(f, "{pfn:?} is not poisoned"),
            Self::Full { words } => {
                write!(f, "{words} frames are poisoned, and there is no word for another")
            }
            Self::Busy => f.write_str("another frame is being poisoned or healed"),
            Self::Undrained { cpu } => write!(f, "CPU {cpu} keeps words of its own: its barrier was refused"),
        }
    }
}

impl core::error::Error for PoisonError {}

/// The words.
#[derive(Clone, Copy)]
pub(crate) struct PoisonTable<'m> {
    words: &'m [AtomicU64],
}

impl<'m> PoisonTable<'m> {
    pub(crate) fn new(words: &'m [AtomicU64]) -> Self {
        Self { words }
    }

    /// Words there are.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// The frames of a range that stand here, and where they are.
    pub(crate) fn frames(&self, range: FrameRange) -> impl Iterator<Item = (Pfn, Poisoned)> + use<'m> {
        // Acquire: what `insert` was for; partner: its Release. Who has seen the flag of a block sees its frames here.
        let words = self.words.iter().map(|word| word.load(Ordering::Acquire));
        words.filter_map(frame_of).filter(move |&(pfn, _)| range.contains(pfn))
    }

    /// Where the frame is, if it is poisoned.
    pub(crate) fn state(&self, pfn: Pfn) -> Option<Poisoned> {
        self.frames(FrameRange::new(pfn, pfn.add(1))).next().map(|(_, state)| state)
    }

    /// Notes a frame as pending, unless it stands here; `None` if there is no word for it. One at a time.
    pub(crate) fn insert(&self, pfn: Pfn) -> Option<Poisoned> {
        if let Some(state) = self.state(pfn) {
            return Some(state);
        }
        let empty = self.words.iter().find(|word| word.load(Ordering::Relaxed) & STATE == 0)?;
        // Release: partner: `frames`. Nobody else fills a word meanwhile.
        empty.store(pfn.get() << FRAME_SHIFT | PENDING, Ordering::Release);
        Some(Poisoned::Pending)
    }

    /// The frame, in the caller's hands, goes out; false if it is not pending (any more): it stays the caller's.
    #[must_use]
    pub(crate) fn leave(&self, pfn: Pfn) -> bool {
        let (pending, out) = (pfn.get() << FRAME_SHIFT | PENDING, pfn.get() << FRAME_SHIFT | OUT);
        // Release: what the last owner wrote; partner: the Acquire in `remove`, whose caller hands the frame out again.
        let change = |word: &AtomicU64| {
            word.compare_exchange(pending, out, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        self.words.iter().any(change)
    }

    /// Forgets the frame; where it was. One that was out is the caller's. One at a time.
    pub(crate) fn remove(&self, pfn: Pfn) -> Option<Poisoned> {
        let is_its =
            |word: &&AtomicU64| frame_of(word.load(Ordering::Relaxed)).is_some_and(|(frame, _)| frame == pfn);
        // Acquire: partner: `leave`.
        let word = self.words.iter().find(is_its)?.swap(0, Ordering::AcqRel);
        frame_of(word).map(|(_, state)| state)
    }
}

/// What a word says.
fn frame_of(word: u64) -> Option<(Pfn, Poisoned)> {
    let state = match word & STATE {
        PENDING => Poisoned::Pending,
        OUT => Poisoned::Out,
        _ => return None,
    };
    Some((Pfn::new(word >> FRAME_SHIFT), state))
}
