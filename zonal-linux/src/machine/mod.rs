//! A machine, owned: its memory, CPUs and distances, and the policy an allocator is built with.
//!
//! It is described in TOML ([`Machine::from_toml`]), read from this machine ([`Machine::this`]), or made of equal
//! nodes ([`Machine::uniform`]). Nothing here maps memory. Invariant: a `Machine` that exists passes every check that
//! [`zonal::metadata_size`] makes; ranges that overlap are found when an allocator is built.

pub(crate) mod description;
mod error;
mod names;
pub(crate) mod place;
mod sizing;
pub(crate) mod sysfs;
mod tables;

use std::path::Path;

use zonal::{
    BLOCK_FRAMES, Caching, Checking, Config, ConfigError, FRAME_SIZE, FrameRange, HotRange, MAX_FRAMES, Mark,
    MemoryRange, MovableSizing, Naming, NodeId, Pfn, SECTION_FRAMES, Topology, Tuning, movable_split,
};

use crate::own_words::WordKind;

pub use error::MachineError;

/// Distance of a node from itself.
const NEAR: u8 = 10;
/// Distance between two nodes where nothing else is said.
const FAR: u8 = 20;
/// Most nodes the allocator knows.
const MAX_NODES: usize = 1024;
/// Most CPUs the allocator knows.
const MAX_CPUS: usize = 4096;
/// Where [`Machine::uniform`] begins: above DMA32, so that all memory is Normal.
const UNIFORM_START: u64 = 1 << 20;

/// A machine an allocator can be built for. It owns what [`Config`] borrows.
#[derive(Clone, Debug)]
pub struct Machine {
    memory: Vec<MemoryRange>,
    hotplug: Vec<HotRange>,
    reserved: Vec<FrameRange>,
    nodes: usize,
    distances: Vec<u8>,
    cpus: Vec<NodeId>,
    marks: Vec<Mark>,
    tuning: Option<Tuning>,
    caching: Caching,
    words: WordKind,
    checking: Checking,
    naming: Naming,
    dma_end: Pfn,
    dma32_end: Pfn,
}

impl Machine {
    /// A machine of these ranges whose CPU `i` is in node `cpus[i]`. It has as many nodes as are named, 20 apart, no
    /// reserved frames, no marks, local caching, no checking, no names, and Linux's zone limits; the `with_` methods change that.
    ///
    /// # Errors
    /// [`MachineError::Config`] says what the allocator would refuse.
    pub fn new(memory: Vec<MemoryRange>, cpus: Vec<NodeId>) -> Result<Self, MachineError> {
        let named = cpus.iter().copied().chain(memory.iter().map(|range| range.node));
        let nodes = named.map(|node| usize::from(node.0) + 1).max().unwrap_or(1);
        if nodes > MAX_NODES {
            return Err(ConfigError::Nodes { nodes }.into());
        }
        let policy = Config::new(Topology { memory: &[], reserved: &[], nodes, distances: &[], cpus: &[] });
        let machine = Self {
            memory,
            hotplug: Vec::new(),
            reserved: Vec::new(),
            nodes,
            distances: equidistant(nodes),
            cpus,
            marks: Vec::new(),
            tuning: None,
            caching: policy.caching,
            words: WordKind::Locked,
            checking: policy.checking,
            naming: policy.naming,
            dma_end: policy.dma_end,
            dma32_end: policy.dma32_end,
        };
        machine.checked()
    }

