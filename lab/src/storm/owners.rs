//! Who holds which frame: a word for each, beside the allocator and not known to it.
//!
//! Allocates nothing after it is made and takes no lock, so that signal handlers may use it. Invariant: a frame's word holds
//! the stamp of the run it is held in, and 0 while nobody holds it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use zonal::{FrameRange, MemoryRange, Order, Pfn};

use super::violation::Violation;

const PFN_BITS: u32 = 24;
const ORDER_BITS: u32 = 5;

/// A run that is held, as one word that is also its stamp: serial number, order, frame (24 bits: 64 GiB). Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run(u64);

impl Run {
    /// The run at `pfn`; no two that are held have the same serial number, which is not 0.
    pub(super) fn new(serial: u64, pfn: Pfn, order: Order) -> Self {
        Self(serial << (PFN_BITS + ORDER_BITS) | u64::from(order.get()) << PFN_BITS | pfn.get())
    }

    /// What [`Run::word`] gave; `None` for 0.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn pfn(self) -> Pfn {
        Pfn::new(self.0 & ((1 << PFN_BITS) - 1))
    }

    pub(super) fn order(self) -> Order {
        Order::new((self.0 >> PFN_BITS & ((1 << ORDER_BITS) - 1)) as u8).unwrap_or(Order::ZERO)
    }

    pub(super) fn serial(self) -> u64 {
        self.0 >> (PFN_BITS + ORDER_BITS)
    }

    pub(super) fn frames(self) -> u64 {
        self.order().frames()
    }

    fn each(self) -> impl Iterator<Item = Pfn> {
        (0..self.frames()).map(move |at| self.pfn().add(at))
    }
}

/// The words of a machine's frames. Relaxed throughout: a word belongs to who holds the frame, and what hands frames on, the
/// allocator or a shelf, orders the accesses; where it does not, that is the fault looked for.
pub(super) struct Owners {
    span: FrameRange,
    words: Vec<AtomicU64>,
}

impl Owners {
    /// Nobody holds anything of this memory.
    pub(super) fn of(memory: &[MemoryRange]) -> Self {
        let start = memory.iter().map(|memory| memory.range.start).min().unwrap_or(Pfn::new(0));
        let end = memory.iter().map(|memory| memory.range.end).max().unwrap_or(start);
        let span = FrameRange::new(start, end);
        // Frames that do not exist are held by a run that nobody gives back.
        let exists = |pfn| memory.iter().any(|memory| memory.range.contains(pfn));
        let word = |pfn| AtomicU64::new(if exists(pfn) { 0 } else { u64::MAX });
        Self { span, words: (start.get()..end.get()).map(Pfn::new).map(word).collect() }
    }

    fn word(&self, pfn: Pfn) -> Option<&AtomicU64> {
        self.words.get(pfn.get().checked_sub(self.span.start.get())? as usize)
    }

    /// Whether a run may be handed out at all: in the machine, and aligned.
    pub(super) fn has_place(&self, pfn: Pfn, order: Order) -> bool {
        pfn.is_aligned(order) && self.span.contains(pfn) && pfn.add(order.frames()) <= self.span.end
    }

    /// Puts the run's stamp on its frames, up to the first that has one.
    pub(super) fn take(&self, run: Run) -> Result<(), Violation> {
        run.each().try_for_each(|pfn| {
            let holder = self.word(pfn).map_or(u64::MAX, |word| word.swap(run.0, Relaxed));
            if holder == 0 { Ok(()) } else { Err(Violation::Twice { pfn, holder, run }) }
        })
    }

    /// Takes the run's stamp off its frames, up to the first that has another.
    pub(super) fn give(&self, run: Run) -> Result<(), Violation> {
        run.each().try_for_each(|pfn| {
            let found = self.word(pfn).map_or(u64::MAX, |word| word.swap(0, Relaxed));
            if found == run.0 { Ok(()) } else { Err(Violation::Changed { pfn, found, run }) }
        })
    }

    /// The frame is out of use: nobody's to hand out, and not free.
    pub(super) fn shut(&self, pfn: Pfn) -> Result<(), Violation> {
        let holder = self.word(pfn).map_or(u64::MAX, |word| word.swap(u64::MAX, Relaxed));
        if holder == 0 || holder == u64::MAX { Ok(()) } else { Err(Violation::OutAndHeld { pfn, holder }) }
    }

    /// And it is no more.
    pub(super) fn reopen(&self, pfn: Pfn) {
        if let Some(word) = self.word(pfn) {
            let _ = word.compare_exchange(u64::MAX, 0, Relaxed, Relaxed); // it may have been pending all the time
        }
    }

    /// The run that the frame is held in, if somebody holds it.
    pub(super) fn holder(&self, pfn: Pfn) -> Option<Run> {
        Run::from_word(self.word(pfn)?.load(Relaxed)).filter(|run| run.0 != u64::MAX)
    }

    /// Frames of the range that nobody holds. Exact at a standstill.
    pub(super) fn free(&self, range: FrameRange) -> u64 {
        self.range(range).iter().filter(|word| word.load(Relaxed) == 0).count() as u64
    }

    /// The first aligned run of the range that nobody holds. Exact at a standstill.
    pub(super) fn free_run(&self, range: FrameRange, order: Order) -> Option<Pfn> {
        let first = range.start.get().next_multiple_of(order.frames());
        let starts = (first..range.end.get()).step_by(order.frames() as usize).map(Pfn::new);
        starts.filter(|&pfn| pfn.add(order.frames()) <= range.end).find(|&pfn| {
            let run = FrameRange::new(pfn, pfn.add(order.frames()));
            self.free(run) == order.frames()
        })
    }

    fn range(&self, range: FrameRange) -> &[AtomicU64] {
        let at = |pfn: Pfn| pfn.get().saturating_sub(self.span.start.get()) as usize;
        self.words.get(at(range.start)..at(range.end).min(self.words.len())).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(serial: u64, pfn: u64, order: u8) -> Run {
        Run::new(serial, Pfn::new(pfn), Order::new(order).unwrap())
    }

    #[test]
    fn a_frame_has_one_holder_and_the_naive_search_sees_what_is_free() {
        let owners = Owners::of(&[MemoryRange::new(0x100, 0x200, 0), MemoryRange::new(0x240, 0x280, 0)]);
        let all = FrameRange::new(Pfn::new(0x100), Pfn::new(0x280));
        assert_eq!(owners.free(all), 0x140);
        let mine = run(1, 0x110, 4);
        assert!(owners.take(mine).is_ok());
        assert!(
            matches!(owners.take(run(2, 0x11f, 0)), Err(Violation::Twice { holder, .. }) if holder == mine.word())
        );
        assert!(matches!(owners.give(mine), Err(Violation::Changed { pfn, .. }) if pfn == Pfn::new(0x11f)));
        assert_eq!(owners.free_run(all, Order::new(7).unwrap()), Some(Pfn::new(0x100)));
        assert!(owners.take(run(3, 0x17f, 0)).is_ok());
        assert_eq!(owners.free_run(all, Order::new(7).unwrap()), Some(Pfn::new(0x180)));
        assert_eq!(owners.free_run(all, Order::new(8).unwrap()), None);
        assert!(owners.take(run(4, 0x200, 0)).is_err(), "a frame that does not exist");
        assert!(!owners.has_place(Pfn::new(0x280), Order::ZERO));
        assert!(!owners.has_place(Pfn::new(0x102), Order::new(2).unwrap()));
    }
}
