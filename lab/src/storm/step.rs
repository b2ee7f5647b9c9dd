//! Storm `step`: one thread, interrupted after every instruction of every operation, one after the other, by a handler that
//! allocates, frees, drains, isolates or closes there. What is long or rare is interrupted once at each address. No threads, no clock, no dice: what is found is found again.

use std::time::Duration;

use anyhow::Result;
use stepping::Options;
use zonal_linux::WordKind;

use super::engine::Run;
use super::report::Report;
use super::words::Sense;
use super::{Finding, Storm};

/// The operations of `stepping`, each under each of its handlers.
pub(super) struct Step;

impl Storm for Step {
    fn name(&self) -> &'static str {
        "step"
    }

    fn about(&self) -> &'static str {
        "every operation is interrupted after each of its instructions; says how much of the code that was"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["EvictionDropsFrame", "DrainPlain"]
    }

    /// All of it takes two to three minutes on an idle machine; it ends when it is done.
    fn seconds(&self) -> u64 {
        180
    }

    fn words(&self) -> Sense {
        Sense::Only(
            WordKind::Locked,
            "who is stepped through is in no sequence at its end: no word would change as an owned one does",
        )
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let limit = Some(Duration::from_secs(run.seconds));
        let found = stepping::run(&Options { limit, until_broken: true, ..Options::default() })?;
        let broken = found.violations.first().map(|violation| {
            let promise = if found.premature > 0 { "P2" } else { "P5" };
            format!("{promise}: {violation}")
        });
        let report = Report {
            storm: self.name(),
            seconds: found.seconds,
            rounds: found.rounds,
            requests: found.requests,
            premature: found.premature,
            failed_atomic: found.premature,
            lost: found.lost,
            double: found.double,
            interruptions: found.interruptions,
            max_steps: found.max_steps,
            audit: found.audit.clone(),
            details: found.to_string(),
            ..Report::default()
        };
        Ok(Finding { report, broken })
    }
}
