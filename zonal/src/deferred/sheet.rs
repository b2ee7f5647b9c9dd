//! A sheet: a frame full of pointers to objects that are freed together (Linux: `kvfree_rcu_bulk_data`).
//!
//! | word of the frame | who writes it |
//! |---|---|
//! | next: the sheet beneath, as a [`Leaf`] | who puts it on a stack, before it is there |
//! | cookie, stamped, freed | who took it off |
//! | slots, 508 | null at first; each once, by who claimed it; the sheet's own address by who took the object elsewhere |
//!
//! Invariant of a sheet that was taken off: `freed <= stamped <= written <= claimed`, where *written* is the number of slots
//! before the first that is null. It goes back to the allocator when `freed = claimed`: nobody writes to it any more. Objects
//! behind a slot that is not written do not wait for who claimed that: they leave the sheet.

use core::ptr::{self, NonNull, null_mut};

use super::head::Head;
use crate::frame::Pfn;
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Objects on a sheet: what is left of a frame.
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
pub(crate) const SLOTS: u64 = 508;
/// The same, so that sheets are soon full, and a slot can stand behind one that is not written.
#[cfg(any(zonal_loom, zonal_shuttle))]
pub(crate) const SLOTS: u64 = 3;

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

    /// A slot as it is.
    fn word(&self, at: u64) -> *mut Head {
        self.slots.get(at as usize).map_or(null_mut(), |slot| slot.load(Ordering::Acquire)) // pairs with `write`
    }

    /// The object in a slot that was written, and not taken elsewhere.
    fn slot(&self, at: u64) -> Option<NonNull<Head>> {
        NonNull::new(self.word(at)).filter(|object| object.as_ptr() != self.elsewhere())
    }

    /// Where no object is.
    fn elsewhere(&self) -> *mut Head {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The slots from `from` on up to the first that is claimed and not written.
    fn written(&self, from: u64, leaf: Leaf) -> u64 {
        let trusted = planted(Mutant::DeferredSlotTrusted);
        let is_written = |&at: &u64| trusted || !self.word(at).is_null();
        from + (from..leaf.claimed()).take_while(is_written).count() as u64
    }

    /// What is written by now waits for a grace period that begins after it was looked at.
    pub(crate) fn stamp(&self, leaf: Leaf, start: impl FnOnce() -> u64) {
        let from = self.stamped.load(Ordering::Relaxed);
        let written = self.written(from, leaf);
        if written > from {
            self.cookie.store(start(), Ordering::Relaxed); // first: if it panics, nothing waits for the cookie there was
            self.stamped.store(written, Ordering::Relaxed);
        }
    }

    /// Takes the objects off that stand behind a slot that is not written.
    pub(crate) fn behind_a_gap(&self, leaf: Leaf) -> impl Iterator<Item = NonNull<Head>> {
        let gap = self.written(self.stamped.load(Ordering::Relaxed), leaf);
        let behind = if planted(Mutant::DeferredGapAwaited) { 0..0 } else { gap..leaf.claimed() };
        behind.filter_map(move |at| {
            let object = self.slot(at)?;
            // Relaxed: who claimed it does not come again, and who has the sheet in hand next has it from here.
            self.slots.get(at as usize)?.store(self.elsewhere(), Ordering::Relaxed);
            Some(object)
        })
    }

    /// Whether objects on it wait for its grace period.
    pub(crate) fn waits(&self) -> bool {
        self.freed.load(Ordering::Relaxed) < self.stamped.load(Ordering::Relaxed)
    }

    /// Frees what the grace period was for. One whose free panics is not freed again.
    pub(crate) fn free(&self, mut free: impl FnMut(NonNull<Head>)) {
        let stamped = self.stamped.load(Ordering::Relaxed);
        for at in self.freed.load(Ordering::Relaxed)..stamped {
            self.freed.store(at + 1, Ordering::Relaxed);
            self.slot(at).into_iter().for_each(&mut free);
        }
    }

    /// Whether nothing of it is left, and nobody will write to it.
    pub(crate) fn is_done(&self, leaf: Leaf) -> bool {
        self.freed.load(Ordering::Relaxed) == leaf.claimed()
    }
}
