//! What is to be done: a recording with its frame numbers resolved, so that the replay itself looks nothing up.
//!
//! Every allocation of the recording is a slot; operations name slots. Plain data, never changed once the ledger has
//! written it. Invariants: an operation on a slot comes after the slot's `Alloc`; the `Free`s of a slot, leftovers
//! included, cover each of its frames exactly once; before the first `Free` of a part stands the slot's `Split`.

use zonal::{Gfp, Order, Pfn};

use crate::trace::Run;

/// A slot's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SlotId(pub(crate) u32);

impl SlotId {
    /// The slot's place in tables.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One allocation of the recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// The frames it had there.
    pub(crate) recorded: Run,
    /// What was asked for.
    pub(crate) gfp: Gfp,
    /// The order it is freed in: its own, or that of the smallest part ever freed.
    pub(crate) piece: Order,
}

/// An aligned part of a slot, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// The slot.
    pub(crate) slot: SlotId,
    /// Frames of the slot before the part.
    pub(crate) offset: u32,
    /// The part's length, at least the slot's `piece`.
    pub(crate) order: Order,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Allocate the slot.
    Alloc(SlotId),
    /// Split the slot into pieces: parts of it are freed from now on.
    Split(SlotId),
    /// Free a part.
    Free(Part),
}

impl Op {
    /// The slot it is about.
    pub(crate) fn slot(self) -> SlotId {
        match self {
            Self::Alloc(slot) | Self::Split(slot) | Self::Free(Part { slot, .. }) => slot,
        }
    }
}

/// A whole recording.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    /// The allocations.
    pub(crate) slots: Vec<Slot>,
    /// What happened, in recorded order.
    pub(crate) ops: Vec<Op>,
    /// What the recording never freed: to be done after the last event.
    pub(crate) leftovers: Vec<Op>,
    /// What was counted.
    pub(crate) counts: Counts,
}

impl Plan {
    /// The slot of this number.
    pub(crate) fn slot(&self, slot: SlotId) -> &Slot {
        &self.slots[slot.index()]
    }

    /// The largest order asked for.
    pub(crate) fn largest_order(&self) -> Order {
        self.slots.iter().map(|slot| slot.recorded.order).max().unwrap_or(Order::ZERO)
    }

    /// First frame number above all that were allocated there.
    pub(crate) fn recorded_end(&self) -> Pfn {
        self.slots.iter().map(|slot| slot.recorded.end()).max().unwrap_or(Pfn::new(0))
    }
}

/// What the recording holds. Exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// kmem events.
    pub(crate) events: u64,
    /// Allocations served there.
    pub(crate) allocs: u64,
    /// Free events.
    pub(crate) frees: u64,
    /// Entries that do not act, of kmem and of other systems.
    pub(crate) other_events: u64,
    /// Allocations refused there.
    pub(crate) recorded_failures: u64,
    /// Frees of which no frame was allocated in the recording.
    pub(crate) frees_of_unknown: u64,
    /// Allocations whose free is not in the recording, though their frames were handed out again.
    pub(crate) missed_frees: u64,
    /// Events the tracer lost.
    pub(crate) events_lost: u64,
    /// Most frames allocated at once.
    pub(crate) peak_frames: u64,
}
