//! `zonal machine`: a machine as an allocator would find it, drawn; and descriptions of machines, looked through.
//!
//! Only metadata is built, no frame is mapped. Invariant: what is drawn is what the allocator built, not what the
//! description asked for.

mod check;
mod distances;
mod map;
mod nodes;
mod portrait;

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use zonal_linux::{CpuSource, Machine, Review, Simulation};

use crate::output::{Format, Verdict, print_json};
use check::Finding;
use portrait::Portrait;

/// Columns where nothing says how many there are, and the least and most that are used.
const COLUMNS: usize = 100;
const NARROW: usize = 60;
const WIDE: usize = 200;

/// Shows machines as the allocator sees them, and checks descriptions of them.
#[derive(Args, Debug)]
pub(crate) struct MachineArgs {
    #[command(subcommand)]
    command: MachineCommand,
}

#[derive(Subcommand, Debug)]
enum MachineCommand {
    /// Draw a machine: nodes, zones with their watermarks, where they lie, distances, fallback orders.
    ///
    /// Counts and marks are of frames. A zone's holes are the frames between its first block and its last that are not
    /// its own; zones without a line of marks have none. `metadata` is what an allocator for the machine is lent.
    Show {
        /// The machine's description in TOML. Without it, the machine this runs on, its nodes laid out one after the
        /// other: the kernel tells their sizes, not their addresses.
        #[arg(value_name = "FILE.toml")]
        file: Option<PathBuf>,
        /// Draw every node, also where many are alike.
        #[arg(long)]
        all: bool,
    },
    /// Say what is wrong with descriptions, and what is odd, with the line.
    Check {
        /// The descriptions.
        #[arg(value_name = "FILE.toml", required = true)]
        files: Vec<PathBuf>,
    },
}

/// How much is drawn of a machine with many nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    /// Nodes that are alike once, and so much of lists as there is room for.
    Summary,
    /// Everything.
    All,
}

/// `zonal machine`.
pub(crate) fn run(args: MachineArgs, format: Format) -> Result<Verdict> {
    match args.command {
        MachineCommand::Show { file, all } => {
            let portrait = match &file {
                Some(path) => described(path)?,
                None => this()?,
            };
            let extent = if all { Extent::All } else { Extent::Summary };
            show(&portrait, extent, format)
        }
        MachineCommand::Check { files } => check::run(&files, format),
    }
}

fn described(path: &Path) -> Result<Portrait> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    match Review::of(&text).with_context(|| name.clone())? {
        Review::Sound { machine, simulation, .. } => Portrait::of(name, &machine, simulation.allocator()),
        Review::Refused(mistakes) => {
            Err(refusal(mistakes.into_iter().map(|mistake| Finding::of(path, mistake))))
        }
    }
}

fn this() -> Result<Portrait> {
    let machine = Machine::this()?;
    let simulation = Simulation::build(&machine, CpuSource::Played)?;
    Portrait::of("this machine".to_owned(), &machine, simulation.allocator())
}

/// An error of several lines, one a finding.
fn refusal(findings: impl IntoIterator<Item = Finding>) -> anyhow::Error {
    let lines: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    anyhow!(lines.join("\nerror: "))
}

fn show(portrait: &Portrait, extent: Extent, format: Format) -> Result<Verdict> {
    if format == Format::Json {
        print_json(portrait)?;
        return Ok(Verdict::Holds);
    }
    let columns = columns();
    let out = &mut anstream::stdout().lock();
    headline(portrait, out)?;
    writeln!(out)?;
    map::draw(portrait, columns, out)?;
    writeln!(out)?;
    nodes::draw(&portrait.nodes, extent, columns, out)?;
    writeln!(out)?;
    distances::draw(&portrait.distances, extent, out)?;
    writeln!(out)?;
    nodes::fallback(&portrait.nodes, extent, columns, out)?;
    Ok(Verdict::Holds)
}

fn headline(portrait: &Portrait, out: &mut dyn Write) -> std::io::Result<()> {
    let Portrait { machine, nodes, cpus, bytes, managed_bytes, metadata_bytes, metadata_share, .. } =
        portrait;
    let (memory, managed) = (ByteSize(*bytes), ByteSize(*managed_bytes));
    writeln!(out, "{machine}")?;
    writeln!(out, "nodes {}, CPUs {cpus}, memory {memory}, to be handed out {managed}", nodes.len())?;
    writeln!(out, "metadata: {}, {:.4} % of memory", ByteSize(*metadata_bytes), 100.0 * metadata_share)
}

/// The width of the terminal that stdout is, if it is one.
fn columns() -> usize {
    let out = stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    columns.map_or(COLUMNS, |columns| columns.clamp(NARROW, WIDE))
}

/// As many of the words as fit into `columns`, and a mark where some are missing.
fn cut(words: &[String], columns: usize) -> String {
    let line = words.join(" ");
    if line.chars().count() <= columns {
        return line;
    }
    let mut used = 2;
    let fitting = words.iter().take_while(|word| {
        used += word.chars().count() + 1;
        used <= columns + 1
    });
    fitting.map(String::as_str).chain(["…"]).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn lines_are_cut_between_words() {
        let words = ["10", "200", "3"].map(str::to_owned);
        assert_eq!(cut(&words, 8), "10 200 3");
        assert_eq!(cut(&words, 7), "10 …");
        assert_eq!(cut(&words, 3), "…");
    }
}
