//! Zones and CPUs, from their plans to their first state.

use core::ops::Range;

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::build::ground::has_lent_rows;
use crate::build::marks::marks_of;
use crate::build::rules::{cached_cpus, cpus_that_cache, first_rank, owner_of};
use crate::build::sections::place_of;
use crate::cache::CpuCache;
use crate::config::{Caching, Checking, Config};
use crate::error::ConfigError;
use crate::events::{Counting, EventRow, Traffic};
use crate::frame::{BLOCK_FRAMES, BlockIndex, FrameRange, Pfn, SECTION_BLOCKS, SECTION_FRAMES, ZoneId};
use crate::hint::{HintTree, words_for};
use crate::metadata::Carver;
use crate::node::Node;
use crate::poison::PoisonTable;
use crate::section::Section;
use crate::sync::AtomicU64;
use crate::topology::ZoneKind;
use crate::watermark::Levels;
use crate::zone::count::ZoneCount;
use crate::zone::giving_up::Words;
use crate::zone::highatomic::Highatomic;
use crate::zone::marks::ZoneMarks;
use crate::zone::span::Span;
use crate::zone::{Cpu, Mixing, TREES, Zone};
use crate::zonelist::{ListedZone, Zonelists};

/// Contexts a CPU can be interrupted in at once: task, softirq, hardirq, NMI.
const CONTEXTS: u64 = 4;

/// What is known of a zone before it is built.
#[derive(Clone, Copy, Default)]
pub(in crate::build) struct ZonePlan {
    /// Frames that memory ranges name, reserved ones among them.
    pub(in crate::build) present: u64,
    pub(in crate::build) managed: u64,
    /// Of those present, not plugged in.
    pub(in crate::build) early: u64,
    /// Of those managed, free when the zone is built.
    pub(in crate::build) free: u64,
    /// The sections from the first to the last, those among them that may be plugged in.
    pub(in crate::build) sections: Option<(u32, u32)>,
    /// The frames from the first block to the last, and those that were there from the start.
    pub(in crate::build) start: u64,
    pub(in crate::build) end: u64,
    pub(in crate::build) boot: (u64, u64),
    /// The same as the last with blocks before and behind of which all frames are reserved.
    pub(in crate::build) named: (u64, u64),
}

impl ZonePlan {
    /// Adds blocks of a section, from the first frame of one to the end of another; they come in ascending order.
    pub(in crate::build) fn add(&mut self, section: u32, (start, end): (u64, u64), frames: u64) {
        if self.managed == 0 {
            self.start = start;
        }
        self.end = end;
        self.boot = (self.start, end);
        self.widen(section);
        self.managed += frames;
        self.free += frames;
    }

    /// Notes blocks that memory ranges name so many frames of, be they all reserved; they come in ascending order.
    pub(in crate::build) fn name(&mut self, (start, end): (u64, u64), frames: u64) {
        if self.named.0 == self.named.1 {
            self.named.0 = start;
        }
        self.named.1 = end;
        self.present += frames;
        self.early += frames;
    }

    /// Makes room for a section that is a part of the zone or may become one.
    pub(in crate::build) fn widen(&mut self, section: u32) {
        let (first, last) = self.sections.unwrap_or((section, section));
        self.sections = Some((first.min(section), last.max(section)));
    }

    /// Adds a section that has been plugged in.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(in crate::build) fn plug(&mut self, section: u32, start: u64) {
        let end = start + SECTION_FRAMES;
        let (first, last) = if self.managed == 0 { (start, end) } else { (self.start, self.end) };
        let boot = self.boot;
        self.add(section, (first.min(start), last.max(end)), SECTION_FRAMES);
        (self.start, self.boot) = (first.min(start), boot);
        self.present += SECTION_FRAMES;
    }

    /// Whether there is such a zone, be it an empty one.
    pub(in crate::build) fn exists(&self) -> bool {
        self.sections.is_some()
    }

    /// Its sections, other zones' among them.
    pub(in crate::build) fn range(&self) -> Range<usize> {
        self.sections.map_or(0..0, |(first, last)| first as usize..last as usize + 1)
    }

    /// Blocks from the first section to the last, other zones' among them.
    pub(in crate::build) fn blocks(&self) -> usize {
        self.range().len() * SECTION_BLOCKS
    }
}

