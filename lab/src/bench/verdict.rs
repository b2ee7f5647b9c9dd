//! What a row should cost: by itself, next to its sister, and next to the other frame allocators.

use super::case::Case;
use super::name::{BenchName, EngineKind, EngineName};
use super::report::Measured;
use super::stage;

/// How far apart two figures may be and still be a tie.
const TIE: f64 = 0.03;
/// What of the memory may be metadata.
const METADATA: f64 = 0.000_06;

/// Each thing the row should be, and whether it is.
pub(super) fn verdicts(row: &Measured, all: &[Measured], cas_ns: f64) -> Vec<(String, &'static str)> {
    let verdicts = [
        own(row, cas_ns),
        with_part(row, all, cas_ns),
        beside_sister(row, all),
        metadata(row),
        beside_peers(row, all),
    ];
    verdicts.into_iter().flatten().collect()
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn own(row: &Measured, cas_ns: f64) -> Option<(String, &'static str)> {
    let target = row.case.target()?;
    Some((format!("<= {target}"), met(row.figures.ns / cas_ns <= target)))
}

fn with_part(row: &Measured, all: &[Measured], cas_ns: f64) -> Option<(String, &'static str)> {
    let (case, target) = row.case.part()?;
    let part = figure(all, &case)? / cas_ns;
    let (name, most) = (case.bench.name(), target + part);
    Some((format!("<= {target} + {part:.0} {name}"), met(row.figures.ns / cas_ns <= most)))
}

fn beside_sister(row: &Measured, all: &[Measured]) -> Option<(String, &'static str)> {
    let (case, times) = row.case.sister()?;
    let ratio = row.figures.ns / figure(all, &case)?;
    let which = match (case.bench == row.case.bench, case.cpus == row.case.cpus) {
        (false, _) => case.bench.name(),
        (true, true) => "1 thread",
        (true, false) => "2 cpus",
    };
    Some((format!("{ratio:.2} <= {times} x {which}"), met(ratio <= times)))
}

fn metadata(row: &Measured) -> Option<(String, &'static str)> {
    if (row.case.engine, row.case.bench) != (EngineName::Zonal, BenchName::Boot) {
        return None;
    }
    let share = stage::metadata_share(&row.case)?;
    Some((format!("metadata {:.4} <= {:.3} %", share * 100.0, METADATA * 100.0), met(share <= METADATA)))
}

/// Our row next to the best other frame allocator's; that of words that CPUs own next to the best of any kind.
fn beside_peers(row: &Measured, all: &[Measured]) -> Option<(String, &'static str)> {
    let is_peer = |engine: EngineName| match (row.case.engine, engine) {
        (_, EngineName::Zonal | EngineName::ZonalOwner) => false,
        (EngineName::Zonal, _) => engine.kind() == EngineKind::Frame,
        (EngineName::ZonalOwner, _) => engine.kind() != EngineKind::Limit,
        _ => false,
    };
    let peers = all.iter().filter(|peer| is_peer(peer.case.engine));
    let peers = peers.filter(|peer| Case { engine: row.case.engine, ..peer.case } == row.case);
    let best = peers.min_by(|one, other| one.figures.ns.total_cmp(&other.figures.ns))?;
    let ratio = row.figures.ns / best.figures.ns;
    let place = match ratio - 1.0 {
        more if more > TIE => "behind",
        less if less < -TIE => "ahead",
        _ => "tie",
    };
    Some((format!("{ratio:.2} x {}", best.case.engine.name()), place))
}

fn figure(all: &[Measured], case: &Case) -> Option<f64> {
    all.iter().find(|row| row.case == *case).map(|row| row.figures.ns)
}

#[cfg(test)]
mod tests {
    use zonal::Order;

    use super::*;
    use crate::bench::row::Figures;

    #[test]
    fn our_kinds_are_compared_with_others_not_with_each_other() {
        let row = |engine, ns| {
            let case = Case { bench: BenchName::Pair, engine, threads: 1, cpus: 2, order: Order::ZERO };
            Measured { case, figures: Figures { ns, min: ns, max: ns } }
        };
        let rows = [
            row(EngineName::Zonal, 7.0),
            row(EngineName::ZonalOwner, 5.0),
            row(EngineName::FrameAllocDepot, 7.1),
            row(EngineName::BuddySpin, 200.0),
            row(EngineName::Limit, 2.5),
        ];
        let said = |row| beside_peers(row, &rows);
        assert_eq!(said(&rows[0]), Some(("0.99 x frame-alloc-depot".to_owned(), "tie")));
        assert_eq!(said(&rows[1]), Some(("0.70 x frame-alloc-depot".to_owned(), "ahead")));
        assert_eq!(rows[2..].iter().find_map(said), None);
    }
}