    /// `nodes` nodes of `bytes_per_node` each, one after the other from 4 GiB on, so that every zone is Normal; the
    /// `cpus` CPUs are dealt out in runs of equal length.
    ///
    /// # Errors
    /// [`MachineError::Value`] for a size that is no whole number of blocks or too large, and
    /// [`MachineError::Config`] for more nodes or CPUs than there can be.
    pub fn uniform(nodes: usize, bytes_per_node: u64, cpus: usize) -> Result<Self, MachineError> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(ConfigError::Nodes { nodes }.into());
        }
        if cpus == 0 || cpus > MAX_CPUS {
            return Err(ConfigError::Cpus { cpus }.into());
        }
        let size = |reason| MachineError::value("bytes_per_node", bytes_per_node, reason);
        if bytes_per_node == 0 || !bytes_per_node.is_multiple_of(BLOCK_FRAMES * FRAME_SIZE) {
            return Err(size("not a whole number of 2 MiB blocks"));
        }
        let frames = bytes_per_node / FRAME_SIZE;
        if frames > (MAX_FRAMES - UNIFORM_START) / nodes as u64 {
            return Err(size("the nodes would end above 52 address bits"));
        }
        let range = |node: usize| {
            let start = UNIFORM_START + node as u64 * frames;
            MemoryRange::new(start, start + frames, node as u16)
        };
        let node_of = |cpu: usize| NodeId((cpu * nodes / cpus) as u16);
        Self::new((0..nodes).map(range).collect(), (0..cpus).map(node_of).collect())
    }

    /// The machine of a TOML description; the crate's `machines` folder has examples of every key.
    ///
    /// # Errors
    /// A [`MachineError`] that names the key and the value, or says what the allocator would refuse.
    pub fn from_toml(text: &str) -> Result<Self, MachineError> {
        description::read(text)
    }

    /// This machine, as sysfs shows it: its online nodes (numbered from 0 without gaps), their total memory laid out one
    /// after the other, its possible CPUs and its distances. Without a node directory it is one node.
    ///
    /// # Errors
    /// [`MachineError::Read`] and [`MachineError::Sysfs`] name the file.
    pub fn this() -> Result<Self, MachineError> {
        sysfs::read(Path::new(sysfs::DEVICES), Path::new(sysfs::MEMINFO))
    }

    /// The same machine with other distances: row-major, 10 on the diagonal. The number of nodes follows from them, so
    /// that nodes without memory and CPUs can be added.
    ///
    /// # Errors
    /// [`MachineError::Config`] names the distance that is none, or the node that is missing.
    pub fn with_distances(self, distances: Vec<u8>) -> Result<Self, MachineError> {
        Self { nodes: distances.len().isqrt(), distances, ..self }.checked()
    }

    /// The same machine, its memory divided as Linux's `kernelcore=` and `movablecore=` would.
    ///
    /// # Errors
    /// [`MachineError::Movable`] if a range is movable already, or for more than a hundred percent.
    pub fn with_movable(self, sizing: MovableSizing) -> Result<Self, MachineError> {
        let mut memory = vec![MemoryRange::new(0, 0, 0); 2 * self.memory.len()];
        let ranges = movable_split(&self.config(), sizing, &mut memory)?;
        memory.truncate(ranges);
        Self { memory, ..self }.checked()
    }

    /// The same machine with the `cpus` CPUs dealt out over its nodes in runs of equal length.
    ///
    /// # Errors
    /// [`MachineError::Config`] for more CPUs than there can be, or none.
    pub fn with_cpus(self, cpus: usize) -> Result<Self, MachineError> {
        if cpus == 0 || cpus > MAX_CPUS {
            return Err(ConfigError::Cpus { cpus }.into());
        }
        let cpus = (0..cpus).map(|cpu| NodeId((cpu * self.nodes / cpus) as u16)).collect();
        Self { cpus, ..self }.checked()
    }

    /// The same machine with `bytes` more that may be plugged into a node while an allocator runs: whole sections of 128 MiB,
    /// behind all memory that it has so far. A [`crate::Pool`] keeps addresses for them, and no memory.
    ///
    /// # Errors
    /// [`MachineError::Value`] for a size that is no whole number of sections, [`MachineError::Config`] for a node that is not
    /// there, or frames that no address reaches.
    pub fn with_hotplug(self, node: NodeId, bytes: u64) -> Result<Self, MachineError> {
        if bytes == 0 || !bytes.is_multiple_of(SECTION_FRAMES * FRAME_SIZE) {
            let reason = "not a whole number of 128 MiB sections";
            return Err(MachineError::value("hotplug", bytes, reason));
        }
        let memory = self.memory.iter().map(|range| range.range);
        let ends = memory.chain(self.hotplug.iter().map(|hot| hot.range)).map(|range| range.end.get());
        let start = ends.max().unwrap_or(UNIFORM_START).next_multiple_of(SECTION_FRAMES);
        let hot = HotRange::new(start, start + bytes / FRAME_SIZE, node.0);
        let hotplug = self.hotplug.iter().copied().chain([hot]).collect();
        self.with_hot_ranges(hotplug)
    }

    /// The same machine with these ranges, and no others, that may be plugged in while an allocator runs.
    ///
    /// # Errors
    /// [`MachineError::Config`] says what the allocator would refuse.
    pub fn with_hot_ranges(self, hotplug: Vec<HotRange>) -> Result<Self, MachineError> {
        Self { hotplug, ..self }.checked()
    }

    /// The same machine with frames that are never handed out.
    #[must_use]
    pub fn with_reserved(self, reserved: Vec<FrameRange>) -> Self {
        Self { reserved, ..self }
    }

    /// The same machine with marks; a zone not named has those of the tuning, if there is one.
    #[must_use]
    pub fn with_marks(self, marks: Vec<Mark>) -> Self {
        Self { marks, ..self }
    }

    /// The same machine with the marks that Linux would give its zones, and what they hold back from requests for
    /// higher ones.
    ///
    /// # Errors
    /// [`MachineError::Config`] with the value that makes no sense.
    pub fn with_tuning(self, tuning: Tuning) -> Result<Self, MachineError> {
        Self { tuning: Some(tuning), ..self }.checked()
    }

    /// The same machine with these CPU caches.
    #[must_use]
    pub fn with_caching(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    /// The same machine with slot words that are their CPUs' own, or everybody's (as at first).
    #[must_use]
    pub fn with_words(self, words: WordKind) -> Self {
        Self { words, ..self }
    }

    /// Whose the slot words are to be.
    pub fn words(&self) -> WordKind {
        self.words
    }

    /// The same machine, its frees checked or not.
    #[must_use]
    pub fn with_checking(self, checking: Checking) -> Self {
        Self { checking, ..self }
    }

    /// The same machine, with or without the names of frames' owners.
    #[must_use]
    pub fn with_naming(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    /// The same machine with other ends of DMA and DMA32.
    ///
    /// # Errors
    /// [`MachineError::Config`] where DMA would end above DMA32.
    pub fn with_zone_ends(self, dma_end: Pfn, dma32_end: Pfn) -> Result<Self, MachineError> {
        Self { dma_end, dma32_end, ..self }.checked()
    }

    /// What an allocator is built from.
    pub fn config(&self) -> Config<'_> {
        let topology = Topology {
            memory: &self.memory,
            reserved: &self.reserved,
            nodes: self.nodes,
            distances: &self.distances,
            cpus: &self.cpus,
        };
        Config {
            hotplug: &self.hotplug,
            marks: &self.marks,
            tuning: self.tuning,
            caching: self.caching,
            checking: self.checking,
            naming: self.naming,
            dma_end: self.dma_end,
            dma32_end: self.dma32_end,
            ..Config::new(topology)
        }
    }

    /// The memory, in the order given.
    pub fn memory(&self) -> &[MemoryRange] {
        &self.memory
    }

    /// What may be plugged in, in the order given.
    pub fn hotplug(&self) -> &[HotRange] {
        &self.hotplug
    }

    /// Bytes that may be plugged in besides.
    pub fn pluggable_bytes(&self) -> u64 {
        let frames: u128 = self.hotplug.iter().map(|hot| u128::from(hot.range.frames())).sum();
        u64::try_from(frames * u128::from(FRAME_SIZE)).unwrap_or(u64::MAX)
    }

    /// The node of each CPU.
    pub fn cpus(&self) -> &[NodeId] {
        &self.cpus
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Bytes of memory in all ranges together, without what may be plugged in.
    pub fn bytes(&self) -> u64 {
        let frames: u128 = self.memory.iter().map(|range| u128::from(range.range.frames())).sum();
        u64::try_from(frames * u128::from(FRAME_SIZE)).unwrap_or(u64::MAX)
    }

    fn checked(self) -> Result<Self, MachineError> {
        zonal::metadata_size(&self.config())?;
        Ok(self)
    }
}

/// The distances of nodes that are all equally far from each other.
fn equidistant(nodes: usize) -> Vec<u8> {
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| from == to));
    pairs.map(|same| if same { NEAR } else { FAR }).collect()
}
