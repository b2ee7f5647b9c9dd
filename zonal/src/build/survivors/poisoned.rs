//! Poisoned frames that survive: what was out is out, and what was pending goes out if it is free now.

use super::Survivors;
use crate::block::bitmap::row_and_mask;
use crate::block::entry::Entry;
use crate::frame::{BLOCK_FRAMES, FrameRange, MAX_FRAMES, Order, Pfn, ROW_FRAMES};
use crate::poison::Poisoned;

impl Survivors<'_, '_> {
    /// Whether the table names frames of the block that starts there.
    pub(super) fn has_poison(&self, start: Pfn) -> bool {
        self.poison.frames(FrameRange::new(start, start.add(BLOCK_FRAMES))).next().is_some()
    }

    /// Of the row that starts there, the frames that are out: nobody is asked about them.
    pub(super) fn out_of_row(&self, first: Pfn) -> u64 {
        let row = self.poison.frames(FrameRange::new(first, first.add(ROW_FRAMES)));
        let out = row.filter(|&(_, state)| state == Poisoned::Out);
        out.fold(0, |mask, (pfn, _)| mask | 1 << (pfn.get() % ROW_FRAMES))
    }

    /// Takes poisoned frames that are free out of their blocks, and flags those.
    pub(super) fn withdraw_poisoned(&mut self) {
        let all = FrameRange::new(Pfn::new(0), Pfn::new(MAX_FRAMES));
        for (pfn, state) in self.poison.frames(all) {
            let Some(at) = self.at(pfn) else { continue };
            let (Some(entry), Some(bitmap)) = (self.entries.get_mut(at), self.bitmaps.get(at)) else {
                continue;
            };
            let now = entry.load();
            if now.managed() == 0 {
                continue; // it went offline with its section
            }
            let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
            let is_free = now.is_open_to_frees() && bitmap.row(row).take_exact(mask);
            if is_free {
                *entry = Entry::with_free(now.zone(), now.kind(), now.managed(), now.count() - 1);
            }
            entry.flag_poisoned();
            let went = is_free && self.poison.leave(pfn);
            self.found.poisoned += u64::from(went || state == Poisoned::Out);
        }
    }
}
