//! The program `zonal`: replays recorded kernels on our allocator, and shows what became of memory.
//!
//! One file a subcommand; this one only reads the command line and turns the end into an exit status. Invariant: 0 if
//! what was asked for holds, 1 if a promise or an oracle was violated, 2 for bad input or arguments; never a panic.

mod bench;
mod caches;
mod conform;
mod latency;
mod ledger;
mod machine;
mod output;
mod picture;
mod plan;
mod proc;
mod progress;
mod replay;
mod storm;
mod trace;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Format;

/// Physical page allocation without locks: replayed, measured, drawn.
///
/// Without a subcommand, a bundled recording is replayed on a machine of two nodes with real memory, each frame stamped
/// and checked.
#[derive(Parser, Debug)]
#[command(name = "zonal", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print only JSON objects on stdout, one a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Replay(replay::ReplayArgs),
    Bench(bench::BenchArgs),
    Caches(caches::CachesArgs),
    Conform(conform::ConformArgs),
    Latency(latency::LatencyArgs),
    Storm(storm::StormArgs),
    Proc(proc::ProcArgs),
    Machine(machine::MachineArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return tell(&told),
    };
    let format = if cli.json { Format::Json } else { Format::Human };
    let result = match cli.command {
        None => replay::run_bundled(format),
        Some(Command::Replay(args)) => replay::run(args, format),
        Some(Command::Bench(args)) => bench::run(args, format),
        Some(Command::Caches(args)) => caches::run(args, format),
        Some(Command::Conform(args)) => conform::run(args, format),
        Some(Command::Latency(args)) => latency::run(&args, format),
        Some(Command::Storm(args)) => storm::run(&args, format),
        Some(Command::Proc(args)) => proc::run(&args, format),
        Some(Command::Machine(args)) => machine::run(args, format),
    };
    match result {
        Ok(verdict) => verdict.into(),
        Err(error) => failed(&error),
    }
}

/// Says what is wrong with the arguments, or what was asked about them: help, the version.
fn tell(told: &clap::Error) -> ExitCode {
    match told.print().and_then(|()| stdout().flush()) {
        Ok(()) => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)),
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // There is nobody to tell if stderr is closed; the status says it.
    let _ = writeln!(stderr(), "error: {error:#}");
    ExitCode::from(2)
}

/// Whether the reader of our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
