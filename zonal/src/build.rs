//! From a configuration to the arrays an allocator works on: checks, sizes, and the first state of every word.
//!
//! Sizes are an upper bound found without memory; what is built is exact. A block belongs to one zone, that of its
//! first usable frame: ranges of two nodes that meet inside a block share it, so that no frame is lost.

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::cache::CpuCache;
use crate::cache::word::MAX_GROUPS;
use crate::config::{Caching, Checking, Config};
use crate::error::ConfigError;
use crate::frame::{
    BLOCK_FRAMES, FrameRange, GROUP_FRAMES, MAX_FRAMES, NodeId, Pfn, ROW_FRAMES, ROWS, SECTION_BLOCKS,
    SECTION_FRAMES, ZoneId,
};
use crate::hint::{HintTree, words_for};
use crate::metadata::{Carver, Tally};
use crate::mutant::{Mutant, planted};
use crate::section::{
    ABSENT, LEAF_SECTIONS, Leaf, MixedOwners, NO_ZONE, Owner, Section, SectionMap, section_number, table_place,
};
use crate::state::State;
use crate::tag::Tags;
use crate::sync::{AtomicU8, AtomicU64};
use crate::topology::{Kind, MemoryRange, Placement, ZoneKind};
use crate::zone::count::ZoneCount;
use crate::zone::{Cpu, TREES, Zone};
use crate::zonelist::{ListedZone, NodeLoad, Zonelists};

const MAX_NODES: usize = 1024;
const MAX_CPUS: usize = 4096;
/// Contexts a CPU can be interrupted in at once: task, softirq, hardirq, NMI.
const CONTEXTS: u64 = 4;

/// A section not known to belong to one zone, before the mixed ones are numbered.
const MIXED: Owner = Owner::Mixed(0);

/// Upper bounds of everything that is carved.
struct Sizes {
    root: u64,
    leaves: u64,
    sections: u64,
    zones: u64,
    tree_words: u64,
    caches: u64,
    cpu_hint_words: u64,
}

/// What is known of a zone before it is built.
#[derive(Clone, Copy, Default)]
struct ZonePlan {
    managed: u64,
    first_section: u32,
    last_section: u32,
    start: u64,
    end: u64,
}

/// Bytes of metadata that [`crate::PageAllocator::new`] needs for this configuration, alignment included: about
/// 4.7 KiB for each 128 MiB section that holds memory, 192 bytes for each cached (CPU, zone) pair, and in checked
/// mode a byte a frame. Absent memory costs nothing.
///
/// # Errors
/// A [`ConfigError`] naming what is wrong with the configuration.
pub fn metadata_size(config: &Config<'_>) -> Result<usize, ConfigError> {
    check(config)?;
    Ok(tally(config, &sizes(config)?).bytes())
}

fn check(config: &Config<'_>) -> Result<(), ConfigError> {
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
    if config.dma_end > config.dma32_end {
        return Err(ConfigError::ZoneLimits { dma: config.dma_end, dma32: config.dma32_end });
    }
    if topology.memory.is_empty() { Err(ConfigError::NoMemory) } else { Ok(()) }
}

/// The zone kind of a block of a range.
fn kind_of(config: &Config<'_>, placement: Placement, block_start: u64) -> ZoneKind {
    let (dma, dma32) = (round_up(config.dma_end), round_up(config.dma32_end));
    match placement {
        Placement::Movable => ZoneKind::Movable,
        Placement::ByAddress if block_start < dma => ZoneKind::Dma,
        Placement::ByAddress if block_start < dma32 => ZoneKind::Dma32,
        Placement::ByAddress => ZoneKind::Normal,
    }
}

fn round_up(limit: Pfn) -> u64 {
    limit.get().min(MAX_FRAMES).next_multiple_of(BLOCK_FRAMES)
}

/// The frames that a zone kind may hold, as a window.
fn window(config: &Config<'_>, kind: ZoneKind) -> FrameRange {
    let (dma, dma32) = (Pfn::new(round_up(config.dma_end)), Pfn::new(round_up(config.dma32_end)));
    match kind {
        ZoneKind::Dma => FrameRange::new(Pfn::new(0), dma),
        ZoneKind::Dma32 => FrameRange::new(dma, dma32),
        ZoneKind::Normal => FrameRange::new(dma32, Pfn::new(MAX_FRAMES)),
        ZoneKind::Movable => FrameRange::new(Pfn::new(0), Pfn::new(MAX_FRAMES)),
    }
}

