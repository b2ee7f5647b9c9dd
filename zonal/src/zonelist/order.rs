//! The order in which a node's list visits the nodes (Linux: find_next_best_node, with the loads of a whole rebuild).
//!
//! The node itself first, then the others by `(distance + (n < L) + (n has CPUs)) * nodes + load`, ties to the lowest id; a
//! node chosen at another distance than the one chosen before it gains one load, so that the first of equidistant nodes
//! rotates from node to node. What is noted meanwhile belongs to whose turn it is to rebuild: the accesses are relaxed.

use crate::frame::NodeId;
use crate::sync::{Ordering, UnmodelledU64};

/// Gaps of the sort (Ciura's).
const GAPS: [usize; 8] = [701, 301, 132, 57, 23, 10, 4, 1];

/// A node, and what a rebuild notes of it.
pub(crate) struct Standing {
    has_cpus: bool,
    /// Times it was the first of its distance (Linux: node_load).
    load: UnmodelledU64,
}

impl Standing {
    /// A node with CPUs or without.
    pub(crate) fn new(has_cpus: bool) -> Self {
        Self { has_cpus, load: UnmodelledU64::new(0) }
    }
}

/// The nodes, and room to sort them.
pub(crate) struct NodeOrder<'m> {
    /// From each node to each.
    distances: &'m [u8],
    nodes: &'m [Standing],
    /// A key a node: what it is sorted by, and its number.
    keys: &'m [UnmodelledU64],
}

impl<'m> NodeOrder<'m> {
    /// Of so many nodes; `distances` has their square, `keys` as many.
    pub(crate) fn new(distances: &'m [u8], nodes: &'m [Standing], keys: &'m [UnmodelledU64]) -> Self {
        Self { distances, nodes, keys }
    }

    /// A rebuild begins.
    pub(crate) fn begin(&self) {
        self.nodes.iter().for_each(|node| node.load.store(0, Ordering::Relaxed));
    }

    /// The nodes with memory in the order of `local`'s list. The order is good until the next call.
    pub(crate) fn of(
        &self,
        local: NodeId,
        has_memory: &dyn Fn(NodeId) -> bool,
    ) -> impl Iterator<Item = NodeId> + use<'m> {
        let with_memory = (0..self.nodes.len() as u16).filter(|&node| has_memory(NodeId(node)));
        let mut count = 0;
        for (key, node) in self.keys.iter().zip(with_memory) {
            key.store(self.key(local.0, node), Ordering::Relaxed);
            count += 1;
        }
        let keys: &'m [_] = self.keys.get(..count).unwrap_or(&[]);
        sort(keys);
        let mut before = local.0;
        for node in keys.iter().map(node_of) {
            let chosen = self.nodes.get(usize::from(node));
            let first = self.distance(local.0, node) != self.distance(local.0, before);
            if let Some(chosen) = chosen.filter(|_| first) {
                chosen.load.store(chosen.load.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            before = node;
        }
        keys.iter().map(node_of).map(NodeId)
    }

    /// | bits | |
    /// |---|---|
    /// | 0..=15 | the node |
    /// | 16..=62 | what it costs |
    /// | 63 | it is another one than `local`, whatever the matrix says |
    fn key(&self, local: u16, node: u16) -> u64 {
        let (has_cpus, load) = self
            .nodes
            .get(usize::from(node))
            .map_or((false, 0), |node| (node.has_cpus, node.load.load(Ordering::Relaxed)));
        let near = u64::from(self.distance(local, node)) + u64::from(node < local) + u64::from(has_cpus);
        let cost = near * self.nodes.len() as u64 + load;
        u64::from(node != local) << 63 | cost << 16 | u64::from(node)
    }

    fn distance(&self, from: u16, to: u16) -> u8 {
        let at = usize::from(from) * self.nodes.len() + usize::from(to);
        self.distances.get(at).copied().unwrap_or(u8::MAX)
    }
}

fn node_of(key: &UnmodelledU64) -> u16 {
    key.load(Ordering::Relaxed) as u16
}

/// Sorts keys in place, through shared references.
fn sort(keys: &[UnmodelledU64]) {
    let get = |at: usize| keys.get(at).map_or(0, |key| key.load(Ordering::Relaxed));
    let set = |at: usize, key| keys.get(at).into_iter().for_each(|to| to.store(key, Ordering::Relaxed));
    for gap in GAPS {
        for from in gap..keys.len() {
            let (key, mut at) = (get(from), from);
            while at >= gap && get(at - gap) > key {
                set(at, get(at - gap));
                at -= gap;
            }
            set(at, key);
        }
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn keys_are_sorted_whatever_their_number() {
        for len in [0, 1, 2, 5, 64, 1000] {
            let mut seed = 1u64;
            let mut draw = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed >> 50
            };
            let drawn: Vec<u64> = (0..len).map(|_| draw()).collect();
            let keys: Vec<_> = drawn.iter().map(|&key| UnmodelledU64::new(key)).collect();
            sort(&keys);
            let mut sorted = drawn;
            sorted.sort_unstable();
            assert_eq!(keys.into_iter().map(UnmodelledU64::into_inner).collect::<Vec<_>>(), sorted);
        }
    }
}
