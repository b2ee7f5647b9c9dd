//! The table, and each histogram drawn as a strip over a logarithmic axis.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;

use super::cell::Cell;
use super::samples::{Op, Row, Samples};

/// Columns of a strip for each power of ten, and powers of ten: up to 100 ms.
const COLUMNS: usize = 9;
const DECADES: [&str; 8] = ["1 ns", "10 ns", "100 ns", "1 us", "10 us", "100 us", "1 ms", "10 ms"];
/// How much of all calls a column must have for each shade: a millionth, a ten-thousandth, a hundredth, a tenth.
const SHADES: [(f64, char); 5] = [(0.1, '█'), (0.01, '▓'), (0.0001, '▒'), (0.000_001, '░'), (0.0, '·')];

/// Everything, as text; the clock ticks every so many nanoseconds.
pub(super) fn draw(measured: &[(Cell, Samples)], tick: u64) -> String {
    let mut text = String::new();
    for op in Op::ALL {
        let axis: String = DECADES.iter().map(|decade| format!("{decade:<COLUMNS$}")).collect();
        let _ = writeln!(text, "{:<32}{axis}", op.name()); // a string takes everything
        for (cell, samples) in measured {
            let _ = writeln!(text, "{:<32}{}", cell.to_string(), strip(samples.times(op)));
        }
        text.push('\n');
    }
    let rows = measured.iter().flat_map(|(cell, samples)| samples.rows(cell));
    let table = table(rows);
    format!(
        "{text}{table}\n\nA column of a strip has █ a tenth of all calls, ▓ a hundredth, ▒ a ten-thousandth, ░ a millionth, · less. Times in ns.\n\
         The longest have in them what took the CPU away meanwhile: `preempted` times by other threads, and by the host unseen.\n\
         Handlers only interrupt zonal: the spin lock of buddy-spin would never be given back, and frame-alloc promises nothing.\n\
         The clock ticks every {tick} ns."
    )
}

fn strip(times: &Histogram<u64>) -> String {
    let mut columns = vec![0u64; COLUMNS * DECADES.len()];
    for value in times.iter_recorded() {
        let at = (value.value_iterated_to() as f64).log10() * COLUMNS as f64;
        let last = columns.len() - 1;
        columns[(at.max(0.0) as usize).min(last)] += value.count_at_value();
    }
    let shade = |&count: &u64| {
        let share = count as f64 / times.len().max(1) as f64;
        let shade = SHADES.iter().find(|(least, _)| count > 0 && share >= *least);
        shade.map_or(' ', |&(_, shade)| shade)
    };
    columns.iter().map(shade).collect::<String>().trim_end().to_owned()
}

fn table(rows: impl Iterator<Item = Row>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "op",
        "engine",
        "context",
        "load",
        "samples",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "p99.999",
        "max",
        "preempted",
    ]);
    for row in rows {
        table.add_row([
            row.op.to_owned(),
            row.engine.to_owned(),
            row.context.to_owned(),
            row.load.to_owned(),
            row.samples.to_string(),
            row.p50.to_string(),
            row.p90.to_string(),
            row.p99.to_string(),
            row.p99_9.to_string(),
            row.p99_99.to_string(),
            row.p99_999.to_string(),
            row.max.to_string(),
            row.preempted.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_has_its_times_where_the_axis_says() {
        let mut times = Histogram::new_with_max(1_000_000_000, 3).unwrap();
        times.record_n(10, 1_000_000).unwrap();
        times.record_n(1000, 100).unwrap();
        times.record(20_000_000).unwrap();
        let strip: Vec<char> = strip(&times).chars().collect();
        let marks: Vec<(usize, char)> =
            strip.iter().copied().enumerate().filter(|(_, mark)| *mark != ' ').collect();
        assert_eq!(marks, [(COLUMNS, '█'), (3 * COLUMNS, '░'), (7 * COLUMNS + 2, '·')]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(strip(&Histogram::new_with_max(1000, 3).unwrap()), "");
    }
}
