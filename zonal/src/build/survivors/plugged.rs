//! Sections that may be plugged in, as they were left: online, offline, or on the way.

use crate::block::entry::Entry;
use crate::build::ground::{Arrays, Ground};
use crate::build::sections::place_of;
use crate::frame::{BLOCK_FRAMES, FrameRange, NO_ZONE, SECTION_BLOCKS};
use crate::poison::{PoisonTable, Poisoned};
use crate::recovery::RecoveryError;
use crate::section::{Owner, Plugged};

impl<'m> Ground<'m> {
    /// Says of each section that may be plugged in whether it is online, and adds those to their zones' plans. One that was
    /// on its way, all its frames free, is offline; isolations have ended.
    pub(super) fn find_plugged(&mut self, arrays: &mut Arrays<'m>) -> Result<(), RecoveryError> {
        let poison = PoisonTable::new(arrays.poison);
        let sections = self.map.sections.iter().enumerate();
        for (at, section) in sections.filter(|(_, section)| matches!(section.owner, Owner::Hot(_))) {
            let blocks = at * SECTION_BLOCKS..(at + 1) * SECTION_BLOCKS;
            let (Some(word), Some(entries)) = (arrays.plugged.get(at), arrays.entries.get_mut(blocks)) else {
                continue;
            };
            let zone = entries.first().map_or(NO_ZONE, |entry| entry.load().zone());
            let is_in = |entry: &Entry| entry.load().managed() == BLOCK_FRAMES && entry.load().zone() == zone;
            let place = self.listed.get(usize::from(zone.0)).map(place_of);
            let plan = place.and_then(|place| self.plans.get_mut(place));
            match plan.filter(|plan| plan.range().contains(&at) && entries.iter().all(is_in)) {
                Some(plan) => {
                    plan.plug(at as u32, section.start.get());
                    word.set(Plugged::Online);
                }
                None => {
                    let is_used = |(block, entry): (u64, &Entry)| {
                        let (entry, start) = (entry.load(), section.start.add(block * BLOCK_FRAMES));
                        let poison = poison.frames(FrameRange::new(start, start.add(BLOCK_FRAMES)));
                        let out = poison.filter(|&(_, state)| state == Poisoned::Out).count() as u64;
                        entry.count() != entry.managed().saturating_sub(out)
                    };
                    if (0..).zip(&*entries).any(is_used) {
                        return Err(RecoveryError::Damaged { block: section.start });
                    }
                    entries.iter_mut().for_each(|entry| *entry = Entry::absent());
                    let was_there = word.get() != Plugged::Absent;
                    word.set(if was_there { Plugged::Offline } else { Plugged::Absent });
                }
            }
        }
        Ok(())
    }
}
