//! The marks that zones begin with: a figure given for the zone, else what the tuning makes of it, else none.

use crate::build::zones::ZonePlan;
use crate::config::Config;
use crate::frame::{MAX_FRAMES, NodeId};
use crate::watermark::{Levels, Marks, Watermarks};
use crate::zonelist::ListedZone;

/// Each zone's marks, and what requests for each kind of zone leave there besides. Nodes are added up once.
pub(in crate::build) fn marks_of<'p>(
    config: &'p Config<'_>,
    plans: &'p [ZonePlan],
) -> impl Fn(ListedZone) -> Levels + use<'p> {
    let nodes = (0..config.topology.nodes).map(|node| node_of(plans, NodeId(node as u16)));
    let watermarks = config.tuning.map(|tuning| Watermarks::new(tuning, nodes));
    move |ListedZone { node, kind }| {
        let given = config.marks.iter().rev().find(|mark| mark.node == node && mark.zone == kind);
        // No zone holds more; so sums with a mark fit.
        let given = given.map(|mark| Marks::at(mark.frames.min(MAX_FRAMES)));
        match watermarks {
            Some(watermarks) => watermarks.levels(kind, node_of(plans, node), given),
            None => Levels { marks: given.unwrap_or_default(), ..Levels::default() },
        }
    }
}

/// Frames that a node's zones manage, lowest first.
fn node_of(plans: &[ZonePlan], node: NodeId) -> [u64; 4] {
    let first = usize::from(node.0) * 4;
    core::array::from_fn(|kind| plans.get(first + kind).map_or(0, |plan| plan.managed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mark;
    use crate::topology::{Topology, ZoneKind};
    use crate::watermark::Tuning;

    #[test]
    fn a_figure_given_wins_over_the_tuning_but_what_is_held_back_stays() {
        let zone = |node, kind| ListedZone { node: NodeId(node), kind };
        let (low, high) = (zone(0, ZoneKind::Dma32), zone(0, ZoneKind::Normal));
        let plans = [0, 4096, 262_144 - 4096, 0, 0, 0, 0, 4096]
            .map(|managed| ZonePlan { managed, ..ZonePlan::default() });
        let topology = Topology { memory: &[], reserved: &[], nodes: 2, distances: &[], cpus: &[] };
        let figure = |frames| Mark { node: NodeId(0), zone: ZoneKind::Normal, frames };
        let tuned = Config { tuning: Some(Tuning::default()), ..Config::new(topology) };
        let (marks, absurd) = ([figure(7), figure(9)], [figure(u64::MAX)]);
        let given = Config { marks: &marks, ..tuned };
        let (of_tuned, of_given) = (marks_of(&tuned, &plans), marks_of(&given, &plans));
        assert_eq!(of_tuned(low), of_given(low));
        let levels = |marks, protection, most_boost| Levels { marks, protection, most_boost };
        let small = Marks { min: 16, low: 20, high: 24, promo: 28 };
        assert_eq!(of_tuned(low), levels(small, [0, 0, 1008, 1008], 512));
        let large = Marks { min: 1008, low: 1266, high: 1524, promo: 1782 };
        assert_eq!(of_tuned(high), levels(large, [0; 4], 2286));
        assert_eq!(of_given(high).marks, Marks::at(9), "the last one counts");
        assert_eq!(of_tuned(zone(1, ZoneKind::Movable)).marks.min, 32);
        let untuned = Config { tuning: None, ..given };
        assert_eq!(marks_of(&untuned, &plans)(low), Levels::default());
        assert_eq!(marks_of(&untuned, &plans)(high), levels(Marks::at(9), [0; 4], 0));
        let absurd = Config { marks: &absurd, ..tuned };
        assert_eq!(marks_of(&absurd, &plans)(high).marks, Marks::at(MAX_FRAMES));
    }
}
