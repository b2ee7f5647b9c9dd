//! Bytes as a memory map with a policy, mistakes included: refused for a mistake that is there, or built right.
//!
//! All mistakes are looked for in the slow and obvious way. Invariant: the refusal is one of them, and what is built has
//! none, manages the frames that are left when the reserved ones are struck out, and wrote nothing beside its metadata.

use std::mem::MaybeUninit;

use arbitrary::{Result, Unstructured};
use zonal::{
    AllocError, Caching, Config, ConfigError, Gfp, MAX_FRAMES, MemoryRange, NodeId, PageAllocator, Pfn,
    Request,
};
use zonal_testkit::{BLOCK, Class, Machine, Mark, Memory, Model};

use crate::support::{FakeCpu, Setup, audited, order, zone_kind};

/// Metadata of the largest machine that is built.
const METADATA: usize = 2 << 20;
/// Frames of the largest machine that is built.
const FRAMES: u64 = 1 << 18;
/// Frames from the first to the last of the largest machine that is counted frame by frame.
const SPAN: u64 = 80 * BLOCK;
/// Bytes before and behind the metadata, each with this value.
const GUARD: (usize, u8) = (128, 0xa5);
/// The span from which on groups cannot be numbered.
const TOO_LONG: u64 = 509 << 28;

/// Builds the machine if it can be, and looks at what came of it.
pub fn memory_maps(bytes: &[u8]) {
    let Ok((machine, setup, skew)) = setup(&mut Unstructured::new(bytes)) else { return };
    let mistakes = mistakes(&machine, &setup);
    let size = match zonal::metadata_size(&setup.config()) {
        Ok(size) => size,
        Err(error) => {
            return assert!(is_so(error, &mistakes, &machine, &setup.config()), "{error}: {setup:?}");
        }
    };
    if size > METADATA || managed(&machine) > FRAMES {
        return;
    }
    let cpu = FakeCpu::default();
    let mut memory = vec![MaybeUninit::new(GUARD.1); GUARD.0 + skew + size + GUARD.0];
    let lent = GUARD.0 + skew..GUARD.0 + skew + size;
    match PageAllocator::new(&setup.config(), &cpu, &mut memory[lent.clone()]) {
        Err(error) => assert!(is_so(error, &mistakes, &machine, &setup.config()), "{error}: {setup:?}"),
        Ok(allocator) => {
            assert!(mistakes.is_empty(), "built in spite of {mistakes:?}: {setup:?}");
            compare(&allocator, &machine);
            use_and_return(&allocator);
        }
    }
    for guard in [&memory[..lent.start], &memory[lent.end..]] {
        // SAFETY: every byte was written when the vector was made, and these are lent to nobody.
        let is_untouched = |byte: &MaybeUninit<u8>| unsafe { byte.assume_init() } == GUARD.1;
        assert!(guard.iter().all(is_untouched), "written outside: {setup:?}");
    }
}

fn is_so(error: ConfigError, mistakes: &[ConfigError], machine: &Machine, config: &Config<'_>) -> bool {
    match error {
        ConfigError::SpanTooLarge { node, start, end } => {
            let ends = |pfn| {
                let ranges = config.topology.memory.iter().filter(move |range| range.node == node);
                let limits = [config.dma_end, config.dma32_end]
                    .map(|end| end.get().min(MAX_FRAMES).next_multiple_of(BLOCK));
                ranges.flat_map(|range| [range.range.start, range.range.end]).any(|end| end == pfn)
                    || limits.contains(&pfn.get())
            };
            ends(start) && ends(end) && end.get() - start.get() > TOO_LONG
        }
        // Only the model knows which zones a mark may name.
        ConfigError::MarkWithoutZone { node } if model(machine).is_none() => {
            machine.marks.iter().any(|mark| mark.node == node.0)
        }
        error => mistakes.contains(&error),
    }
}

