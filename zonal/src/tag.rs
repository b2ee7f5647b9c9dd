//! Checked mode: one byte a frame that says with which order a run was allocated from it.
//!
//! | value | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 | no run ever started here | construction | [`Tags::set`] |
//! | order + 1 | a run of that order does | `set`, once the run is the caller's | `clear`, before anything is freed |
//! | 0x80 | one did, and was freed | [`Tags::clear`] | `set` |
//!
//! A free that does not find its order is refused before it touches anything, so misuse cannot corrupt what others
//! hold. Of two frees of one run at once, one compare-exchange wins. What this cannot see: a stale free of a run
//! that has been allocated again with the same order; only the owned type prevents that.

use crate::error::FreeError;
use crate::frame::{Order, Pfn, SECTION_FRAMES};
use crate::mutant::{Mutant, planted};
use crate::section::{SectionMap, offset_in_section};
use crate::sync::{AtomicU8, Ordering};

/// The tag of a frame at which a run was freed last.
const FREED: u8 = 0x80;

/// The bytes, one section after the other.
pub(crate) struct Tags<'m> {
    bytes: &'m [AtomicU8],
}

impl<'m> Tags<'m> {
    pub(crate) fn new(bytes: &'m [AtomicU8]) -> Self {
        Self { bytes }
    }

    fn byte(&self, map: &SectionMap<'_>, pfn: Pfn) -> Option<&'m AtomicU8> {
        let section = map.find(pfn)?;
        self.bytes.get(section * SECTION_FRAMES as usize + offset_in_section(pfn) as usize)
    }

    /// Notes an allocated run. One store.
    pub(crate) fn set(&self, map: &SectionMap<'_>, pfn: Pfn, order: Order) {
        if let Some(byte) = self.byte(map, pfn) {
            // Relaxed: the run reaches whoever frees it through its owner, who orders this before.
            byte.store(order.get() + 1, Ordering::Relaxed);
        }
    }

    /// Takes back the note of a run about to be freed, or says why it must not be. One compare-exchange.
    pub(crate) fn clear(&self, map: &SectionMap<'_>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let byte = self.byte(map, pfn).ok_or(FreeError::Foreign { pfn })?;
        // Relaxed: a check; what orders the frames are the words they go to.
        match byte.compare_exchange(order.get() + 1, FREED, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) if planted(Mutant::DoubleFreeAccepted) => Ok(()),
            Err(FREED) => Err(FreeError::DoubleFree { pfn, order }),
            Err(0) => Err(FreeError::NotAllocated { pfn }),
            Err(tag) => Err(FreeError::WrongOrder { pfn, allocated: Order::from_raw(tag - 1), freed: order }),
        }
    }

    /// The order noted, if there is one.
    pub(crate) fn order(&self, map: &SectionMap<'_>, pfn: Pfn) -> Option<Order> {
        // Relaxed, here and in `forget`: nobody else is at work, or the answer is only a hint.
        Order::new(self.byte(map, pfn)?.load(Ordering::Relaxed).checked_sub(1)?)
    }

    /// Takes back whatever is noted.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) fn forget(&self, map: &SectionMap<'_>, pfn: Pfn) {
        if self.order(map, pfn).is_some() {
            self.byte(map, pfn).into_iter().for_each(|byte| byte.store(FREED, Ordering::Relaxed));
        }
    }

    /// Frames in the runs that are noted, and the number of notes (for the audit).
    pub(crate) fn allocated(&self) -> u64 {
        let tags = self.bytes.iter().map(|byte| byte.load(Ordering::Relaxed)); // Relaxed: at quiescence
        tags.filter(|&tag| tag != 0 && tag != FREED).map(|tag| Order::from_raw(tag - 1).frames()).sum()
    }
}
