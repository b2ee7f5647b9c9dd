//! The sections that exist, the table that finds them, and which zones own their blocks.

use crate::build::frames::{BlockPlan, Frames};
use crate::build::rules::kind_of;
use crate::build::sizes::Sizes;
use crate::build::zones::ZonePlan;
use crate::config::Config;
use crate::error::ConfigError;
use crate::frame::{BLOCK_FRAMES, FrameRange, NO_ZONE, NodeId, Pfn, SECTION_BLOCKS, SECTION_FRAMES, ZoneId};
use crate::metadata::Carver;
use crate::section::rows::RowsWord;
use crate::section::{ABSENT, LEAF_SECTIONS, Leaf, MixedOwners, Owner, Section, section_number, table_place};
use crate::topology::{HotRange, MemoryRange, Placement, ZoneKind};
use crate::zonelist::ListedZone;

/// A section not known to belong to one zone, before the mixed ones are numbered.
const MIXED: Owner = Owner::Mixed(0);

/// The section table while it is being written.
pub(in crate::build) struct MapParts<'m> {
    pub(in crate::build) root: &'m [u32],
    pub(in crate::build) leaves: &'m mut [Leaf],
    pub(in crate::build) sections: &'m mut [Section<'m>],
}

/// Numbers the sections and writes the table.
pub(in crate::build) fn build_map<'m>(
    carver: &mut Carver<'m>,
    (memory, hot): (&[MemoryRange], &[HotRange]),
    sizes: &Sizes,
) -> Result<MapParts<'m>, ConfigError> {
    let numbers = || {
        let mut next = 0;
        in_order(memory, hot).flat_map(move |(range, owner)| {
            let first = section_number(range.start).max(next);
            next = section_number(Pfn::new(range.end.get() - 1)) + 1;
            (first..next).map(move |number| (number, owner))
        })
    };
    let mut fill = numbers();
    let sections = carver.array(numbers().count(), |_| {
        let (number, owner) = fill.next().unwrap_or((0, MIXED));
        Section { start: Pfn::new(number * SECTION_FRAMES), owner, rows: RowsWord::unnamed() }
    })?;
    let numbers = || numbers().map(|(number, _)| number);
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

/// All ranges by their first frames, and what their sections begin as.
fn in_order(memory: &[MemoryRange], hot: &[HotRange]) -> impl Iterator<Item = (FrameRange, Owner)> {
    let mut memory = memory.iter().map(|range| (range.range, MIXED)).peekable();
    let mut hot = hot.iter().map(|hot| (hot.range, Owner::Hot(hot.node))).peekable();
    core::iter::from_fn(move || match (memory.peek(), hot.peek()) {
        (Some(low), Some(high)) if high.0.start < low.0.start => hot.next(),
        (Some(_), _) => memory.next(),
        (None, _) => hot.next(),
    })
}

/// The place of a block's zone among the plans.
pub(in crate::build) fn plan_of(config: &Config<'_>, block: &BlockPlan<'_>, start: u64) -> Option<usize> {
    named_plan_of(config, block, start).filter(|_| block.frames > 0)
}

/// The same for a block of which all frames may be reserved.
fn named_plan_of(config: &Config<'_>, block: &BlockPlan<'_>, start: u64) -> Option<usize> {
    let owner = block.owner?;
    Some(usize::from(owner.node.0) * 4 + kind_of(config, owner.placement, start) as usize)
}

/// The plan of all of a section, if every frame of it is known to be usable and of one zone.
fn whole_plan(config: &Config<'_>, frames: &Frames<'_>, start: u64) -> Option<usize> {
    let owner = frames.whole_owner(start, SECTION_FRAMES)?;
    let kind = kind_of(config, owner.placement, start);
    let same = kind == kind_of(config, owner.placement, start + SECTION_FRAMES - BLOCK_FRAMES);
    same.then_some(usize::from(owner.node.0) * 4 + kind as usize)
}

