//! The rows as JSON lines, and as a table with what each should cost.

use std::io::{Write, stderr, stdout};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::case::Case;
use super::row::{Figures, Row};
use super::{BenchArgs, plan, verdict};
use crate::output::{Format, print_json};

/// A row as programs read it.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    engine: &'static str,
    kind: &'static str,
    threads: u16,
    cpus: u16,
    order: u8,
    ns: f64,
    min: f64,
    max: f64,
    cas_ns: f64,
    per_cas: f64,
    /// Blocks that one operation is about, where it is about blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
}

/// A row and its figures.
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) figures: Figures,
}

/// Prints what was asked for: JSON lines on stdout and the table on stderr, or the table on stdout.
pub(super) fn print(rows: &[Row], args: &BenchArgs, format: Format) -> Result<()> {
    let measured: Vec<Measured> =
        rows.iter().filter_map(|row| Some(Measured { case: row.case(), figures: row.figures()? })).collect();
    let unit = measured.iter().find(|row| row.case == plan::UNIT).context("no compare-exchange was timed")?;
    let cas_ns = unit.figures.ns;
    let asked = || measured.iter().filter(|row| plan::is_asked(args, &row.case));
    let table = table(asked(), &measured, cas_ns);
    match format {
        Format::Human => writeln!(stdout(), "{table}")?,
        Format::Json => {
            asked().try_for_each(|row| print_json(&line(row, cas_ns)))?;
            // The rows are out already; who closed stderr does not want the table.
            let _ = writeln!(stderr(), "{table}");
        }
    }
    Ok(())
}

fn line(row: &Measured, cas_ns: f64) -> Line {
    let Measured { case, figures: Figures { ns, min, max } } = *row;
    Line {
        bench: case.bench.name(),
        engine: case.engine.name(),
        kind: case.engine.kind().name(),
        threads: case.threads,
        cpus: case.cpus,
        order: case.order.get(),
        ns,
        min,
        max,
        cas_ns,
        per_cas: ns / cas_ns,
        blocks: case.bench.blocks(),
    }
}

fn table<'r>(asked: impl Iterator<Item = &'r Measured>, all: &[Measured], cas_ns: f64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "bench",
        "engine",
        "threads",
        "cpus",
        "order",
        "ns",
        "min",
        "max",
        "per_cas",
        "target",
        "",
        "ns is for one",
    ]);
    for row in asked {
        let Measured { case, figures: Figures { ns, min, max } } = row;
        let (targets, met): (Vec<_>, Vec<_>) = verdict::verdicts(row, all, cas_ns).into_iter().unzip();
        table.add_row([
            case.bench.name().to_owned(),
            case.engine.name().to_owned(),
            case.threads.to_string(),
            case.cpus.to_string(),
            case.order.to_string(),
            format!("{ns:.2}"),
            format!("{min:.2}"),
            format!("{max:.2}"),
            format!("{:.2}", ns / cas_ns),
            targets.join("; "),
            met.join("; "),
            case.bench.unit().to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let rounds = super::ROUNDS;
    format!(
        "{table}\n\nMedians of {rounds} interleaved rounds, of fewer where a sample is long; marks 0; no frame is touched while the clock runs.\n\
         One load and locked compare-exchange: {cas_ns:.2} ns."
    )
}
