//! Carrying a plan out: one call of the allocator for each operation, timed, every frame stamped and checked.
//!
//! Knows nothing of files or text. Invariant: a slot's entry in `bases` is the run our allocator gave for it, or `NONE`
//! before its allocation and if that was refused; only the thread that has the slot's share touches it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;

use zonal::{AllocError, Gfp, PageAllocator, Pfn, Platform, Request};

use super::setting::Setting;
use super::stamp::{Disagreement, Owner, Stamps};
use super::stopwatch::{Spent, Stopwatch};
use super::threads::Share;
use crate::plan::{Op, Part, Plan, SlotId};
use crate::progress::Progress;

/// Operations that threads work on at the same time: no thread runs further ahead of the recording, so that what is
/// held at once stays near what was held there.
const WINDOW: usize = 4096;
/// Base of a slot that holds nothing.
const NONE: u64 = u64::MAX;
/// Details kept of each sort; the counts are exact.
const DETAILS: usize = 32;

/// What went otherwise than in the recording.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// Time inside alloc and free.
    pub(crate) spent: Spent,
    /// Requests refused.
    pub(crate) failed: u64,
    /// Frees (and splits) refused.
    pub(crate) double: u64,
    /// Frames held now, by our own count.
    pub(crate) held: i64,
    /// The first refusals, in words.
    pub(crate) refusals: Vec<String>,
    /// The first frames that were not as they should be.
    pub(crate) disagreements: Vec<Disagreement>,
}

impl Tally {
    fn refused(&mut self, what: impl FnOnce() -> String) {
        if self.refusals.len() < DETAILS {
            self.refusals.push(what());
        }
    }

    fn check(&mut self, stamped: Result<(), Disagreement>) {
        if let Err(disagreement) = stamped
            && self.disagreements.len() < DETAILS
        {
            self.disagreements.push(disagreement);
        }
    }

    fn add(&mut self, other: Self) {
        self.spent.add(other.spent);
        self.failed += other.failed;
        self.double += other.double;
        self.held += other.held;
        self.refusals.extend(other.refusals);
        self.disagreements.extend(other.disagreements);
    }
}

/// A plan, an allocator and where each slot went.
pub(crate) struct Engine<'e, 'm, P: Platform, S> {
    allocator: &'e PageAllocator<'m, P>,
    stamps: &'e S,
    plan: &'e Plan,
    setting: &'e Setting,
    stopwatch: &'e Stopwatch,
    bases: Vec<AtomicU64>,
}

impl<'e, 'm, P: Platform + Sync, S: Stamps> Engine<'e, 'm, P, S> {
    pub(crate) fn new(
        allocator: &'e PageAllocator<'m, P>,
        stamps: &'e S,
        plan: &'e Plan,
        setting: &'e Setting,
        stopwatch: &'e Stopwatch,
    ) -> Self {
        let bases = plan.slots.iter().map(|_| AtomicU64::new(NONE)).collect();
        Self { allocator, stamps, plan, setting, stopwatch, bases }
    }