/// Fills the plans, and says of each section whether one zone owns all its blocks (by its plan's place, for now).
pub(in crate::build) fn plan_zones(
    config: &Config<'_>,
    memory: &[MemoryRange],
    reserved: &[FrameRange],
    sections: &mut [Section<'_>],
    plans: &mut [ZonePlan],
) {
    let mut frames = Frames::new(memory, reserved);
    for (index, section) in sections.iter_mut().enumerate() {
        if matches!(section.owner, Owner::Hot(_)) {
            continue; // nobody's yet
        }
        if let Some(place) = whole_plan(config, &frames, section.start.get()) {
            let (start, end) = (section.start.get(), section.start.get() + SECTION_FRAMES);
            if let Some(plan) = plans.get_mut(place) {
                plan.add(index as u32, (start, end), SECTION_FRAMES);
                plan.name((start, end), SECTION_FRAMES);
            }
            section.owner = Owner::Zone(ZoneId(place as u16));
            continue;
        }
        let mut owner = None;
        for start in (0..SECTION_BLOCKS as u64).map(|block| section.start.get() + block * BLOCK_FRAMES) {
            let block = frames.block(start);
            let Some(place) = named_plan_of(config, &block, start) else { continue };
            let Some(plan) = plans.get_mut(place) else { continue };
            plan.name((start, start + BLOCK_FRAMES), block.present);
            if block.frames == 0 {
                continue;
            }
            plan.add(index as u32, (start, start + BLOCK_FRAMES), block.frames);
            let zone = Owner::Zone(ZoneId(place as u16));
            owner = Some(if owner.is_none_or(|known| known == zone) { zone } else { MIXED });
        }
        section.owner = owner.unwrap_or(MIXED);
    }
}

/// Widens the plans of zones that sections may be plugged into: by address, or the Movable one.
pub(in crate::build) fn plan_hot(
    config: &Config<'_>,
    hot: &[HotRange],
    sections: &[Section<'_>],
    plans: &mut [ZonePlan],
) {
    for range in hot {
        let first = sections.partition_point(|section| section.start < range.range.start);
        let hot_sections = sections.iter().enumerate().skip(first);
        for (index, section) in hot_sections.take_while(|(_, section)| section.start < range.range.end) {
            let by_address = kind_of(config, Placement::ByAddress, section.start.get());
            for kind in [by_address, ZoneKind::Movable] {
                let place = usize::from(range.node.0) * 4 + kind as usize;
                plans.get_mut(place).into_iter().for_each(|plan| plan.widen(index as u32));
            }
        }
    }
}

pub(in crate::build) fn list_zones<'m>(
    carver: &mut Carver<'m>,
    plans: &[ZonePlan],
) -> Result<&'m [ListedZone], ConfigError> {
    let populated = || plans.iter().enumerate().filter(|(_, plan)| plan.exists()).map(|(at, _)| at);
    let mut at = populated();
    let listed = carver.array(populated().count(), |_| {
        let at = at.next().unwrap_or(0);
        ListedZone { node: NodeId((at / 4) as u16), kind: ZoneKind::ALL[at % 4] }
    })?;
    if listed.is_empty() { Err(ConfigError::NoMemory) } else { Ok(listed) }
}

/// Turns the plans' places into zone ids, and writes down the owners of mixed sections' blocks.
pub(in crate::build) fn name_owners<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    (memory, reserved): (&[MemoryRange], &[FrameRange]),
    sections: &mut [Section<'_>],
    listed: &[ListedZone],
) -> Result<&'m [MixedOwners], ConfigError> {
    let mut rows = 0;
    for section in sections.iter_mut() {
        section.owner = match section.owner {
            Owner::Zone(place) => zone_id(listed, usize::from(place.0)).map_or(MIXED, Owner::Zone),
            Owner::Hot(node) => Owner::Hot(node),
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
pub(in crate::build) fn place_of(zone: &ListedZone) -> usize {
    usize::from(zone.node.0) * 4 + zone.kind as usize
}

/// The id of the zone with this plan.
pub(in crate::build) fn zone_id(listed: &[ListedZone], plan: usize) -> Option<ZoneId> {
    listed.binary_search_by_key(&plan, place_of).ok().map(|at| ZoneId(at as u16))
}
