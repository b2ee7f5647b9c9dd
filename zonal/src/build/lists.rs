//! The zonelists' memory, and the first lists in it.

use crate::config::Config;
use crate::error::ConfigError;
use crate::metadata::{Carver, Tally};
use crate::sync::UnmodelledU64;
use crate::zone::Zone;
use crate::zonelist::order::{NodeOrder, Standing};
use crate::zonelist::{ListedZone, Lists, Place, Zonelists, populated};

/// Adds what [`build_lists`] carves, for so many zones at most.
pub(in crate::build) fn tally_lists(config: &Config<'_>, zones: u64, tally: &mut Tally) {
    let nodes = config.topology.nodes as u64;
    for _ in 0..2 {
        tally.add::<Place>(nodes * zones);
        tally.add::<[Place; 4]>(nodes);
    }
    tally.add::<u8>(nodes * nodes);
    tally.add::<Standing>(nodes);
    tally.add::<UnmodelledU64>(nodes);
}

/// Carves the lists and writes them for the zones as they are.
pub(in crate::build) fn build_lists<'m>(
    config: &Config<'_>,
    carver: &mut Carver<'m>,
    listed: &'m [ListedZone],
    zones: &[Zone<'_>],
) -> Result<Zonelists<'m>, ConfigError> {
    let topology = &config.topology;
    let nodes = topology.nodes;
    let mut lists = || {
        let places = carver.array(nodes * listed.len(), |_| Place::empty())?;
        let heads = carver.array(nodes, |_| core::array::from_fn(|_| Place::empty()))?;
        Ok(Lists::new(places, heads))
    };
    let lists = [lists()?, lists()?];
    let distances =
        carver.array(nodes * nodes, |at| topology.distances.get(at).copied().unwrap_or(u8::MAX))?;
    let has_cpus = |node: usize| topology.cpus.iter().any(|cpu| usize::from(cpu.0) == node);
    let standing = carver.array(nodes, |node| Standing::new(has_cpus(node)))?;
    let keys = carver.array(nodes, |_| UnmodelledU64::new(0))?;
    let lists = Zonelists::new(listed, lists, NodeOrder::new(distances, standing, keys));
    lists.rebuild(populated(zones), |_| {}, || {});
    Ok(lists)
}
