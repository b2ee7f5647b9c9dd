//! Upper bounds of everything that is carved, found without memory.

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::build::header::Header;
use crate::build::lists::tally_lists;
use crate::build::rules::{cached_cpus, hot_part, part};
use crate::build::zones::ZonePlan;
use crate::cache::CpuCache;
use crate::cache::word::MAX_GROUPS;
use crate::config::{Checking, Config, Naming};
use crate::error::ConfigError;
use crate::events::{EventRow, Traffic};
use crate::frame::{FrameRange, GROUP_FRAMES, NodeId, Pfn, SECTION_BLOCKS, SECTION_FRAMES};
use crate::hint::words_for;
use crate::metadata::Tally;
use crate::node::Node;
use crate::section::rows::SectionRows;
use crate::section::{Leaf, MixedOwners, PlugWord, Section, section_number, table_place};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64};
use crate::topology::{HotRange, MemoryRange, ZoneKind};
use crate::zone::{Cpu, TREES, Zone};
use crate::zonelist::ListedZone;

/// Upper bounds of everything that is carved.
pub(in crate::build) struct Sizes {
    pub(in crate::build) root: u64,
    pub(in crate::build) leaves: u64,
    pub(in crate::build) sections: u64,
    pub(in crate::build) zones: u64,
    pub(in crate::build) tree_words: u64,
    pub(in crate::build) caches: u64,
    pub(in crate::build) cpu_hint_words: u64,
}

pub(in crate::build) fn sizes(config: &Config<'_>) -> Result<Sizes, ConfigError> {
    let topology = &config.topology;
    let last = |range: &FrameRange| Pfn::new(range.end.get() - 1);
    let span = |range: &FrameRange| section_number(last(range)) - section_number(range.start) + 1;
    let ranges = || {
        let hot = config.hotplug.iter().map(|hot| hot.range);
        topology.memory.iter().map(|range| range.range).chain(hot)
    };
    let end = ranges().map(|range| section_number(last(&range))).max().unwrap_or(0);
    let root = table_place(end).0 as u64 + 1;
    // A section that one range ends in and the next begins in is counted once.
    let mut before = None;
    let sections: u64 = ranges()
        .map(|range| {
            let shared = before.replace(section_number(last(&range))) == Some(section_number(range.start));
            span(&range) - u64::from(shared)
        })
        .sum();
    let leaf_span = |range: &FrameRange| {
        (table_place(section_number(last(range))).0 - table_place(section_number(range.start)).0 + 1) as u64
    };
    let leaves = ranges().map(|range| leaf_span(&range)).sum::<u64>().min(root);
    let mut sizes = Sizes { root, leaves, sections, zones: 0, tree_words: 0, caches: 0, cpu_hint_words: 0 };
    for node in (0..topology.nodes as u16).map(NodeId) {
        let ranges = || topology.memory.iter().filter(move |range| range.node == node);
        let hot = || config.hotplug.iter().filter(move |hot| hot.node == node);
        let cpus = cached_cpus(config, node);
        for kind in ZoneKind::ALL {
            let plugged = || hot().filter_map(|hot| hot_part(config, hot, kind));
            let parts = || ranges().filter_map(|range| part(config, range, kind)).chain(plugged());
            let (Some(start), Some(end)) = (parts().map(|p| p.start).min(), parts().map(|p| p.end).max())
            else {
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
            sizes.cpu_hint_words += 2 * words_for(cpus) as u64;
        }
    }
    Ok(sizes)
}

pub(in crate::build) fn tally(config: &Config<'_>, sizes: &Sizes) -> Tally {
    let topology = &config.topology;
    let nodes = topology.nodes as u64;
    let blocks = sizes.sections * SECTION_BLOCKS as u64;
    // Where sections that may come hold their own rows, one section's are lent that all share which are not there.
    let hot = || config.hotplug.iter().map(|hot| hot.range.frames() / SECTION_FRAMES).sum::<u64>();
    let own_rows = config.own_rows.map_or(0, |_| hot());
    let mut tally = Tally::default();
    tally.add::<Header>(1);
    tally.add::<MemoryRange>(topology.memory.len() as u64);
    tally.add::<FrameRange>(topology.reserved.len() as u64);
    tally.add::<HotRange>(config.hotplug.len() as u64);
    tally.add::<ZonePlan>(nodes * 4);
    tally.add::<u32>(sizes.root);
    tally.add::<Leaf>(sizes.leaves);
    tally.add::<Section<'_>>(sizes.sections);
    tally.add::<MixedOwners>(sizes.sections.min(2 * topology.memory.len() as u64 + 2));
    tally.add::<Bitmap>(blocks - own_rows * SECTION_BLOCKS as u64);
    if config.own_rows.is_some() {
        tally.add::<SectionRows>(1);
    }
    tally.add::<Entry>(blocks);
    tally.add::<PlugWord>(sizes.sections);
    if config.checking == Checking::On {
        tally.add::<AtomicU8>(sizes.sections * SECTION_FRAMES);
    }
    tally.add::<AtomicU64>(config.poisoned_frames as u64);
    if config.naming == Naming::On {
        tally.add::<AtomicU32>(sizes.sections * SECTION_FRAMES);
    }
    tally.add::<ListedZone>(sizes.zones);
    tally_lists(config, sizes.zones, &mut tally);
    tally.add::<u32>(nodes);
    tally.add::<Node>(nodes);
    tally.add::<Cpu<'_>>(topology.cpus.len() as u64);
    tally.add::<EventRow>(topology.cpus.len() as u64);
    tally.add::<Traffic>(topology.cpus.len() as u64 * sizes.zones);
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
