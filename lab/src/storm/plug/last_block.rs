//! Storm `last-block`: the last Movable section goes and comes while requests stand at it (linux-facts 1.5: a request that has
//! cached its position while the zone it starts at is emptied, and finds none).
//!
//! There is always more Normal memory than all threads hold, so no request may be refused, and nobody killed.

use anyhow::Result;
use fastrand::Rng;
use zonal::{Gfp, OnlineType};

use super::super::engine::Run;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::super::{Finding, Storm};
use super::ground::{Company, Ground, Refusals};
use super::rows::Rows;
use super::{Plugger, Plugging, State, wish};

/// The last Movable section goes and comes.
pub(in super::super) struct LastBlock;

impl Storm for LastBlock {
    fn name(&self) -> &'static str {
        "last-block"
    }

    fn about(&self) -> &'static str {
        "the last Movable section goes and comes while requests stand at it, with Normal memory free"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["ZonelistStops", "UnplugUsed", "VetoKeepsIsolated"]
    }

    /// At some fifty thousand a second.
    fn seconds(&self) -> u64 {
        600
    }

    fn rounds(&self) -> u64 {
        1_000_000
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        super::rage(self, run)
    }
}

impl Plugging for LastBlock {
    fn ground(&self) -> Ground {
        Ground {
            nodes: 1,
            blocks: 16,
            sections: 1,
            cpus: 2,
            refusals: Refusals::Strict,
            company: Company::Nobody,
            rows: Rows::Lent,
        }
    }

    fn threads(&self) -> usize {
        2
    }

    fn held(&self) -> usize {
        3
    }

    fn wish(&self, dice: &mut Rng) -> Wish {
        let waits = [Gfp::HIGHUSER_MOVABLE, Gfp::NOWAIT | Gfp::MOVABLE | Gfp::HIGHMEM];
        let gfp = waits[dice.usize(..2)] | if dice.bool() { Gfp::NORETRY } else { Gfp::empty() };
        wish(gfp, [0, 0, 0, 2][dice.usize(..4)])
    }

    fn plug(&self, plugger: &mut Plugger) -> Result<bool, Violation> {
        match plugger.states[0] {
            State::Absent => plugger.add(0).map_err(|error| plugger.wrong("adding", 0, error))?,
            State::Offline => plugger.online_again(0, OnlineType::Movable)?,
            State::Online(_) => return Ok(plugger.offline(0)?.is_ok()),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use zonal_linux::WordKind;

    use super::*;

    #[test]
    fn a_stated_number_of_rounds_ends_it() {
        let finding = super::super::rage(
            &LastBlock,
            Run { words: WordKind::Locked, seconds: 60, seed: 1, rounds: 1000 },
        )
        .unwrap();
        assert!(finding.broken.is_none(), "{:?}", finding.broken);
        assert!(finding.report.rounds >= 1000 && finding.report.seconds < 50.0, "{:?}", finding.report);
    }
}
