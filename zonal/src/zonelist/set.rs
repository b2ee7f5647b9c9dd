//! A set of zones on the stack.

use crate::frame::ZoneId;

const WORD: usize = u64::BITS as usize;
/// Zones of as many nodes as there may be, four each.
const ZONES: usize = 4096;

/// Which zones are in it.
pub(crate) struct ZoneSet([u64; ZONES / WORD]);

impl ZoneSet {
    pub(crate) const fn new() -> Self {
        Self([0; ZONES / WORD])
    }

    pub(crate) fn add(&mut self, zone: ZoneId) {
        let (word, bit) = place(zone);
        self.0.get_mut(word).into_iter().for_each(|word| *word |= bit);
    }

    pub(crate) fn has(&self, zone: ZoneId) -> bool {
        let (word, bit) = place(zone);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

const fn place(zone: ZoneId) -> (usize, u64) {
    (zone.0 as usize / WORD, 1 << (zone.0 as usize % WORD))
}
