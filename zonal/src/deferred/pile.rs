//! What one CPU has queued: two stacks of new objects, two of those that wait for a grace period.
//!
//! | word | meaning | put | taken |
//! |---|---|---|---|
//! | open | the sheet that is filled, on those that are full, as a [`Leaf`] | a claim, or a new sheet on a full one | whole |
//! | linked | objects for which there was no frame, by their heads | one | whole |
//! | waiting | sheets that wait | one | whole |
//! | waiting_linked | objects that wait | one | whole |
//! | sheets | frames taken and not given back | | |
//!
//! A stack is only ever taken as a whole, by a swap; so a compare-exchange that puts something on what it read is right
//! whatever happened in between: what it put names what is under it. Whoever took a stack owns what was on it, but for slots
//! that were claimed and are not written yet. Nobody waits for those: see [`Sheet`].

use core::iter;
use core::ptr::{NonNull, null_mut};

use super::head::Head;
use super::host::{DeferredHost, FrameSource};
use super::sheet::{Leaf, Sheet};
use crate::frame::Pfn;
use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// A CPU's part of a queue, on a line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Pile {
    open: AtomicU64,
    linked: AtomicPtr<Head>,
    waiting: AtomicU64,
    waiting_linked: AtomicPtr<Head>,
    sheets: AtomicU64,
}

/// Where an object was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queued {
    /// On a sheet that was there: one locked operation.
    OnSheet,
    /// On a new sheet, its CPU's first or the one before is full: a good moment to have somebody collect.
    OnNewSheet,
    /// By its own head, since no frame could be had: a good moment to have somebody collect.
    ByHead,
}

/// What a collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Objects freed.
    pub objects: u64,
    /// Bookkeeping frames given back.
    pub frames: u64,
}

impl Default for Pile {
    fn default() -> Self {
        Self::new()
    }
}