/// The frames of a range that fall to a zone kind (before blocks shared between ranges are settled).
fn part(config: &Config<'_>, range: &MemoryRange, kind: ZoneKind) -> Option<FrameRange> {
    if (range.placement == Placement::Movable) != (kind == ZoneKind::Movable) {
        return None;
    }
    Some(range.range.intersect(window(config, kind))).filter(|part| part.frames() > 0)
}

fn sizes(config: &Config<'_>) -> Result<Sizes, ConfigError> {
    let topology = &config.topology;
    let last = |range: &FrameRange| Pfn::new(range.end.get() - 1);
    let span = |range: &FrameRange| section_number(last(range)) - section_number(range.start) + 1;
    let end = topology.memory.iter().map(|range| section_number(last(&range.range))).max().unwrap_or(0);
    let root = table_place(end).0 as u64 + 1;
    let sections: u64 = topology.memory.iter().map(|range| span(&range.range)).sum();
    let leaf_span = |range: &FrameRange| {
        (table_place(section_number(last(range))).0 - table_place(section_number(range.start)).0 + 1) as u64
    };
    let leaves = topology.memory.iter().map(|range| leaf_span(&range.range)).sum::<u64>().min(root);
    let mut sizes =
        Sizes { root, leaves, sections, zones: 0, tree_words: 0, caches: 0, cpu_hint_words: 0 };
    for node in (0..topology.nodes as u16).map(NodeId) {
        let ranges = || topology.memory.iter().filter(move |range| range.node == node);
        let cpus = cached_cpus(config, node);
        for kind in ZoneKind::ALL {
            let parts = || ranges().filter_map(|range| part(config, range, kind));
            let (Some(start), Some(end)) = (parts().map(|p| p.start).min(), parts().map(|p| p.end).max()) else {
                continue;
            };
            let whole = FrameRange::new(start, end);
            let sections = span(&whole).min(sections);
            if span(&whole) * SECTION_FRAMES / GROUP_FRAMES > u64::from(MAX_GROUPS) {
                return Err(ConfigError::SpanTooLarge { node, start, end });
            }
            sizes.zones += 1;
            sizes.tree_words += words_for(sections as usize * SECTION_BLOCKS) as u64 * TREES as u64;
            sizes.caches += cpus as u64;
            sizes.cpu_hint_words += words_for(cpus) as u64;
        }
    }
    Ok(sizes)
}

/// CPUs that have lines for the node's zones.
fn cached_cpus(config: &Config<'_>, node: NodeId) -> usize {
    match config.caching {
        Caching::Off => 0,
        Caching::All => config.topology.cpus.len(),
        Caching::Local => config.topology.cpus.iter().filter(|&&cpu| cpu == node).count(),
    }
}

fn tally(config: &Config<'_>, sizes: &Sizes) -> Tally {
    let topology = &config.topology;
    let nodes = topology.nodes as u64;
    let blocks = sizes.sections * SECTION_BLOCKS as u64;
    let mut tally = Tally::default();
    tally.add::<MemoryRange>(topology.memory.len() as u64);
    tally.add::<FrameRange>(topology.reserved.len() as u64);
    tally.add::<ZonePlan>(nodes * 4);
    tally.add::<u32>(sizes.root);
    tally.add::<Leaf>(sizes.leaves);
    tally.add::<Section>(sizes.sections);
    tally.add::<MixedOwners>(sizes.sections.min(2 * topology.memory.len() as u64 + 2));
    tally.add::<Bitmap>(blocks);
    tally.add::<Entry>(blocks);
    if config.checking == Checking::On {
        tally.add::<AtomicU8>(sizes.sections * SECTION_FRAMES);
    }
    tally.add::<ListedZone>(sizes.zones);
    tally.add::<ZoneId>(nodes * sizes.zones);
    tally.add::<[ZoneId; 4]>(nodes);
    tally.add::<u16>(nodes);
    tally.add::<u32>(nodes);
    tally.add::<NodeLoad>(nodes);
    tally.add::<Cpu<'_>>(topology.cpus.len() as u64);
    tally.add::<Zone<'_>>(sizes.zones);
    tally.add::<CpuCache>(sizes.caches);
    tally.add::<AtomicU64>(sizes.tree_words + sizes.cpu_hint_words);
    // Each zone's caches and words are arrays of their own, each with its alignment.
    for _ in 0..sizes.zones {
        tally.add::<CpuCache>(0);
        tally.add::<AtomicU64>(0);
    }
    tally
}

