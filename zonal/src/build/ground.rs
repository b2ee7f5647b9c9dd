//! What is carved, in its order: what follows from the configuration, the arrays whose words survive their owner, and the
//! zones, lists and CPUs over them.

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::build::frames::{BlockPlan, Frames};
use crate::build::lists::build_lists;
use crate::build::rules::round_up;
use crate::build::sections::{build_map, list_zones, name_owners, plan_hot, plan_zones};
use crate::build::sizes::Sizes;
use crate::build::zones::{ZoneParts, ZonePlan, build_cpus, build_zones, count_hint_words, new_caches};
use crate::cache::CpuCache;
use crate::config::{Checking, Config, Naming};
use crate::error::ConfigError;
use crate::frame::{BLOCK_FRAMES, FrameRange, NO_ZONE, Pfn, ROWS, SECTION_BLOCKS, SECTION_FRAMES};
use crate::metadata::Carver;
use crate::mutant::{Mutant, planted};
use crate::node::{Node, Turn};
use crate::own_words::How;
use crate::owner::Names;
use crate::poison::PoisonTable;
use crate::rate::Rate;
use crate::section::rows::{OwnRowsParts, SectionRows};
use crate::section::{Owner, PlugWord, Plugged, Section, SectionMap, section_number, table_place};
use crate::state::{Hits, Notes, Others, State};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64};
use crate::tag::Tags;
use crate::topology::{HotRange, Kind, MemoryRange};
use crate::tuning::LiveTuning;
use crate::zonelist::ListedZone;

/// Refuses ranges that share frames, and ranges that may be plugged in that share sections with others.
fn refuse_overlap(memory: &[MemoryRange], hot: &[HotRange]) -> Result<(), ConfigError> {
    let pairs = memory.windows(2).map(|pair| (pair[0].range, pair[1].range));
    let mut overlap = pairs.filter(|_| !planted(Mutant::OverlapAccepted));
    let hot_pairs = hot.windows(2).map(|pair| (pair[0].range, pair[1].range));
    // Hot ranges are of whole sections: who lies in one of them is met by it, or meets it.
    let meets = |hot: &HotRange| {
        let below = memory.partition_point(|range| section_start(range.range.start) < hot.range.end);
        let low = memory.get(below.checked_sub(1)?)?.range;
        (low.end > hot.range.start).then_some((hot.range, low))
    };
    let found = overlap.find(|(low, high)| high.start < low.end);
    let found = found.or_else(|| hot_pairs.into_iter().find(|(low, high)| high.start < low.end));
    match found.or_else(|| hot.iter().find_map(meets)) {
        Some((_, pair)) => Err(ConfigError::Overlap { pfn: pair.start }),
        None => Ok(()),
    }
}

/// The first frame of the `at`-th block of a section.
fn block_start(section: &Section<'_>, at: usize) -> u64 {
    section.start.get() + at as u64 * BLOCK_FRAMES
}

fn section_start(pfn: Pfn) -> Pfn {
    Pfn::new(pfn.get() / SECTION_FRAMES * SECTION_FRAMES)
}

/// Whether the section's rows are among those that are lent.
pub(in crate::build) fn has_lent_rows(config: &Config<'_>, section: &Section<'_>) -> bool {
    config.own_rows.is_none() || !matches!(section.owner, Owner::Hot(_))
}

/// Says of each section where its rows are: lent, or nowhere yet.
fn name_rows<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    sections: &[Section<'m>],
    bitmaps: &'m [Bitmap],
) -> Result<Option<OwnRowsParts<'m>>, ConfigError> {
    // Nothing is carved where nothing is needed: a recovery looks for what comes behind.
    let empty: &'m [SectionRows] = match config.own_rows {
        Some(_) => carver.array(1, |_| core::array::from_fn(|_| Bitmap::new(|_| 0)))?,
        None => &[],
    };
    let empty = empty.first();
    let mut lent = bitmaps.as_chunks::<SECTION_BLOCKS>().0.iter();
    for section in sections {
        let rows = if has_lent_rows(config, section) { lent.next() } else { empty };
        // SAFETY: both are lent for 'm.
        unsafe { section.rows.name(rows.ok_or(ConfigError::NoMemory)?) };
    }
    Ok(config.own_rows.zip(empty).map(|(host, empty)| OwnRowsParts { empty, host }))
}

/// What follows from the configuration alone.
pub(in crate::build) struct Ground<'m> {
    memory: &'m [MemoryRange],
    reserved: &'m [FrameRange],
    pub(in crate::build) map: SectionMap<'m>,
    pub(in crate::build) plans: &'m mut [ZonePlan],
    pub(in crate::build) listed: &'m [ListedZone],
    daemons: &'m [Node],
}

