//! Nodes with their zones, and the order in which their requests go to others.
//!
//! Where there are many nodes, those in a row that are alike are drawn once.

use std::io::{self, Write};
use std::slice;

use anstyle::Style;
use bytesize::ByteSize;
use zonal::FRAME_SIZE;

use super::portrait::{Node, Zone};
use super::{Extent, cut};

/// From so many nodes on, those that are alike are drawn once.
const MANY: usize = 8;
/// Groups of nodes that are drawn.
const GROUPS: usize = 12;
/// Fallback orders that are written.
const ORDERS: usize = 12;

/// Draws nodes and zones.
pub(super) fn draw(nodes: &[Node], extent: Extent, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let single = extent == Extent::All || nodes.len() <= MANY;
    let groups: Vec<&[Node]> = nodes.chunk_by(|one, next| !single && one.is_like(next)).collect();
    let shown = if single { groups.len() } else { GROUPS };
    let bold = Style::new().bold();
    writeln!(
        out,
        "{bold}  {:<8} {:<24} {:>10} {:>10} {:>9} {:>9}{bold:#}",
        "zone", "frames", "size", "managed", "reserved", "holes"
    )?;
    for group in groups.iter().take(shown) {
        let [first, others @ ..] = group else { continue };
        writeln!(out, "{bold}Node {}{bold:#}: {}", first.node, holdings(slice::from_ref(first), columns))?;
        first.zones.iter().try_for_each(|zone| zone.draw(out))?;
        let holdings = holdings(others, columns);
        match (first.node, others) {
            (_, []) => {}
            (first, [one]) => {
                writeln!(out, "{bold}Node {}{bold:#}, like node {first}: {holdings}", one.node)?
            }
            (first, [next, .., last]) => writeln!(
                out,
                "{bold}Nodes {} to {}{bold:#}, each like node {first}: {holdings}",
                next.node, last.node
            )?,
        }
    }
    match nodes.len() - groups.iter().take(shown).map(|group| group.len()).sum::<usize>() {
        0 => Ok(()),
        more => writeln!(out, "and {more} more nodes, which --all draws"),
    }
}

/// Writes fallback orders as Linux does.
pub(super) fn fallback(
    nodes: &[Node],
    extent: Extent,
    columns: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let shown = if extent == Extent::All { nodes.len() } else { ORDERS };
    for node in nodes.iter().take(shown) {
        let columns = if extent == Extent::All { usize::MAX } else { columns };
        let title = format!("Fallback order for Node {}: ", node.node);
        writeln!(out, "{title}{}", order(&node.fallback, columns.saturating_sub(title.len())))?;
    }
    match nodes.len().saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(out, "and {more} more nodes, which --all draws"),
    }
}

impl Node {
    /// Whether it has as many CPUs, and zones of the same size with the same marks.
    fn is_like(&self, other: &Self) -> bool {
        let pairs = || self.zones.iter().zip(&other.zones);
        self.cpus.len() == other.cpus.len()
            && self.pluggable_bytes == other.pluggable_bytes
            && self.zones.len() == other.zones.len()
            && pairs().all(|(one, other)| one.figures() == other.figures())
    }
}

impl Zone {
    fn figures(&self) -> (&str, [u64; 7], [u64; 4]) {
        let figures = [self.spanned, self.present, self.managed, self.min, self.low, self.high, self.promo];
        (self.zone, figures, self.protection)
    }

    fn draw(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { zone, start_pfn, end_pfn, managed, reserved, holes, min, low, high, promo, .. } = self;
        let frames = format!("{start_pfn:#x}..{end_pfn:#x}");
        let size = ByteSize(self.present * FRAME_SIZE).to_string();
        writeln!(out, "  {zone:<8} {frames:<24} {size:>10} {managed:>10} {reserved:>9} {holes:>9}")?;
        if (*promo, self.protection) == (0, [0; 4]) {
            return Ok(());
        }
        write!(out, "  {:<8} min {min}, low {low}, high {high}, promo {promo}", "")?;
        let protection = self.protection.map(|frames| frames.to_string()).join(", ");
        writeln!(out, "; protection: ({protection})")
    }
}

/// The memory and CPUs of nodes.
fn holdings(nodes: &[Node], columns: usize) -> String {
    let memory = match nodes.iter().map(|node| node.bytes).sum() {
        0 => "no memory".to_owned(),
        bytes => ByteSize(bytes).to_string(),
    };
    let memory = match nodes.iter().map(|node| node.pluggable_bytes).sum() {
        0 => memory,
        bytes => format!("{memory} ({} may be plugged in)", ByteSize(bytes)),
    };
    let mut cpus: Vec<usize> = nodes.iter().flat_map(|node| &node.cpus).copied().collect();
    cpus.sort_unstable();
    if cpus.is_empty() {
        return format!("{memory}, no CPUs");
    }
    // Commas, as Linux has them, behind all but the last.
    let list = cut(&runs(&cpus), columns.saturating_sub(60)).replace(' ', ",");
    format!("{memory}, CPUs {list}")
}

/// Nodes in order; where there is no room for each, ascending runs by their ends.
fn order(nodes: &[u16], columns: usize) -> String {
    let each: Vec<String> = nodes.iter().map(u16::to_string).collect();
    if each.iter().map(|node| node.len() + 1).sum::<usize>() <= columns + 1 {
        return each.join(" ");
    }
    let numbers: Vec<usize> = nodes.iter().copied().map(usize::from).collect();
    cut(&runs(&numbers), columns)
}

/// Runs of numbers that follow each other, as Linux writes them: `0-3`, `8`.
fn runs(numbers: &[usize]) -> Vec<String> {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next).filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    runs.collect()
}

#[cfg(test)]
mod tests {
    use super::{order, runs};

    #[test]
    fn runs_are_linux_s() {
        assert_eq!(runs(&[]), [""; 0]);
        assert_eq!(runs(&[3]), ["3"]);
        assert_eq!(runs(&[0, 1, 3, 2, 4, 5, 6]), ["0-1", "3", "2", "4-6"]);
    }

    #[test]
    fn an_order_is_shortened_only_where_it_must_be() {
        let nodes = [2, 3, 4, 5, 0, 1];
        assert_eq!(order(&nodes, 11), "2 3 4 5 0 1");
        assert_eq!(order(&nodes, 10), "2-5 0-1");
        assert_eq!(order(&nodes, 6), "2-5 …");
    }
}