/// Memory and reserved ranges in order, read with a cursor that only goes up.
struct Frames<'a> {
    memory: &'a [MemoryRange],
    reserved: &'a [FrameRange],
    memory_at: usize,
    reserved_at: usize,
}

/// A block as the memory map describes it.
struct BlockPlan<'a> {
    owner: Option<&'a MemoryRange>,
    rows: [u64; ROWS],
}

impl<'a> Frames<'a> {
    fn new(memory: &'a [MemoryRange], reserved: &'a [FrameRange]) -> Self {
        Self { memory, reserved, memory_at: 0, reserved_at: 0 }
    }

    /// The block that starts at `start`; blocks are asked for in ascending order.
    fn block(&mut self, start: u64) -> BlockPlan<'a> {
        let block = FrameRange::new(Pfn::new(start), Pfn::new(start + BLOCK_FRAMES));
        while self.memory.get(self.memory_at).is_some_and(|range| range.range.end <= block.start) {
            self.memory_at += 1;
        }
        while self.reserved.get(self.reserved_at).is_some_and(|range| range.end <= block.start) {
            self.reserved_at += 1;
        }
        let mut plan = BlockPlan { owner: None, rows: [0; ROWS] };
        for range in self.memory.iter().skip(self.memory_at).take_while(|range| range.range.start < block.end) {
            plan.owner = plan.owner.or(Some(range));
            each_row(range.range.intersect(block), block, |row, mask| plan.rows[row % ROWS] |= mask);
        }
        for range in self.reserved.iter().skip(self.reserved_at).take_while(|range| range.start < block.end) {
            each_row(range.intersect(block), block, |row, mask| plan.rows[row % ROWS] &= !mask);
        }
        plan
    }
}

impl BlockPlan<'_> {
    fn frames(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.count_ones())).sum()
    }
}

/// Calls `visit` with each row of the block that `range` meets, and the row's bits inside the range.
fn each_row(range: FrameRange, block: FrameRange, mut visit: impl FnMut(usize, u64)) {
    for row in 0..ROWS {
        let start = block.start.add(row as u64 * ROW_FRAMES);
        let inside = range.intersect(FrameRange::new(start, start.add(ROW_FRAMES)));
        if inside.frames() > 0 {
            let run = if inside.frames() == ROW_FRAMES { u64::MAX } else { (1 << inside.frames()) - 1 };
            visit(row, run << (inside.start.get() - start.get()));
        }
    }
}

/// Builds the whole state in the loan.
pub(crate) fn build<'m>(
    config: &Config<'_>,
    loan: &'m mut [core::mem::MaybeUninit<u8>],
) -> Result<State<'m>, ConfigError> {
    check(config)?;
    let sizes = sizes(config)?;
    let needed = tally(config, &sizes).bytes();
    let carver = &mut Carver::new(loan, needed);
    let topology = &config.topology;

    let memory = carver.array(topology.memory.len(), |i| topology.memory[i])?;
    memory.sort_unstable_by_key(|range| range.range.start);
    let reserved = carver.array(topology.reserved.len(), |i| topology.reserved[i])?;
    reserved.sort_unstable_by_key(|range| range.start);
    if let Some(pair) = memory.windows(2).find(|pair| pair[1].range.start < pair[0].range.end)
        && !planted(Mutant::OverlapAccepted)
    {
        return Err(ConfigError::Overlap { pfn: pair[1].range.start });
    }
    let map = build_map(carver, memory, &sizes)?;
    let plans = carver.array(topology.nodes * 4, |_| ZonePlan::default())?;
    plan_zones(config, memory, reserved, map.sections, plans);
    let listed = list_zones(carver, plans)?;
    let mixed = name_owners(config, carver, (memory, reserved), map.sections, listed)?;
    for section in map.sections.iter() {
        let (slot, place) = table_place(section_number(section.start));
        if let Owner::Zone(zone) = section.owner {
            map.leaves[map.root[slot] as usize].zones[place] = zone;
        }
    }
    let map = SectionMap { root: map.root, leaves: map.leaves, sections: map.sections, mixed };
    build_state(config, carver, (memory, reserved), map, plans, listed)
}

/// The section table while it is being written.
struct MapParts<'m> {
    root: &'m [u32],
    leaves: &'m mut [Leaf],
    sections: &'m mut [Section],
}

