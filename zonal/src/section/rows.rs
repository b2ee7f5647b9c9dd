//! Where a section's rows are: a word of each section.
//!
//! | the word names | from | to |
//! |---|---|---|
//! | nothing | [`RowsWord::unnamed`] | [`RowsWord::name`], before the allocator exists |
//! | lent rows, for good | [`RowsWord::name`] | |
//! | the empty rows, which all sections share that are not there | [`RowsWord::name`] | [`RowsWord::show`] |
//! | rows in the section's first frame | [`RowsWord::show`] | [`RowsWord::name`], of the empty ones |
//!
//! Written by one plugger at a time. Readers load it each time they look for a block, and may look at what they found until
//! they return: the frame is the embedder's again only after a quiesce behind the last step. Nobody writes to the empty rows: a
//! row is changed by who has a claim on its entry, or by the plugger, and an entry of nobody's admits none.
//!
//! Invariant, while nobody plugs: `a section that holds its own rows is absent <=> its word names the empty rows`.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::block::bitmap::Bitmap;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::frame::FRAME_SIZE;
use crate::frame::SECTION_BLOCKS;
use crate::mutant::{Mutant, planted};
use crate::own_rows::OwnRows;
use crate::sync::{AtomicPtr, Ordering};

/// Frames at the start of a section that its rows fill.
pub(crate) const ROWS_FRAMES: u64 = 1;

/// The rows of a section's blocks.
pub(crate) type SectionRows = [Bitmap; SECTION_BLOCKS];

#[cfg(not(any(zonal_loom, zonal_shuttle)))] // the words of model checkers are larger
const _: () = assert!(size_of::<SectionRows>() as u64 <= ROWS_FRAMES * FRAME_SIZE);

/// The word.
pub(crate) struct RowsWord<'m> {
    /// What readers go by.
    named: AtomicPtr<SectionRows>,
    /// The section's own rows, once it has been added. Only the plugger knows.
    own: AtomicPtr<SectionRows>,
    lent: PhantomData<&'m SectionRows>,
}

impl<'m> RowsWord<'m> {
    /// A word that is to be given rows before anybody looks.
    pub(crate) fn unnamed() -> Self {
        let none = || AtomicPtr::new(ptr::null_mut());
        Self { named: none(), own: none(), lent: PhantomData }
    }

    /// Names lent rows.
    ///
    /// # Safety
    /// They live for 'm.
    pub(crate) unsafe fn name(&self, rows: &SectionRows) {
        if planted(Mutant::RowsLeftInSight) && !self.own.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Relaxed: at first nobody looks yet; else the quiesce that follows orders it before the calls that begin after.
        self.named.store(ptr::from_ref(rows).cast_mut(), Ordering::Relaxed);
    }

    /// The rows of the section now.
    #[inline]
    pub(crate) fn get(&self) -> &'m SectionRows {
        // Acquire: the rows as they were built; partner: the Release of `show`.
        let rows = self.named.load(Ordering::Acquire);
        // SAFETY: (1) construction names rows for every section before the allocator exists. (2) What is named is lent for 'm, or
        // was built by `prepare`, whose caller keeps it until all calls of the allocator have returned that began before the empty
        // rows were named: who called this is in one. (3) Rows are atomics: shared references are enough to change them.
        unsafe { &*rows }
    }

    /// Builds rows without a free frame in this memory; they are not named yet.
    ///
    /// # Safety
    /// The memory is aligned for rows and has room for them, is writable, and is nobody else's: until the next `prepare`, or
    /// once they have been named, until all calls of the allocator have returned that began before others were.
    pub(crate) unsafe fn prepare(&self, memory: NonNull<u8>) {
        let rows = memory.cast::<SectionRows>();
        // SAFETY: the caller vouches for room and alignment, and that nobody looks at it.
        unsafe { rows.write(core::array::from_fn(|_| Bitmap::new(|_| 0))) };
        self.own.store(rows.as_ptr(), Ordering::Relaxed); // Relaxed, as all of `own`: one plugger at a time
    }

    /// Names the section's own rows.
    pub(crate) fn show(&self) {
        // Release: the rows; partner: `get`.
        self.named.store(self.own.load(Ordering::Relaxed), Ordering::Release);
    }
}

/// What sections need that hold their own rows.
pub(crate) struct OwnRowsParts<'m> {
    /// The rows of sections that are not there.
    pub(crate) empty: &'m SectionRows,
    pub(crate) host: OwnRows,
}
