//! Storm `floors`: every class of request goes down to its floor, and what is left there is counted to the frame.
//!
//! A round is a machine with marks as Linux would give them, chosen by the dice, and on it one descent after the other: one
//! class, one limit of zones, one order. While one thread works the machine is quiet, and a request is served if and only
//! if the oracle says so. Then several threads go down at once.
//!
//! Invariant: on a quiet machine `served <=> admitted`; with N threads at once no zone is taken further below a floor than
//! by a run and the rest of a group for each of the N - 1 others, and who was refused last was refused rightly.

mod descent;
mod ground;

use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use zonal_linux::WordKind;

use super::call::Call;
use super::engine::{Outcome, Run};
use super::pulse::{PATIENCE, Pulse, watched};
use super::tally::Tally;
use super::violation::Violation;
use super::words::Sense;
use super::{Finding, Storm};
use descent::Descents;

/// Machines with marks, gone down on again and again.
pub(super) struct Floors;

impl Storm for Floors {
    fn name(&self) -> &'static str {
        "floors"
    }

    fn about(&self) -> &'static str {
        "every class of request goes down to its exact floor, on machines with Linux's marks"
    }

    fn faults(&self) -> &'static [&'static str] {
        &[
            "MarkIgnored",
            "AtomicAtMin",
            "ShareTooDeep",
            "ProtectionForgotten",
            "CachedForgotten",
            "CreditForgotten",
            "ReserveKept",
        ]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Locked, "its zones are too small to leave words to their CPUs")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let outcome = watched(move |pulse| descents(run, pulse))?.unwrap_or_else(|| Ok(hung()))?;
        Ok(outcome.finding(self.name()))
    }
}

/// One machine after the other.
fn descents(run: Run, pulse: &Pulse) -> Result<Outcome> {
    let (start, mut dice) = (Instant::now(), Rng::with_seed(run.seed));
    let (mut tally, mut audit, mut rounds) = (Tally::default(), Vec::new(), 0);
    while tally.first.is_none() && start.elapsed() < Duration::from_secs(run.seconds) {
        let machine = ground::machine(&mut dice)?;
        ground::on(&machine, pulse, |ground| {
            let broken = Descents::new(ground, &mut dice, &mut tally).all().err();
            broken.into_iter().for_each(|violation| tally.broke(violation));
            ground.recount(&mut tally, &mut audit);
        })?;
        rounds += 1;
    }
    Ok(Outcome { tally, audit, rounds, elapsed: start.elapsed() })
}

/// A request that never came back.
fn hung() -> Outcome {
    let mut tally = Tally::default();
    tally.broke(Violation::Hung { thread: 0, call: Call::Alloc, seconds: PATIENCE.as_secs() });
    Outcome { tally, audit: Vec::new(), rounds: 0, elapsed: PATIENCE }
}
