//! `zonal conform`: this allocator and others, run through the promises and the holes of the conformance suite.
//!
//! What others break is reported; only what this allocator does not hold makes the run fail. Invariant: verdicts are what
//! the checks found in this run, nothing is remembered or assumed.

mod buddy;
mod engine;
mod frame_alloc;
mod report;
#[path = "../../../zonal/tests/support/subject.rs"]
mod subject;

use std::panic;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use zonal_testkit::conformance::{Check, Verdict as Finding, checks};

use crate::output::{Format, Verdict, explain};
use engine::Engine;

/// Runs allocators through the promises and the holes found in others.
#[derive(Args, Debug)]
pub(crate) struct ConformArgs {
    /// The checks to run; all of them if none is named.
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
    /// Only this engine.
    #[arg(long, value_enum, value_name = "E")]
    engine: Option<Engine>,
}

/// What a check came to.
struct Row {
    check: &'static Check,
    engine: Engine,
    finding: Finding,
}

/// Runs the checks asked for, and prints a JSON line each, or a table and what is broken.
pub(crate) fn run(args: ConformArgs, format: Format) -> Result<Verdict> {
    let chosen = choose(&args.checks)?;
    let engines = args.engine.map_or_else(|| Engine::value_variants().to_vec(), |engine| Vec::from([engine]));
    // A panic of an allocator is a finding, and it is reported as one.
    panic::set_hook(Box::new(|_| {}));
    let rows = judge(&chosen, &engines);
    let _ = panic::take_hook();
    report::print(&rows, &engines, format)?;
    let ours = rows.iter().filter(|row| row.engine == Engine::Zonal && row.finding != Finding::Holds);
    let ours: Vec<String> = ours.map(|row| format!("{}: {}", row.check.name, row.finding)).collect();
    explain("zonal does not hold", &ours);
    Ok(if ours.is_empty() { Verdict::Holds } else { Verdict::Broken })
}

fn choose(names: &[String]) -> Result<Vec<&'static Check>> {
    if let Some(name) = names.iter().find(|name| !checks().any(|check| check.name == **name)) {
        let known: Vec<&str> = checks().map(|check| check.name).collect();
        bail!("there is no check {name:?}; there are {}", known.join(", "));
    }
    Ok(checks().filter(|check| names.is_empty() || names.iter().any(|name| name == check.name)).collect())
}

fn judge(checks: &[&'static Check], engines: &[Engine]) -> Vec<Row> {
    let progress = ProgressBar::new((checks.len() * engines.len()) as u64).with_style(style());
    let pairs = checks.iter().flat_map(|check| engines.iter().map(move |engine| (*check, *engine)));
    let rows = pairs.map(|(check, engine)| {
        progress.set_message(format!("{} {}", check.name, engine.name()));
        let finding = check.run(&engine.build());
        progress.inc(1);
        Row { check, engine, finding }
    });
    let rows = rows.collect();
    progress.finish_and_clear();
    rows
}

fn style() -> ProgressStyle {
    let bar = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    bar.unwrap_or_else(|_| ProgressStyle::default_bar())
}
