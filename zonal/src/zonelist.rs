//! Zonelists: for each node the zones to try, in Linux's order (linux-facts 2.3), built once.
//!
//! Node-major, in a node from the highest zone to the lowest; only populated zones enter. The no-fallback list of a
//! node is the head of its fallback list that belongs to it. Readers follow an immutable array: they never wait.
//!
//! Node order for node L: L itself if it has memory, then the others by
//! `(distance + (n < L) + (n has CPUs)) * nodes + load`, ties to the lowest id; a node chosen at another distance than
//! the one chosen before it gains one load, so that the first of equidistant nodes rotates from L to L.

use crate::frame::{NO_ZONE, NodeId, ZoneId};
use crate::topology::{Topology, ZoneKind};

/// How far a walk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallback {
    /// Own node first, then the others, nearest first.
    Nodes,
    /// Own node only (Linux: THISNODE, the NOFALLBACK list).
    ThisNode,
}

/// What a list needs to know of a zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListedZone {
    pub(crate) node: NodeId,
    pub(crate) kind: ZoneKind,
}

/// What a rebuild notes of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeLoad {
    /// Times it was the first of its distance (Linux: node_load).
    chosen: u32,
    has_cpus: bool,
}

/// All nodes' lists.
pub(crate) struct Zonelists<'m> {
    /// `zones` entries a node.
    entries: &'m [ZoneId],
    /// For each node and highest zone kind, the first zone of a walk.
    heads: &'m [[ZoneId; 4]],
    listed: &'m [ListedZone],
}

impl<'m> Zonelists<'m> {
    /// Builds the lists into `entries` (nodes x zones) and `heads` (nodes); `order` and `load` are scratch, one
    /// element a node.
    pub(crate) fn build(
        topology: &Topology<'_>,
        listed: &'m [ListedZone],
        entries: &'m mut [ZoneId],
        heads: &'m mut [[ZoneId; 4]],
        order: &mut [u16],
        load: &mut [NodeLoad],
    ) -> Self {
        load.fill(NodeLoad::default());
        for cpu in topology.cpus {
            if let Some(load) = load.get_mut(usize::from(cpu.0)) {
                load.has_cpus = true;
            }
        }
        let lists = entries.chunks_mut(listed.len().max(1)).zip(heads.iter_mut());
        for (local, (list, heads)) in lists.enumerate().take(topology.nodes) {
            let nodes = order_nodes(topology, listed, local as u16, order, load);
            let zones = nodes.iter().flat_map(|&node| zones_of(listed, NodeId(node)));
            for (place, zone) in list.iter_mut().zip(zones) {
                *place = zone;
            }
            for (kind, head) in ZoneKind::ALL.into_iter().zip(heads.iter_mut()) {
                *head = list.iter().copied().find(|&zone| is_within(listed, zone, kind)).unwrap_or(NO_ZONE);
            }
        }
        Self { entries, heads, listed }
    }

    /// Whether the node is in the topology.
    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        usize::from(node.0) < self.heads.len()
    }

    /// The first zone of a walk from `node` for requests up to `highest`; [`NO_ZONE`] if there is none.
    #[inline]
    pub(crate) fn first(&self, node: NodeId, highest: ZoneKind) -> ZoneId {
        self.heads.get(usize::from(node.0)).map_or(NO_ZONE, |heads| heads[highest as usize])
    }

    /// All zones in the order of the node's list.
    #[inline]
    pub(crate) fn list(&self, node: NodeId) -> &'m [ZoneId] {
        let length = self.listed.len();
        let list = self.entries.get(usize::from(node.0) * length..).and_then(|rest| rest.get(..length));
        list.unwrap_or(&[])
    }

    /// The zones of a walk from `node` for requests up to `highest`, in order.
    pub(crate) fn walk(
        &self,
        node: NodeId,
        highest: ZoneKind,
        fallback: Fallback,
    ) -> impl Iterator<Item = ZoneId> + use<'m> {
        let listed = self.listed;
        let is_near = move |zone: ZoneId| listed.get(usize::from(zone.0)).is_some_and(|z| z.node == node);
        let within = self.list(node).iter().copied().filter(move |&zone| is_within(listed, zone, highest));
        within.filter(move |&zone| fallback == Fallback::Nodes || is_near(zone))
    }
}

fn is_within(listed: &[ListedZone], zone: ZoneId, highest: ZoneKind) -> bool {
    listed.get(usize::from(zone.0)).is_some_and(|z| z.kind <= highest)
}

/// The node's zones from the highest to the lowest. (Zones are numbered by node, then upwards.)
fn zones_of(listed: &[ListedZone], node: NodeId) -> impl Iterator<Item = ZoneId> + '_ {
    let first = listed.partition_point(|zone| zone.node < node);
    let end = listed.partition_point(|zone| zone.node <= node);
    (first..end).rev().map(|zone| ZoneId(zone as u16))
}

/// The nodes with memory in the order of `local`'s list, in `order`'s head.
fn order_nodes<'o>(
    topology: &Topology<'_>,
    listed: &[ListedZone],
    local: u16,
    order: &'o mut [u16],
    load: &mut [NodeLoad],
) -> &'o [u16] {
    let nodes = topology.nodes;
    let has_memory = |node: u16| zones_of(listed, NodeId(node)).next().is_some();
    let distance = |node: u16| {
        topology.distances.get(usize::from(local) * nodes + usize::from(node)).copied().unwrap_or(255)
    };
    let mut count = 0;
    for node in (0..nodes as u16).filter(|&node| has_memory(node)) {
        if let Some(place) = order.get_mut(count) {
            *place = node;
            count += 1;
        }
    }
    let order = order.get_mut(..count).unwrap_or(&mut []);
    order.sort_unstable_by_key(|&node| {
        let load = load.get(usize::from(node)).copied().unwrap_or_default();
        let cost = u64::from(distance(node)) + u64::from(node < local) + u64::from(load.has_cpus);
        // The node itself before all others, whatever the matrix says.
        (node != local, cost * nodes as u64 + u64::from(load.chosen), node)
    });
    let mut before = local;
    for &node in order.iter() {
        if let Some(load) = load.get_mut(usize::from(node)).filter(|_| distance(node) != distance(before)) {
            load.chosen += 1;
        }
        before = node;
    }
    order
}