fn build_map<'m>(
    carver: &mut Carver<'m>,
    memory: &[MemoryRange],
    sizes: &Sizes,
) -> Result<MapParts<'m>, ConfigError> {
    let numbers = || {
        let mut next = 0;
        memory.iter().flat_map(move |range| {
            let first = section_number(range.range.start).max(next);
            next = section_number(Pfn::new(range.range.end.get() - 1)) + 1;
            first..next
        })
    };
    let mut fill = numbers();
    let sections = carver.array(numbers().count(), |_| Section {
        start: Pfn::new(fill.next().unwrap_or(0) * SECTION_FRAMES),
        owner: MIXED,
    })?;
    let root = carver.array(sizes.root as usize, |_| ABSENT)?;
    let mut leaves = 0;
    for number in numbers() {
        let slot = &mut root[table_place(number).0];
        if *slot == ABSENT {
            *slot = leaves;
            leaves += 1;
        }
    }
    let table = carver.array(leaves as usize, |_| Leaf {
        zones: [NO_ZONE; LEAF_SECTIONS],
        sections: [ABSENT; LEAF_SECTIONS],
    })?;
    for (index, number) in numbers().enumerate() {
        let (slot, place) = table_place(number);
        table[root[slot] as usize].sections[place] = index as u32;
    }
    Ok(MapParts { root, leaves: table, sections })
}

/// The place of a block's zone among the plans.
fn plan_of(config: &Config<'_>, block: &BlockPlan<'_>, start: u64) -> Option<usize> {
    let owner = block.owner.filter(|_| block.frames() > 0)?;
    Some(usize::from(owner.node.0) * 4 + kind_of(config, owner.placement, start) as usize)
}

/// Fills the plans, and says of each section whether one zone owns all its blocks (by its plan's place, for now).
fn plan_zones(
    config: &Config<'_>,
    memory: &[MemoryRange],
    reserved: &[FrameRange],
    sections: &mut [Section],
    plans: &mut [ZonePlan],
) {
    let mut frames = Frames::new(memory, reserved);
    for (index, section) in sections.iter_mut().enumerate() {
        let mut owner = None;
        for start in (0..SECTION_BLOCKS as u64).map(|block| section.start.get() + block * BLOCK_FRAMES) {
            let block = frames.block(start);
            let Some(place) = plan_of(config, &block, start) else { continue };
            let Some(plan) = plans.get_mut(place) else { continue };
            plan.add(index as u32, start, block.frames());
            let zone = Owner::Zone(ZoneId(place as u16));
            owner = Some(if owner.is_none_or(|known| known == zone) { zone } else { MIXED });
        }
        section.owner = owner.unwrap_or(MIXED);
    }
}

impl ZonePlan {
    /// Adds a block; blocks come in ascending order.
    fn add(&mut self, section: u32, start: u64, frames: u64) {
        if self.managed == 0 {
            (self.first_section, self.start) = (section, start);
        }
        (self.last_section, self.end) = (section, start + BLOCK_FRAMES);
        self.managed += frames;
    }

    /// Blocks from the first section to the last, other zones' among them.
    fn blocks(&self) -> usize {
        (self.last_section - self.first_section + 1) as usize * SECTION_BLOCKS
    }
}

fn list_zones<'m>(carver: &mut Carver<'m>, plans: &[ZonePlan]) -> Result<&'m [ListedZone], ConfigError> {
    let populated = || plans.iter().enumerate().filter(|(_, plan)| plan.managed > 0).map(|(at, _)| at);
    let mut at = populated();
    let listed = carver.array(populated().count(), |_| {
        let at = at.next().unwrap_or(0);
        ListedZone { node: NodeId((at / 4) as u16), kind: ZoneKind::ALL[at % 4] }
    })?;
    if listed.is_empty() { Err(ConfigError::NoMemory) } else { Ok(listed) }
}

