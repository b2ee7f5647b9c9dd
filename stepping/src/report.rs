//! What a run of stepping found, with the fields that every storm has.

use std::fmt;

use serde::Serialize;

use crate::child::Verdict;
use crate::coverage::Function;
use crate::trial::Found;
use crate::uncovered::Uncovered;

/// The findings of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Seconds it took.
    pub seconds: f64,
    /// Cases, each under the handlers that are stepped together.
    pub rounds: u64,
    /// Calls of the allocator: those interrupted and those of the handlers.
    pub requests: u64,
    /// Requests refused rightly, for what handlers had taken.
    pub failed_atomic: u64,
    /// Requests refused although they could have been served.
    pub premature: u64,
    /// Frames or blocks lost: children in which some were.
    pub lost: u64,
    /// Runs handed out twice: children in which one was.
    pub double: u64,
    /// Instructions at which a handler ran, in all runs.
    pub interruptions: u64,
    /// Instructions of the longest call.
    pub max_steps: u64,
    /// Disagreements of audits.
    pub audit: Vec<String>,
    /// Broken promises, with the case, the handler and the instruction; the first of each round.
    pub violations: Vec<String>,
    /// Whether the time ran out before all was done.
    pub cut: bool,
    /// The functions of the allocator that were interrupted.
    pub functions: Vec<Function>,
}

impl Report {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Distinct instructions of the allocator that were interrupted.
    pub fn addresses(&self) -> u64 {
        self.functions.iter().map(|function| function.interrupted).sum()
    }

    /// Instructions that the functions interrupted have.
    pub fn instructions(&self) -> u64 {
        self.functions.iter().map(|function| function.instructions).sum()
    }

    /// Why the others were not: no case executes them.
    pub fn uncovered(&self) -> Uncovered {
        self.functions.iter().fold(Uncovered::default(), |sum, function| sum.and(function.uncovered))
    }

    /// Counts what a trial found.
    pub(crate) fn add(&mut self, found: Found) {
        let Found { case, interruptions: handlers, addresses, steps, verdicts } = found;
        let interruptions = addresses.len() as u64;
        self.rounds += 1;
        self.interruptions += interruptions;
        self.requests += handlers.iter().map(|handler| 1 + handler.calls()).sum::<u64>();
        self.max_steps = self.max_steps.max(steps);
        for (nth, verdict) in verdicts.into_iter().enumerate() {
            let (kind, what) = match verdict {
                Verdict::Kept { refused } => {
                    self.failed_atomic += u64::from(refused);
                    continue;
                }
                Verdict::Broken(kind, what) => (kind, what),
            };
            match kind {
                b'd' => self.double += 1,
                b'p' => self.premature += 1,
                b'l' => self.lost += 1,
                _ => {}
            }
            if kind == b'a' {
                self.audit.push(what.clone());
            }
            let at = addresses.get(nth).map_or("none".into(), |address| format!("{address:#x}"));
            let handler = handlers.get(nth).map_or("none", |handler| handler.name());
            self.violations.push(format!("{case}, handler {handler}, instruction {at}: {what}"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addresses, instructions) = (self.addresses(), self.instructions());
        let percent = addresses as f64 / instructions.max(1) as f64 * 100.0;
        let line = |f: &mut fmt::Formatter<'_>,
                    Uncovered { panics, padding, lost_steps, cold, other_states },
                    name| {
            writeln!(f, "{panics:>7} {padding:>7} {lost_steps:>7} {cold:>7} {other_states:>7}  {name}")
        };
        writeln!(f, "{:>16}: panics padding    lost    cold  states  functions not wholly interrupted", "")?;
        for Function { name, interrupted, instructions, uncovered } in &self.functions {
            if interrupted < instructions {
                write!(f, "{interrupted:>6} of {instructions:>6}: ")?;
                line(f, *uncovered, name.as_str())?;
            }
        }
        write!(f, "{addresses:>6} of {instructions:>6}: ")?;
        line(f, self.uncovered(), "all; of the rest no case executes any by itself")?;
        writeln!(
            f,
            "step: {} interruptions in {} rounds, {:.1} s{}; {addresses} distinct instructions of {instructions} \
             ({percent:.0} %) in {} functions",
            self.interruptions,
            self.rounds,
            self.seconds,
            if self.cut { ", cut short" } else { "" },
            self.functions.len()
        )?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))
    }
}
