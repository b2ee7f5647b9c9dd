//! The verdicts as JSON lines, and as the table of which README shows a part.

use std::io::{Write, stdout};

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;
use zonal_testkit::conformance::{Repeats, Verdict};

use super::Row;
use super::engine::Engine;
use crate::output::{Format, print_json};

/// A verdict as programs read it.
#[derive(Serialize)]
struct Line {
    check: &'static str,
    origin: &'static str,
    says: &'static str,
    repeats: &'static str,
    engine: &'static str,
    verdict: &'static str,
    why: Option<String>,
}

/// Prints what was found: JSON lines on stdout, or the table with every fault below it.
pub(super) fn print(rows: &[Row], engines: &[Engine], format: Format) -> Result<()> {
    if format == Format::Json {
        return rows.iter().try_for_each(|row| print_json(&line(row)));
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "{}\n\n-: no such call, or undefined by contract. *: threads race, or a clock is read.\n",
        table(rows, engines)
    )?;
    for row in rows {
        if matches!(row.finding, Verdict::Broken(_) | Verdict::Crashed(_) | Verdict::Hung(_)) {
            writeln!(out, "{} {}: {}", row.engine.name(), row.check.name, row.finding)?;
        }
    }
    Ok(())
}

fn line(row: &Row) -> Line {
    let why = match &row.finding {
        Verdict::Holds => None,
        Verdict::Unsupported(why) => Some((*why).to_owned()),
        Verdict::Broken(values) | Verdict::Crashed(values) => Some(values.clone()),
        Verdict::Hung(patience) => Some(format!("no answer in {} s", patience.as_secs())),
    };
    Line {
        check: row.check.name,
        origin: row.check.origin,
        says: row.check.says,
        repeats: match row.check.repeats {
            Repeats::Always => "always",
            Repeats::Races => "races",
            Repeats::Clock => "clock",
        },
        engine: row.engine.name(),
        verdict: row.finding.word(),
        why,
    }
}

/// A line a check, a column an engine, in Markdown.
fn table(rows: &[Row], engines: &[Engine]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let names = engines.iter().map(|engine| engine.name().to_owned());
    table.set_header(
        ["check", "promise, found in", "what must be so"].map(str::to_owned).into_iter().chain(names),
    );
    for checked in rows.chunk_by(|one, next| one.check.name == next.check.name) {
        let Some(Row { check, .. }) = checked.first() else { continue };
        let mark = if check.repeats == Repeats::Always { "" } else { " *" };
        let verdicts = checked.iter().map(|row| cell(&row.finding).to_owned());
        let name = format!("{}{mark}", check.name);
        table.add_row([name, check.origin.to_owned(), check.says.to_owned()].into_iter().chain(verdicts));
    }
    table
}

fn cell(finding: &Verdict) -> &'static str {
    match finding {
        Verdict::Holds => "holds",
        Verdict::Unsupported(_) => "-",
        other => match other.word() {
            "broken" => "**broken**",
            "crashed" => "**crashed**",
            _ => "**hung**",
        },
    }
}