/// Turns the plans' places into zone ids, and writes down the owners of mixed sections' blocks.
fn name_owners<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    (memory, reserved): (&[MemoryRange], &[FrameRange]),
    sections: &mut [Section],
    listed: &[ListedZone],
) -> Result<&'m [MixedOwners], ConfigError> {
    let mut rows = 0;
    for section in sections.iter_mut() {
        section.owner = match section.owner {
            Owner::Zone(place) => zone_id(listed, usize::from(place.0)).map_or(MIXED, Owner::Zone),
            Owner::Mixed(_) => {
                rows += 1;
                Owner::Mixed(rows - 1)
            }
        };
    }
    let mut frames = Frames::new(memory, reserved);
    let mut mixed = sections.iter().filter(|section| matches!(section.owner, Owner::Mixed(_)));
    let owners = carver.array(rows as usize, |_| {
        let start = mixed.next().map_or(0, |section| section.start.get());
        core::array::from_fn(|block| {
            let start = start + block as u64 * BLOCK_FRAMES;
            let plan = plan_of(config, &frames.block(start), start);
            plan.and_then(|plan| zone_id(listed, plan)).unwrap_or(NO_ZONE)
        })
    })?;
    Ok(owners)
}

/// The place of a listed zone among the plans.
fn place_of(zone: &ListedZone) -> usize {
    usize::from(zone.node.0) * 4 + zone.kind as usize
}

/// The id of the zone with this plan.
fn zone_id(listed: &[ListedZone], plan: usize) -> Option<ZoneId> {
    listed.binary_search_by_key(&plan, place_of).ok().map(|at| ZoneId(at as u16))
}

fn build_state<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    ranges: (&[MemoryRange], &[FrameRange]),
    map: SectionMap<'m>,
    plans: &[ZonePlan],
    listed: &'m [ListedZone],
) -> Result<State<'m>, ConfigError> {
    let (memory, reserved) = ranges;
    let blocks = map.sections.len() * SECTION_BLOCKS;
    let start = |at: usize| {
        let section = map.sections.get(at / SECTION_BLOCKS).map_or(0, |section| section.start.get());
        section + (at % SECTION_BLOCKS) as u64 * BLOCK_FRAMES
    };
    let mut frames = Frames::new(memory, reserved);
    let bitmaps = carver.array(blocks, |at| {
        let rows = frames.block(start(at)).rows;
        Bitmap::new(|row| rows[row % ROWS])
    })?;
    let mut frames = Frames::new(memory, reserved);
    let entries = carver.array(blocks, |at| {
        let block = frames.block(start(at));
        let zone = plan_of(config, &block, start(at)).and_then(|plan| zone_id(listed, plan));
        Entry::new(zone.unwrap_or(NO_ZONE), Kind::Movable, block.frames())
    })?;
    let tags = match config.checking {
        Checking::Off => None,
        Checking::On => Some(Tags::new(carver.array(map.sections.len() * SECTION_FRAMES as usize, |_| AtomicU8::new(0))?)),
    };
    let zones = build_zones(config, carver, plans, listed, (map.sections, entries, bitmaps))?;
    for mark in config.marks {
        if !listed.iter().any(|zone| zone.node == mark.node && zone.kind == mark.zone) {
            return Err(ConfigError::MarkWithoutZone { node: mark.node });
        }
    }
    let nodes = config.topology.nodes;
    let list_entries = carver.array(nodes * listed.len(), |_| NO_ZONE)?;
    let heads = carver.array(nodes, |_| [NO_ZONE; 4])?;
    let order = carver.array(nodes, |_| 0u16)?;
    let load = carver.array(nodes, |_| NodeLoad::default())?;
    let lists = Zonelists::build(&config.topology, listed, list_entries, heads, order, load);
    let cpus = build_cpus(config, carver, zones, &lists)?;
    Ok(State { cpus, zones, map, lists, tags })
}

/// Ranks CPUs by node, so that a node's CPUs follow each other; as they come where every zone is cached by all.
fn build_cpus<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    zones: &'m [Zone<'m>],
    lists: &Zonelists<'_>,
) -> Result<&'m [Cpu<'m>], ConfigError> {
    let nodes = config.topology.cpus;
    let mut first = 0;
    let ranks = carver.array(config.topology.nodes, |node| {
        let cpus = nodes.iter().filter(|cpu| usize::from(cpu.0) == node).count() as u32;
        first += cpus;
        first - cpus
    })?;
    let cpus = carver.array(nodes.len(), |cpu| {
        let node = nodes[cpu];
        let rank = ranks.get_mut(usize::from(node.0)).map_or(0, |rank| core::mem::replace(rank, *rank + 1));
        let rank = if config.caching == Caching::All { cpu as u32 } else { rank };
        let mut cpu = Cpu { node, rank, homes: [None; 4] };
        cpu.homes = ZoneKind::ALL.map(|kind| {
            let zone = zones.get(usize::from(lists.first(node, kind).0))?;
            Some(zone.home(zone.cache_of(&cpu)?))
        });
        cpu
    })?;
    Ok(cpus)
}

