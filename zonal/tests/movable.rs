//! Setting memory aside for movable content: by hand after Linux's rule, and against a walk that counts frame by frame.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zonal::{
    Amount, BLOCK_FRAMES, Config, FrameRange, MemoryRange, MovableError, MovableSizing, NodeId, Pfn,
    Placement, Topology, movable_split,
};

const GIB: u64 = 1 << 18;

fn config(memory: &[MemoryRange]) -> Config<'_> {
    Config::new(Topology { memory, reserved: &[], nodes: 4, distances: &[], cpus: &[] })
}

fn split(config: &Config<'_>, sizing: MovableSizing) -> Vec<MemoryRange> {
    let mut out = vec![MemoryRange::new(0, 0, 0); 2 * config.topology.memory.len()];
    let ranges = movable_split(config, sizing, &mut out).expect("there is room");
    out.truncate(ranges);
    out
}

fn kernelcore(amount: Amount) -> MovableSizing {
    MovableSizing { kernelcore: Some(amount), movablecore: None }
}

fn movablecore(amount: Amount) -> MovableSizing {
    MovableSizing { kernelcore: None, movablecore: Some(amount) }
}

#[test]
fn equal_nodes_give_equal_parts() {
    let memory = [MemoryRange::new(4 * GIB, 8 * GIB, 0), MemoryRange::new(8 * GIB, 12 * GIB, 1)];
    // 1 GiB for the kernel: half a GiB of each.
    let half = GIB / 2;
    let expected = [
        MemoryRange::new(4 * GIB, 4 * GIB + half, 0),
        MemoryRange::new(4 * GIB + half, 8 * GIB, 0).movable(),
        MemoryRange::new(8 * GIB, 8 * GIB + half, 1),
        MemoryRange::new(8 * GIB + half, 12 * GIB, 1).movable(),
    ];
    assert_eq!(split(&config(&memory), kernelcore(Amount::Frames(GIB))), expected);
    // 7 of 8 GiB movable is the same, and what `kernelcore` asks for wins.
    assert_eq!(split(&config(&memory), movablecore(Amount::Frames(7 * GIB))), expected);
    let both =
        MovableSizing { kernelcore: Some(Amount::Frames(GIB)), movablecore: Some(Amount::Percent(99)) };
    assert_eq!(split(&config(&memory), both), expected);
}

/// 4 GiB and 1 GiB, half of which is to be movable: of 2.5 GiB each node is asked 1.25 first, the second has 1, and what is
/// missing comes from the first.
#[test]
fn what_a_small_node_cannot_give_the_others_do() {
    let memory = [MemoryRange::new(8 * GIB, 9 * GIB, 1), MemoryRange::new(4 * GIB, 8 * GIB, 0)];
    let boundary = 4 * GIB + 3 * GIB / 2;
    let expected = [
        MemoryRange::new(4 * GIB, boundary, 0),
        MemoryRange::new(boundary, 8 * GIB, 0).movable(),
        MemoryRange::new(8 * GIB, 9 * GIB, 1),
    ];
    assert_eq!(split(&config(&memory), movablecore(Amount::Percent(50))), expected);
}

/// Below 4 GiB nothing is movable while there is memory above; it counts, though.
#[test]
fn low_zones_are_the_kernels() {
    let memory = [MemoryRange::new(0, 3 * GIB, 0), MemoryRange::new(4 * GIB, 6 * GIB, 0)];
    let expected = [memory[0], memory[1].movable()];
    assert_eq!(split(&config(&memory), kernelcore(Amount::Percent(25))), expected);
    let cut =
        [memory[0], MemoryRange::new(4 * GIB, 5 * GIB, 0), MemoryRange::new(5 * GIB, 6 * GIB, 0).movable()];
    assert_eq!(split(&config(&memory), kernelcore(Amount::Percent(80))), cut);
    // Without memory above 4 GiB the highest zone is DMA32, from 16 MiB on.
    let low = [MemoryRange::new(0, GIB, 0)];
    let expected = [MemoryRange::new(0, 4096, 0), MemoryRange::new(4096, GIB, 0).movable()];
    assert_eq!(split(&config(&low), kernelcore(Amount::Frames(1))), expected);
}

#[test]
fn all_or_nothing_is_nothing() {
    let memory = [MemoryRange::new(4 * GIB, 5 * GIB, 0)];
    for sizing in [
        MovableSizing::default(),
        kernelcore(Amount::Frames(0)),
        kernelcore(Amount::Percent(100)),
        kernelcore(Amount::Frames(u64::MAX)),
        movablecore(Amount::Percent(0)),
        movablecore(Amount::Percent(100)),
        movablecore(Amount::Frames(u64::MAX)),
    ] {
        assert_eq!(split(&config(&memory), sizing), memory, "{sizing:?}");
    }
}

#[test]
fn boundaries_are_rounded_up_to_blocks() {
    let memory = [MemoryRange::new(4 * GIB + 100, 4 * GIB + 3000, 0)];
    let boundary = 4 * GIB + 2 * BLOCK_FRAMES;
    let expected = [
        MemoryRange::new(4 * GIB + 100, boundary, 0),
        MemoryRange::new(boundary, 4 * GIB + 3000, 0).movable(),
    ];
    assert_eq!(split(&config(&memory), kernelcore(Amount::Frames(BLOCK_FRAMES - 99))), expected);
}

