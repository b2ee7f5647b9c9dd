//! The TOML form of a machine.
//!
//! Nodes are given by size, laid out one after the other from `base`, or by explicit ranges. Sizes and addresses are
//! bytes: numbers, or texts such as `"256 MiB"`. Every refusal names the key and the value; nothing here overflows.

use bytesize::ByteSize;
use serde::Deserialize;
use zonal::{
    BLOCK_FRAMES, Caching, Checking, Config, ConfigError, FrameRange, MAX_FRAMES, MemoryRange, MovableSizing,
    Naming, NodeId, Pfn, Topology,
};

use crate::own_words::WordKind;

use super::names::{CachingName, CheckingName, NamingName};
use super::sizing::AmountText;
use super::tables::{HotEntry, MarkEntry, Range, WatermarksTable, frames};
use super::{MAX_CPUS, MAX_NODES, Machine, MachineError, equidistant};

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    base: Option<ByteSize>,
    dma_end: Option<ByteSize>,
    dma32_end: Option<ByteSize>,
    #[serde(default, with = "CachingName")]
    caching: Caching,
    #[serde(default)]
    words: WordKind,
    #[serde(default, with = "CheckingName")]
    checking: Checking,
    #[serde(default, with = "NamingName")]
    naming: Naming,
    kernelcore: Option<AmountText>,
    movablecore: Option<AmountText>,
    distances: Option<Vec<Vec<u8>>>,
    node: Vec<Node>,
    #[serde(default)]
    reserved: Vec<Range>,
    #[serde(default)]
    hotplug: Vec<HotEntry>,
    #[serde(default)]
    mark: Vec<MarkEntry>,
    watermarks: Option<WatermarksTable>,
}

/// A `[[node]]`, or `count` alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    count: Option<usize>,
    memory: Option<ByteSize>,
    movable: Option<ByteSize>,
    #[serde(default)]
    ranges: Vec<Range>,
    cpus: Option<Cpus>,
}

/// The CPUs of a node.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of CPUs or a list of CPU numbers")]
enum Cpus {
    /// As many, with the lowest numbers that no list names.
    Count(usize),
    /// These.
    Numbers(Vec<usize>),
}

/// What a description says, and where it says it.
pub(crate) struct Described {
    /// The machine, of which only sizes, addresses and names were checked.
    pub(crate) machine: Machine,
    /// The `[[node]]` that each node comes from.
    pub(crate) entries: Vec<usize>,
    /// The key that each range of memory comes from.
    pub(crate) memory: Vec<String>,
    /// How its memory is to be divided; it is not yet.
    pub(crate) sizing: MovableSizing,
}

/// Reads a description, up to its first mistake.
pub(super) fn read(text: &str) -> Result<Machine, MachineError> {
    match describe(text) {
        Ok(described) => {
            described.machine.clone().checked()?;
            described.divided()?.machine.checked()
        }
        Err(mut mistakes) => Err(mistakes.swap_remove(0)),
    }
}

