//! What the allocator refuses in a machine that could be read: all of it where that is many things, and where it is said.
//!
//! The sentences are those of [`ConfigError`].

use std::cmp::Reverse;

use zonal::{Config, ConfigError, FrameRange, HotRange, MAX_FRAMES, MemoryRange, NodeId, Topology};

use super::{Remark, build};
use crate::built::PoolError;
use crate::machine::description::Described;
use crate::machine::place::Document;

/// Distance of a node from itself.
const NEAR: u8 = 10;

/// What is found before an allocator is built.
pub(super) fn find(described: &Described, document: &Document<'_>) -> Vec<Remark> {
    let mut mistakes = distances(described, document);
    mistakes.extend(ranges(described, document));
    mistakes.extend(hot_ranges(described, document));
    mistakes.extend(overlaps(described, document));
    if mistakes.is_empty()
        && let Err(error) = zonal::metadata_size(&described.machine.config())
    {
        mistakes.push(document.remark(&key(&error, &described.entries, document), error.to_string()));
    }
    mistakes
}

/// What building found.
pub(super) fn of_build(
    described: &Described,
    document: &Document<'_>,
    error: ConfigError,
) -> Result<Vec<Remark>, PoolError> {
    if !matches!(error, ConfigError::MarkWithoutZone { .. }) {
        let key = key(&error, &described.entries, document);
        return Ok(vec![document.remark(&key, error.to_string())]);
    }
    let unmarked = build(&described.machine.clone().with_marks(Vec::new()))?;
    let marks = described.machine.config().marks.iter().enumerate();
    let lost = marks.filter(|(_, mark)| {
        let mut zones = unmarked.allocator().zones();
        !zones.any(|zone| (zone.node, zone.kind) == (mark.node, mark.zone))
    });
    let remarks = lost.map(|(at, mark)| {
        let (zone, node) = (mark.zone.name(), mark.node.0);
        document
            .remark(&format!("mark[{at}]"), format!("mark[{at}]: node {node} has no zone {zone} with memory"))
    });
    Ok(remarks.collect())
}

/// The key that a refusal is about, as far as it tells.
pub(super) fn key(error: &ConfigError, entries: &[usize], document: &Document<'_>) -> String {
    let of_node =
        |node: NodeId| entries.get(usize::from(node.0)).map_or("node".into(), |at| format!("node[{at}]"));
    match *error {
        ConfigError::Distance { from, to, .. } => format!("distances[{}][{}]", from.0, to.0),
        ConfigError::DistanceCount { .. } => "distances".into(),
        ConfigError::ZoneLimits { .. } if document.has("dma_end") => "dma_end".into(),
        ConfigError::ZoneLimits { .. } => "dma32_end".into(),
        ConfigError::MinFree { .. } => "watermarks.min_free_kbytes".into(),
        ConfigError::WatermarkScale { .. } => "watermarks.watermark_scale_factor".into(),
        ConfigError::MarkWithoutZone { .. } => "mark".into(),
        ConfigError::SpanTooLarge { node, .. } | ConfigError::NoSuchNode { node } => of_node(node),
        _ => "node".into(),
    }
}

fn distances(described: &Described, document: &Document<'_>) -> Vec<Remark> {
    let (nodes, distances) = (described.machine.nodes(), described.machine.config().topology.distances);
    let pairs =
        distances.iter().enumerate().map(|(at, &distance)| (at / nodes.max(1), at % nodes.max(1), distance));
    let wrong = pairs.filter(|&(from, to, distance)| (from == to) != (distance == NEAR) || distance < NEAR);
    let remarks = wrong.map(|(from, to, distance)| {
        let error = ConfigError::Distance { from: NodeId(from as u16), to: NodeId(to as u16), distance };
        document.remark(&format!("distances[{from}][{to}]"), error.to_string())
    });
    remarks.collect()
}

/// Ranges that hold no frame, or end too high.
fn ranges(described: &Described, document: &Document<'_>) -> Vec<Remark> {
    let memory = described.machine.memory().iter().zip(&described.memory);
    let remarks = memory.filter_map(|(memory, key)| {
        let FrameRange { start, end } = memory.range;
        let error = match () {
            () if end <= start => ConfigError::EmptyRange { start, end },
            () if end.get() > MAX_FRAMES => ConfigError::RangeTooHigh { end },
            () => return None,
        };
        Some(document.remark(key, format!("{key}: {error}")))
    });
    remarks.collect()
}

/// Ranges to be plugged in that could not be, each alone.
fn hot_ranges(described: &Described, document: &Document<'_>) -> Vec<Remark> {
    let (machine, config) = (&described.machine, described.machine.config());
    let memory = [MemoryRange::new(0, 1, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[NEAR], cpus: &[NodeId(0)] };
    let remarks = machine.hotplug().iter().enumerate().filter_map(|(at, hot)| {
        let alone = [HotRange { node: NodeId(0), ..*hot }];
        let (dma_end, dma32_end) = (config.dma_end, config.dma32_end);
        let config = Config { hotplug: &alone, dma_end, dma32_end, ..Config::new(topology) };
        let error = match zonal::metadata_size(&config) {
            _ if usize::from(hot.node.0) >= machine.nodes() => ConfigError::NoSuchNode { node: hot.node },
            Ok(_) | Err(ConfigError::ZoneLimits { .. }) => return None,
            Err(error) => error,
        };
        let key = hot_key(at);
        Some(document.remark(&key, format!("{key}: {error}")))
    });
    remarks.collect()
}

fn hot_key(at: usize) -> String {
    format!("hotplug[{at}]")
}

/// For each range that begins inside others, the one of those that ends last.
fn overlaps(described: &Described, document: &Document<'_>) -> Vec<Remark> {
    let hot_keys: Vec<String> = (0..described.machine.hotplug().len()).map(hot_key).collect();
    let hot = described.machine.hotplug().iter().map(|hot| hot.range).zip(&hot_keys);
    let memory = described.machine.memory().iter().map(|memory| memory.range).zip(&described.memory);
    let mut sorted: Vec<(FrameRange, &String)> =
        memory.chain(hot).filter(|(range, _)| range.frames() > 0).collect();
    sorted.sort_by_key(|&(range, _)| (range.start, Reverse(range.end)));
    let mut remarks = Vec::new();
    let mut furthest: Option<(FrameRange, &String)> = None;
    for (range, key) in sorted {
        if let Some((other, over)) = furthest.filter(|(other, _)| range.start < other.end) {
            let error = ConfigError::Overlap { pfn: range.start };
            let (line, FrameRange { start, end }) = (document.line(over), other);
            let text = format!("{key}: {error}, also {over} in line {line} (frames {start}..{end})");
            remarks.push(document.remark(key, text));
        }
        if furthest.is_none_or(|(other, _)| range.end > other.end) {
            furthest = Some((range, key));
        }
    }
    remarks
}
