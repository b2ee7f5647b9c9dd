//! `zonal bench`: what an operation costs, next to what the machine can do at best.
//!
//! Every row is timed in every round, so that a slow spell of the machine falls on all rows alike, and the medians of the
//! rounds are compared with a locked compare-exchange measured in the same rounds. No row writes to a frame: what is timed
//! is the allocator. Invariant: a row whose answers are wrong (a frame twice, a count not restored, an audit finding)
//! is never reported as a figure, but ends the run with exit code 1.

mod boot;
mod case;
mod churn;
mod drain;
mod engine;
mod gaps;
mod ground;
mod limit;
mod name;
mod peers;
mod plan;
mod plug;
mod rebuild;
mod refuse;
mod report;
mod row;
mod stage;
mod threads;
mod verdict;
mod workload;
mod wrong;
mod zonal;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use self::zonal::Zonal;
use crate::output::{Format, Verdict, explain};
pub(crate) use engine::{Engine, Setup};
use name::{BenchName, EngineName};
pub(crate) use peers::{BuddySpin, FrameAlloc};
use row::Row;
pub(crate) use threads::Cpus;
pub(crate) use wrong::Wrong;

/// Rounds, an odd number: the median is one of them.
const ROUNDS: usize = 95;
/// Every how many rounds the answers of all rows are checked.
const CHECK_EVERY: usize = 24;

/// Times the operations of the page allocator.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// The benches to run; all of them if none is named.
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<BenchName>,
    /// Only runs of this order (0 to 18), for every bench that has orders.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=18))]
    order: Option<u8>,
    /// Only with this many threads (1 to 64), pinned to CPUs in turn.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Only on a machine configured for this many CPUs (1 to 4096).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    cpus: Option<u16>,
    /// Only this engine.
    #[arg(long, value_enum, value_name = "E")]
    engine: Option<EngineName>,
}

/// Runs the benches asked for, and prints a row each: as JSON lines, or as a table with what each should cost. It holds
/// whatever the speed, and is broken by a wrong answer; an error is one of the arguments or of this machine.
pub(crate) fn run(args: BenchArgs, format: Format) -> Result<Verdict> {
    let plan = plan::rows(&args)?;
    let mut rows = plan.into_iter().map(Row::build).collect::<Result<Vec<_>>>()?;
    if let Err((case, wrong)) = measure(&mut rows) {
        explain("wrong answer", &[format!("{case}: {wrong}")]);
        return Ok(Verdict::Broken);
    }
    report::print(&rows, &args, format)?;
    Ok(Verdict::Holds)
}

/// Warms every row up, then times all of them in every round, and audits them at the end.
fn measure(rows: &mut [Row]) -> Result<(), (case::Case, wrong::Wrong)> {
    let steps = rows.len() * (ROUNDS + 1);
    let progress = ProgressBar::new(steps as u64).with_style(style());
    for round in 0..=ROUNDS {
        for row in rows.iter_mut() {
            progress.set_message(row.case().to_string());
            let mut step = match round {
                0 => row.warm_up(),
                _ if row.takes_part(round) => row.sample(),
                _ => Ok(()),
            };
            if round.is_multiple_of(CHECK_EVERY) {
                step = step.and_then(|()| row.check());
            }
            step.map_err(|wrong| (row.case(), wrong))?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    rows.iter().try_for_each(|row| row.audit().map_err(|wrong| (row.case(), wrong)))
}

fn style() -> ProgressStyle {
    let bar = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    bar.unwrap_or_else(|_| ProgressStyle::default_bar())
}