/// Reads a description. The mistakes are at least one, in the order of the parts of a file.
pub(crate) fn describe(text: &str) -> Result<Described, Vec<MachineError>> {
    let file: Description = toml::from_str(text).map_err(|error| vec![error.into()])?;
    let mut mistakes = Mistakes::default();
    let base = mistakes.keep(frames("base", file.base.unwrap_or_default()));
    let mut layout = Layout { next: base.unwrap_or_default(), ..Layout::default() };
    for (index, node) in file.node.iter().enumerate() {
        mistakes.keep(layout.add(index, node));
    }
    let nodes = layout.cpus.len();
    if mistakes.0.is_empty() {
        layout.numbered = mistakes.keep(number_cpus(&layout.cpus, &layout.entries)).unwrap_or_default();
    }
    let reserved = file.reserved.iter().enumerate();
    let reserved = reserved.filter_map(|(at, range)| mistakes.keep(range.frames(&format!("reserved[{at}]"))));
    let reserved = reserved.collect();
    let hotplug = file.hotplug.iter().enumerate();
    let hotplug = hotplug.filter_map(|(at, hot)| mistakes.keep(hot.read(at))).collect();
    let marks = file.mark.iter().enumerate();
    let marks = marks.filter_map(|(at, mark)| mistakes.keep(mark.read(at))).collect();
    let distances = match file.distances {
        Some(rows) => mistakes.keep(square(&rows, nodes)).unwrap_or_default(),
        None => equidistant(nodes),
    };
    let default = Config::new(Topology { memory: &[], reserved: &[], nodes, distances: &[], cpus: &[] });
    let mut zone_end = |key, end: Option<ByteSize>, default: Pfn| {
        let given = end.and_then(|end| mistakes.keep(frames(key, end)));
        given.map_or(default, Pfn::new)
    };
    let dma_end = zone_end("dma_end", file.dma_end, default.dma_end);
    let dma32_end = zone_end("dma32_end", file.dma32_end, default.dma32_end);
    let mut amount =
        |key, amount: Option<AmountText>| amount.and_then(|amount| mistakes.keep(amount.read(key)));
    let sizing = MovableSizing {
        kernelcore: amount("kernelcore", file.kernelcore),
        movablecore: amount("movablecore", file.movablecore),
    };
    let Layout { memory, keys, entries, numbered, .. } = layout;
    let machine = Machine {
        memory,
        hotplug,
        reserved,
        nodes,
        distances,
        cpus: numbered,
        marks,
        tuning: file.watermarks.map(|table| table.read()),
        caching: file.caching,
        words: file.words,
        checking: file.checking,
        naming: file.naming,
        dma_end,
        dma32_end,
    };
    let described = Described { machine, entries, memory: keys, sizing };
    mistakes.keep(described.undivided());
    mistakes.or(described)
}

/// What is wrong so far.
#[derive(Default)]
struct Mistakes(Vec<MachineError>);

impl Mistakes {
    /// What was read, or one more mistake.
    fn keep<T>(&mut self, read: Result<T, MachineError>) -> Option<T> {
        read.map_err(|mistake| self.0.push(mistake)).ok()
    }

    /// The mistakes, if there are any.
    fn or<T>(self, whole: T) -> Result<T, Vec<MachineError>> {
        if self.0.is_empty() { Ok(whole) } else { Err(self.0) }
    }
}

/// Nodes as they are read: their memory, and what they say of their CPUs.
#[derive(Default)]
struct Layout<'d> {
    /// First frame not laid out yet.
    next: u64,
    memory: Vec<MemoryRange>,
    /// Where each range of memory comes from.
    keys: Vec<String>,
    cpus: Vec<Option<&'d Cpus>>,
    /// Which `[[node]]` each node comes from.
    entries: Vec<usize>,
    /// The node of each CPU, when all nodes are read.
    numbered: Vec<NodeId>,
}

impl<'d> Layout<'d> {
    fn add(&mut self, index: usize, node: &'d Node) -> Result<(), MachineError> {
        let key = |name: &str| format!("node[{index}].{name}");
        let count = node.count.unwrap_or(1);
        if count == 0 || count > MAX_NODES - self.cpus.len() {
            return Err(MachineError::value(key("count"), count, "a machine has 1 to 1024 nodes"));
        }
        if count > 1 && !node.ranges.is_empty() {
            return Err(MachineError::value(key("count"), count, "nodes with the same ranges would overlap"));
        }
        if let (Some(memory), false) = (node.memory, node.ranges.is_empty()) {
            return Err(MachineError::value(key("memory"), memory, "a node has either a size or ranges"));
        }
        if let (Some(movable), None) = (node.movable, node.memory) {
            return Err(MachineError::value(
                key("movable"),
                movable,
                "a part of `memory`, which is not given",
            ));
        }
        for _ in 0..count {
            let id = self.cpus.len() as u16;
            for (at, range) in node.ranges.iter().enumerate() {
                let key = key(&format!("ranges[{at}]"));
                let FrameRange { start, end } = range.frames(&key)?;
                let memory = MemoryRange::new(start.get(), end.get(), id);
                self.push(if range.movable { memory.movable() } else { memory }, key);
            }
            self.lay_out(id, node, &key)?;
            self.cpus.push(node.cpus.as_ref());
            self.entries.push(index);
        }
        Ok(())
    }

