//! Machines to test on, as plain numbers: memory maps with holes, unaligned ends and reserved ranges.
//!
//! Nothing here is checked: tests of refused configurations spoil a good machine on purpose.

use std::ops::Range;

/// Frames in a block.
pub const BLOCK: u64 = 512;
/// Frames in a gibibyte.
const GIB: u64 = 1 << 18;

/// A zone's place in its node, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Frames below the end of DMA.
    Dma,
    /// Frames below the end of DMA32.
    Dma32,
    /// All other frames that any request may use.
    Normal,
    /// Ranges set aside for movable content.
    Movable,
}

/// A range of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    /// The frames.
    pub frames: Range<u64>,
    /// Their node.
    pub node: u16,
    /// Their class where they are not classed by their numbers.
    pub class: Option<Class>,
}

impl Memory {
    /// Frames of a node, classed by their numbers.
    pub const fn of(node: u16, frames: Range<u64>) -> Self {
        Self { frames, node, class: None }
    }

    /// The same frames, Movable.
    pub fn movable(self) -> Self {
        Self { class: Some(Class::Movable), ..self }
    }
}

/// Frames of a zone that no request may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The zone's node.
    pub node: u16,
    /// The zone.
    pub class: Class,
    /// How many frames stay free.
    pub frames: u64,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Its memory; frames in no range are holes.
    pub memory: Vec<Memory>,
    /// Frames nobody gets.
    pub reserved: Vec<Range<u64>>,
    /// Distances between nodes, row by row.
    pub distances: Vec<u8>,
    /// The node of each CPU.
    pub cpus: Vec<u16>,
    /// Marks; a zone not named has none.
    pub marks: Vec<Mark>,
    /// First frame above DMA, a multiple of [`BLOCK`].
    pub dma_end: u64,
    /// First frame above DMA32, a multiple of [`BLOCK`].
    pub dma32_end: u64,
}

impl Machine {
    /// One node with these ranges (first frame, one past the last), `cpus` CPUs, everything Normal.
    pub fn one_node(cpus: usize, ranges: &[(u64, u64)]) -> Self {
        Self {
            memory: ranges.iter().map(|&(start, end)| Memory::of(0, start..end)).collect(),
            reserved: Vec::new(),
            distances: vec![10],
            cpus: vec![0; cpus],
            marks: Vec::new(),
            dma_end: 0,
            dma32_end: 0,
        }
    }

    /// Nodes of `frames` frames each, one after the other from frame `start`, `cpus` CPUs each, all 20 apart.
    pub fn equal_nodes(nodes: u16, cpus: usize, start: u64, frames: u64) -> Self {
        let memory = |node: u16| {
            let first = start + u64::from(node) * frames;
            Memory::of(node, first..first + frames)
        };
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| from == to));
        Self {
            memory: (0..nodes).map(memory).collect(),
            reserved: Vec::new(),
            distances: pairs.map(|same| if same { 10 } else { 20 }).collect(),
            cpus: (0..nodes).flat_map(|node| vec![node; cpus]).collect(),
            marks: Vec::new(),
            dma_end: 0,
            dma32_end: 0,
        }
    }

    /// Number of nodes the distances are for.
    pub fn nodes(&self) -> usize {
        self.distances.len().isqrt()
    }

    /// The class of a frame of this range.
    pub fn class_of(&self, memory: &Memory, pfn: u64) -> Class {
        match memory.class {
            Some(class) => class,
            None if pfn < self.dma_end => Class::Dma,
            None if pfn < self.dma32_end => Class::Dma32,
            None => Class::Normal,
        }
    }

    /// One block from frame 0 on, two CPUs.
    pub fn one_block() -> Self {
        Self::one_node(2, &[(0, BLOCK)])
    }

    /// One node whose ranges begin and end anywhere, with a reserved frame 0, a hole inside a block, a block missing.
    pub fn ragged() -> Self {
        let mut machine = Self::one_node(3, &[(0, 700), (703, 1500), (2049, 3583), (3584, 4096)]);
        machine.reserved = vec![0..1, 64..96, 1400..1600, 3000..3001];
        machine
    }

    /// Two nodes with every class of zone, reserved frames, a mark on three of them, and two CPUs each.
    pub fn two_nodes() -> Self {
        let mut machine = Self::equal_nodes(2, 2, 0, 4 * BLOCK);
        machine.memory.push(Memory::of(0, 10 * BLOCK..11 * BLOCK + 100).movable());
        machine.memory.push(Memory::of(1, 12 * BLOCK + 37..14 * BLOCK).movable());
        machine.reserved = vec![0..5, 5 * BLOCK - 3..5 * BLOCK + 3];
        machine.dma_end = BLOCK;
        machine.dma32_end = 3 * BLOCK;
        machine.marks = vec![
            Mark { node: 0, class: Class::Normal, frames: 40 },
            Mark { node: 0, class: Class::Dma, frames: 300 },
            Mark { node: 1, class: Class::Movable, frames: 17 },
        ];
        machine
    }

    /// Two nodes that share sections of 64 blocks, around section boundaries, with a section missing between them.
    pub fn interleaved() -> Self {
        const SECTION: u64 = 64 * BLOCK;
        let mut machine = Self::equal_nodes(2, 1, SECTION - 2 * BLOCK, 2 * BLOCK);
        machine.memory.push(Memory::of(0, SECTION + 2 * BLOCK..SECTION + 3 * BLOCK + 5));
        machine.memory.push(Memory::of(1, SECTION + 5 * BLOCK..SECTION + 6 * BLOCK).movable());
        machine.memory.push(Memory::of(0, 3 * SECTION - BLOCK..3 * SECTION + 2 * BLOCK));
        machine.dma32_end = SECTION + BLOCK;
        machine
    }

    /// A little over one aligned gibibyte, with ragged ends: the largest order fits once.
    pub fn gibibyte() -> Self {
        Self::one_node(2, &[(GIB - 700, 2 * GIB + 1025)])
    }

    /// A tebibyte: 4 nodes with 16 CPUs each.
    pub fn tebibyte() -> Self {
        Self::equal_nodes(4, 16, GIB, 256 * GIB)
    }

    /// 16 tebibytes: 64 nodes with 16 CPUs each.
    pub fn sixteen_tebibytes() -> Self {
        Self::equal_nodes(64, 16, GIB, 256 * GIB)
    }
}
