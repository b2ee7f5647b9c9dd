//! What a storm found, as the one JSON object and in words.

use std::io::{self, Write};

use serde::Serialize;
use zonal_linux::WordKind;

use super::engine::Outcome;
use super::tally::Tally;

/// The figures of a storm. The names are a contract; see `zonal storm --help`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) storm: &'static str,
    /// Whose the slot words were.
    pub(super) words: WordKind,
    pub(super) seconds: f64,
    pub(super) rounds: u64,
    pub(super) requests: u64,
    pub(super) failed_blocking: u64,
    pub(super) failed_atomic: u64,
    pub(super) premature: u64,
    pub(super) false_oom: u64,
    pub(super) lost: u64,
    pub(super) double: u64,
    pub(super) interruptions: u64,
    pub(super) max_steps: u64,
    pub(super) longest_wait_us: u64,
    pub(super) audit: Vec<String>,
    /// Calls that others completed while the request of `max_steps` was counted. For people only.
    #[serde(skip)]
    pub(super) others: u64,
    /// What there is to say besides. For people only.
    #[serde(skip)]
    pub(super) details: String,
}

/// In which calls handlers ran.
fn interrupted(tally: &Tally) -> String {
    let calls: Vec<String> =
        tally.interrupted_calls().map(|(call, times)| format!("{call} {times} times")).collect();
    if calls.is_empty() { String::new() } else { format!("interrupted: {}\n", calls.join(", ")) }
}

impl Report {
    pub(super) fn of(storm: &'static str, outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        Self {
            storm,
            words: WordKind::default(),
            seconds: (outcome.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            rounds: outcome.rounds,
            requests: tally.requests,
            failed_blocking: tally.failed_blocking,
            failed_atomic: tally.failed_atomic,
            premature: tally.premature,
            false_oom: tally.false_oom,
            lost: tally.lost,
            double: tally.double,
            interruptions: tally.interruptions,
            max_steps: tally.max_steps,
            longest_wait_us: u64::try_from(tally.longest.as_micros()).unwrap_or(u64::MAX),
            audit: outcome.audit.clone(),
            others: tally.others,
            details: interrupted(tally),
        }
    }

    /// The report in words.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", self.details)?;
        let Self { storm, seconds, rounds, requests, interruptions, .. } = self;
        writeln!(
            out,
            "{storm}: {requests} calls in {rounds} rounds, {seconds} s; {interruptions} interrupted"
        )?;
        writeln!(
            out,
            "refused: {} that may wait, {} that may not, {} of them at a standstill; {} lost, {} double",
            self.failed_blocking, self.failed_atomic, self.premature, self.lost, self.double
        )?;
        writeln!(
            out,
            "longest: {} steps of a request that were counted, beside {} calls of others; {} us for a call",
            self.max_steps, self.others, self.longest_wait_us
        )?;
        if self.audit.is_empty() {
            return writeln!(out, "audit: clean after every round");
        }
        writeln!(out, "audit: {} disagreements", self.audit.len())?;
        self.audit.iter().try_for_each(|finding| writeln!(out, "  {finding}"))
    }
}