/// Every mistake, looked for one by one.
fn mistakes(machine: &Machine, setup: &Setup) -> Vec<ConfigError> {
    let mut found = Vec::new();
    let (nodes, cpus) = (setup.nodes, setup.cpus.len());
    if !(1..=1024).contains(&nodes) {
        return vec![ConfigError::Nodes { nodes }];
    }
    if !(1..=4096).contains(&cpus) {
        found.push(ConfigError::Cpus { cpus });
    }
    if setup.distances.len() == nodes * nodes {
        for (at, &distance) in setup.distances.iter().enumerate() {
            let (from, to) = (at / nodes, at % nodes);
            let good = if from == to { distance == 10 } else { distance > 10 };
            if !good {
                let (from, to) = (NodeId(from as u16), NodeId(to as u16));
                found.push(ConfigError::Distance { from, to, distance });
            }
        }
    } else {
        found.push(ConfigError::DistanceCount { entries: setup.distances.len(), needed: nodes * nodes });
    }
    let named = setup.cpus.iter().copied().chain(setup.memory.iter().map(|range| range.node));
    let absent = named.filter(|node| usize::from(node.0) >= nodes);
    found.extend(absent.map(|node| ConfigError::NoSuchNode { node }));
    if setup.dma_end > setup.dma32_end {
        let (dma, dma32) = (Pfn::new(setup.dma_end), Pfn::new(setup.dma32_end));
        found.push(ConfigError::ZoneLimits { dma, dma32 });
    }
    of_ranges(&setup.memory, &mut found);
    if found.is_empty() {
        of_frames(machine, &mut found);
    }
    found
}

fn of_ranges(memory: &[MemoryRange], found: &mut Vec<ConfigError>) {
    for (at, range) in memory.iter().enumerate() {
        let (start, end) = (range.range.start, range.range.end);
        if end <= start {
            found.push(ConfigError::EmptyRange { start, end });
        }
        if end.get() > MAX_FRAMES {
            found.push(ConfigError::RangeTooHigh { end });
        }
        for other in &memory[..at] {
            let both = start.max(other.range.start);
            if both < end.min(other.range.end) {
                found.push(ConfigError::Overlap { pfn: both });
            }
        }
    }
}

/// Mistakes that only the frames left show.
fn of_frames(machine: &Machine, found: &mut Vec<ConfigError>) {
    if managed(machine) == 0 {
        found.push(ConfigError::NoMemory);
    }
    if let Some(model) = model(machine) {
        let zones = model.zones();
        let lost = machine
            .marks
            .iter()
            .filter(|mark| !zones.iter().any(|zone| (zone.node, zone.class) == (mark.node, mark.class)));
        found.extend(lost.map(|mark| ConfigError::MarkWithoutZone { node: NodeId(mark.node) }));
    }
}

/// The frames of the ranges less the reserved ones. Ranges do not overlap; reserved ones may.
fn managed(machine: &Machine) -> u64 {
    let mut reserved: Vec<_> = machine.reserved.iter().filter(|range| range.start < range.end).collect();
    reserved.sort_by_key(|range| range.start);
    let left = |memory: &Memory| {
        let (mut at, mut left) = (memory.frames.start, 0);
        for hole in &reserved {
            left += hole.start.min(memory.frames.end).saturating_sub(at);
            at = at.max(hole.end);
        }
        left + memory.frames.end.saturating_sub(at)
    };
    machine.memory.iter().map(left).fold(0, u64::saturating_add)
}

/// The model of a machine that is small enough to be looked at frame by frame.
fn model(machine: &Machine) -> Option<Model> {
    let start = machine.memory.iter().map(|memory| memory.frames.start).min()?;
    let end = machine.memory.iter().map(|memory| memory.frames.end).max()?;
    (end - start <= SPAN).then(|| {
        let reserved =
            machine.reserved.iter().map(|range| range.start.max(start)..range.end.min(end)).collect();
        Model::new(&Machine { reserved, ..machine.clone() })
    })
}

fn compare(allocator: &PageAllocator<'_, &FakeCpu>, machine: &Machine) {
    let summary = audited(allocator);
    assert_eq!(summary.managed, managed(machine), "managed: {machine:?}");
    assert_eq!(summary.managed, summary.free, "{summary:?}");
    let Some(model) = model(machine) else { return };
    assert_eq!(allocator.zones().count(), model.zones().len(), "zones: {machine:?}");
    for (at, (info, zone)) in allocator.zones().zip(model.zones()).enumerate() {
        assert_eq!(
            (info.node, info.kind),
            (NodeId(zone.node), zone_kind(zone.class)),
            "zone {at}: {machine:?}"
        );
        assert_eq!(info.managed, model.figures(at).managed, "zone {at}: {machine:?}");
    }
}

/// Every size of run, had if there is one and given back.
fn use_and_return(allocator: &PageAllocator<'_, &FakeCpu>) {
    let Ok(user) = Request::order(order(0)).gfp(Gfp::HIGHUSER_MOVABLE) else { return };
    let held: Vec<_> = (0..=18).map(|by| allocator.alloc(&user.with_order(order(by)))).collect();
    let refused = held.iter().filter_map(|run| run.as_ref().err());
    for error in refused {
        let known =
            matches!(error, AllocError::NoMemory { .. } | AllocError::NoRun { .. } | AllocError::NoZone);
        assert!(known, "{error}");
    }
    drop(held);
    let summary = audited(allocator);
    assert_eq!((summary.allocated, summary.free + summary.cached), (0, summary.managed), "{summary:?}");
}

