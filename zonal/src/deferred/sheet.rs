//! A sheet: a frame full of pointers to objects that are freed together (Linux: `kvfree_rcu_bulk_data`).
//!
//! | word of the frame | who writes it |
//! |---|---|
//! | next: the sheet beneath, as a [`Leaf`] | who puts it on a stack, before it is there |
//! | cookie, stamped, freed | who took it off |
//! | slots, 508 | null at first; each once, by who claimed it |
//!
//! Invariant of a sheet that was taken off: `freed <= stamped <= written <= claimed`, where *written* is the number of slots
//! before the first that is null. It goes back to the allocator when `freed = claimed`: nobody writes to it any more.

use core::ptr::{NonNull, null_mut};

use super::head::Head;
use crate::frame::Pfn;
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Objects on a sheet: what is left of a frame.
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
pub(crate) const SLOTS: u64 = 508;
/// The same, so that sheets are soon full.
#[cfg(any(zonal_loom, zonal_shuttle))]
pub(crate) const SLOTS: u64 = 2;

/// Bits of a leaf that count claims.
const CLAIMED: u64 = (1 << 10) - 1;

/// A sheet by its frame, with the number of slots claimed: `pfn << 10 | claimed`, 0: none.
///
/// A word on its own: whoever exchanges `(F, n)` for `(F, n + 1)` has slot n of the sheet that F is then, whatever was in
/// between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf(u64);

impl Leaf {
    pub(crate) const NONE: Self = Self(0);

    /// A new sheet with one object.
    pub(crate) fn first(pfn: Pfn) -> Self {
        Self(pfn.get() << 10 | 1)
    }

    pub(crate) fn of_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn claimed(self) -> u64 {
        self.0 & CLAIMED
    }

    pub(crate) fn pfn(self) -> Option<Pfn> {
        (self != Self::NONE).then(|| Pfn::new(self.0 >> 10))
    }

    /// With one slot more claimed; `None` if there is no sheet or it is full.
    pub(crate) fn claim(self) -> Option<Self> {
        (1..SLOTS).contains(&self.claimed()).then(|| Self(self.0 + 1))
    }
}

/// What is in the frame.
#[repr(C)]
pub(crate) struct Sheet {
    next: AtomicU64,
    cookie: AtomicU64,
    stamped: AtomicU64,
    freed: AtomicU64,
    slots: [AtomicPtr<Head>; SLOTS as usize],
}

#[cfg(not(any(zonal_loom, zonal_shuttle)))]
const _: () = assert!(size_of::<Sheet>() as u64 <= crate::frame::FRAME_SIZE);

impl Sheet {
    /// Makes an empty sheet of a frame: a store for each slot, in place (an NMI's stack is small).
    ///
    /// # Safety
    /// The memory is aligned for a sheet and holds one; nobody else uses it.
    pub(crate) unsafe fn begin(memory: NonNull<u8>) -> NonNull<Self> {
        let sheet = memory.cast::<Self>();
        let at = sheet.as_ptr();
        // SAFETY: the caller vouches for the memory; these are its fields, none of which is read before.
        unsafe {
            (&raw mut (*at).next).write(AtomicU64::new(0));
            (&raw mut (*at).cookie).write(AtomicU64::new(0));
            (&raw mut (*at).stamped).write(AtomicU64::new(0));
            (&raw mut (*at).freed).write(AtomicU64::new(0));
            let slots = (&raw mut (*at).slots).cast::<AtomicPtr<Head>>();
            (0..SLOTS as usize).for_each(|slot| slots.add(slot).write(AtomicPtr::new(null_mut())));
        }
        sheet
    }

    // Relaxed: the stack it is put on, and taken off, hands the header on (Release and Acquire in `pile.rs`).

    pub(crate) fn next(&self) -> Leaf {
        Leaf::of_word(self.next.load(Ordering::Relaxed))
    }

    pub(crate) fn set_next(&self, leaf: Leaf) {
        self.next.store(leaf.word(), Ordering::Relaxed);
    }

    pub(crate) fn cookie(&self) -> u64 {
        self.cookie.load(Ordering::Relaxed)
    }

    /// Writes the slot that was claimed last when `leaf` was made.
    pub(crate) fn write(&self, leaf: Leaf, object: NonNull<Head>) {
        if let Some(slot) = self.slots.get(leaf.claimed() as usize - 1) {
            // Release: pairs with the Acquire of `slot`. The claim has released the object; this is the last that is done to
            // the frame, before it may be another's.
            slot.store(object.as_ptr(), Ordering::Release);
        }
    }

    fn slot(&self, at: u64) -> Option<NonNull<Head>> {
        NonNull::new(self.slots.get(at as usize)?.load(Ordering::Acquire)) // pairs with `write`
    }

    /// What is written by now waits for a grace period that begins after it was looked at.
    pub(crate) fn stamp(&self, leaf: Leaf, start: impl FnOnce() -> u64) {
        let from = self.stamped.load(Ordering::Relaxed);
        let trusted = planted(Mutant::DeferredSlotTrusted);
        let written = (from..leaf.claimed()).take_while(|&at| trusted || self.slot(at).is_some()).count();
        self.stamped.store(from + written as u64, Ordering::Relaxed);
        self.cookie.store(start(), Ordering::Relaxed);
    }

    /// Frees what the grace period was for; how many these were.
    pub(crate) fn free(&self, mut free: impl FnMut(NonNull<Head>)) -> u64 {
        let stamped = self.stamped.load(Ordering::Relaxed);
        let objects = self.freed.load(Ordering::Relaxed)..stamped;
        let freed = objects.filter_map(|at| self.slot(at)).map(&mut free).count() as u64;
        self.freed.store(stamped, Ordering::Relaxed);
        freed
    }

    /// Whether nothing of it is left, and nobody will write to it.
    pub(crate) fn is_done(&self, leaf: Leaf) -> bool {
        self.freed.load(Ordering::Relaxed) == leaf.claimed()
    }
}
