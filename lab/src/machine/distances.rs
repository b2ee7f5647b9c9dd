//! The matrix of distances, or what can be said of one that is too large to be drawn.

use std::io::{self, Write};

use anstyle::Style;

use super::Extent;

/// Rows and columns that are drawn of a larger matrix.
const CORNER: usize = 16;

/// Draws the distances from each node (rows) to each (columns).
pub(super) fn draw(rows: &[Vec<u8>], extent: Extent, out: &mut dyn Write) -> io::Result<()> {
    let shown = if extent == Extent::All { rows.len() } else { rows.len().min(CORNER) };
    let others = rows.iter().enumerate().flat_map(|(from, row)| {
        row.iter().enumerate().filter(move |(to, _)| *to != from).map(|(_, distance)| *distance)
    });
    let bounds = others.fold(None, |bounds: Option<(u8, u8)>, distance| {
        let (least, most) = bounds.unwrap_or((distance, distance));
        Some((least.min(distance), most.max(distance)))
    });
    match bounds {
        Some((least, most)) if least == most && shown < rows.len() => {
            return writeln!(out, "Distances: each node is {least} from every other");
        }
        Some((least, most)) if shown < rows.len() => {
            writeln!(out, "Distances of the first {shown} nodes; between all they are {least} to {most}")?;
        }
        _ => writeln!(out, "Distances")?,
    }
    let bold = Style::new().bold();
    write!(out, "  {bold}node")?;
    (0..shown).try_for_each(|to| write!(out, " {to:>4}"))?;
    writeln!(out, "{bold:#}")?;
    for (from, row) in rows.iter().take(shown).enumerate() {
        write!(out, "  {bold}{from:>4}{bold:#}")?;
        row.iter().take(shown).try_for_each(|distance| write!(out, " {distance:>4}"))?;
        writeln!(out)?;
    }
    Ok(())
}
