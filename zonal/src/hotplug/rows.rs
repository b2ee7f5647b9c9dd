//! Rows that lie in the sections they are about: built when a section is added, out of sight before it is removed.
//!
//! | step | left behind if it is the last one |
//! |---|---|
//! | add: rows built in each section's first frame, in nobody's sight | nothing |
//! | named, section by section | absent sections with rows: whoever plugs is refused as busy |
//! | remove: the empty rows named, section by section | offline sections without: the same |
//! | quiesce; if it is refused or panics, their own are named again | the same |
//!
//! Never touches rows of a section that is online, and never calls the embedder between two steps on a word.

use crate::allocator::PageAllocator;
use crate::frame::{FrameRange, Pfn, SECTION_FRAMES};
use crate::hotplug::error::HotplugError;
use crate::hotplug::sections;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::section::SectionMap;
use crate::section::rows::{ROWS_FRAMES, RowsWord};

/// Sections whose rows are out of sight: in sight again when it is dropped, unless they have gone.
struct Hidden<'a, 'm> {
    map: &'a SectionMap<'m>,
    range: FrameRange,
}

impl Drop for Hidden<'_, '_> {
    fn drop(&mut self) {
        words(self.map, self.range).for_each(RowsWord::show);
    }
}

impl<P: Platform> PageAllocator<'_, P> {
    /// Frames of the range that can be handed out one day: all but those that hold rows.
    pub(in crate::hotplug) fn usable(&self, range: FrameRange) -> u64 {
        range.frames() - sections(range).map(|start| self.held_by_rows(start)).sum::<u64>()
    }

    /// How many frames from this one on hold the rows of a section that may be plugged in.
    pub(in crate::hotplug) fn held_by_rows(&self, pfn: Pfn) -> u64 {
        let has_own = self.state.own_rows.is_some() && pfn.get().is_multiple_of(SECTION_FRAMES);
        if has_own { ROWS_FRAMES } else { 0 }
    }

    /// Builds the rows of sections that are being added in their first frames.
    pub(in crate::hotplug) fn show_rows(&self, range: FrameRange) -> Result<(), HotplugError> {
        let Some(parts) = &self.state.own_rows else { return Ok(()) };
        let map = &self.state.map;
        for (pfn, word) in sections(range).zip(words(map, range)) {
            let memory = (parts.host.memory)(pfn).ok_or(HotplugError::NoRows { pfn })?;
            // SAFETY: who made `OwnRows` vouches for the memory, until `hide_rows` has seen a quiesce.
            unsafe { word.prepare(memory) };
        }
        words(map, range).for_each(RowsWord::show);
        Ok(())
    }

    /// Puts the rows of sections that are being removed out of sight, and waits until nobody looks at them any more.
    pub(in crate::hotplug) fn hide_rows(&self, range: FrameRange) -> Result<(), HotplugError> {
        let Some(parts) = &self.state.own_rows else { return Ok(()) };
        let map = &self.state.map;
        // SAFETY: the empty rows are lent.
        words(map, range).for_each(|word| unsafe { word.name(parts.empty) });
        let mut hidden = Hidden { map, range };
        if !(parts.host.quiesce)() && !planted(Mutant::RowsUnquiet) {
            return Err(HotplugError::NotQuiet);
        }
        hidden.range = FrameRange::new(range.end, range.end);
        Ok(())
    }
}

/// The words of a range's sections, all of which are there.
fn words<'a, 'm>(
    map: &'a SectionMap<'m>,
    range: FrameRange,
) -> impl Iterator<Item = &'m RowsWord<'m>> + use<'a, 'm> {
    sections(range).filter_map(|pfn| Some(&map.sections.get(map.find(pfn)?)?.rows))
}
