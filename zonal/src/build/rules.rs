//! Which zone a range's frames fall to, and which CPUs have lines for it: the rules, before any memory is carved.

use crate::config::{Caching, Config};
use crate::frame::{BLOCK_FRAMES, FrameRange, MAX_FRAMES, NodeId, Pfn, SECTION_FRAMES};
use crate::topology::{HotRange, MemoryRange, Placement, ZoneKind};

/// The zone kind of a block of a range.
pub(in crate::build) fn kind_of(config: &Config<'_>, placement: Placement, block_start: u64) -> ZoneKind {
    let (dma, dma32) = (round_up(config.dma_end), round_up(config.dma32_end));
    match placement {
        Placement::Movable => ZoneKind::Movable,
        Placement::ByAddress if block_start < dma => ZoneKind::Dma,
        Placement::ByAddress if block_start < dma32 => ZoneKind::Dma32,
        Placement::ByAddress => ZoneKind::Normal,
    }
}

pub(in crate::build) fn round_up(limit: Pfn) -> u64 {
    limit.get().min(MAX_FRAMES).next_multiple_of(BLOCK_FRAMES)
}

/// The end of DMA or DMA32 if it lies inside one of the range's sections, which is plugged as a whole.
pub(in crate::build) fn limit_inside(config: &Config<'_>, range: FrameRange) -> Option<Pfn> {
    let limits = [config.dma_end, config.dma32_end].map(|limit| Pfn::new(round_up(limit)));
    limits.into_iter().find(|&limit| range.contains(limit) && limit.get() % SECTION_FRAMES != 0)
}

/// The frames that a zone kind may hold, as a window.
pub(in crate::build) fn window(config: &Config<'_>, kind: ZoneKind) -> FrameRange {
    let (dma, dma32) = (Pfn::new(round_up(config.dma_end)), Pfn::new(round_up(config.dma32_end)));
    match kind {
        ZoneKind::Dma => FrameRange::new(Pfn::new(0), dma),
        ZoneKind::Dma32 => FrameRange::new(dma, dma32),
        ZoneKind::Normal => FrameRange::new(dma32, Pfn::new(MAX_FRAMES)),
        ZoneKind::Movable => FrameRange::new(Pfn::new(0), Pfn::new(MAX_FRAMES)),
    }
}

/// The frames of a range that fall to a zone kind (before blocks shared between ranges are settled).
pub(in crate::build) fn part(config: &Config<'_>, range: &MemoryRange, kind: ZoneKind) -> Option<FrameRange> {
    if (range.placement == Placement::Movable) != (kind == ZoneKind::Movable) {
        return None;
    }
    Some(range.range.intersect(window(config, kind))).filter(|part| part.frames() > 0)
}

/// The frames of a range that may be plugged in that may fall to a zone kind.
pub(in crate::build) fn hot_part(config: &Config<'_>, hot: &HotRange, kind: ZoneKind) -> Option<FrameRange> {
    Some(hot.range.intersect(window(config, kind))).filter(|part| part.frames() > 0)
}

/// CPUs that have lines for the node's zones.
pub(in crate::build) fn cached_cpus(config: &Config<'_>, node: NodeId) -> usize {
    match config.caching {
        Caching::Off => 0,
        Caching::All => config.topology.cpus.len(),
        Caching::Local => config.topology.cpus.iter().filter(|&&cpu| cpu == node).count(),
    }
}

/// The CPUs that have lines for the node's zones, by rank.
pub(in crate::build) fn cpus_that_cache(config: &Config<'_>, node: NodeId) -> impl Iterator<Item = usize> {
    let cpus = config.topology.cpus.iter().enumerate();
    let has_lines = move |home: NodeId| match config.caching {
        Caching::Off => false,
        Caching::All => true,
        Caching::Local => home == node,
    };
    cpus.filter(move |(_, home)| has_lines(**home)).map(|(cpu, _)| cpu)
}

/// The CPU as the owner of its words, if it is one of those that own theirs.
pub(in crate::build) fn owner_of(config: &Config<'_>, cpu: usize) -> Option<u32> {
    let owns = config.own_words.is_some_and(|words| cpu < words.cpus);
    u32::try_from(cpu).ok().filter(|_| owns)
}

/// The rank of the first CPU that has lines for the node's zones.
pub(in crate::build) fn first_rank(config: &Config<'_>, node: NodeId) -> u32 {
    match config.caching {
        Caching::Local => config.topology.cpus.iter().filter(|&&cpu| cpu < node).count() as u32,
        Caching::All | Caching::Off => 0,
    }
}
