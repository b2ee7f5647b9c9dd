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
/// No zone, or several.
pub(crate) const NO_ZONE: ZoneId = ZoneId(u16::MAX);

/// Whose blocks a section holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// One zone's only.
    Zone(ZoneId),
    /// Several zones': this row of [`SectionMap::mixed`] tells each block's.
    Mixed(u32),
}

/// The zones of a mixed section's blocks; [`NO_ZONE`] where there is none.
pub(crate) type MixedOwners = [ZoneId; SECTION_BLOCKS];

/// What a stretch of section numbers leads to.
pub(crate) struct Leaf {
    /// The zone of all the section's blocks; [`NO_ZONE`] if it is absent or belongs to several.
    pub(crate) zones: [ZoneId; LEAF_SECTIONS],
    /// Its dense index; [`ABSENT`].
    pub(crate) sections: [u32; LEAF_SECTIONS],
}

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
    pub(crate) leaves: &'m [Leaf],
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
    /// The dense index of the section that holds the frame.
    pub(crate) fn find(&self, pfn: Pfn) -> Option<usize> {
        self.locate(pfn).map(|(section, _)| section)
    }

    /// The dense index of the section that holds the frame, and the zone of the frame's block, or [`NO_ZONE`].
    #[inline]
    pub(crate) fn locate(&self, pfn: Pfn) -> Option<(usize, ZoneId)> {
        let (slot, place) = table_place(section_number(pfn));
        let leaf = self.leaves.get(*self.root.get(slot)? as usize)?;
        let (section, zone) =
            (leaf.sections[place % LEAF_SECTIONS] as usize, leaf.zones[place % LEAF_SECTIONS]);
        let zone = if zone == NO_ZONE { self.zone_in(self.sections.get(section)?, pfn) } else { zone };
        Some((section, zone))
    }

    #[cold]
    fn zone_in(&self, section: &Section, pfn: Pfn) -> ZoneId {
        self.owner_in(section, block_in_section(pfn))
    }

    /// The zone of a block of the section with this dense index, or [`NO_ZONE`].
    #[inline]
    pub(crate) fn zone_of(&self, section: usize, block: usize) -> ZoneId {
        self.sections.get(section).map_or(NO_ZONE, |section| self.owner_in(section, block))
    }

    #[inline]
    fn owner_in(&self, section: &Section, block: usize) -> ZoneId {
        match section.owner {
            Owner::Zone(zone) => zone,
            Owner::Mixed(row) => {
                self.mixed.get(row as usize).map_or(NO_ZONE, |row| row[block % SECTION_BLOCKS])
            }
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
