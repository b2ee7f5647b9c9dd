//! What there is to know of a machine before anything is allocated: plain figures, taken from an allocator built for it.
//!
//! Invariant: pieces of memory are disjoint, ascending, and each for one use.

use anyhow::Result;
use serde::Serialize;
use zonal::{FRAME_SIZE, FrameRange, NodeId, PageAllocator, Pfn, Platform, ZoneInfo, ZoneKind};
use zonal_linux::Machine;

/// A machine.
#[derive(Serialize)]
pub(super) struct Portrait {
    /// Its file, or what else it is called.
    pub(super) machine: String,
    /// Bytes of memory.
    pub(super) bytes: u64,
    /// Of these, what zones manage.
    pub(super) managed_bytes: u64,
    /// CPUs in all.
    pub(super) cpus: usize,
    /// Bytes of metadata, and their share of `bytes`.
    pub(super) metadata_bytes: u64,
    pub(super) metadata_share: f64,
    /// Its nodes, by number.
    pub(super) nodes: Vec<Node>,
    /// A row a node.
    pub(super) distances: Vec<Vec<u8>>,
    /// Where its memory lies, and where some may be plugged in.
    #[serde(skip)]
    pub(super) pieces: Vec<Piece>,
    /// Frames that are never handed out.
    #[serde(skip)]
    pub(super) reserved: Vec<FrameRange>,
}

/// A node.
#[derive(Serialize)]
pub(super) struct Node {
    pub(super) node: u16,
    /// The numbers of its CPUs.
    pub(super) cpus: Vec<usize>,
    /// Bytes of memory.
    pub(super) bytes: u64,
    /// Bytes that may be plugged in besides.
    pub(super) pluggable_bytes: u64,
    /// Those with memory.
    pub(super) zones: Vec<Zone>,
    /// The nodes its requests go to, in this order.
    pub(super) fallback: Vec<u16>,
}

/// A zone. Counts are of frames.
#[derive(Serialize)]
pub(super) struct Zone {
    pub(super) zone: &'static str,
    /// From its first block to its last, holes included.
    pub(super) start_pfn: u64,
    pub(super) end_pfn: u64,
    pub(super) spanned: u64,
    pub(super) present: u64,
    pub(super) managed: u64,
    /// Present, but never handed out.
    pub(super) reserved: u64,
    /// Spanned, but not its own.
    pub(super) holes: u64,
    pub(super) min: u64,
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) promo: u64,
    /// What requests for DMA, DMA32, Normal and Movable leave besides the mark.
    pub(super) protection: [u64; 4],
}

/// Addresses without a hole, all for one use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) range: FrameRange,
    pub(super) node: NodeId,
    pub(super) holds: Holding,
}

/// What is at some addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holding {
    /// Memory of a zone.
    Zone(ZoneKind),
    /// Memory of blocks that have no frame to hand out.
    Reserved,
    /// Nothing, until some is plugged in.
    Pluggable,
}

impl Portrait {
    /// Copies what there is to know.
    pub(super) fn of<P: Platform>(
        name: String,
        machine: &Machine,
        allocator: &PageAllocator<'_, P>,
    ) -> Result<Self> {
        let zones: Vec<ZoneInfo> = allocator.zones().filter(|zone| zone.present > 0).collect();
        let config = machine.config();
        let (bytes, metadata_bytes) = (machine.bytes(), zonal::metadata_size(&config)? as u64);
        let mut cpus = vec![Vec::new(); machine.nodes()];
        for (cpu, node) in machine.cpus().iter().enumerate() {
            if let Some(cpus) = cpus.get_mut(usize::from(node.0)) {
                cpus.push(cpu);
            }
        }
        let nodes = (0..).map(NodeId).zip(cpus).map(|(node, cpus)| {
            let zones: Vec<Zone> = zones.iter().filter(|zone| zone.node == node).map(Zone::of).collect();
            let bytes = zones.iter().map(|zone| zone.present * FRAME_SIZE).sum();
            let hot = machine.hotplug().iter().filter(|hot| hot.node == node);
            let pluggable_bytes = hot.map(|hot| hot.range.frames() * FRAME_SIZE).sum();
            let fallback = allocator.node_order(node).map(|node| node.0).collect();
            Node { node: node.0, cpus, bytes, pluggable_bytes, zones, fallback }
        });
        Ok(Self {
            machine: name,
            bytes,
            managed_bytes: zones.iter().map(|zone| zone.managed * FRAME_SIZE).sum(),
            cpus: machine.cpus().len(),
            metadata_bytes,
            metadata_share: metadata_bytes as f64 / bytes.max(1) as f64,
            nodes: nodes.collect(),
            distances: config.topology.distances.chunks(machine.nodes().max(1)).map(<[u8]>::to_vec).collect(),
            pieces: pieces(machine, &zones, allocator),
            reserved: config.topology.reserved.to_vec(),
        })
    }
}

impl Zone {
    fn of(info: &ZoneInfo) -> Self {
        Self {
            zone: info.kind.name(),
            start_pfn: info.span.start.get(),
            end_pfn: info.span.end.get(),
            spanned: info.span.frames(),
            present: info.present,
            managed: info.managed,
            reserved: info.present.saturating_sub(info.managed),
            holes: info.span.frames().saturating_sub(info.present),
            min: info.marks.min,
            low: info.marks.low,
            high: info.marks.high,
            promo: info.marks.promo,
            protection: info.protection,
        }
    }
}

/// Memory cut where zones begin and end, so that the zone of a piece's first block is that of the whole piece. Blocks
/// of which all frames are reserved are the zone's in whose span they are; where it would have no others, there is none.
fn pieces<P: Platform>(
    machine: &Machine,
    zones: &[ZoneInfo],
    allocator: &PageAllocator<'_, P>,
) -> Vec<Piece> {
    let mut cuts: Vec<Pfn> = zones.iter().flat_map(|zone| [zone.span.start, zone.span.end]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let zone_at = |pfn: Pfn, node: NodeId| {
        let id = allocator.zone_of(pfn);
        let around = |zone: &&ZoneInfo| zone.node == node && zone.span.contains(pfn);
        id.and_then(|id| zones.iter().find(|zone| zone.id == id)).or_else(|| zones.iter().find(around))
    };
    let mut pieces = Vec::new();
    for memory in machine.memory() {
        let FrameRange { mut start, end } = memory.range;
        let after = cuts.partition_point(|&cut| cut <= start);
        let inside = cuts.iter().skip(after).copied().take_while(|&cut| cut < end);
        for cut in inside.chain([end]) {
            let zone = zone_at(start, memory.node);
            let node = zone.map_or(memory.node, |zone| zone.node);
            let holds = zone.map_or(Holding::Reserved, |zone| Holding::Zone(zone.kind));
            pieces.push(Piece { range: FrameRange::new(start, cut), node, holds });
            start = cut;
        }
    }
    let hot = machine.hotplug().iter();
    pieces.extend(hot.map(|hot| Piece { range: hot.range, node: hot.node, holds: Holding::Pluggable }));
    pieces.sort_unstable_by_key(|piece| piece.range.start);
    pieces
}
