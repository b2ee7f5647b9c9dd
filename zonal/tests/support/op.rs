//! The operations that op lists are made of, as plain numbers that mean something on any machine.
//!
//! A number that picks something (a run, a block, a zone, a CPU) is taken modulo what there is, so every list can run on
//! every machine and shrinks well.

use proptest::prelude::*;

/// Which zones and kind a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Kernel,
    Reclaimable,
    /// Movable content, any zone.
    User,
    Dma,
    Dma32,
}

/// Which nodes a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Near {
    /// The CPU's node, then the others.
    Here,
    /// The CPU's node alone.
    HereOnly,
    /// This node, then the others.
    Node(u16),
}

/// Where the run must lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Anywhere,
    /// Below a frame this many 1/256 up the machine.
    Below(u8),
    /// Aligned to this order.
    Aligned(u8),
}

/// A request but for its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) purpose: Purpose,
    pub(crate) near: Near,
    pub(crate) place: Place,
}

/// Whose caches are drained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Cpu(usize),
    Zone(usize),
    Range(u64, u64),
    All,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Alloc {
        order: u8,
        want: Want,
    },
    Exact {
        frames: u64,
        want: Want,
    },
    At {
        order: u8,
        place: u64,
        want: Want,
    },
    Bulk {
        frames: u64,
        groups: usize,
        want: Want,
    },
    Zeroed {
        order: u8,
        want: Want,
    },
    /// Order 0 until refused.
    Exhaust {
        want: Want,
    },
    Free {
        pick: usize,
    },
    /// Single frames, as groups.
    FreeBulk {
        picks: usize,
    },
    Split {
        pick: usize,
        to: u8,
    },
    /// Part of a run without a split before it (where that is allowed).
    FreePart {
        pick: usize,
        order: u8,
        part: u64,
    },
    FreeAll,
    MoveTo {
        cpu: usize,
    },
    Drain(Scope),
    Close {
        zone: usize,
    },
    Reopen {
        zone: usize,
    },
    Isolate {
        block: usize,
        blocks: u64,
    },
    Unisolate {
        block: usize,
        blocks: u64,
    },
}

fn purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![
        4 => Just(Purpose::Kernel),
        2 => Just(Purpose::Reclaimable),
        4 => Just(Purpose::User),
        1 => Just(Purpose::Dma),
        1 => Just(Purpose::Dma32),
    ]
}

fn near() -> impl Strategy<Value = Near> {
    prop_oneof![6 => Just(Near::Here), 2 => Just(Near::HereOnly), 2 => (0u16..2).prop_map(Near::Node)]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        12 => Just(Place::Anywhere),
        1 => any::<u8>().prop_map(Place::Below),
        1 => (0u8..=12).prop_map(Place::Aligned),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    (purpose(), near(), place()).prop_map(|(purpose, near, place)| Want { purpose, near, place })
}

fn order() -> impl Strategy<Value = u8> {
    prop_oneof![10 => Just(0), 6 => 1u8..=5, 3 => 6u8..=8, 2 => Just(9), 1 => 10u8..=18]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        any::<usize>().prop_map(Scope::Cpu),
        any::<usize>().prop_map(Scope::Zone),
        (any::<u64>(), any::<u64>()).prop_map(|(from, frames)| Scope::Range(from, frames)),
        Just(Scope::All),
    ]
}

fn taking() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => (order(), want()).prop_map(|(order, want)| Op::Alloc { order, want }),
        3 => (prop_oneof![1u64..70, 1u64..1400], want()).prop_map(|(frames, want)| Op::Exact { frames, want }),
        3 => (order(), any::<u64>(), want()).prop_map(|(order, place, want)| Op::At { order, place, want }),
        4 => (1u64..200, 0usize..20, want()).prop_map(|(frames, groups, want)| Op::Bulk { frames, groups, want }),
        1 => (order(), want()).prop_map(|(order, want)| Op::Zeroed { order, want }),
        1 => want().prop_map(|want| Op::Exhaust { want }),
    ]
}

fn giving() -> impl Strategy<Value = Op> {
    prop_oneof![
        24 => any::<usize>().prop_map(|pick| Op::Free { pick }),
        2 => (1usize..100).prop_map(|picks| Op::FreeBulk { picks }),
        3 => (any::<usize>(), 0u8..=10).prop_map(|(pick, to)| Op::Split { pick, to }),
        3 => (any::<usize>(), 0u8..=9, any::<u64>()).prop_map(|(pick, order, part)| Op::FreePart { pick, order, part }),
        1 => Just(Op::FreeAll),
    ]
}

fn upkeep() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..5).prop_map(|cpu| Op::MoveTo { cpu }),
        3 => scope().prop_map(Op::Drain),
        1 => any::<usize>().prop_map(|zone| Op::Close { zone }),
        2 => any::<usize>().prop_map(|zone| Op::Reopen { zone }),
        2 => (any::<usize>(), 1u64..3).prop_map(|(block, blocks)| Op::Isolate { block, blocks }),
        3 => (any::<usize>(), 1u64..3).prop_map(|(block, blocks)| Op::Unisolate { block, blocks }),
    ]
}

/// Any operation, those that take and give about equally likely.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![10 => taking(), 9 => giving(), 3 => upkeep()]
}
