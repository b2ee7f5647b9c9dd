//! What an allocator takes and a person may not mean.
//!
//! Each oddity costs something that the description does not show: memory that nobody is near to, a zone that gives
//! nothing, frames that are in no huge page.

use zonal::{
    BLOCK_FRAMES, FrameRange, MAX_FRAMES, MemoryRange, MovableSizing, NodeId, PageAllocator, Pfn, Placement,
    Platform, ZoneInfo,
};

use super::Remark;
use crate::machine::Machine;
use crate::machine::description::Described;
use crate::machine::place::Document;

/// All oddities, part by part.
pub(super) fn find<P: Platform>(
    described: &Described,
    document: &Document<'_>,
    allocator: &PageAllocator<'_, P>,
) -> Vec<Remark> {
    let machine = &described.machine;
    let zones: Vec<ZoneInfo> = allocator.zones().collect();
    let mut notes = nodes(described, &zones, |node| allocator.node_order(node).next());
    notes.extend(one_way(machine));
    notes.extend(undivided(described));
    notes.extend(zones.iter().filter_map(|zone| starved(machine, zone)));
    notes.extend(overruled(machine));
    notes.extend(unreserved(machine));
    notes.extend(ragged(described));
    notes.into_iter().map(|(key, text)| document.remark(&key, text)).collect()
}

/// A key and what is odd about it.
type Note = (String, String);

/// Nodes without memory or CPUs, a line a `[[node]]`.
fn nodes(described: &Described, zones: &[ZoneInfo], nearest: impl Fn(NodeId) -> Option<NodeId>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut first = 0;
    for alike in described.entries.chunk_by(|one, next| one == next) {
        let (node, last, entry) = (NodeId(first), first + alike.len() as u16 - 1, alike[0]);
        let (name, have) = match alike.len() {
            1 => (format!("node {first}"), "has"),
            _ => (format!("nodes {first} to {last}"), "have"),
        };
        first = last + 1;
        let memory = zones.iter().any(|zone| zone.node == node && zone.managed > 0);
        if !memory && described.machine.hotplug().iter().any(|hot| hot.node == node) {
            continue; // it waits for some
        }
        let cpus = described.machine.cpus().contains(&node);
        let text = match (memory, cpus, nearest(node)) {
            (true, true, _) => continue,
            (true, false, _) => {
                format!("{name} {have} memory and no CPUs: only what other nodes lack comes from there")
            }
            (false, true, Some(near)) => {
                format!(
                    "{name} {have} CPUs and no memory: what they ask for comes from node {} first",
                    near.0
                )
            }
            (false, _, _) => format!("{name} {have} neither memory that can be handed out nor CPUs"),
        };
        notes.push((format!("node[{entry}]"), text));
    }
    notes
}

/// Distances that are not those of the way back, a line a row.
fn one_way(machine: &Machine) -> Vec<Note> {
    let (nodes, distances) = (machine.nodes(), machine.config().topology.distances);
    let distance = |from: usize, to: usize| distances.get(from * nodes + to).copied().unwrap_or_default();
    let rows = (0..nodes).filter_map(|from| {
        let mut others = (from + 1..nodes).filter(|&to| distance(from, to) != distance(to, from));
        let to = others.next()?;
        let more = match others.count() {
            0 => String::new(),
            more => format!(", and {more} more of this row"),
        };
        let (there, back) = (distance(from, to), distance(to, from));
        let text = format!("node {to} is {there} from node {from}, and {back} on the way back{more}");
        Some((format!("distances[{from}][{to}]"), text))
    });
    rows.collect()
}

/// A division that sets nothing aside.
fn undivided(described: &Described) -> Option<Note> {
    let MovableSizing { kernelcore, movablecore } = described.sizing;
    let key = if kernelcore.is_some() { "kernelcore" } else { "movablecore" };
    let asked = kernelcore.is_some() || movablecore.is_some();
    let movable = described.machine.memory().iter().any(|range| range.placement == Placement::Movable);
    let text = "no memory is set aside for movable content: what is asked for is nothing, or all there is";
    (asked && !movable).then(|| (key.to_owned(), text.to_owned()))
}

