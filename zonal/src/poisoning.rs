//! Taking bad frames out for good (Linux: hwpoison), and putting them back.
//!
//! | step of `poison` | left behind if it is the last one |
//! |---|---|
//! | the table's word: pending | a frame that goes out with no free: nobody knows; a recovery finds it |
//! | the entry's flag | a frame that goes out when it is freed |
//! | words forget its group, what they held lands without it | the same |
//! | claims and bit, if it is free | the frame in transit, or allocated; a recovery finds it pending and free |
//! | the word: out | |

use crate::allocator::PageAllocator;
use crate::block::bitmap::row_and_mask;
use crate::error::FreeError;
use crate::frame::{BLOCK_FRAMES, FrameRange, Order, Pfn};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::poison::{PoisonError, Poisoned};
use crate::sync::store_load_barrier;
use crate::zone::{Block, Zone};

/// Times that a free frame is asked for while all claims on its block or zone are in others' hands.
const TRIES: usize = 64;

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Takes a frame out of use for good: a free one at once, whatever the marks; one that is used when it is freed, a block
    /// of which it is part without it. It stays managed, and counts as poisoned and no more as free or allocated.
    ///
    /// Once this has returned [`Poisoned::Out`], the frame is never handed out. After [`Poisoned::Pending`] it is not handed
    /// out any more from the next free that begins after this; it may be, once, by one that had begun before, or where an
    /// allocation or a drain under way had it in hand. Poisoning a frame again says where it is, and looks for it again.
    /// A frame that is reserved or absent in a block with others cannot be told from one in use: it stays pending.
    ///
    /// Any context, but never waits for another one that poisons or heals: see [`PoisonError::Busy`]. Where CPUs own their words
    /// ([`crate::OwnWords`]): a barrier for each of those whose words nobody holds, so task context; elsewhere, where one is refused,
    /// a frame that is not free fails with [`PoisonError::Undrained`], pending. Linear in the zone's slot words and the table.
    ///
    /// # Errors
    /// By cause, see [`PoisonError`].
    pub fn poison(&self, pfn: Pfn) -> Result<Poisoned, PoisonError> {
        let _turn = self.state.poisoning.enter().ok_or(PoisonError::Busy)?;
        let (zone, block) = self.bad_block(pfn)?;
        let words = zone.poison.capacity();
        let state = zone.poison.insert(pfn).ok_or(PoisonError::Full { words })?;
        if state == Poisoned::Out {
            return Ok(state);
        }
        if !planted(Mutant::PoisonFlagLate) {
            block.entry.flag_poisoned();
        }
        store_load_barrier();
        let drained = zone.drain_group(pfn);
        let state = withdraw(zone, block, pfn);
        if planted(Mutant::PoisonFlagLate) {
            block.entry.flag_poisoned();
        }
        match drained.refused {
            Some(cpu) if state == Poisoned::Pending => Err(PoisonError::Undrained { cpu }),
            _ => Ok(state),
        }
    }

    /// Heals a frame: one that is out is free again (unless its memory is offline), one that is pending stays whose it is.
    /// Where it was.
    ///
    /// Contexts as [`PageAllocator::poison`].
    ///
    /// # Errors
    /// By cause, see [`PoisonError`].
    pub fn unpoison(&self, pfn: Pfn) -> Result<Poisoned, PoisonError> {
        let _turn = self.state.poisoning.enter().ok_or(PoisonError::Busy)?;
        let place = self.bad_block(pfn);
        let Some(state) = self.state.poison.remove(pfn) else {
            return Err(place.err().unwrap_or(PoisonError::NotPoisoned { pfn }));
        };
        let Ok((zone, block)) = place else { return Ok(state) }; // it went offline with its section
        let own = FrameRange::new(block.start, block.start.add(BLOCK_FRAMES));
        if zone.poison.frames(own).next().is_none() {
            block.entry.unflag_poisoned();
        }
        if state == Poisoned::Out {
            let (row, bit) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
            let _ = zone.land(None, block, row, bit); // it was the table's, and is this call's
        }
        Ok(state)
    }

    /// Where a frame is, if it is poisoned. Linear in the table.
    pub fn poisoned(&self, pfn: Pfn) -> Option<Poisoned> {
        self.state.poison.state(pfn)
    }

    fn bad_block(&self, pfn: Pfn) -> Result<(&'m Zone<'m>, Block<'m>), PoisonError> {
        self.state.block(pfn).map_err(|_: FreeError| PoisonError::Foreign { pfn })
    }
}

/// Takes a frame out that stands in the table, if it is free; where it is then. A free may do so at the same time.
fn withdraw<'m>(zone: &Zone<'m>, block: Block<'m>, pfn: Pfn) -> Poisoned {
    for _ in 0..TRIES {
        if zone.expel(block, pfn, &mut 0) {
            return Poisoned::Out;
        }
        if !block.is_free(pfn) {
            break;
        }
        zone.collect_credits();
    }
    zone.poison.state(pfn).unwrap_or(Poisoned::Pending)
}
