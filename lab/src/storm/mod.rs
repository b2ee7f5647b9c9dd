//! `zonal storm`: threads and signal handlers go for the allocator at once, and every promise is looked at.
//!
//! One file a storm, behind one small trait; the `engine` carries it out in rounds on a `stage`, each context with a `hand`
//! of its own that judges every call, and the `judge` looks when all stand still. Frames do not exist here: who holds which
//! stands in a table (`owners`), and CPUs are played, more threads than CPUs among them. Invariant: exit status 0 if and only
//! if no promise was seen broken.

mod asker;
mod call;
#[cfg(test)]
mod canary;
mod churn;
mod console;
mod cpus;
mod cpuset;
mod cross_cpu;
mod drain;
mod engine;
mod fault;
mod floors;
mod gate;
mod hand;
mod judge;
mod kfree_rcu;
mod kill;
mod ledger;
mod mixed_orders;
mod nmi;
mod nodemask;
mod nolock;
mod oracle;
mod own_words;
mod owners;
mod parked;
mod paused_rebuild;
mod plug;
mod pressure;
mod pulse;
mod report;
mod request;
mod scene;
mod sets;
mod signals;
mod single_cpu;
mod stage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod step;
mod steps;
mod tally;
mod tick;
mod violation;
mod wish;
mod words;
mod worker;

use std::io::{Write, stderr};

use anyhow::{Context, Result, anyhow};
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use zonal_linux::{Machine, MachineError};

use crate::output::{Format, Verdict, explain, print_json};
use engine::Run;
use hand::Hand;
use report::Report;
use words::{Sense, Words};

/// How long a storm rages if nothing else is asked for.
const SECONDS: u64 = 10;
/// The same where it is to find something: a fault that takes a race comes when it comes.
const SECONDS_WITH_FAULT: u64 = 60;

/// The storms.
const STORMS: &[&dyn Storm] = &[
    &churn::Churn,
    &mixed_orders::MixedOrders,
    &drain::Drain,
    &cross_cpu::CrossCpu,
    &signals::Signals,
    &own_words::OwnWords,
    &nmi::Nmi,
    &nolock::NOLOCK,
    &parked::Parked,
    &single_cpu::SingleCpu,
    &floors::Floors,
    &pressure::Pressure,
    &cpuset::Cpusets,
    &plug::last_block::LastBlock,
    &plug::hotplug::Hotplug,
    &plug::everything::Everything,
    &paused_rebuild::PausedRebuild,
    &console::Console,
    &nodemask::Nodemask,
    &kfree_rcu::KfreeRcu,
    &kill::Kill,
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    &step::Step,
];

/// A storm.
trait Storm: Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// What it does, in a line.
    fn about(&self) -> &'static str;

    /// The core's planted faults that it must notice (`zonal/src/mutant.rs`).
    fn faults(&self) -> &'static [&'static str];

    /// The slot words on which it makes sense.
    fn words(&self) -> Sense {
        Sense::Both
    }

    /// How long it rages if nothing else is asked for.
    fn seconds(&self) -> u64 {
        SECONDS
    }

    /// After how many rounds it ends if it is not told how long to rage.
    fn rounds(&self) -> u64 {
        u64::MAX
    }

    /// Lets it rage, until its time is over or a promise is broken.
    fn rage(&'static self, run: Run) -> Result<Finding>;
}

/// What a storm found.
struct Finding {
    report: Report,
    /// The first promise broken, and how.
    broken: Option<String>,
}

/// A storm of threads: a machine, and what each thread does on it again and again.
trait Threads: Storm {
    /// Where it happens. Small, so that threads meet.
    fn machine(&self) -> Result<Machine, MachineError>;

    /// Threads, whatever number of CPUs there is.
    fn threads(&self) -> usize {
        4
    }

    /// Steps of each thread in a round.
    fn steps(&self) -> usize {
        2000
    }

    /// One step of a thread.
    fn step(&self, hand: &mut Hand);

    /// How deep handlers interrupt each other on every thread; 0: there are none.
    fn handlers(&self) -> usize {
        0
    }

    /// What a handler does. Takes no lock, touches no heap, cannot panic.
    fn interrupt(&self, _hand: &mut Hand) {}
}

