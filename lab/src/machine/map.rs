//! Physical memory as bars: whose each stretch of addresses is, by zone and by node.
//!
//! A cell is as many frames as make the machine fit. Invariant: a cell shows what has most of its frames.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use zonal::{BLOCK_FRAMES, FRAME_SIZE, FrameRange, NodeId, Pfn, ZoneKind};

use super::portrait::{Holding, Piece, Portrait};

/// Nodes that share a bar.
const NODES: usize = 8;
/// Most bars.
const BARS: usize = 8;
/// No memory.
const NOTHING: char = '·';
/// Mostly reserved.
const RESERVED: char = 'r';
/// Mostly where memory may be plugged in.
const PLUGGABLE: char = 'p';
/// One node, and more.
const ONE: char = '-';
const SEVERAL: char = '+';

/// What is in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    holds: Holding,
    node: NodeId,
    several: bool,
}

/// Draws memory from the first frame to the last.
pub(super) fn draw(portrait: &Portrait, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let pieces = &portrait.pieces;
    let Some(first) = pieces.first() else { return Ok(()) };
    let start = first.range.start.get() / BLOCK_FRAMES * BLOCK_FRAMES;
    let end = pieces.iter().map(|piece| piece.range.end.get()).max().unwrap_or(start);
    let label = format!("{:#x}", end * FRAME_SIZE).len();
    let width = columns.saturating_sub(label + 4).max(1);
    let bars = portrait.nodes.len().div_ceil(NODES).clamp(1, BARS);
    let each = (end - start).div_ceil((width * bars) as u64).next_multiple_of(BLOCK_FRAMES);
    writeln!(out, "Memory by address; a cell is {}", ByteSize(each * FRAME_SIZE))?;
    for bar in 0..bars {
        let first = start + (bar * width) as u64 * each;
        let cells = (0..width as u64).map(|cell| first + cell * each).take_while(|&cell| cell < end);
        let cells: Vec<Option<Cell>> = cells.map(|cell| look(portrait, cell, each)).collect();
        if cells.is_empty() {
            break;
        }
        write!(out, "  {:#0label$x} ", first * FRAME_SIZE)?;
        cells.iter().try_for_each(|cell| draw_cell(*cell, out))?;
        writeln!(out)?;
        writeln!(out, "  {:>label$} {}", "node", nodes(&cells).trim_end())?;
    }
    legend(out)
}

/// What is in `frames` frames from `start` on.
fn look(portrait: &Portrait, start: u64, frames: u64) -> Option<Cell> {
    let cell = FrameRange::new(Pfn::new(start), Pfn::new(start + frames));
    let after = portrait.pieces.partition_point(|piece| piece.range.end <= cell.start);
    let inside = portrait.pieces.iter().skip(after).take_while(|piece| piece.range.start < cell.end);
    let inside: Vec<(&Piece, u64)> = inside.map(|piece| (piece, shared(piece.range, cell))).collect();
    let of_zone = |zone: &Piece| -> u64 {
        let same = inside.iter().filter(|(piece, _)| (piece.node, piece.holds) == (zone.node, zone.holds));
        same.map(|(_, frames)| frames).sum()
    };
    let (most, _) = inside.iter().max_by_key(|(piece, _)| of_zone(piece))?;
    let present: u64 = inside.iter().map(|(_, frames)| frames).sum();
    let reserved: u64 = portrait.reserved.iter().map(|reserved| shared(*reserved, cell)).sum();
    Some(Cell {
        holds: if reserved * 2 > present { Holding::Reserved } else { most.holds },
        node: most.node,
        several: inside.iter().any(|(piece, _)| piece.node != most.node),
    })
}

/// Frames in both ranges.
fn shared(one: FrameRange, other: FrameRange) -> u64 {
    one.end.min(other.end).get().saturating_sub(one.start.max(other.start).get())
}

fn draw_cell(cell: Option<Cell>, out: &mut dyn Write) -> io::Result<()> {
    let Some(cell) = cell else { return write!(out, "{NOTHING}") };
    let (letter, style) = match cell.holds {
        Holding::Zone(kind) => look_of(kind),
        Holding::Reserved => (RESERVED, Style::new()),
        Holding::Pluggable => (PLUGGABLE, Style::new()),
    };
    write!(out, "{style}{letter}{style:#}")
}

/// The letter and colour of a zone.
fn look_of(zone: ZoneKind) -> (char, Style) {
    let (letter, colour) = match zone {
        ZoneKind::Dma => ('D', AnsiColor::Red),
        ZoneKind::Dma32 => ('3', AnsiColor::Yellow),
        ZoneKind::Normal => ('N', AnsiColor::Cyan),
        ZoneKind::Movable => ('M', AnsiColor::Green),
    };
    (letter, colour.on_default())
}

/// The nodes below the cells: each stretch with its node, or the first and last of several, where there is room.
fn nodes(cells: &[Option<Cell>]) -> String {
    let owner = |cell: &Option<Cell>| match cell {
        Some(cell) if cell.several => (true, None),
        Some(cell) => (true, Some(cell.node)),
        None => (false, None),
    };
    let stretches = cells.chunk_by(|one, next| owner(one) == owner(next)).map(|stretch| {
        let mut all = stretch.iter().flatten().map(|cell| cell.node.0);
        let (Some(first), last) = (all.next(), all.next_back()) else { return " ".repeat(stretch.len()) };
        let (name, fill) = match (stretch.first().map(owner), last) {
            (Some((_, None)), Some(last)) => (format!("{first} to {last}"), SEVERAL),
            (Some((_, None)), None) => (String::new(), SEVERAL),
            _ => (first.to_string(), ONE),
        };
        let name = Some(name).filter(|name| name.len() <= stretch.len()).unwrap_or_default();
        let rest = stretch.len() - name.len();
        name.chars().chain(std::iter::repeat_n(fill, rest)).collect()
    });
    stretches.collect()
}

fn legend(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "  ")?;
    for zone in ZoneKind::ALL {
        let (letter, style) = look_of(zone);
        write!(out, "{style}{letter} {}{style:#}  ", zone.name())?;
    }
    writeln!(out, "{RESERVED} reserved  {PLUGGABLE} pluggable  {NOTHING} nothing  {SEVERAL} several nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_has_its_number_where_there_is_room() {
        let cell = |node, several| {
            Some(Cell { holds: Holding::Zone(ZoneKind::Normal), node: NodeId(node), several })
        };
        let cells = [cell(0, false), cell(0, false), None, cell(12, false), cell(13, true), cell(13, false)];
        assert_eq!(nodes(&cells), "0- -+-");
        assert_eq!(nodes(&[cell(1, true), cell(3, true)].repeat(4)), "1 to 3++");
        assert_eq!(nodes(&[cell(12, false); 3]), "12-");
    }
}
