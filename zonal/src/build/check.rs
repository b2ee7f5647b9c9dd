//! What a configuration must satisfy before anything is sized.

use crate::build::rules::limit_inside;
use crate::config::Config;
use crate::error::ConfigError;
use crate::frame::{FrameRange, MAX_FRAMES, NodeId, SECTION_FRAMES};
use crate::topology::MemoryRange;

const MAX_NODES: usize = 1024;
const MAX_CPUS: usize = 4096;

/// Refuses what is no machine.
pub(in crate::build) fn check(config: &Config<'_>) -> Result<(), ConfigError> {
    let topology = &config.topology;
    let (nodes, cpus) = (topology.nodes, topology.cpus.len());
    if nodes == 0 || nodes > MAX_NODES {
        return Err(ConfigError::Nodes { nodes });
    }
    if cpus == 0 || cpus > MAX_CPUS {
        return Err(ConfigError::Cpus { cpus });
    }
    if topology.distances.len() != nodes * nodes {
        return Err(ConfigError::DistanceCount { entries: topology.distances.len(), needed: nodes * nodes });
    }
    for (at, &distance) in topology.distances.iter().enumerate() {
        let (from, to) = (at / nodes, at % nodes);
        if (from == to && distance != 10) || (from != to && distance <= 10) {
            return Err(ConfigError::Distance { from: NodeId(from as u16), to: NodeId(to as u16), distance });
        }
    }
    let named = topology.cpus.iter().copied().chain(topology.memory.iter().map(|range| range.node));
    if let Some(node) = named.into_iter().find(|node| usize::from(node.0) >= nodes) {
        return Err(ConfigError::NoSuchNode { node });
    }
    for &MemoryRange { range: FrameRange { start, end }, .. } in topology.memory {
        if end <= start {
            return Err(ConfigError::EmptyRange { start, end });
        }
        if end.get() > MAX_FRAMES {
            return Err(ConfigError::RangeTooHigh { end });
        }
    }
    for hot in config.hotplug {
        let FrameRange { start, end } = hot.range;
        if end <= start {
            return Err(ConfigError::EmptyRange { start, end });
        }
        if end.get() > MAX_FRAMES {
            return Err(ConfigError::RangeTooHigh { end });
        }
        if usize::from(hot.node.0) >= nodes {
            return Err(ConfigError::NoSuchNode { node: hot.node });
        }
        let unaligned = [start, end].into_iter().find(|pfn| pfn.get() % SECTION_FRAMES != 0);
        if let Some(pfn) = unaligned {
            return Err(ConfigError::HotUnaligned { pfn });
        }
        if let Some(limit) = limit_inside(config, hot.range) {
            return Err(ConfigError::HotAcrossZones { limit });
        }
    }
    if config.dma_end > config.dma32_end {
        return Err(ConfigError::ZoneLimits { dma: config.dma_end, dma32: config.dma32_end });
    }
    if let Some(tuning) = config.tuning {
        tuning.check()?;
    }
    if topology.memory.is_empty() { Err(ConfigError::NoMemory) } else { Ok(()) }
}