    /// Puts a node that is given by size behind those before it, its movable part last.
    fn lay_out(&mut self, id: u16, node: &Node, key: &dyn Fn(&str) -> String) -> Result<(), MachineError> {
        let Some(memory) = node.memory else { return Ok(()) };
        let size = frames(&key("memory"), memory)?;
        let movable = frames(&key("movable"), node.movable.unwrap_or_default())?;
        let start = self.next.next_multiple_of(BLOCK_FRAMES);
        let end = start + size;
        if end > MAX_FRAMES {
            return Err(MachineError::value(
                key("memory"),
                memory,
                "the machine would end above 52 address bits",
            ));
        }
        let refused = |reason| MachineError::value(key("movable"), node.movable.unwrap_or_default(), reason);
        let middle = end.checked_sub(movable).filter(|middle| *middle >= start);
        let middle = middle.ok_or_else(|| refused("more than the node's memory"))?;
        if movable > 0 && !middle.is_multiple_of(BLOCK_FRAMES) {
            return Err(refused("the movable part would begin inside a 2 MiB block"));
        }
        if middle > start {
            self.push(MemoryRange::new(start, middle, id), key("memory"));
        }
        if end > middle {
            self.push(MemoryRange::new(middle, end, id).movable(), key("movable"));
        }
        self.next = end;
        Ok(())
    }

    fn push(&mut self, range: MemoryRange, key: String) {
        self.memory.push(range);
        self.keys.push(key);
    }
}

/// The node of each CPU: listed numbers as they are, counted ones in the gaps, node by node.
fn number_cpus(nodes: &[Option<&Cpus>], entries: &[usize]) -> Result<Vec<NodeId>, MachineError> {
    let mut total = 0usize;
    for cpus in nodes.iter().flatten() {
        let count = match cpus {
            Cpus::Count(count) => *count,
            Cpus::Numbers(numbers) => numbers.len(),
        };
        total = total.saturating_add(count);
    }
    if total == 0 || total > MAX_CPUS {
        return Err(ConfigError::Cpus { cpus: total }.into());
    }
    let mut table: Vec<Option<NodeId>> = vec![None; total];
    for (node, cpus) in nodes.iter().enumerate() {
        let (Some(Cpus::Numbers(numbers)), Some(entry)) = (cpus, entries.get(node)) else { continue };
        for &number in numbers {
            let refused = |reason| MachineError::value(format!("node[{entry}].cpus"), number, reason);
            let place =
                table.get_mut(number).ok_or_else(|| refused("CPUs are numbered from 0 without gaps"))?;
            if place.replace(NodeId(node as u16)).is_some() {
                return Err(refused("two nodes name this CPU"));
            }
        }
    }
    let counted = nodes.iter().enumerate().flat_map(|(node, cpus)| {
        let count = if let Some(Cpus::Count(count)) = cpus { *count } else { 0 };
        std::iter::repeat_n(NodeId(node as u16), count)
    });
    let mut counted = counted.fuse();
    Ok(table.into_iter().filter_map(|node| node.or_else(|| counted.next())).collect())
}

/// The rows of a square matrix, one after the other.
fn square(rows: &[Vec<u8>], nodes: usize) -> Result<Vec<u8>, MachineError> {
    if rows.len() != nodes {
        let value = format!("{} rows", rows.len());
        return Err(MachineError::value("distances", value, "not the number of nodes"));
    }
    if let Some((at, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != nodes) {
        let value = format!("{} distances", row.len());
        return Err(MachineError::value(format!("distances[{at}]"), value, "not the number of nodes"));
    }
    Ok(rows.concat())
}
