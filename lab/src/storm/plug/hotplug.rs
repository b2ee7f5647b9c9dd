//! Storm `hotplug`: sections are added, onlined to any zone, offlined and removed, with objections and cancellations, on two
//! nodes, while threads ask for all classes and orders; in every other burst they hold their own rows.

use anyhow::Result;
use fastrand::Rng;
use zonal::{AutoMovable, Gfp, HotplugError, MemoryStep, OnlineType};

use super::super::engine::Run;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::super::{Finding, Storm};
use super::ground::{Company, Ground, Refusals};
use super::rows::Rows;
use super::{Plugger, Plugging, State, wish};

/// Memory comes and goes everywhere.
pub(in super::super) struct Hotplug;

/// What is asked for: the more often, the more rows.
const FLAGS: [Gfp; 8] = [
    Gfp::HIGHUSER_MOVABLE,
    Gfp::HIGHUSER_MOVABLE,
    Gfp::NOWAIT.union(Gfp::MOVABLE).union(Gfp::HIGHMEM),
    Gfp::KERNEL,
    Gfp::ATOMIC,
    Gfp::NOWAIT,
    Gfp::KERNEL.union(Gfp::NORETRY),
    Gfp::KERNEL.union(Gfp::RETRY_MAYFAIL),
];
const ORDERS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 5, 7, 9, 10];

impl Storm for Hotplug {
    fn name(&self) -> &'static str {
        "hotplug"
    }

    fn about(&self) -> &'static str {
        "sections come and go on two nodes, with objections and cancellations, with their own rows or without, under requests of all classes and orders"
    }

    fn faults(&self) -> &'static [&'static str] {
        &[
            "UnplugUsed",
            "VetoKeepsIsolated",
            "IsolateNoDebit",
            "EvictionDropsFrame",
            "RowsUnquiet",
            "RowsHandedOut",
        ]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        super::rage(self, run)
    }
}

impl Plugging for Hotplug {
    fn ground(&self) -> Ground {
        Ground {
            nodes: 2,
            blocks: 48,
            sections: 3,
            cpus: 2,
            refusals: Refusals::Fair,
            company: Company::Nobody,
            rows: Rows::Lent,
        }
    }

    fn rows(&self) -> &'static [Rows] {
        &[Rows::Lent, Rows::Own]
    }

    fn threads(&self) -> usize {
        3
    }

    fn held(&self) -> usize {
        12
    }

    fn wish(&self, dice: &mut Rng) -> Wish {
        wish(FLAGS[dice.usize(..8)], ORDERS[dice.usize(..16)])
    }

    fn plug(&self, plugger: &mut Plugger) -> Result<bool, Violation> {
        let section = plugger.dice.usize(..plugger.states.len());
        let (what, step, done) = match plugger.states[section] {
            State::Absent => {
                let step = objection(plugger, MemoryStep::GoingToBeAdded);
                ("adding", step, plugger.add(section))
            }
            State::Offline if plugger.dice.u8(..4) == 0 => return remove(plugger, section),
            State::Offline => {
                let (step, to) = (objection(plugger, MemoryStep::GoingOnline), zone(&mut plugger.dice));
                ("onlining", step, plugger.bring_online(section, to))
            }
            State::Online(_) => return offline(plugger, section),
        };
        plugger.world.veto(None);
        match (done, step) {
            (Ok(()), None) => Ok(true),
            (Ok(()), Some(_)) => Err(Violation::VetoIgnored { what, pfn: plugger.world.hot[section].start }),
            (Err(HotplugError::Vetoed { step }), Some(vetoed)) if step == vetoed => Ok(true),
            (Err(error), _) => Err(plugger.wrong(what, section, error)),
        }
    }
}

/// Removes it, unless somebody objects, or nobody can tell whether its rows are looked at.
fn remove(plugger: &mut Plugger, section: usize) -> Result<bool, Violation> {
    let step = objection(plugger, MemoryStep::GoingToBeRemoved);
    let is_unsure = plugger.world.ground.rows == Rows::Own && plugger.dice.u8(..8) == 0;
    let done = plugger.remove(section, is_unsure);
    plugger.world.veto(None);
    match (done, step) {
        (Ok(()), None) if !is_unsure => Ok(true),
        (Ok(()), _) => {
            Err(Violation::VetoIgnored { what: "removing", pfn: plugger.world.hot[section].start })
        }
        (Err(HotplugError::Vetoed { step }), Some(vetoed)) if step == vetoed => Ok(true),
        (Err(HotplugError::NotQuiet), None) if is_unsure => Ok(true),
        (Err(error), _) => Err(plugger.wrong("removing", section, error)),
    }
}

/// Takes it offline, unless somebody objects, it is cancelled, or something is in the way.
fn offline(plugger: &mut Plugger, section: usize) -> Result<bool, Violation> {
    let step = objection(plugger, MemoryStep::GoingOffline);
    plugger.world.cancel(plugger.dice.u8(..8) == 0);
    let done = plugger.offline(section)?;
    plugger.world.cancel(false);
    plugger.world.veto(None);
    match (done, step) {
        (Ok(()), Some(_)) => {
            Err(Violation::VetoIgnored { what: "offlining", pfn: plugger.world.hot[section].start })
        }
        (Err(error @ HotplugError::Vetoed { .. }), None) => Err(plugger.wrong("offlining", section, error)),
        _ => Ok(true),
    }
}

/// Somebody may object to the step.
fn objection(plugger: &mut Plugger, step: MemoryStep) -> Option<MemoryStep> {
    let objection = (plugger.dice.u8(..8) == 0).then_some(step);
    plugger.world.veto(objection);
    objection
}

fn zone(dice: &mut Rng) -> OnlineType {
    match dice.u8(..8) {
        0..=2 => OnlineType::Kernel,
        3 => OnlineType::ContigZones,
        4 => OnlineType::AutoMovable(AutoMovable::default()),
        _ => OnlineType::Movable,
    }
}
