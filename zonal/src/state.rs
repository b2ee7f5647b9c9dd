//! What an allocator consists of: CPUs, zones, the section table, zonelists, and in checked mode the tags.
//!
//! All of it lies in the lent memory. Only the zones' and the tags' words change after construction.

use crate::error::FreeError;
use crate::frame::Pfn;
use crate::section::SectionMap;
use crate::tag::Tags;
use crate::zone::{Block, Cpu, Zone};
use crate::zonelist::Zonelists;

/// The parts.
pub(crate) struct State<'m> {
    pub(crate) cpus: &'m [Cpu],
    pub(crate) zones: &'m [Zone<'m>],
    pub(crate) map: SectionMap<'m>,
    pub(crate) lists: Zonelists<'m>,
    pub(crate) tags: Option<Tags<'m>>,
}

/// A frame's zone and the dense number of its section.
#[derive(Clone, Copy)]
pub(crate) struct Place<'m> {
    pub(crate) zone: &'m Zone<'m>,
    pub(crate) section: usize,
}

impl<'m> State<'m> {
    /// Where the frame is, or that it is not managed here. Reads nothing that is written after construction.
    #[inline]
    pub(crate) fn place(&self, pfn: Pfn) -> Result<Place<'m>, FreeError> {
        self.find(pfn).ok_or(FreeError::Foreign { pfn })
    }

    #[inline]
    fn find(&self, pfn: Pfn) -> Option<Place<'m>> {
        let (section, found) = self.map.find(pfn)?;
        let zone = self.map.zone(found, pfn)?;
        Some(Place { zone: self.zones.get(usize::from(zone.0))?, section })
    }

    /// The frame's zone and block.
    pub(crate) fn block(&self, pfn: Pfn) -> Result<(&'m Zone<'m>, Block<'m>), FreeError> {
        let Place { zone, section } = self.place(pfn)?;
        let block = zone.block_at(section, pfn).ok_or(FreeError::Foreign { pfn })?;
        Ok((zone, block))
    }
}