/// A machine, its configuration, and how far the metadata is from an aligned address.
fn setup(bytes: &mut Unstructured<'_>) -> Result<(Machine, Setup, usize)> {
    let nodes = bytes.int_in_range(1..=4u16)?;
    let mut machine = Machine::equal_nodes(nodes, 1, 0, 0);
    machine.memory = ranges(bytes, nodes)?;
    for _ in 0..bytes.int_in_range(0..=3u8)? {
        let start = number(bytes)?;
        machine
            .reserved
            .push(start..if bytes.arbitrary()? { start.saturating_add(3000) } else { number(bytes)? });
    }
    for _ in 0..bytes.int_in_range(0..=2u8)? {
        let class = *bytes.choose(&[Class::Dma, Class::Dma32, Class::Normal, Class::Movable])?;
        machine.marks.push(Mark { node: bytes.int_in_range(0..=nodes)?, class, frames: number(bytes)? });
    }
    let cpus = bytes.int_in_range(1..=6u8)?;
    machine.cpus = (0..cpus).map(|_| bytes.int_in_range(0..=nodes - 1)).collect::<Result<_>>()?;
    let (one, other) = (number(bytes)?, number(bytes)?);
    (machine.dma_end, machine.dma32_end) = (one.min(other), one.max(other));
    let caching = *bytes.choose(&[Caching::Local, Caching::All, Caching::Off])?;
    let mut setup = Setup::of(&machine).caching(caching);
    setup = if bytes.arbitrary()? { setup.checked() } else { setup };
    spoil(bytes, &mut setup)?;
    // The model's zones end at whole blocks.
    let whole = |end: u64| end.min(MAX_FRAMES).next_multiple_of(BLOCK);
    (machine.dma_end, machine.dma32_end) = (whole(setup.dma_end), whole(setup.dma32_end));
    Ok((machine, setup, bytes.int_in_range(0..=64)?))
}

/// Ranges one after the other in most cases, from anywhere to anywhere in some, in any order.
fn ranges(bytes: &mut Unstructured<'_>, nodes: u16) -> Result<Vec<Memory>> {
    let mut memory = Vec::new();
    let mut at = number(bytes)? % MAX_FRAMES;
    for _ in 0..bytes.int_in_range(0..=5u8)? {
        let node = bytes.int_in_range(0..=nodes - 1)?;
        let (start, end) = match bytes.int_in_range(0..=15u8)? {
            0 => (number(bytes)?, number(bytes)?),
            kind => {
                let start = at.saturating_add(if kind < 5 { 0 } else { bytes.int_in_range(0..=2000)? });
                (start, start.saturating_add(bytes.int_in_range(0..=3000)?))
            }
        };
        at = end;
        let range = Memory::of(node, start..end);
        memory.push(if bytes.ratio(1, 5)? { range.movable() } else { range });
    }
    if bytes.arbitrary()? {
        memory.reverse();
    }
    Ok(memory)
}

/// One mistake more, in some cases.
fn spoil(bytes: &mut Unstructured<'_>, setup: &mut Setup) -> Result<()> {
    match bytes.int_in_range(0..=15u8)? {
        0 => setup.nodes = bytes.arbitrary()?,
        1 => setup.cpus.resize(usize::from(bytes.arbitrary::<u16>()?), NodeId(0)),
        2 => drop(setup.distances.pop()),
        3 => setup.cpus.push(NodeId(bytes.arbitrary()?)),
        4 => std::mem::swap(&mut setup.dma_end, &mut setup.dma32_end),
        5 | 6 => {
            let at = bytes.choose_index(setup.distances.len())?;
            setup.distances[at] = bytes.arbitrary()?;
        }
        _ => {}
    }
    Ok(())
}

/// A number: small, or near a limit of some kind, or any.
fn number(bytes: &mut Unstructured<'_>) -> Result<u64> {
    let near = |limit: u64, off: u64| limit.wrapping_add(off).wrapping_sub(600);
    Ok(match bytes.int_in_range(0..=11u8)? {
        0..=5 => bytes.int_in_range(0..=8191)?,
        6 => near(1 << 15, bytes.int_in_range(0..=1200)?),
        7 => near(1 << 20, bytes.int_in_range(0..=1200)?),
        8 => near(1 << 37, bytes.int_in_range(0..=1200)?),
        9 => near(MAX_FRAMES, bytes.int_in_range(0..=1200)?),
        10 => near(0, bytes.int_in_range(0..=1200)?),
        _ => bytes.arbitrary()?,
    })
}
