//! Sections: which ones exist, and where a frame's metadata is.
//!
//! A two-level table over section numbers leads from a frame to its section's dense index; its root covers 52 address
//! bits with 128 KiB at the most, and only stretches of 128 GiB that hold memory have a leaf. Built once, then only
//! read; whom the blocks of a section belong to that may be plugged in, their entries say. Sections are numbered in the order of their frames.

pub(crate) mod rows;

use crate::block::entry::Entry;
use crate::frame::{
    BLOCK_FRAMES, NO_ZONE, NodeId, Pfn, SECTION_BLOCKS, SECTION_FRAMES, SECTION_FRAMES_LOG2, ZoneId,
};
use crate::section::rows::RowsWord;
use crate::sync::{AtomicU8, Ordering};

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
    /// One that may be plugged in, of this node: the entry of each block tells the zone it belongs to now.
    Hot(NodeId),
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
pub(crate) struct Section<'m> {
    /// Its first frame (a multiple of a section's frames).
    pub(crate) start: Pfn,
    pub(crate) owner: Owner,
    /// Where its blocks' rows are.
    pub(crate) rows: RowsWord<'m>,
}

/// What has become of a section that may be plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Plugged {
    /// It is not there.
    Absent = 0,
    /// It is there; its frames are nobody's.
    Offline = 1,
    /// Its frames are a zone's: which one, the entries say.
    Online = 2,
}

/// That, as a word: written by one plugger at a time, behind all that the change consists of. It orders nothing: who must
/// know reads the entries.
#[repr(transparent)]
pub(crate) struct PlugWord(AtomicU8);

impl PlugWord {
    pub(crate) fn new(plugged: Plugged) -> Self {
        Self(AtomicU8::new(plugged as u8))
    }

    pub(crate) fn get(&self) -> Plugged {
        match self.0.load(Ordering::Relaxed) {
            1 => Plugged::Offline,
            2 => Plugged::Online,
            _ => Plugged::Absent,
        }
    }

    pub(crate) fn set(&self, plugged: Plugged) {
        self.0.store(plugged as u8, Ordering::Relaxed);
    }
}

/// The table and the sections.
#[derive(Clone, Copy)]
pub(crate) struct SectionMap<'m> {
    pub(crate) root: &'m [u32],
    pub(crate) leaves: &'m [Leaf],
    pub(crate) sections: &'m [Section<'m>],
    pub(crate) mixed: &'m [MixedOwners],
    /// All blocks' entries, section by section.
    pub(crate) entries: &'m [Entry],
    /// What has become of each section, if it may be plugged in.
    pub(crate) plugged: &'m [PlugWord],
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
        let zone = if zone == NO_ZONE { self.zone_in(section, pfn)? } else { zone };
        Some((section, zone))
    }

    #[cold]
    fn zone_in(&self, section: usize, pfn: Pfn) -> Option<ZoneId> {
        self.sections.get(section).map(|_| self.zone_of(section, block_in_section(pfn)))
    }

    /// The node of the frame's section, if it is one that may be plugged in.
    pub(crate) fn hot_node(&self, pfn: Pfn) -> Option<NodeId> {
        match self.sections.get(self.find(pfn)?)?.owner {
            Owner::Hot(node) => Some(node),
            Owner::Zone(_) | Owner::Mixed(_) => None,
        }
    }

    /// The zone of a block of the section with this dense index, or [`NO_ZONE`].
    #[inline]
    pub(crate) fn zone_of(&self, section: usize, block: usize) -> ZoneId {
        let block = block % SECTION_BLOCKS;
        let zone = self.sections.get(section).and_then(|it| match it.owner {
            Owner::Zone(zone) => Some(zone),
            Owner::Mixed(row) => Some(self.mixed.get(row as usize)?[block]),
            Owner::Hot(_) => Some(self.entries.get(section * SECTION_BLOCKS + block)?.load().zone()),
        });
        zone.unwrap_or(NO_ZONE)
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