/// The arrays whose words survive their owner.
pub(in crate::build) struct Arrays<'m> {
    pub(in crate::build) bitmaps: &'m mut [Bitmap],
    pub(in crate::build) entries: &'m mut [Entry],
    /// What has become of sections that may be plugged in.
    pub(in crate::build) plugged: &'m mut [PlugWord],
    /// The notes; none in unchecked mode.
    pub(in crate::build) tags: &'m mut [AtomicU8],
    /// The owners; none where they are not named.
    pub(in crate::build) names: &'m [AtomicU32],
    /// The poisoned frames.
    pub(in crate::build) poison: &'m [AtomicU64],
    pub(in crate::build) caches: &'m mut [CpuCache],
    /// The hints' words. They do not survive, but lie before what was not an array of words.
    pub(in crate::build) hints: &'m [AtomicU64],
}

impl<'m> Ground<'m> {
    pub(in crate::build) fn lay(
        config: &Config<'_>,
        carver: &mut Carver<'m>,
        sizes: &Sizes,
    ) -> Result<Self, ConfigError> {
        let topology = &config.topology;
        let memory = carver.array(topology.memory.len(), |i| topology.memory[i])?;
        memory.sort_unstable_by_key(|range| range.range.start);
        let reserved = carver.array(topology.reserved.len(), |i| topology.reserved[i])?;
        reserved.sort_unstable_by_key(|range| range.start);
        let hot = carver.array(config.hotplug.len(), |i| config.hotplug[i])?;
        hot.sort_unstable_by_key(|hot| hot.range.start);
        refuse_overlap(memory, hot)?;
        let map = build_map(carver, (memory, hot), sizes)?;
        let plans = carver.array(topology.nodes * 4, |_| ZonePlan::default())?;
        plan_zones(config, memory, reserved, map.sections, plans);
        plan_hot(config, hot, map.sections, plans);
        let listed = list_zones(carver, plans)?;
        let mixed = name_owners(config, carver, (memory, reserved), map.sections, listed)?;
        for section in map.sections.iter() {
            let (slot, place) = table_place(section_number(section.start));
            if let Owner::Zone(zone) = section.owner {
                map.leaves[map.root[slot] as usize].zones[place] = zone;
            }
        }
        let map = SectionMap {
            root: map.root,
            leaves: map.leaves,
            sections: map.sections,
            mixed,
            entries: &[],
            plugged: &[],
        };
        let daemons = carver.array(topology.nodes, |_| Node::new())?;
        Ok(Self { memory, reserved, map, plans, listed, daemons })
    }