impl Pile {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let [open, waiting, sheets] = [0; 3].map(AtomicU64::new);
        let [linked, waiting_linked] = [(); 2].map(|()| AtomicPtr::new(null_mut()));
        Self { open, linked, waiting, waiting_linked, sheets }
    }

    /// Frames taken and not given back. Counts those that are about to be taken.
    pub(crate) fn frames(&self) -> u64 {
        self.sheets.load(Ordering::Relaxed) // Relaxed: a figure
    }

    /// Whether nothing is queued, and nothing waits but what somebody has in hand.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: the answer is only a hint while others queue.
        let sheets = [&self.open, &self.waiting].map(|word| word.load(Ordering::Relaxed));
        let heads = [&self.linked, &self.waiting_linked].map(|list| list.load(Ordering::Relaxed));
        sheets == [0; 2] && heads.iter().all(|head| head.is_null())
    }

    /// Queues an object: a slot of the open sheet, else of a new one, of which there may be `limit`, else by its head.
    ///
    /// # Safety
    /// The object is the queue's from now on; `host` and `frames` are those of every call.
    pub(crate) unsafe fn put(
        &self,
        object: NonNull<Head>,
        limit: u64,
        (host, frames): (&impl DeferredHost, &impl FrameSource),
    ) -> Queued {
        let mut spare = None;
        // Acquire, here and where an exchange fails: who claims a slot sees the sheet as `Sheet::begin` made it.
        let mut open = Leaf::of_word(self.open.load(Ordering::Acquire));
        loop {
            let claim = open.claim();
            let next = claim.or_else(|| {
                spare = spare.or_else(|| self.take_sheet(limit, (host, frames)));
                let (pfn, sheet) = spare?;
                // SAFETY: nobody else knows the spare sheet.
                Some(lay(Leaf::first(pfn), unsafe { sheet.as_ref() }, open, object))
            });
            let Some(next) = next else {
                // SAFETY: the object is the queue's, and on no other list.
                unsafe { self.hang(object) };
                return Queued::ByHead;
            };
            // Release: pairs with the Acquire of who claims in the new sheet, or takes the stack with the object on it; Acquire as above.
            let ordering = ordering_unless(Mutant::DeferredClaimRelaxed, Ordering::AcqRel);
            let (from, to) = (open.word(), next.word());
            match self.open.compare_exchange(from, to, ordering, Ordering::Acquire) {
                Ok(_) if claim.is_none() => return Queued::OnNewSheet,
                Ok(_) => {
                    // SAFETY: a sheet with a slot claimed and not written is not given back (`Sheet::is_done`).
                    next.pfn().and_then(|pfn| sheet_in(host, pfn)).into_iter().for_each(|sheet| unsafe {
                        sheet.as_ref().write(next, object);
                    });
                    spare.into_iter().for_each(|(pfn, _)| self.give_sheet(pfn, frames));
                    return Queued::OnSheet;
                }
                Err(now) => open = Leaf::of_word(now),
            }
        }
    }

    /// Queues an object by its head.
    ///
    /// # Safety
    /// Its head is the queue's.
    unsafe fn hang(&self, object: NonNull<Head>) {
        if !planted(Mutant::DeferredDropped) {
            // SAFETY: the caller's.
            unsafe { push(&self.linked, object) };
        }
    }

    /// A new sheet, if there may be one more.
    fn take_sheet(
        &self,
        limit: u64,
        (host, frames): (&impl DeferredHost, &impl FrameSource),
    ) -> Option<(Pfn, NonNull<Sheet>)> {
        // Relaxed: a number of its own. Counted first, so that there are never more.
        let allowed = self.sheets.fetch_add(1, Ordering::Relaxed) < limit;
        let pfn = (allowed || planted(Mutant::DeferredUnbounded)).then(|| frames.take()).flatten();
        let Some(pfn) = pfn else {
            self.sheets.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let Some(memory) = host.memory(pfn) else {
            self.give_sheet(pfn, frames);
            return None;
        };
        // SAFETY: the host says where the frame is, which is ours alone, a page long and aligned like one.
        Some((pfn, unsafe { Sheet::begin(memory) }))
    }

    fn give_sheet(&self, pfn: Pfn, frames: &impl FrameSource) {
        if planted(Mutant::DeferredFrameKept) {
            return;
        }
        frames.give(pfn);
        self.sheets.fetch_sub(1, Ordering::Relaxed);
    }

    /// Frees what has waited long enough, and lets what was queued wait.
    ///
    /// # Safety
    /// `host` and `frames` are those of every call.
    pub(crate) unsafe fn collect(
        &self,
        (host, frames): (&impl DeferredHost, &impl FrameSource),
    ) -> Collected {
        let mut collected = Collected::default();
        let early = planted(Mutant::DeferredStampedEarly).then(|| host.start());
        let start = || early.unwrap_or_else(|| host.start());
        for (leaf, sheet) in taken(host, &self.waiting) {
            if is_over(host, sheet.cookie()) {
                // SAFETY: queued, its grace period over, and this sheet is ours alone.
                collected.objects += sheet.free(|object| unsafe { host.free(object) });
                if let Some(pfn) = leaf.pfn().filter(|_| sheet.is_done(leaf)) {
                    self.give_sheet(pfn, frames);
                    collected.frames += 1;
                    continue;
                }
                sheet.stamp(leaf, start);
            }
            self.wait(leaf, sheet);
        }
        // SAFETY: what is on the list was queued.
        for object in unsafe { list(&self.waiting_linked) } {
            // SAFETY: the head is ours until the object is freed.
            if is_over(host, unsafe { object.as_ref() }.cookie()) {
                // SAFETY: queued, its grace period over, and off the list.
                unsafe { host.free(object) };
                collected.objects += 1;
            } else {
                // SAFETY: it was on this list.
                unsafe { push(&self.waiting_linked, object) };
            }
        }
        for (leaf, sheet) in taken(host, &self.open) {
            sheet.stamp(leaf, start);
            self.wait(leaf, sheet);
        }
        // SAFETY: what is on the list was queued.
        let linked = unsafe { list(&self.linked) };
        let cookie = start();
        linked.for_each(|object| {
            // SAFETY: the head is ours, and now on no list.
            unsafe {
                object.as_ref().set_cookie(cookie);
                push(&self.waiting_linked, object);
            }
        });
        collected
    }

    /// Puts a sheet among those that wait.
    fn wait(&self, leaf: Leaf, sheet: &Sheet) {
        let mut top = self.waiting.load(Ordering::Relaxed); // Relaxed: only compared, and written into the sheet
        loop {
            sheet.set_next(Leaf::of_word(top));
            // Release: pairs with the Acquire of who takes the stack.
            match self.waiting.compare_exchange(top, leaf.word(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

fn is_over(host: &impl DeferredHost, cookie: u64) -> bool {
    planted(Mutant::DeferredEarly) || host.is_over(cookie)
}

/// Writes an object on a new sheet that is to lie on `open`.
fn lay(leaf: Leaf, sheet: &Sheet, open: Leaf, object: NonNull<Head>) -> Leaf {
    sheet.write(leaf, object);
    sheet.set_next(open);
    leaf
}

fn sheet_in(host: &impl DeferredHost, pfn: Pfn) -> Option<NonNull<Sheet>> {
    Some(host.memory(pfn)?.cast())
}

/// Takes all sheets of a stack. Each one's successor is read before it is handed out.
fn taken<'h, H: DeferredHost>(
    host: &'h H,
    stack: &AtomicU64,
) -> impl Iterator<Item = (Leaf, &'h Sheet)> + use<'h, H> {
    // Acquire: pairs with the Release of every exchange that put a sheet there.
    let mut leaf = Leaf::of_word(stack.swap(0, Ordering::Acquire));
    iter::from_fn(move || {
        let sheet = sheet_in(host, leaf.pfn()?)?;
        // SAFETY: a sheet that was on the stack, which now is ours: nobody else gives it back.
        let sheet = unsafe { sheet.as_ref() };
        Some((core::mem::replace(&mut leaf, sheet.next()), sheet))
    })
}

/// Puts an object on a list.
///
/// # Safety
/// Its head is the caller's.
unsafe fn push(list: &AtomicPtr<Head>, object: NonNull<Head>) {
    let mut top = list.load(Ordering::Relaxed); // Relaxed: only compared, and written into the head
    loop {
        // SAFETY: the caller's, until the exchange.
        unsafe { object.as_ref() }.set_next(top);
        if planted(Mutant::DeferredPushBlind) {
            return list.store(object.as_ptr(), Ordering::Release);
        }
        // Release: pairs with the Acquire of who takes the list.
        match list.compare_exchange(top, object.as_ptr(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => top = now,
        }
    }
}

/// Takes all objects of a list. Each one's successor is read before it is handed out.
///
/// # Safety
/// Whatever is on the list has a head that is the queue's.
unsafe fn list(list: &AtomicPtr<Head>) -> impl Iterator<Item = NonNull<Head>> + use<> {
    // Acquire: pairs with the Release of `push`.
    let mut top = NonNull::new(match planted(Mutant::DeferredTakenTwice) {
        true => list.load(Ordering::Acquire),
        false => list.swap(null_mut(), Ordering::Acquire),
    });
    if planted(Mutant::DeferredTakenTwice) {
        list.store(null_mut(), Ordering::Relaxed);
    }
    iter::from_fn(move || {
        let object = top?;
        // SAFETY: off the list, and ours until it is handed out.
        top = unsafe { object.as_ref() }.next();
        Some(object)
    })
}