    /// Carries the recorded operations out, a thread a share, in windows. Fails before the first operation if the
    /// machine gives no such number of threads.
    pub(crate) fn recorded(&self, shares: &[Share], progress: &Progress) -> io::Result<Tally> {
        let total = Mutex::new(Tally::default());
        let barrier = Barrier::new(shares.len());
        // Held until it is known whether all threads could be started: one less would leave the others at the barrier.
        let complete = Mutex::new(false);
        thread::scope(|scope| {
            let mut all = locked(&complete);
            for share in shares {
                thread::Builder::new().spawn_scoped(scope, || {
                    if *locked(&complete) {
                        let tally = self.share(share, &barrier, progress);
                        locked(&total).add(tally);
                    }
                })?;
            }
            *all = true;
            Ok::<(), io::Error>(())
        })?;
        Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Frees what the recording never freed.
    pub(crate) fn leftovers(&self) -> Tally {
        let mut tally = Tally::default();
        self.plan.leftovers.iter().for_each(|&op| self.perform(op, &mut tally));
        tally
    }

    fn share(&self, share: &[usize], barrier: &Barrier, progress: &Progress) -> Tally {
        let mut tally = Tally::default();
        let mut rest = share.iter().peekable();
        for start in (0..self.plan.ops.len()).step_by(WINDOW) {
            while let Some(&at) = rest.next_if(|&&at| at < start + WINDOW) {
                self.perform(self.plan.ops[at], &mut tally);
            }
            if barrier.wait().is_leader() {
                progress.reach((start + WINDOW).min(self.plan.ops.len()));
            }
        }
        tally
    }

    fn perform(&self, op: Op, tally: &mut Tally) {
        match op {
            Op::Alloc(slot) => self.alloc(slot, tally),
            Op::Split(slot) => self.split(slot, tally),
            Op::Free(part) => self.free(part, tally),
        }
    }

    fn alloc(&self, slot: SlotId, tally: &mut Tally) {
        let recorded = self.plan.slot(slot).recorded;
        let request = match self.request(slot) {
            Ok(request) => self.stopwatch.time(&mut tally.spent, || self.allocator.alloc_raw(&request)),
            Err(error) => Err(error),
        };
        match request {
            Ok(pfn) => {
                tally.check(self.stamps.take(pfn, recorded.order, Owner::from(slot)));
                tally.held += recorded.order.frames() as i64;
                self.bases[slot.index()].store(pfn.get(), Ordering::Relaxed);
            }
            Err(error) => {
                tally.failed += 1;
                tally.refused(|| {
                    format!("request for order {} (recorded {}): {error}", recorded.order, recorded.first)
                });
            }
        }
    }

    fn request(&self, slot: SlotId) -> Result<Request, AllocError> {
        let slot = self.plan.slot(slot);
        // Nobody frees but who asks: where memory is short, what cannot fail would wait for ever.
        let gfp = slot.gfp.difference(Gfp::NOFAIL);
        let request = Request::order(slot.recorded.order).gfp(gfp)?;
        Ok(self.setting.node(slot.recorded.first).map_or(request, |node| request.node(node)))
    }

    fn split(&self, slot: SlotId, tally: &mut Tally) {
        let Some(base) = self.base(slot) else { return };
        let &crate::plan::Slot { recorded, piece, .. } = self.plan.slot(slot);
        // SAFETY: the run at `base` is the one allocated for this slot: no part of it is freed before this operation,
        // and only the thread that performs it uses the slot.
        let split = unsafe { self.allocator.split_raw(base, recorded.order, piece) };
        if let Err(error) = split {
            tally.double += 1;
            tally.refused(|| format!("split of order {} at {base}: {error}", recorded.order));
        }
    }

    fn free(&self, part: Part, tally: &mut Tally) {
        let Some(base) = self.base(part.slot) else { return };
        let first = base.add(u64::from(part.offset));
        tally.check(self.stamps.give_back(first, part.order, Owner::from(part.slot)));
        tally.held -= part.order.frames() as i64;
        let piece = self.plan.slot(part.slot).piece;
        for pfn in (0..part.order.frames()).step_by(piece.frames() as usize).map(|frame| first.add(frame)) {
            // SAFETY: these frames belong to the run allocated for the slot, which was split into pieces of this order
            // if that is not its own; the plan frees each frame once, and the stamp was the last access to them.
            let freed =
                self.stopwatch.time(&mut tally.spent, || unsafe { self.allocator.free_raw(pfn, piece) });
            if let Err(error) = freed {
                tally.double += 1;
                tally.refused(|| format!("free of order {piece} at {pfn}: {error}"));
            }
        }
    }

    fn base(&self, slot: SlotId) -> Option<Pfn> {
        Some(self.bases[slot.index()].load(Ordering::Relaxed)).filter(|&base| base != NONE).map(Pfn::new)
    }
}

/// The lock's content; what a thread that panicked left is as good as any.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