#[test]
fn mistakes_are_named() {
    let memory = [MemoryRange::new(0, GIB, 0), MemoryRange::new(GIB, 2 * GIB, 0).movable()];
    let mut out = [MemoryRange::new(0, 0, 0); 3];
    let half = kernelcore(Amount::Percent(50));
    let room = movable_split(&config(&memory), half, &mut out);
    assert_eq!(room, Err(MovableError::Room { lent: 3, needed: 4 }));
    let mut out = [MemoryRange::new(0, 0, 0); 4];
    let movable = movable_split(&config(&memory), half, &mut out);
    assert_eq!(movable, Err(MovableError::AlreadyMovable { start: Pfn::new(GIB) }));
    let percent = movable_split(&config(&memory[..1]), movablecore(Amount::Percent(101)), &mut out);
    assert_eq!(percent, Err(MovableError::Percent { percent: 101 }));
}

/// Frames of each node, and the first of them that may be movable.
struct Oracle {
    nodes: BTreeMap<u16, BTreeSet<u64>>,
    lowest: u64,
}

impl Oracle {
    /// Where each node's movable frames begin.
    fn boundaries(&self, mut missing: u64) -> BTreeMap<u16, u64> {
        let mut boundaries: BTreeMap<u16, u64> = self.nodes.keys().map(|&node| (node, 0)).collect();
        for asked in (1..=self.nodes.len() as u64).rev() {
            if asked < self.nodes.len() as u64 && missing <= asked {
                break;
            }
            let mut share = missing / asked;
            for (node, frames) in &self.nodes {
                if missing < share {
                    share = missing / asked;
                }
                let boundary = boundaries.entry(*node).or_default();
                missing = missing.saturating_sub(self.give(frames, share, boundary));
            }
        }
        boundaries
            .into_values()
            .map(|pfn| pfn.next_multiple_of(BLOCK_FRAMES))
            .zip(self.nodes.keys())
            .map(|(boundary, &node)| (node, boundary))
            .collect()
    }

    /// A node gives frame by frame.
    fn give(&self, frames: &BTreeSet<u64>, mut left: u64, boundary: &mut u64) -> u64 {
        let mut given = 0;
        for &frame in frames.range(*boundary..) {
            let low = frame < self.lowest;
            if left == 0 && !low {
                *boundary = frame;
                break;
            }
            left = left.saturating_sub(1);
            given += 1;
            *boundary = frame + 1;
            if left == 0 && !low {
                break;
            }
        }
        given
    }
}

/// Ranges that do not overlap, of up to four nodes, in any order: gaps and lengths of a few blocks.
fn memory() -> impl Strategy<Value = Vec<MemoryRange>> {
    prop::collection::vec((0u64..700, 1u64..2500, 0u16..4), 1..9).prop_map(|parts| {
        let mut at = 0;
        let range = |(gap, length, node): (u64, u64, u16)| {
            let start = at + gap;
            at = start + length;
            MemoryRange::new(start, at, node)
        };
        let mut ranges: Vec<MemoryRange> = parts.into_iter().map(range).collect();
        ranges.reverse();
        ranges
    })
}

fn amount() -> impl Strategy<Value = Option<Amount>> {
    prop_oneof![
        Just(None),
        (0u64..12_000).prop_map(|frames| Some(Amount::Frames(frames))),
        (0u8..=100).prop_map(|percent| Some(Amount::Percent(percent))),
    ]
}

/// Frames of an amount, as a person would count.
fn count(amount: Option<Amount>, total: u64) -> u64 {
    match amount {
        None => 0,
        Some(Amount::Frames(frames)) => frames,
        Some(Amount::Percent(percent)) => total * u64::from(percent) / 100,
    }
}

proptest! {
    #[test]
    fn each_frame_is_on_its_side(
        memory in memory(),
        kernelcore in amount(),
        movablecore in amount(),
        dma in 0u64..3000,
        dma32 in 0u64..6000,
    ) {
        let (dma, dma32) = (dma.min(dma32), dma.max(dma32));
        let config = Config { dma_end: Pfn::new(dma), dma32_end: Pfn::new(dma32), ..config(&memory) };
        let ranges = split(&config, MovableSizing { kernelcore, movablecore });

        let mut nodes: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        for range in &memory {
            nodes.entry(range.node.0).or_default().extend(range.range.start.get()..range.range.end.get());
        }
        let total: u64 = nodes.values().map(|frames| frames.len() as u64).sum();
        let end = memory.iter().map(|range| range.range.end.get()).max().unwrap_or(0);
        let starts = [dma32, dma, 0].map(|start| start.next_multiple_of(BLOCK_FRAMES));
        let lowest = starts.into_iter().find(|&start| start < end).unwrap_or(0);
        let asked = count(movablecore, total).next_multiple_of(BLOCK_FRAMES).min(total);
        let rest = if asked > 0 { total - asked } else { 0 };
        let kernel = count(kernelcore, total).max(rest);
        let oracle = Oracle { nodes, lowest };
        let boundaries = if kernel == 0 || kernel >= total { None } else { Some(oracle.boundaries(kernel)) };

        let mut seen: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        for &MemoryRange { range: FrameRange { start, end }, node: NodeId(node), placement } in &ranges {
            for frame in start.get()..end.get() {
                prop_assert!(seen.entry(node).or_default().insert(frame), "frame {} twice", frame);
                let movable = boundaries.as_ref().is_some_and(|boundaries| frame >= boundaries[&node]);
                prop_assert_eq!(placement == Placement::Movable, movable, "frame {} of node {}", frame, node);
            }
        }
        prop_assert_eq!(seen, oracle.nodes);
        prop_assert!(ranges.is_sorted_by_key(|range| range.range.start));
    }
}
