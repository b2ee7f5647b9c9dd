//! From a zone's first block to its last: what people are shown of it, and where walks over it may end.
//!
//! | word | meaning |
//! |---|---|
//! | `start`, `end` | the first frame of the first block, the one past the last block's last; equal if there is none |
//!
//! Relaxed, both: written by one plugger at a time; a reader may see one of them changed and the other not yet.

use crate::frame::{FrameRange, Pfn};
use crate::sync::{AtomicU64, Ordering};

/// The two ends.
pub(crate) struct Span {
    start: AtomicU64,
    end: AtomicU64,
}

impl Span {
    pub(crate) fn new(range: FrameRange) -> Self {
        Self { start: AtomicU64::new(range.start.get()), end: AtomicU64::new(range.end.get()) }
    }

    pub(crate) fn get(&self) -> FrameRange {
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        FrameRange::new(Pfn::new(start), Pfn::new(end.max(start)))
    }

    pub(crate) fn set(&self, range: FrameRange) {
        self.start.store(range.start.get(), Ordering::Relaxed);
        self.end.store(range.end.get(), Ordering::Relaxed);
    }
}
