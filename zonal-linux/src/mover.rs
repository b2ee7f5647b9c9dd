//! The owners of an application's movable frames, and how content comes from one run to another.
//!
//! Compaction and offlining ask for frames to be moved; a [`Mover`] says which runs are its own, and has one moved by copying
//! it and using the copy from then on. Never touches a frame but in [`Relocation::copy`]. Invariant: a run is moved by one
//! mover, the first that knows it.

use std::fmt;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use zonal::{FRAME_SIZE, Migration, Order, Pfn};

use crate::memory::FrameMemory;
use crate::registry::{Registration, Registry};

/// An owner of runs that can be moved.
///
/// Called in task context only, by several threads at once, in the role [`crate::Role::Memalloc`]: by compaction, for single
/// frames, and by offlining. A mover that panics is taken out; in [`Mover::relocate`] both runs are lost then, and the panic
/// goes on to whoever asked.
pub trait Mover: Send + Sync {
    /// The run of its own that a frame belongs to, and its order; `None` if it has none there. Its first frame may be asked
    /// to move at once, or never.
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)>;

    /// Moves a run, if it is its own and nobody uses it in a way that cannot be redirected: copies it
    /// ([`Relocation::copy`]) and uses the copy from now on. Under the lock that the run would be freed under, so that just
    /// one of the two gets it.
    ///
    /// * [`Migration::Moved`]: `to` is its own now, and `from` the allocator's: it must never be freed.
    /// * [`Migration::Refused`]: nothing changed. Also for runs that it does not know, or that it has just freed.
    fn relocate(&self, relocation: &Relocation<'_>) -> Migration;
}

impl<M: Mover + ?Sized> Mover for Arc<M> {
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        (**self).run_of(pfn)
    }

    fn relocate(&self, relocation: &Relocation<'_>) -> Migration {
        (**self).relocate(relocation)
    }
}

/// As long as it lives: for an owner that holds its pool, which must not hold the owner.
impl<M: Mover + ?Sized> Mover for Weak<M> {
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        self.upgrade()?.run_of(pfn)
    }

    fn relocate(&self, relocation: &Relocation<'_>) -> Migration {
        self.upgrade().map_or(Migration::Refused, |mover| mover.relocate(relocation))
    }
}

/// A run to be moved, and where to.
pub struct Relocation<'f> {
    from: Pfn,
    to: Pfn,
    order: Order,
    frames: &'f FrameMemory,
}

impl Relocation<'_> {
    /// The run's first frame.
    pub fn from(&self) -> Pfn {
        self.from
    }

    /// The first frame of a run just as long, which nobody has.
    pub fn to(&self) -> Pfn {
        self.to
    }

    /// How long both are.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The first byte of the run to move to.
    pub fn destination(&self) -> Option<NonNull<u8>> {
        self.frames.address(self.to)
    }

    /// Makes `to` hold what `from` does.
    ///
    /// # Safety
    /// The run `from` of this order is the caller's own, and nobody writes to it meanwhile.
    pub unsafe fn copy(&self) {
        let Some((from, to)) = self.frames.address(self.from).zip(self.destination()) else { return };
        let bytes = (self.order.frames() * FRAME_SIZE) as usize;
        // SAFETY: both runs are allocated, of this order, mapped in one piece, and different ones; `from` may be read (the
        // caller vouches), and `to` is nobody's but this relocation's.
        unsafe { to.copy_from_nonoverlapping(from, bytes) };
    }
}

impl fmt::Debug for Relocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, order, .. } = self;
        f.debug_struct("Relocation")
            .field("from", from)
            .field("to", to)
            .field("order", order)
            .finish_non_exhaustive()
    }
}

/// A pool's movers.
#[derive(Default)]
pub struct Movers {
    registry: Registry<dyn Mover>,
}

impl Movers {
    /// From now on it is asked to move what is its own, until what is returned is dropped. Task context.
    pub fn register(&self, mover: impl Mover + 'static) -> Registration {
        self.registry.register(Arc::new(mover))
    }

    /// The run that a frame belongs to, if somebody says that it is theirs.
    pub(crate) fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let entries = self.registry.entries();
        entries.iter().find_map(|entry| entry.call(|mover| mover.run_of(pfn))?.ok()?)
    }

    /// Has a run moved by the first who can.
    pub(crate) fn relocate(&self, (from, to): (Pfn, Pfn), order: Order, frames: &FrameMemory) -> Migration {
        let relocation = Relocation { from, to, order, frames };
        let entries = self.registry.entries();
        for entry in entries.iter() {
            match entry.call(|mover| mover.relocate(&relocation)) {
                Some(Ok(Migration::Moved)) => return Migration::Moved,
                Some(Ok(_)) | None => {}
                // It leaves open whose the runs are: nobody may have either of them.
                Some(Err(panic)) => resume_unwind(panic),
            }
        }
        if entries.is_empty() { Migration::Unsupported } else { Migration::Refused }
    }
}

impl fmt::Debug for Movers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Movers").field("registered", &self.registry.entries().len()).finish()
    }
}