/// Ranks CPUs by node, so that a node's CPUs follow each other; as they come where every zone is cached by all.
pub(in crate::build) fn build_cpus<'m>(
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
    let counting = match config.checking {
        Checking::Off => Counting::Plain,
        Checking::On => Counting::Exact,
    };
    let events: &'m [_] = carver.array(nodes.len(), |_| EventRow::default())?;
    let traffic: &'m [_] = carver.array(nodes.len() * zones.len(), |_| Traffic::default())?;
    let cpus = carver.array(nodes.len(), |cpu| {
        let node = nodes[cpu];
        let rank = ranks.get_mut(usize::from(node.0)).map_or(0, |rank| core::mem::replace(rank, *rank + 1));
        let rank = if config.caching == Caching::All { cpu as u32 } else { rank };
        let traffic = traffic.get(cpu * zones.len()..(cpu + 1) * zones.len()).unwrap_or(&[]);
        let cpu = Cpu::new((node, rank), (&events[cpu], traffic), counting);
        // Zones are numbered by node.
        let own =
            zones.partition_point(|zone| zone.node < node)..zones.partition_point(|zone| zone.node <= node);
        let own = zones.get(own).unwrap_or(&[]);
        cpu.at_home(own, |kind| zones.get(usize::from(lists.first(node, kind).0)))
    })?;
    Ok(cpus)
}

/// What all zones are built from.
pub(in crate::build) struct ZoneParts<'m> {
    pub(in crate::build) sections: &'m [Section<'m>],
    pub(in crate::build) entries: &'m [Entry],
    pub(in crate::build) bitmaps: &'m [Bitmap],
    pub(in crate::build) hints: &'m [AtomicU64],
    pub(in crate::build) caches: &'m [CpuCache],
    pub(in crate::build) poison: PoisonTable<'m>,
}

impl<'m> ZoneParts<'m> {
    /// The rows of these sections, as far as they are lent one after the other.
    fn first_bitmaps(&self, config: &Config<'_>, range: Range<usize>) -> &'m [Bitmap] {
        let (before, own) = (self.sections.get(..range.start), self.sections.get(range));
        let before = before.unwrap_or(&[]).iter().filter(|section| has_lent_rows(config, section)).count();
        let own = own.unwrap_or(&[]).iter().take_while(|section| has_lent_rows(config, section)).count();
        self.bitmaps.get(before * SECTION_BLOCKS..(before + own) * SECTION_BLOCKS).unwrap_or(&[])
    }

    /// A tree over `len` indices in the next words.
    fn tree(&mut self, len: usize) -> HintTree<'m> {
        let (words, rest) = self.hints.split_at(words_for(len).min(self.hints.len()));
        self.hints = rest;
        HintTree::new(words, len)
    }
}

/// Words of all zones' hint trees.
pub(in crate::build) fn count_hint_words(
    config: &Config<'_>,
    plans: &[ZonePlan],
    listed: &[ListedZone],
) -> usize {
    let words = |(zone, plan): (&ListedZone, &ZonePlan)| {
        words_for(plan.blocks()) * TREES + 2 * words_for(cached_cpus(config, zone.node))
    };
    planned(plans, listed).map(words).sum()
}

/// The caches as they are at first: each starts to search in its own stretch of its zone.
pub(in crate::build) fn new_caches<'p>(
    config: &'p Config<'p>,
    plans: &'p [ZonePlan],
    listed: &'p [ListedZone],
) -> impl Iterator<Item = CpuCache> + 'p {
    planned(plans, listed).flat_map(move |(zone, plan)| {
        let (blocks, count) = (plan.blocks() as u64, cached_cpus(config, zone.node) as u64);
        (0u32..).zip(cpus_that_cache(config, zone.node)).map(move |(rank, cpu)| {
            let start = (blocks * u64::from(rank) / count) as u32;
            CpuCache::new(rank, start, owner_of(config, cpu))
        })
    })
}

/// The zones and their plans.
fn planned<'p>(
    plans: &'p [ZonePlan],
    listed: &'p [ListedZone],
) -> impl Iterator<Item = (&'p ListedZone, &'p ZonePlan)> {
    listed.iter().filter_map(|zone| Some((zone, plans.get(place_of(zone))?)))
}

