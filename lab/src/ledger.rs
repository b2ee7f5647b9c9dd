//! The recorded machine's frames: who holds which, so that each recorded free finds the slot it frees.
//!
//! The rules for recordings that do not add up:
//! - a free of frames of which none is held is a free of the unknown: nothing is done;
//! - a free of part of a slot frees that part; one that spans several slots frees what it covers of each;
//! - an allocation over held frames proves missing frees: all that is left of each slot it meets is freed first, and
//!   each such slot is one missed free (blocks are freed whole far more often than in parts).
//!
//! Never touches an allocator. Invariant: `held` is the number of frames in `pieces`, which never overlap, and a slot's
//! pieces are its frames less those freed.

use std::collections::{BTreeMap, HashSet};

use zonal::{Gfp, Order};

use crate::plan::{Op, Part, Plan, Slot, SlotId};
use crate::trace::{Event, Run};

/// Frames `start..end` of the recorded machine.
type Span = std::ops::Range<u64>;

/// What is held, and the plan so far.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    /// Start of each held stretch, its end and whose it is.
    pieces: BTreeMap<u64, (u64, SlotId)>,
    /// Slots that were split.
    split: HashSet<SlotId>,
    held: u64,
    plan: Plan,
}

impl Ledger {
    /// Takes the next entry of the recording.
    pub(crate) fn event(&mut self, event: Event) {
        let counts = &mut self.plan.counts;
        counts.events += u64::from(event != Event::Foreign);
        match event {
            Event::Alloc(run, gfp) => self.alloc(run, gfp),
            Event::Free(run) => self.free(run),
            Event::Failure => counts.recorded_failures += 1,
            Event::OtherKmem | Event::Foreign => counts.other_events += 1,
        }
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.plan.ops.len()
    }

    /// The tracer lost this many events.
    pub(crate) fn lost(&mut self, events: u64) {
        let lost = &mut self.plan.counts.events_lost;
        *lost = lost.saturating_add(events);
    }

    /// The recording is over.
    pub(crate) fn finish(mut self) -> Plan {
        let recorded = std::mem::take(&mut self.plan.ops);
        for (span, slot) in self.meeting(&(0..u64::MAX)) {
            self.release(slot, span);
        }
        self.plan.leftovers = std::mem::replace(&mut self.plan.ops, recorded);
        self.plan
    }

    fn alloc(&mut self, run: Run, gfp: Gfp) {
        let span = frames(run);
        self.free_missed(&span);
        let slot = SlotId(self.plan.slots.len() as u32);
        self.plan.slots.push(Slot { recorded: run, gfp, piece: run.order });
        self.plan.ops.push(Op::Alloc(slot));
        self.held += span.end - span.start;
        self.pieces.insert(span.start, (span.end, slot));
        let counts = &mut self.plan.counts;
        counts.allocs += 1;
        counts.peak_frames = counts.peak_frames.max(self.held);
    }

    fn free(&mut self, run: Run) {
        self.plan.counts.frees += 1;
        let span = frames(run);
        let held = self.meeting(&span);
        if held.is_empty() {
            self.plan.counts.frees_of_unknown += 1;
        }
        for (piece, slot) in held {
            self.release(slot, piece.start.max(span.start)..piece.end.min(span.end));
        }
    }

    /// Frees what is left of every slot that holds frames of `span`.
    fn free_missed(&mut self, span: &Span) {
        while let Some((_, slot)) = self.meeting(span).into_iter().next() {
            self.plan.counts.missed_frees += 1;
            let whole = frames(self.plan.slot(slot).recorded);
            for (piece, owner) in self.meeting(&whole) {
                if owner == slot {
                    self.release(slot, piece);
                }
            }
        }
    }

    /// The stretches that meet `span`, lowest first.
    fn meeting(&self, span: &Span) -> Vec<(Span, SlotId)> {
        let before = self.pieces.range(..span.start).next_back();
        let inside = self.pieces.range(span.start..span.end);
        before
            .into_iter()
            .chain(inside)
            .filter(|&(_, &(end, _))| end > span.start)
            .map(|(&start, &(end, slot))| (start..end, slot))
            .collect()
    }

    /// Takes `span`, which lies in one stretch of the slot, out of what is held and plans its free.
    fn release(&mut self, slot: SlotId, span: Span) {
        self.cut(slot, &span);
        let whole = frames(self.plan.slot(slot).recorded);
        if span != whole && self.split.insert(slot) {
            self.plan.ops.push(Op::Split(slot));
        }
        let Slot { piece, .. } = &mut self.plan.slots[slot.index()];
        for (offset, order) in aligned_runs(span.start - whole.start..span.end - whole.start) {
            *piece = order.min(*piece);
            self.plan.ops.push(Op::Free(Part { slot, offset: offset as u32, order }));
        }
    }

    fn cut(&mut self, slot: SlotId, span: &Span) {
        let Some((&start, &(end, _))) = self.pieces.range(..=span.start).next_back() else { return };
        self.pieces.remove(&start);
        if start < span.start {
            self.pieces.insert(start, (span.start, slot));
        }
        if span.end < end {
            self.pieces.insert(span.end, (end, slot));
        }
        self.held -= span.end - span.start;
    }
}

fn frames(run: Run) -> Span {
    run.first.get()..run.end().get()
}

