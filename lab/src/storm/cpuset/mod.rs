//! Storm `cpuset`: sets of tasks move a hundred times a second between four nodes near full, and policies change, while threads
//! ask from within them.
//!
//! Nothing can be had back, and nothing need be: each node always has more above its min mark than all threads together hold
//! and hide, so whatever a set allows has a usable frame at each moment. Invariant: nobody is refused, nobody is killed, and
//! what a request with `HARDWALL` gets lies where its set was at some moment of the call.

mod ground;
mod hand;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;

use super::call::Call;
use super::engine::{Outcome, Run};
use super::pulse::{PATIENCE, Pulse, watched};
use super::sets::{self, Mover, Sets};
use super::tally::Tally;
use super::violation::Violation;
use super::{Finding, Storm};
use ground::{Ground, HANDS, Round};
use hand::Hand;

/// Nodes of the machine.
const NODES: u16 = 4;
/// How long a machine is used.
const ROUND: Duration = Duration::from_millis(300);
/// How long a set stays where it is.
const STAY: Duration = Duration::from_millis(10);
/// Every how many rounds CPUs cache frames.
const CACHED: u64 = 3;

/// Sets that move.
pub(super) struct Cpusets;

impl Storm for Cpusets {
    fn name(&self) -> &'static str {
        "cpuset"
    }

    fn about(&self) -> &'static str {
        "cpusets move and policies change a hundred times a second, on nodes near full"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["CpusetMoveUnseen", "GenerationKept", "DisjointCounts", "HardwallSoft"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let outcome = watched(move |pulse| rounds(run, pulse))?.unwrap_or_else(|| Ok(hung()))?;
        Ok(outcome.finding(self.name()))
    }
}

/// One machine after the other.
fn rounds(run: Run, pulse: &Pulse) -> Result<Outcome> {
    let (start, mut dice) = (Instant::now(), Rng::with_seed(run.seed));
    let (mut tally, mut audit, mut rounds) = (Tally::default(), Vec::new(), 0);
    while tally.first.is_none() && start.elapsed() < Duration::from_secs(run.seconds) {
        let round = if rounds % CACHED == CACHED - 1 { Round::Cached } else { Round::Bare };
        let seeds = (dice.u64(..), dice.u64(..));
        ground::on((round, run.words), &mut dice, pulse, |ground| {
            sets::on(NODES, |sets| storm(ground, sets, seeds, &mut tally))??;
            if tally.first.is_none() {
                ground.recount(&mut tally, &mut audit);
            }
            anyhow::Ok(())
        })??;
        rounds += 1;
    }
    Ok(Outcome { tally, audit, rounds, elapsed: start.elapsed() })
}

/// A round: the hands ask until its time is over or a promise is broken, this thread moves the sets.
fn storm<'g>(
    ground: &'g Ground<'g>,
    sets: &'g Sets<'g>,
    (hands, mover): (u64, u64),
    total: &mut Tally,
) -> Result<()> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let work = |cpu: usize| {
            let mut hand = Hand::new(ground, sets, cpu, Rng::with_seed(hands.wrapping_add(cpu as u64)));
            while !is_over.load(Relaxed) && hand.tally.first.is_none() {
                hand.step().err().into_iter().for_each(|violation| hand.tally.broke(violation));
            }
            hand.end().err().into_iter().for_each(|violation| hand.tally.broke(violation));
            hand.tally
        };
        let start = |cpu| thread::Builder::new().spawn_scoped(scope, move || work(cpu));
        let threads = (0..HANDS).map(start).collect::<Result<Vec<_>, _>>().context("threads that ask");
        let mut mover = Mover::new(sets, Rng::with_seed(mover));
        let end = Instant::now() + ROUND;
        let mut moved = Ok(());
        while threads.is_ok() && moved.is_ok() && Instant::now() < end {
            moved = mover.step();
            thread::sleep(STAY);
        }
        is_over.store(true, Relaxed);
        for thread in threads? {
            total.add(&thread.join().map_err(|_| anyhow!("a thread of the storm panicked"))?);
        }
        moved
    })
}

/// A request that never came back.
fn hung() -> Outcome {
    let mut tally = Tally::default();
    tally.broke(Violation::Hung { thread: 0, call: Call::Alloc, seconds: PATIENCE.as_secs() });
    Outcome { tally, audit: Vec::new(), rounds: 0, elapsed: PATIENCE }
}