/// Builds the zones and sets the hints of what is free.
pub(in crate::build) fn build_zones<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    plans: &[ZonePlan],
    listed: &[ListedZone],
    (mut parts, nodes): (ZoneParts<'m>, &'m [Node]),
) -> Result<&'m [Zone<'m>], ConfigError> {
    let marks_of = marks_of(config, plans);
    let zones = carver.array(listed.len(), |id| {
        let zone = listed[id];
        let plan = plans.get(place_of(&zone)).copied().unwrap_or_default();
        build_zone(config, ZoneId(id as u16), (zone, marks_of(zone)), plan, &mut parts)
    })?;
    let mut below: Option<ListedZone> = None;
    for zone in zones.iter_mut() {
        let above_dma32 = below.is_some_and(|z| z.node == zone.node && z.kind == ZoneKind::Dma32);
        if zone.kind == ZoneKind::Normal && above_dma32 {
            zone.mixing = Mixing::Avoided;
        }
        below = Some(ListedZone { node: zone.node, kind: zone.kind });
        if config.marks.iter().any(|mark| mark.node == zone.node && mark.zone == zone.kind) {
            zone.marks.give(marks_of(ListedZone { node: zone.node, kind: zone.kind }));
        }
        zone.daemons = nodes.get(usize::from(zone.node.0));
        hint_free(zone);
        zone.begin_words();
    }
    Ok(zones)
}

/// Sets the hints of what is free, those of wholly free blocks a section at a time: most sections are nothing else.
fn hint_free(zone: &Zone<'_>) {
    for (first, section) in (0..).step_by(SECTION_BLOCKS).zip(zone.entries.chunks(SECTION_BLOCKS)) {
        if section.iter().all(|entry| entry.load().is_free_block_of(zone.id)) {
            zone.free_tree().set_all(first, u64::MAX >> (u64::BITS as usize - section.len()));
            continue;
        }
        let mut free = 0;
        for (at, entry) in section.iter().enumerate() {
            let entry = entry.load();
            if entry.zone() != zone.id {
                continue;
            }
            if entry.is_free_block() {
                free |= 1 << at;
            } else if let Some(block) = zone.block(BlockIndex((first + at) as u32)) {
                zone.refresh_hints(block, entry);
            }
        }
        zone.free_tree().set_all(first, free);
    }
}

fn build_zone<'m>(
    config: &Config<'_>,
    id: ZoneId,
    (ListedZone { node, kind }, levels): (ListedZone, Levels),
    plan: ZonePlan,
    parts: &mut ZoneParts<'m>,
) -> Zone<'m> {
    let range = plan.range();
    let blocks = range.start * SECTION_BLOCKS..range.end * SECTION_BLOCKS;
    let (caches, rest) = parts.caches.split_at(cached_cpus(config, node).min(parts.caches.len()));
    parts.caches = rest;
    let sections = parts.sections.get(range.clone()).unwrap_or(&[]);
    let end = sections.last().map_or(0, |section| section.start.get() + SECTION_FRAMES);
    let base = sections.first().map_or(Pfn::new(0), |section| section.start);
    let between = |(start, end)| FrameRange::new(Pfn::new(start), Pfn::new(end));
    let named = between(plan.named);
    Zone {
        id,
        node,
        kind,
        base,
        reach: FrameRange::new(base, Pfn::new(end)),
        boot: between(plan.boot),
        named,
        span: Span::new(named.hull(between((plan.start, plan.end)))),
        mixing: Mixing::Allowed,
        early: plan.early,
        present: AtomicU64::new(plan.present),
        managed: AtomicU64::new(plan.managed),
        marks: ZoneMarks::new(levels),
        daemons: None,
        slack: config.topology.cpus.len() as u64 * CONTEXTS * BLOCK_FRAMES,
        first_section: range.start,
        sections,
        entries: parts.entries.get(blocks).unwrap_or(&[]),
        bitmaps: parts.first_bitmaps(config, range.clone()),
        count: ZoneCount::new(plan.free),
        highatomic: Highatomic::new(),
        poison: parts.poison,
        trees: core::array::from_fn(|_| parts.tree(plan.blocks())),
        caches,
        own_words: config.own_words,
        words: Words::new(caches),
        first_rank: first_rank(config, node),
        cpu_hints: parts.tree(caches.len()),
        credit_hints: parts.tree(caches.len()),
        gate: AtomicU64::new(0),
        tried: AtomicU64::new(0),
    }
}
