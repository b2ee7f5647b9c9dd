//! Stacks of sheets and of objects, which are only ever taken whole, by a swap.
//!
//! So a compare-exchange that puts something on what it read is right whatever happened in between: what it put names what
//! is under it. Whoever took a stack has what was on it *in hand*, one after the other; if its host panics, what is left in
//! its hand goes back. Invariant: what is on a stack is on no other, and in nobody's hand.

use core::ptr::{NonNull, null_mut};

use super::head::Head;
use super::host::DeferredHost;
use super::sheet::{Leaf, Sheet};
use crate::frame::Pfn;
use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Where the sheet of a frame is.
pub(super) fn sheet_in(host: &impl DeferredHost, pfn: Pfn) -> Option<NonNull<Sheet>> {
    Some(host.memory(pfn)?.cast())
}

/// A stack of sheets: the topmost as a [`Leaf`].
#[derive(Debug)]
pub(super) struct Sheets(AtomicU64);

impl Sheets {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(Leaf::NONE.word()))
    }

    /// The topmost. Acquire, as where [`Sheets::exchange`] fails: who claims a slot sees the sheet as `Sheet::begin` made it.
    pub(super) fn top(&self) -> Leaf {
        Leaf::of_word(self.0.load(Ordering::Acquire))
    }

    /// Puts `to` in place of `from`: a slot more claimed, or a sheet that names `from` as the one beneath.
    ///
    /// # Errors
    /// What is there, if that is not `from`.
    pub(super) fn exchange(&self, from: Leaf, to: Leaf) -> Result<(), Leaf> {
        // Release: pairs with the Acquire of who claims in the new sheet, or takes the stack with the object on it; Acquire as in `top`.
        let ordering = ordering_unless(Mutant::DeferredClaimRelaxed, Ordering::AcqRel);
        let exchanged = self.0.compare_exchange(from.word(), to.word(), ordering, Ordering::Acquire);
        exchanged.map(drop).map_err(Leaf::of_word)
    }

    /// Puts a sheet on it.
    pub(super) fn put(&self, leaf: Leaf, sheet: &Sheet) {
        let mut top = self.0.load(Ordering::Relaxed); // Relaxed: only compared, and written into the sheet
        loop {
            sheet.set_next(Leaf::of_word(top));
            // Release: pairs with the Acquire of who takes the stack.
            match self.0.compare_exchange(top, leaf.word(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all of them; those left in hand are put on `back`.
    pub(super) fn take<'s, H: DeferredHost>(&self, host: &'s H, back: &'s Self) -> SheetsInHand<'s, H> {
        // Acquire: pairs with the Release of every exchange that put a sheet there.
        let leaf = Leaf::of_word(self.0.swap(Leaf::NONE.word(), Ordering::Acquire));
        SheetsInHand { leaf, host, back }
    }
}

/// Sheets that one collector has.
pub(super) struct SheetsInHand<'s, H: DeferredHost> {
    leaf: Leaf,
    host: &'s H,
    back: &'s Sheets,
}

impl<'s, H: DeferredHost> SheetsInHand<'s, H> {
    /// The first of them, which stays in hand.
    pub(super) fn first(&self) -> Option<(Leaf, &'s Sheet)> {
        let sheet = sheet_in(self.host, self.leaf.pfn()?)?;
        // SAFETY: a sheet that was on a stack, which now is in this hand: nobody else gives it back.
        Some((self.leaf, unsafe { sheet.as_ref() }))
    }

    /// Lets go of the first, which is `sheet`.
    pub(super) fn drop_first(&mut self, sheet: &Sheet) {
        self.leaf = sheet.next();
    }

    /// Slots claimed in the first.
    pub(super) fn claimed(&self) -> u64 {
        self.leaf.claimed()
    }
}

impl<H: DeferredHost> Drop for SheetsInHand<'_, H> {
    fn drop(&mut self) {
        while let Some((leaf, sheet)) = self.first() {
            self.drop_first(sheet);
            self.back.put(leaf, sheet);
        }
    }
}

/// A stack of objects by their heads.
#[derive(Debug)]
pub(super) struct Heads(AtomicPtr<Head>);

impl Heads {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null() // Relaxed: a hint
    }

    /// Puts an object on it.
    ///
    /// # Safety
    /// Its head is the queue's, and it is on no other list.
    pub(super) unsafe fn put(&self, object: NonNull<Head>) {
        let mut top = self.0.load(Ordering::Relaxed); // Relaxed: only compared, and written into the head
        loop {
            // SAFETY: the caller's, until the exchange.
            unsafe { object.as_ref() }.set_next(top);
            if planted(Mutant::DeferredPushBlind) {
                return self.0.store(object.as_ptr(), Ordering::Release);
            }
            // Release: pairs with the Acquire of who takes the list.
            match self.0.compare_exchange(top, object.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all of them; those left in hand are put back here.
    pub(super) fn take(&self) -> HeadsInHand<'_> {
        // Acquire: pairs with the Release of `put`.
        let top = match planted(Mutant::DeferredTakenTwice) {
            true => self.0.load(Ordering::Acquire),
            false => self.0.swap(null_mut(), Ordering::Acquire),
        };
        if planted(Mutant::DeferredTakenTwice) {
            self.0.store(null_mut(), Ordering::Relaxed);
        }
        HeadsInHand { top: NonNull::new(top), back: self }
    }
}

/// Objects that one collector has.
pub(super) struct HeadsInHand<'s> {
    top: Option<NonNull<Head>>,
    back: &'s Heads,
}

impl HeadsInHand<'_> {
    /// The first of them, which stays in hand.
    pub(super) fn first(&self) -> Option<NonNull<Head>> {
        self.top
    }

    /// Lets go of the first.
    pub(super) fn drop_first(&mut self) {
        // SAFETY: what was on the list has a head that is the queue's, and is ours until it is let go.
        self.top = self.top.and_then(|object| unsafe { object.as_ref() }.next());
    }
}

impl Drop for HeadsInHand<'_> {
    fn drop(&mut self) {
        while let Some(object) = self.first() {
            self.drop_first();
            // SAFETY: it was in this hand.
            unsafe { self.back.put(object) };
        }
    }
}
