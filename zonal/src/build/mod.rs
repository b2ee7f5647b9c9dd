//! From a configuration to the arrays an allocator works on: checks, sizes, and the first state of every word.
//!
//! Sizes are an upper bound found without memory; what is built is exact. A block belongs to one zone, that of its
//! first usable frame: ranges of two nodes that meet inside a block share it, so that no frame is lost.

mod check;
mod frames;
mod rules;
mod sections;
mod sizes;
mod zones;

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::build::check::check;
use crate::build::frames::Frames;
use crate::build::sections::{build_map, list_zones, name_owners, plan_zones};
use crate::build::sizes::{sizes, tally};
use crate::build::zones::{ZonePlan, build_cpus, build_zones};
use crate::config::{Checking, Config};
use crate::error::ConfigError;
use crate::frame::{BLOCK_FRAMES, FrameRange, ROWS, SECTION_BLOCKS, SECTION_FRAMES};
use crate::metadata::Carver;
use crate::mutant::{Mutant, planted};
use crate::section::{NO_ZONE, Owner, SectionMap, section_number, table_place};
use crate::state::State;
use crate::sync::AtomicU8;
use crate::tag::Tags;
use crate::topology::{Kind, MemoryRange};
use crate::zonelist::{ListedZone, NodeLoad, Zonelists};

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
    let overlap = memory.windows(2).find(|pair| pair[1].range.start < pair[0].range.end);
    if let Some(pair) = overlap.filter(|_| !planted(Mutant::OverlapAccepted)) {
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
        let managed = frames.block(start(at)).frames;
        let zone = if managed > 0 { map.zone_of(at / SECTION_BLOCKS, at % SECTION_BLOCKS) } else { NO_ZONE };
        Entry::new(zone, Kind::Movable, managed)
    })?;
    let tags = match config.checking {
        Checking::Off => None,
        Checking::On => {
            Some(Tags::new(carver.array(map.sections.len() * SECTION_FRAMES as usize, |_| AtomicU8::new(0))?))
        }
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
    let boot_cpu = cpus.first().ok_or(ConfigError::Cpus { cpus: 0 })?;
    Ok(State { cpus, boot_cpu, zones, map, lists, tags })
}