/// The rank of the first CPU that has lines for the node's zones.
fn first_rank(config: &Config<'_>, node: NodeId) -> u32 {
    match config.caching {
        Caching::Local => config.topology.cpus.iter().filter(|&&cpu| cpu < node).count() as u32,
        Caching::All | Caching::Off => 0,
    }
}

/// What all zones are built from.
struct ZoneParts<'m> {
    sections: &'m [Section],
    entries: &'m [Entry],
    bitmaps: &'m [Bitmap],
    words: &'m [AtomicU64],
    caches: &'m [CpuCache],
}

impl<'m> ZoneParts<'m> {
    /// A tree over `len` indices in the next words.
    fn tree(&mut self, len: usize) -> HintTree<'m> {
        let (words, rest) = self.words.split_at(words_for(len).min(self.words.len()));
        self.words = rest;
        HintTree::new(words, len)
    }
}

fn build_zones<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    plans: &[ZonePlan],
    listed: &[ListedZone],
    (sections, entries, bitmaps): (&'m [Section], &'m [Entry], &'m [Bitmap]),
) -> Result<&'m [Zone<'m>], ConfigError> {
    let each = || listed.iter().filter_map(|zone| Some((zone, plans.get(place_of(zone))?)));
    let words = each().map(|(zone, plan)| {
        words_for(plan.blocks()) * TREES + words_for(cached_cpus(config, zone.node))
    });
    let words = carver.array(words.sum(), |_| AtomicU64::new(0))?;
    // Each cache starts to search at its own stretch of its zone.
    let mut starts = each().flat_map(|(zone, plan)| {
        let cpus = cached_cpus(config, zone.node);
        (0..cpus).map(move |rank| (plan.blocks() as u64 * rank as u64 / cpus as u64) as u32)
    });
    let caches = each().map(|(zone, _)| cached_cpus(config, zone.node)).sum();
    let caches = carver.array(caches, |_| CpuCache::new(starts.next().unwrap_or(0)))?;
    let mut parts = ZoneParts { sections, entries, bitmaps, words, caches };
    let zones = carver.array(listed.len(), |id| {
        let zone = listed[id];
        let plan = plans.get(place_of(&zone)).copied().unwrap_or_default();
        build_zone(config, ZoneId(id as u16), zone, plan, &mut parts)
    })?;
    for zone in zones.iter_mut() {
        zone.alone = zone.is_alone();
        zone.blocks().for_each(|block| match block.entry.load() {
            entry if entry.is_free_block() => zone.hint(block, entry, u64::MAX),
            entry => zone.refresh_hints(block, entry),
        });
    }
    Ok(zones)
}

fn build_zone<'m>(
    config: &Config<'_>,
    id: ZoneId,
    ListedZone { node, kind }: ListedZone,
    plan: ZonePlan,
    parts: &mut ZoneParts<'m>,
) -> Zone<'m> {
    let (first, last) = (plan.first_section as usize, plan.last_section as usize);
    let blocks = first * SECTION_BLOCKS..(last + 1) * SECTION_BLOCKS;
    let (caches, rest) = parts.caches.split_at(cached_cpus(config, node).min(parts.caches.len()));
    parts.caches = rest;
    let mark = config.marks.iter().rev().find(|mark| mark.node == node && mark.zone == kind);
    let sections = parts.sections.get(first..=last).unwrap_or(&[]);
    Zone {
        id,
        node,
        kind,
        base: sections.first().map_or(Pfn::new(0), |section| section.start),
        span: FrameRange::new(Pfn::new(plan.start), Pfn::new(plan.end)),
        alone: false,
        managed: plan.managed,
        // No zone holds more; so sums with a mark fit.
        mark: mark.map_or(0, |mark| mark.frames.min(MAX_FRAMES)),
        slack: config.topology.cpus.len() as u64 * CONTEXTS * BLOCK_FRAMES,
        first_section: first,
        sections,
        entries: parts.entries.get(blocks.clone()).unwrap_or(&[]),
        bitmaps: parts.bitmaps.get(blocks).unwrap_or(&[]),
        count: ZoneCount::new(plan.managed),
        trees: core::array::from_fn(|_| parts.tree(plan.blocks())),
        caches,
        first_rank: first_rank(config, node),
        cpu_hints: parts.tree(caches.len()),
        gate: AtomicU64::new(0),
    }
}
