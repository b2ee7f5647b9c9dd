//! `zonal latency`: how long single calls take, not on average but one by one, up to the longest.
//!
//! A thread holds some thousand frames and takes or frees one at random, each call timed by itself; so hits, refills and landings
//! come as they come. Alone, or while other threads do the same in the same zone; as a task, as who may not wait, and from a
//! signal handler that interrupts the thread at any instruction, the nearest thing to an interrupt that a process has. No call
//! touches a frame. Invariant: what a handler records it records into memory that was there before.

mod cell;
mod interrupts;
mod picture;
mod samples;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use std::io::{Write, stderr};
use std::time::Duration;

use crate::output::{Format, Verdict, explain, print_json};

/// How long all cells together take if nothing else is asked for.
const SECONDS: u64 = 24;

/// Times single calls of the page allocator and of two others, and draws how long they took.
///
/// For each engine, context and load, and for alloc and free: the median to the 99.999th percentile and the longest, in
/// nanoseconds, the time of looking at the clock taken off, in steps of its tick. The longest has in it what took the CPU away: `preempted` says how
/// often somebody did. A JSON object has `engine`, `context` (task, atomic, handler), `load` (idle, loaded), `op` (alloc, free),
/// `threads` that load the zone, `samples`, `p50`, `p90`, `p99`, `p99_9`, `p99_99`, `p99_999`, `max`, `refused` and `preempted`.
#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// How long, all cells together.
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The random choices of a run before; chosen at random if not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// `zonal latency`. Holds whatever the figures, and is broken by a wrong answer.
pub(crate) fn run(args: &LatencyArgs, format: Format) -> Result<Verdict> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    // Who closed stderr does not want to know.
    let _ = writeln!(stderr(), "latency: --seed {seed}");
    let cells = cell::all();
    let each = Duration::from_secs(args.seconds) / cells.len() as u32;
    let progress = ProgressBar::new(cells.len() as u64);
    let mut measured = Vec::new();
    for cell in cells {
        progress.set_message(cell.to_string());
        match cell.measure(each, seed)? {
            Ok(samples) => measured.push((cell, samples)),
            Err(wrong) => {
                progress.finish_and_clear();
                explain("wrong answer", &[format!("{cell}: {wrong}")]);
                return Ok(Verdict::Broken);
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let rows = measured.iter().flat_map(|(cell, samples)| samples.rows(cell));
    match format {
        Format::Json => rows.into_iter().try_for_each(|row| print_json(&row))?,
        Format::Human => {
            writeln!(anstream::stdout().lock(), "{}", picture::draw(&measured, samples::Watch::new().tick()))?
        }
    }
    Ok(Verdict::Holds)
}