/// The fewest aligned runs that make up the span.
fn aligned_runs(span: Span) -> impl Iterator<Item = (u64, Order)> {
    let mut next = span.start;
    std::iter::from_fn(move || {
        let left = span.end.checked_sub(next).filter(|&left| left > 0)?;
        let order = Order::new(next.trailing_zeros().min(left.ilog2()) as u8).unwrap_or(Order::MAX);
        let run = (next, order);
        next += order.frames();
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zonal::Pfn;

    fn run(first: u64, order: u8) -> Run {
        Run { first: Pfn::new(first), order: Order::new(order).unwrap() }
    }

    fn alloc(first: u64, order: u8) -> Event {
        Event::Alloc(run(first, order), Gfp::KERNEL)
    }

    fn free(first: u64, order: u8) -> Event {
        Event::Free(run(first, order))
    }

    fn plan(events: &[Event]) -> Plan {
        let mut ledger = Ledger::default();
        events.iter().for_each(|&event| ledger.event(event));
        ledger.finish()
    }

    fn part(slot: u32, offset: u32, order: u8) -> Op {
        Op::Free(Part { slot: SlotId(slot), offset, order: Order::new(order).unwrap() })
    }

    const fn taken(slot: u32) -> Op {
        Op::Alloc(SlotId(slot))
    }

    const fn split(slot: u32) -> Op {
        Op::Split(SlotId(slot))
    }

    #[test]
    fn pairs_find_each_other() {
        let plan = plan(&[alloc(8, 3), alloc(1, 0), free(8, 3), alloc(8, 0), Event::Failure, Event::Foreign]);
        assert_eq!(plan.ops, [taken(0), taken(1), part(0, 0, 3), taken(2)]);
        assert_eq!(plan.leftovers, [part(1, 0, 0), part(2, 0, 0)]);
        let counts = plan.counts;
        assert_eq!((counts.events, counts.allocs, counts.frees, counts.peak_frames), (5, 3, 1, 9));
        assert_eq!((counts.recorded_failures, counts.other_events, counts.missed_frees), (1, 1, 0));
    }

    #[test]
    fn frees_of_the_unknown_do_nothing() {
        let plan = plan(&[free(8, 3), alloc(8, 0), free(9, 0), free(8, 0), free(8, 0)]);
        assert_eq!(plan.ops, [taken(0), part(0, 0, 0)]);
        assert_eq!((plan.counts.frees, plan.counts.frees_of_unknown), (4, 3));
    }

    #[test]
    fn parts_of_a_block_are_freed_alone() {
        let plan = plan(&[alloc(8, 3), free(10, 1), free(15, 0)]);
        assert_eq!(plan.ops, [taken(0), split(0), part(0, 2, 1), part(0, 7, 0)]);
        assert_eq!(plan.leftovers, [part(0, 0, 1), part(0, 4, 1), part(0, 6, 0)]);
        assert_eq!(plan.slots[0].piece, Order::ZERO);
        assert_eq!(plan.counts.frees_of_unknown, 0);
    }

    #[test]
    fn a_free_over_several_slots_frees_what_it_covers() {
        let plan = plan(&[alloc(0x10, 0), alloc(0x12, 1), free(0x10, 2)]);
        assert_eq!(plan.ops, [taken(0), taken(1), part(0, 0, 0), part(1, 0, 1)]);
        assert_eq!((plan.counts.frees, plan.counts.frees_of_unknown), (1, 0));
        assert_eq!(plan.leftovers, []);
    }

    #[test]
    fn an_allocation_over_held_frames_frees_them_first() {
        let plan = plan(&[alloc(8, 3), free(12, 0), alloc(12, 0), alloc(9, 0), alloc(8, 3)]);
        let first =
            [taken(0), split(0), part(0, 4, 0), taken(1), part(0, 0, 2), part(0, 5, 0), part(0, 6, 1)];
        assert_eq!(plan.ops[..7], first);
        assert_eq!(plan.ops[7..], [taken(2), part(2, 0, 0), part(1, 0, 0), taken(3)]);
        assert_eq!((plan.counts.missed_frees, plan.counts.peak_frames), (3, 8));
    }

    #[test]
    fn misaligned_recordings_are_followed() {
        let plan = plan(&[alloc(5, 2), free(8, 0), free(5, 1)]);
        assert_eq!(plan.ops, [taken(0), split(0), part(0, 3, 0), part(0, 0, 1)]);
        assert_eq!(plan.leftovers, [part(0, 2, 0)]);
    }

    #[test]
    fn every_frame_of_a_slot_is_freed_once() {
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let events: Vec<Event> = (0..5000)
            .map(|_| {
                let (first, order) = (random(64), random(5) as u8);
                if random(2) == 0 { alloc(first, order) } else { free(first, order) }
            })
            .collect();
        let plan = plan(&events);
        let mut freed = HashSet::new();
        for op in plan.ops.iter().chain(&plan.leftovers) {
            if let Op::Free(Part { slot, offset, order }) = *op {
                assert!(order >= plan.slot(slot).piece);
                for frame in 0..order.frames() {
                    assert!(freed.insert((slot, u64::from(offset) + frame)));
                }
            }
        }
        let frames: u64 = plan.slots.iter().map(|slot| slot.recorded.order.frames()).sum();
        assert_eq!(freed.len() as u64, frames);
    }
}
