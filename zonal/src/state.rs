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
    pub(crate) cpus: &'m [Cpu<'m>],
    pub(crate) zones: &'m [Zone<'m>],
    pub(crate) map: SectionMap<'m>,
    pub(crate) lists: Zonelists<'m>,
    pub(crate) tags: Option<Tags<'m>>,
}

impl<'m> State<'m> {
    /// The zone that manages the frame. Reads nothing that is written after construction.
    #[inline]
    pub(crate) fn zone_of(&self, pfn: Pfn) -> Result<&'m Zone<'m>, FreeError> {
        match self.zones.get(usize::from(self.map.zone_hint(pfn).0)) {
            Some(zone) => Ok(zone),
            None => self.zone_in_mixed(pfn),
        }
    }

    #[cold]
    fn zone_in_mixed(&self, pfn: Pfn) -> Result<&'m Zone<'m>, FreeError> {
        let zone = self.map.zone(pfn).and_then(|zone| self.zones.get(usize::from(zone.0)));
        zone.ok_or(FreeError::Foreign { pfn })
    }

    /// The frame's zone and block, if the block holds any frame.
    #[inline]
    pub(crate) fn block(&self, pfn: Pfn) -> Result<(&'m Zone<'m>, Block<'m>), FreeError> {
        let foreign = FreeError::Foreign { pfn };
        let zone = self.zone_of(pfn)?;
        let block = self.map.find(pfn).and_then(|section| zone.block_at(section, pfn)).ok_or(foreign)?;
        if block.entry.load().managed() == 0 { Err(foreign) } else { Ok((zone, block)) }
    }
}