    pub(in crate::build) fn frames(&self) -> Frames<'m> {
        Frames::new(self.memory, self.reserved)
    }

    pub(in crate::build) fn blocks(&self) -> usize {
        self.map.sections.len() * SECTION_BLOCKS
    }

    /// Frames with a note: all in checked mode, else none.
    pub(in crate::build) fn noted(&self, config: &Config<'_>) -> usize {
        match config.checking {
            Checking::Off => 0,
            Checking::On => self.map.sections.len() * SECTION_FRAMES as usize,
        }
    }

    /// Frames whose owner is named: all or none.
    pub(in crate::build) fn named(&self, config: &Config<'_>) -> usize {
        match config.naming {
            Naming::Off => 0,
            Naming::On => self.map.sections.len() * SECTION_FRAMES as usize,
        }
    }

    /// The lent rows of a machine of which everything is free.
    fn new_bitmaps(
        &self,
        config: &Config<'_>,
        carver: &mut Carver<'m>,
    ) -> Result<&'m mut [Bitmap], ConfigError> {
        let lent = || self.map.sections.iter().filter(|section| has_lent_rows(config, section));
        let (mut sections, mut section, mut frames) = (lent(), None, self.frames());
        carver.stretches(lent().count() * SECTION_BLOCKS, |at| {
            let place = at % SECTION_BLOCKS;
            if place == 0 {
                section = sections.next();
            }
            let start = section.map_or(0, |section| block_start(section, place));
            let (alike, BlockPlan { rows, .. }) = frames.stretch(start, SECTION_BLOCKS - place);
            (alike, move || Bitmap::new(|row| rows[row % ROWS]))
        })
    }

    /// The entries of a machine of which everything is free.
    fn new_entries(&self, carver: &mut Carver<'m>) -> Result<&'m mut [Entry], ConfigError> {
        let mut frames = self.frames();
        carver.stretches(self.blocks(), |at| {
            let (index, place) = (at / SECTION_BLOCKS, at % SECTION_BLOCKS);
            let section = self.map.sections.get(index);
            let is_one_zone = section.is_some_and(|section| matches!(section.owner, Owner::Zone(_)));
            let is_one_zone = is_one_zone || planted(Mutant::StretchAcrossZones);
            let blocks = if is_one_zone { SECTION_BLOCKS - place } else { 1 };
            let (alike, block) = frames.stretch(section.map_or(0, |it| block_start(it, place)), blocks);
            let zone = if block.frames > 0 { self.map.zone_of(index, place) } else { NO_ZONE };
            (alike, move || Entry::new(zone, Kind::Movable, block.frames))
        })
    }

    /// The arrays of a machine of which everything is free.
    pub(in crate::build) fn new_arrays(
        &self,
        config: &Config<'_>,
        carver: &mut Carver<'m>,
    ) -> Result<Arrays<'m>, ConfigError> {
        let (bitmaps, entries) = (self.new_bitmaps(config, carver)?, self.new_entries(carver)?);
        let plugged = carver.array(self.map.sections.len(), |_| PlugWord::new(Plugged::Absent))?;
        let tags = carver.array(self.noted(config), |_| AtomicU8::new(0))?;
        let names = carver.array(self.named(config), |_| AtomicU32::new(0))?;
        let poison = carver.array(config.poisoned_frames, |_| AtomicU64::new(0))?;
        let mut caches = new_caches(config, self.plans, self.listed);
        let count = new_caches(config, self.plans, self.listed).count();
        let caches = carver.array(count, |_| caches.next().unwrap_or_else(|| CpuCache::new(0, 0, None)))?;
        let hints = carver.array(count_hint_words(config, self.plans, self.listed), |_| AtomicU64::new(0))?;
        Ok(Arrays { bitmaps, entries, plugged, tags, names, poison, caches, hints })
    }

    /// The state over arrays that say what is free.
    pub(in crate::build) fn raise(
        self,
        config: &Config<'_>,
        carver: &mut Carver<'m>,
        Arrays { bitmaps, entries, plugged, tags, names, poison, caches, hints }: Arrays<'m>,
    ) -> Result<State<'m>, ConfigError> {
        let Self { map, plans, listed, daemons, .. } = self;
        let entries: &'m [Entry] = entries;
        let map = SectionMap { entries, plugged, ..map };
        let tags = (config.checking == Checking::On).then(|| Tags::new(tags));
        let names = (config.naming == Naming::On).then(|| Names::new(names));
        let notes = (tags.is_some() || names.is_some()).then_some(Notes { tags, names });
        let (sequence, others) = match config.own_words.map(|words| words.how) {
            _ if notes.is_some() => (None, Others::Nobody),
            None => (None, Others::Locked),
            Some(How::Sequence { area }) => (Some(area), Others::Nobody),
            Some(How::Pinned) => (None, Others::Pinned),
        };
        let hits = Hits { sequence, others };
        let poison = PoisonTable::new(poison);
        let bitmaps: &'m [Bitmap] = bitmaps;
        let own_rows = name_rows(config, carver, map.sections, bitmaps)?;
        let parts = ZoneParts { sections: map.sections, entries, bitmaps, hints, caches, poison };
        // Right behind the hints, where a recovery looks for what was in flight.
        let zones = build_zones(config, carver, plans, listed, (parts, daemons))?;
        for mark in config.marks {
            if !listed.iter().any(|zone| zone.node == mark.node && zone.kind == mark.zone) {
                return Err(ConfigError::MarkWithoutZone { node: mark.node });
            }
        }
        let lists = build_lists(config, carver, listed, zones)?;
        let cpus = build_cpus(config, carver, zones, &lists)?;
        let boot_cpu = cpus.first().ok_or(ConfigError::Cpus { cpus: 0 })?;
        let (failures, kills) = (Rate::of_failures(), Rate::of_kills());
        Ok(State {
            cpus,
            boot_cpu,
            zones,
            map,
            lists,
            hits,
            notes,
            nodes: daemons,
            limits: [config.dma_end, config.dma32_end].map(|limit| Pfn::new(round_up(limit))),
            tuning: LiveTuning::new(config.tuning),
            own_rows,
            poison,
            poisoning: Turn::new(),
            plugging: Turn::new(),
            oom: Turn::new(),
            failures,
            kills,
        })
    }
}
