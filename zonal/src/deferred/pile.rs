//! What one CPU has queued: two stacks of new objects, two of those that wait for a grace period.
//!
//! | word | meaning | put | taken |
//! |---|---|---|---|
//! | open | the sheet that is filled, on those that are full, as a [`Leaf`] | a claim, or a new sheet on a full one | whole |
//! | linked | objects by their heads: there was no frame, or somebody stands in the way | one | whole |
//! | waiting | sheets that wait | one | whole |
//! | waiting_linked | objects that wait | one | whole |
//! | sheets | frames taken and not given back | | |
//! | objects | those queued and not freed, but for the claims in the topmost open sheet | | |
//!
//! Whoever took a stack owns what was on it, but for slots that were claimed and are not written yet. Nobody waits for those:
//! see [`Sheet`]. Invariant: both figures are raised before what they count is there, and lowered when it is gone; so they
//! are never below 0, and who stops in between leaves them too high by what it has in hand.

use core::ptr::NonNull;

use super::head::Head;
use super::host::{DeferredHost, FrameSource};
use super::sheet::{Leaf, Sheet};
use super::stack::{Heads, Sheets, sheet_in};
use crate::frame::Pfn;
use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

/// A CPU's part of a queue, on a line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Pile {
    open: Sheets,
    linked: Heads,
    waiting: Sheets,
    waiting_linked: Heads,
    sheets: AtomicU64,
    objects: AtomicU64,
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
    /// Frames that came back to the allocator: bookkeeping, and what the host says came with objects.
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
        let [open, waiting] = [(); 2].map(|()| Sheets::new());
        let [linked, waiting_linked] = [(); 2].map(|()| Heads::new());
        let [sheets, objects] = [0; 2].map(AtomicU64::new);
        Self { open, linked, waiting, waiting_linked, sheets, objects }
    }

    /// Frames taken and not given back. Counts those that are about to be taken.
    pub(crate) fn frames(&self) -> u64 {
        self.sheets.load(Ordering::Relaxed) // Relaxed: a figure
    }

    /// Objects queued and not freed. Counts those that are about to be queued.
    pub(crate) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed) + self.open.top().claimed() // Relaxed: a figure
    }

    /// Whether nothing is queued, and nothing waits but what somebody has in hand.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.open, &self.waiting].iter().all(|sheets| sheets.top() == Leaf::NONE)
            && [&self.linked, &self.waiting_linked].iter().all(|heads| heads.is_empty())
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
        let mut open = self.open.top();
        loop {
            // The host is asked where the sheet is before a slot is claimed, so that nothing stands between claim and slot; if
            // the sheet is another's by then, the claim fails, or it is the queue's again at the same place.
            let claim = open.claim().and_then(|leaf| Some((leaf, sheet_in(host, leaf.pfn()?)?)));
            let exchanged = if let Some((leaf, sheet)) = claim {
                self.open.exchange(open, leaf).map(|()| {
                    // SAFETY: a sheet with a slot claimed and not written is not given back (`Sheet::is_done`).
                    unsafe { sheet.as_ref() }.write(leaf, object);
                    spare.into_iter().for_each(|(pfn, _)| self.give_sheet(pfn, frames));
                    Queued::OnSheet
                })
            } else {
                spare = spare.or_else(|| self.take_sheet(limit, (host, frames)));
                let Some((pfn, sheet)) = spare else {
                    // SAFETY: the object is the queue's, and on no other list.
                    unsafe { self.hang(object) };
                    return Queued::ByHead;
                };
                // SAFETY: nobody else knows the spare sheet.
                self.cover(open, lay(Leaf::first(pfn), unsafe { sheet.as_ref() }, open, object))
            };
            match exchanged {
                Ok(queued) => return queued,
                Err(now) => open = now,
            }
        }
    }

    /// Lays a new sheet on the one that is full.
    fn cover(&self, full: Leaf, new: Leaf) -> Result<Queued, Leaf> {
        self.objects.fetch_add(full.claimed(), Ordering::Relaxed); // Relaxed, here and below: a figure
        let covered = self.open.exchange(full, new);
        if covered.is_err() {
            self.objects.fetch_sub(full.claimed(), Ordering::Relaxed);
        }
        covered.map(|()| Queued::OnNewSheet)
    }

    /// Queues an object by its head.
    ///
    /// # Safety
    /// Its head is the queue's.
    unsafe fn hang(&self, object: NonNull<Head>) {
        if !planted(Mutant::DeferredDropped) {
            self.objects.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller's.
            unsafe { self.linked.put(object) };
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
        let mut collection = Collection { pile: self, host, done: Collected::default() };
        let early = planted(Mutant::DeferredStampedEarly).then(|| host.start());
        let start = || early.unwrap_or_else(|| host.start());
        let opened = self.open.take(host, &self.waiting);
        self.objects.fetch_add(opened.claimed(), Ordering::Relaxed);
        for mut sheets in [self.waiting.take(host, &self.waiting), opened] {
            while let Some((leaf, sheet)) = sheets.first() {
                // SAFETY: the caller's; the sheet is in hand.
                unsafe { self.advance((leaf, sheet), start, &mut collection) };
                sheets.drop_first(sheet);
                match leaf.pfn().filter(|_| sheet.is_done(leaf)) {
                    Some(pfn) => {
                        self.give_sheet(pfn, frames);
                        collection.done.frames += 1;
                    }
                    None => self.waiting.put(leaf, sheet),
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { self.free_linked(&mut collection) };
        self.stamp_linked(start);
        collection.done
    }

    /// Frees what has waited on a sheet, and lets the rest wait that is written.
    ///
    /// # Safety
    /// The sheet is in the caller's hand, and the host that of every call.
    unsafe fn advance<H: DeferredHost>(
        &self,
        (leaf, sheet): (Leaf, &Sheet),
        start: impl Fn() -> u64,
        collection: &mut Collection<'_, H>,
    ) {
        if sheet.waits() {
            if !is_over(collection.host, sheet.cookie()) {
                return;
            }
            // SAFETY: queued, its grace period over, and this sheet is ours alone.
            sheet.free(|object| unsafe { collection.free(object) });
        }
        if !sheet.is_done(leaf) {
            // SAFETY: they were queued, and are on the sheet no more.
            sheet.behind_a_gap(leaf).for_each(|object| unsafe { self.linked.put(object) });
            sheet.stamp(leaf, start);
        }
    }

    /// Frees objects that have waited by their heads.
    ///
    /// # Safety
    /// As of [`Pile::collect`].
    unsafe fn free_linked(&self, collection: &mut Collection<'_, impl DeferredHost>) {
        let mut waiting = self.waiting_linked.take();
        while let Some(object) = waiting.first() {
            // SAFETY: the head is ours until the object is freed.
            let over = is_over(collection.host, unsafe { object.as_ref() }.cookie());
            waiting.drop_first();
            // SAFETY: queued, and off the list; freed only if its grace period is over.
            unsafe {
                match over {
                    true => collection.free(object),
                    false => self.waiting_linked.put(object),
                }
            }
        }
    }

    /// Lets objects wait that were queued by their heads.
    fn stamp_linked(&self, start: impl Fn() -> u64) {
        let mut linked = self.linked.take();
        if linked.first().is_none() {
            return;
        }
        let cookie = start();
        while let Some(object) = linked.first() {
            linked.drop_first();
            // SAFETY: the head is ours, and now on no list.
            unsafe {
                object.as_ref().set_cookie(cookie);
                self.waiting_linked.put(object);
            }
        }
    }
}

/// A collection under way. Ends, also by a panic of the host's, by counting what it freed.
struct Collection<'c, H> {
    pile: &'c Pile,
    host: &'c H,
    done: Collected,
}

impl<H: DeferredHost> Collection<'_, H> {
    /// Frees one object.
    ///
    /// # Safety
    /// As of [`DeferredHost::free`].
    unsafe fn free(&mut self, object: NonNull<Head>) {
        self.done.objects += 1;
        // SAFETY: the caller's.
        self.done.frames += unsafe { self.host.free(object) };
    }
}

impl<H> Drop for Collection<'_, H> {
    fn drop(&mut self) {
        self.pile.objects.fetch_sub(self.done.objects, Ordering::Relaxed); // Relaxed: a figure
    }
}

fn is_over(host: &impl DeferredHost, cookie: u64) -> bool {
    while planted(Mutant::DeferredAwaitsReaders) && !host.is_over(cookie) {
        core::hint::spin_loop();
    }
    planted(Mutant::DeferredEarly) || host.is_over(cookie)
}

/// Writes an object on a new sheet that is to lie on `open`.
fn lay(leaf: Leaf, sheet: &Sheet, open: Leaf, object: NonNull<Head>) -> Leaf {
    sheet.write(leaf, object);
    sheet.set_next(open);
    leaf
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests;
