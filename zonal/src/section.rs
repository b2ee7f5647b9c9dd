//! Sections: which ones exist, and where a frame's metadata is.
//!
//! A two-level table over section numbers leads from a frame to its section's dense index; its root covers 52 address
//! bits with 128 KiB at the most, and only stretches of 128 GiB that hold memory have a leaf. Built once, then only
//! read. Sections are numbered in the order of their frames.

use crate::frame::{BLOCK_FRAMES, Pfn, SECTION_BLOCKS, SECTION_FRAMES, SECTION_FRAMES_LOG2, ZoneId};

/// log2 of the sections a leaf covers.
const LEAF_LOG2: u32 = 10;
/// Sections a leaf covers.
pub(crate) const LEAF_SECTIONS: usize = 1 << LEAF_LOG2;
/// No leaf, or no section.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Whose blocks a section holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// One zone's only.
    Zone(ZoneId),
    /// Several zones': this row of [`SectionMap::mixed`] tells each block's.
    Mixed(u32),
}

/// The zones of a mixed section's blocks; `ZoneId(u16::MAX)` where there is none.
pub(crate) type MixedOwners = [ZoneId; SECTION_BLOCKS];

/// A section that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// Its first frame (a multiple of a section's frames).
    pub(crate) start: Pfn,
    pub(crate) owner: Owner,
}

/// The table and the sections.
#[derive(Clone, Copy)]
pub(crate) struct SectionMap<'m> {
    pub(crate) root: &'m [u32],
    pub(crate) leaves: &'m [u32],
    pub(crate) sections: &'m [Section],
    pub(crate) mixed: &'m [MixedOwners],
}

/// The number of the section that holds the frame, in the physical space.
pub(crate) const fn section_number(pfn: Pfn) -> u64 {
    pfn.get() >> SECTION_FRAMES_LOG2
}

/// The root slot and the place in the leaf of a section number.
pub(crate) const fn table_place(number: u64) -> (usize, usize) {
    ((number >> LEAF_LOG2) as usize, number as usize % LEAF_SECTIONS)
}

impl<'m> SectionMap<'m> {
    /// The dense index and the section that holds the frame. Three dependent loads of memory that nobody writes.
    #[inline]
    pub(crate) fn find(&self, pfn: Pfn) -> Option<(usize, &'m Section)> {
        let (slot, place) = table_place(section_number(pfn));
        let leaf = *self.root.get(slot)? as usize;
        let index = *self.leaves.get(leaf.checked_mul(LEAF_SECTIONS)?.checked_add(place)?)? as usize;
        Some((index, self.sections.get(index)?))
    }

    /// The zone of a frame's block in a section, if the block has one.
    #[inline]
    pub(crate) fn zone(&self, section: &Section, pfn: Pfn) -> Option<ZoneId> {
        match section.owner {
            Owner::Zone(zone) => Some(zone),
            Owner::Mixed(row) => Some(self.mixed.get(row as usize)?[block_in_section(pfn)]),
        }
    }
}

/// The block of its section that holds the frame.
#[inline]
pub(crate) const fn block_in_section(pfn: Pfn) -> usize {
    (pfn.get() / BLOCK_FRAMES) as usize % SECTION_BLOCKS
}

/// The frame's place in its section.
#[inline]
pub(crate) const fn offset_in_section(pfn: Pfn) -> u64 {
    pfn.get() % SECTION_FRAMES
}