/// A zone that is kept free as a whole.
fn starved(machine: &Machine, zone: &ZoneInfo) -> Option<Note> {
    let mark =
        machine.config().marks.iter().rposition(|mark| (mark.node, mark.zone) == (zone.node, zone.kind));
    let key = mark.map_or_else(|| "watermarks".to_owned(), |at| format!("mark[{at}]"));
    let (name, node, managed, marks) = (zone.kind.name(), zone.node.0, zone.managed, zone.marks);
    let what = match () {
        () if managed == 0 => return None,
        () if marks.min >= managed => {
            format!("{} are kept free (min): ordinary requests get nothing there", marks.min)
        }
        () if marks.high >= managed => {
            format!("its high mark is {}: kswapd never has reclaimed enough there", marks.high)
        }
        () => return None,
    };
    Some((key, format!("zone {name} of node {node} has {managed} frames, and {what}")))
}

/// Marks that a later one for the same zone takes the place of.
fn overruled(machine: &Machine) -> Vec<Note> {
    let marks = machine.config().marks;
    let notes = marks.iter().enumerate().filter_map(|(at, mark)| {
        let later = marks.iter().rposition(|other| (other.node, other.zone) == (mark.node, mark.zone));
        let later = later.filter(|&later| later > at)?;
        let text = format!("mark[{at}] does not count: mark[{later}] is for the same zone");
        Some((format!("mark[{at}]"), text))
    });
    notes.collect()
}

/// Reserved ranges that reserve nothing.
fn unreserved(machine: &Machine) -> Vec<Note> {
    let notes = machine.config().topology.reserved.iter().enumerate().filter_map(|(at, reserved)| {
        let meets =
            |memory: &MemoryRange| memory.range.start < reserved.end && reserved.start < memory.range.end;
        let what = match () {
            () if reserved.frames() == 0 => "holds no frame",
            () if !machine.memory().iter().any(meets) => "is where no memory is",
            () => return None,
        };
        let FrameRange { start, end } = reserved;
        Some((
            format!("reserved[{at}]"),
            format!("reserved[{at}] ({start}..{end}) {what}: it reserves nothing"),
        ))
    });
    notes.collect()
}

/// Ranges that begin or end inside a block that no range of the same zone goes on with.
fn ragged(described: &Described) -> Vec<Note> {
    let mut sorted: Vec<(&MemoryRange, &String)> =
        described.machine.memory().iter().zip(&described.memory).collect();
    sorted.sort_by_key(|(memory, _)| memory.range.start);
    let neighbour = |at: Option<usize>| at.and_then(|at| sorted.get(at)).map(|(memory, _)| *memory);
    let mut notes = Vec::new();
    for (at, &(memory, key)) in sorted.iter().enumerate() {
        let FrameRange { start, end } = memory.range;
        let before = neighbour(at.checked_sub(1)).filter(|before| before.range.end == start);
        let after = neighbour(at.checked_add(1)).filter(|after| after.range.start == end);
        let block = |pfn: Pfn| pfn.get() / BLOCK_FRAMES * BLOCK_FRAMES;
        let length = memory.range.frames();
        let head = (start.get().next_multiple_of(BLOCK_FRAMES) - start.get()).min(length);
        if let Some(what) = lost(head, memory, before) {
            notes.push((
                key.clone(),
                format!("{key} begins inside the 2 MiB block at {:#x}: {what}", block(start)),
            ));
        }
        let tail = (end.get() % BLOCK_FRAMES).min(length);
        let told = head > 0 && block(start) == block(end);
        if let Some(what) = lost(tail, memory, after).filter(|_| !told && end.get() < MAX_FRAMES) {
            notes.push((
                key.clone(),
                format!("{key} ends inside the 2 MiB block at {:#x}: {what}", block(end)),
            ));
        }
    }
    notes
}

/// What becomes of a range's frames in a block that it has only a part of.
fn lost(frames: u64, memory: &MemoryRange, neighbour: Option<&MemoryRange>) -> Option<String> {
    match neighbour {
        _ if frames == 0 => None,
        Some(other) if (other.node, other.placement) == (memory.node, memory.placement) => None,
        Some(_) => {
            Some(format!("{frames} of its frames share it with another zone's, and all go to one of the two"))
        }
        None => Some(format!("{frames} frames can be in no huge page")),
    }
}
