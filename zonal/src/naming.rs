//! Saying and asking whom a run belongs to. Never on the way of an allocation: a run's owner is named when it has it.

use crate::allocator::PageAllocator;
use crate::frame::{Order, Pfn};
use crate::owner::{Owner, OwnerError};
use crate::platform::Platform;

impl<P: Platform> PageAllocator<'_, P> {
    /// Names whom an allocated run belongs to, in place of whoever was named before; the name goes with the frames' free, and
    /// with their content to where a compaction moves it. Whoever owns the run says so: of frames that are freed meanwhile,
    /// or are nobody's, a wrong name is left (in checked mode only by a race).
    ///
    /// Any context. A store a frame.
    ///
    /// # Errors
    /// By cause, see [`OwnerError`].
    pub fn set_owner(&self, pfn: Pfn, order: Order, owner: Owner) -> Result<(), OwnerError> {
        let names = self.state.names().ok_or(OwnerError::Unnamed)?;
        if !pfn.is_aligned(order) {
            return Err(OwnerError::Misaligned { pfn, order });
        }
        self.state.block(pfn).map_err(|_| OwnerError::Foreign { pfn })?;
        let noted = self.state.tags().map(|tags| tags.order(&self.state.map, pfn));
        if noted.is_some_and(|noted| noted != Some(order)) {
            return Err(OwnerError::NotAllocated { pfn, order });
        }
        names.set(&self.state.map, pfn, order, Some(owner));
        Ok(())
    }

    /// Whom the frame is allocated to, as far as that was said. One load.
    pub fn owner(&self, pfn: Pfn) -> Option<Owner> {
        self.state.owner_of(pfn)
    }
}