/// Storm the allocator with threads and signal handlers.
///
/// Rounds alternate: in one the threads hold so little that no request for a single frame may be refused, in the next they
/// take all there is. After each the threads stand still: the audit must be clean, and what nobody holds must be had, first
/// in runs of one order, then frame by frame. At the end everything is freed and drained, and nothing may be missing.
///
/// In `nmi` and `single-cpu` handlers ask by the nolock pair in the middle of what they interrupt. In `nolock` a thread asks so
/// 1024 and 65,536 times in a row while others hammer the zones, and in `parked` what one CPU frees so is what another one is
/// served from; no request of either is refused.
///
/// In `floors` one thread works at a time, and a request must be served if and only if the oracle says so; then five go down
/// at once, and no zone may be taken further below a floor than by a run and the rest of a group for each of four. In
/// `pressure` threads ask for more than there is: a refusal is judged with all others stopped, and at the end of a round a
/// node that is short must come back to its high mark by its kswapd alone. In `last-block`, `hotplug` and `everything` memory
/// comes and goes meanwhile; at the end of a round nobody holds anything, and each section must go offline at the first try. In the
/// latter two sections hold their own rows in every other burst, and a removal waits until nobody looks at them.
/// `rounds` are times that the section of `last-block` went, which ends after 1,000,000 of them if it is given no time; steps
/// of plugging in the other two. `everything` does besides what `cpuset`, `pressure` and `signals` do, all at once, for 60 s.
/// In `paused-rebuild`, `console` and `nodemask` a round is a rebuild of the zonelists that has stood still, a rebuild, or a
/// section that comes or goes.
///
/// In `drain` the threads whose words are emptied are first stopped by a signal at whatever instruction they are: their words must be empty
/// after a drain, in 10,000 instructions, and all frames must be had but for what they have in hand. It says how many drains there were, their mean
/// and longest, and the longest call of others during drains of two thousand frames, the time without a CPU included.
///
/// In `kfree-rcu` threads and their handlers queue objects to be freed after a grace period while all frames come and go:
/// `requests` are objects queued, `interruptions` handlers in the middle of that, `lost` objects never freed and frames that
/// did not come back, `double` objects freed twice.
///
/// In `cpuset` every node always has a frame to spare for every set, so each refusal and each kill is one too many.
///
/// `requests` counts calls of the allocator. `failed_blocking` and `failed_atomic` are refusals that broke a promise, by
/// whether the request may wait: a single frame refused with more to spare than all others can have in hand, or at a
/// standstill anything of which a free run lay in a zone above its mark; the latter are `premature` too, and so is whatever
/// failed before all was tried that its flags allow. `false_oom` are kills while reclaim was not in vain. `lost` are frames
/// that nobody holds and that are not free; `double` counts frames handed out twice and frees that were wrongly refused or
/// accepted. `interruptions` are handlers that ran inside a call (in `everything`, inside one or what the storm notes of it). `max_steps` is measured on one request in every fifteenth
/// round, by the trap flag, a machine instruction a step, up to 200,000: far slower than all others, it meets the most of
/// them. For a single frame it may be no more than 60,000, and 2,000 more for each call that others completed meanwhile.
/// (x86-64 only, else 0.) In `floors` these are refusals on a quiet machine; in `pressure` and `cpuset` a step is a walk, a round of
/// reclaim, a pause or a kill, of which there may be 150, and 60 more for each call of others and each round of reclaim that
/// brought frames; in the three storms on zonelists requests are counted now and then, and 100,000 are allowed. `longest_wait_us` is the longest call of all that were not so slowed down, the time without a CPU
/// included.
#[derive(clap::Args, Debug)]
pub(crate) struct StormArgs {
    /// The storm.
    #[arg(
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(STORMS.iter().map(|storm| storm.name())),
        required_unless_present = "list"
    )]
    name: Option<String>,
    /// How long; 10 if not given (pressure 30, everything 60), up to 60 with a fault. A broken promise ends it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// The random choices of a run before (threads meet as they please); chosen at random if not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Whose the slot words are: everybody's, or their CPUs' own; `own-words` has no others than those.
    #[arg(long, value_enum, value_name = "WHOSE")]
    words: Option<Words>,
    /// Plant a fault that the storm must notice, in a program built with `--features faults`.
    #[arg(long, value_name = "F")]
    fault: Option<String>,
    /// List the storms and their faults.
    #[arg(long)]
    list: bool,
}

/// `zonal storm`.
pub(crate) fn run(args: &StormArgs, format: Format) -> Result<Verdict> {
    if args.list {
        return list(format);
    }
    let named = |storm: &&&dyn Storm| Some(storm.name()) == args.name.as_deref();
    let storm = *STORMS.iter().find(named).context("no such storm")?;
    if let Some(fault) = &args.fault {
        fault::plant(storm, fault)?;
    }
    let seconds =
        args.seconds.unwrap_or(if args.fault.is_some() { SECONDS_WITH_FAULT } else { storm.seconds() });
    let rounds = if args.seconds.is_some() { u64::MAX } else { storm.rounds() };
    let words = storm.words().of(args.words);
    let words = words.map_err(|why| anyhow!("storm {} has no such --words: {why}", storm.name()))?;
    let run = Run { words, seconds, seed: args.seed.unwrap_or_else(|| fastrand::u64(..)), rounds };
    worker::work_if_asked(run.seed)?;
    // Who closed stderr does not want to know.
    let _ = writeln!(stderr(), "{}: --seed {}", storm.name(), run.seed);
    let Finding { report, broken } = storm.rage(run)?;
    let report = Report { words, ..report };
    let shown = match format {
        Format::Json => print_json(&report),
        Format::Human => Ok(report.write(&mut anstream::stdout().lock())?),
    };
    if let Some(broken) = broken {
        explain("broken", &[broken]);
        return Ok(Verdict::Broken);
    }
    shown?;
    Ok(Verdict::Holds)
}

/// A storm of the list.
#[derive(Serialize)]
struct Listed {
    storm: &'static str,
    faults: &'static [&'static str],
}

fn list(format: Format) -> Result<Verdict> {
    for storm in STORMS {
        let (name, faults) = (storm.name(), storm.faults());
        match format {
            Format::Json => print_json(&Listed { storm: name, faults })?,
            Format::Human => {
                let out = &mut anstream::stdout().lock();
                writeln!(out, "{name:<14}{}\n{:14}faults: {}", storm.about(), "", faults.join(", "))?;
            }
        }
    }
    Ok(Verdict::Holds)
}
