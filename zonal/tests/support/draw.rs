//! Operations drawn by proptest, those that take and give about equally likely.

use proptest::prelude::*;

use crate::op::{Near, Op, Place, Purpose, Scope, Want, Wrong};

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
        2 => any::<usize>().prop_map(|pick| Op::Merge { pick }),
        3 => (wrong(), order()).prop_map(|(wrong, order)| Op::Misuse { wrong, order }),
    ]
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        (0u64..8192).prop_map(Wrong::Frame),
        any::<u64>().prop_map(Wrong::Frame),
        (any::<usize>(), 0u64..520).prop_map(|(pick, off)| Wrong::Beside(pick, off)),
        Just(Wrong::Again),
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
        3 => any::<u64>().prop_map(|place| Op::Poison { place }),
        2 => any::<usize>().prop_map(|pick| Op::Heal { pick }),
    ]
}

/// Any operation.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![10 => taking(), 9 => giving(), 3 => upkeep()]
}
