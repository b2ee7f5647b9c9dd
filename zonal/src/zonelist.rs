//! Zonelists: for each node the zones to try, in Linux's order (linux-facts 2.3), published live.
//!
//! Node-major, in a node from the highest zone to the lowest; only populated zones enter. The no-fallback list of a node is the
//! head of its fallback list that belongs to it. There are two buffers of lists: readers follow the one that a [`word`] names,
//! a rebuild writes the other and publishes it with one step on the word. Readers never wait, writers never wait for
//! readers, and wait for each other only through a [`combine::Combiner`].
//!
//! Invariant: while nobody publishes, each list of the followed buffer is whole: every zone that was populated when it was
//! written, once. A reader that sleeps through two publications may see a mixture: it finds that the word has moved.

pub(crate) mod combine;
pub(crate) mod order;
pub(crate) mod set;
pub(crate) mod word;

use crate::frame::{NO_ZONE, NodeId, ZoneId};
use crate::mutant::{Mutant, ordering_unless, planted};
use crate::platform::RebuildStep;
use crate::sync::{AtomicU16, Ordering};
use crate::topology::ZoneKind;
use crate::zone::Zone;
use crate::zonelist::combine::Combiner;
use crate::zonelist::order::NodeOrder;
use crate::zonelist::word::{Buffer, Published, Stamp};

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

/// A zone's id.
pub(crate) struct Place(AtomicU16);

impl Place {
    pub(crate) fn empty() -> Self {
        Self(AtomicU16::new(NO_ZONE.0))
    }

    #[inline]
    fn get(&self) -> ZoneId {
        ZoneId(self.0.load(Ordering::Relaxed)) // Relaxed: the word was read before, and is compared with after a fence
    }

    fn set(&self, zone: ZoneId) {
        // Release: who sees this sees the publication before it; partner: the fence of `Published::has_moved`.
        self.0.store(zone.0, ordering_unless(Mutant::PlacesRelaxed, Ordering::Release));
    }
}

/// All nodes' lists, once.
pub(crate) struct Lists<'m> {
    /// `zones` places a node: the zones in order, then none.
    places: &'m [Place],
    /// For each node and highest zone kind, the first zone of a walk.
    heads: &'m [[Place; 4]],
}

impl<'m> Lists<'m> {
    /// Empty lists; `places` has nodes x zones elements, `heads` one a node.
    pub(crate) fn new(places: &'m [Place], heads: &'m [[Place; 4]]) -> Self {
        Self { places, heads }
    }
}

/// All nodes' lists, twice, and the word.
pub(crate) struct Zonelists<'m> {
    listed: &'m [ListedZone],
    even: Lists<'m>,
    odd: Lists<'m>,
    published: Published,
    order: NodeOrder<'m>,
    writers: Combiner,
}

impl<'m> Zonelists<'m> {
    /// Lists in which nothing stands, of zones that are numbered by node, then upwards.
    pub(crate) fn new(listed: &'m [ListedZone], [even, odd]: [Lists<'m>; 2], order: NodeOrder<'m>) -> Self {
        Self { listed, even, odd, published: Published::new(), order, writers: Combiner::new() }
    }

    /// Whether the node is in the topology.
    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        usize::from(node.0) < self.nodes()
    }

    /// Nodes of the topology.
    pub(crate) fn nodes(&self) -> usize {
        self.even.heads.len()
    }

    /// The first zone of a walk from `node` for requests up to `highest`; [`NO_ZONE`] if there is none.
    #[inline]
    pub(crate) fn first(&self, node: NodeId, highest: ZoneKind) -> ZoneId {
        let heads = self.lists(self.published.load().buffer()).heads.get(usize::from(node.0));
        heads.map_or(NO_ZONE, |heads| heads[highest as usize].get())
    }

    /// The zones of the node's list in order. Reads the word once.
    #[inline]
    pub(crate) fn list(&self, node: NodeId) -> impl Iterator<Item = ZoneId> + use<'m> {
        let places = self.places(self.published.load().buffer(), node);
        places.iter().map(Place::get).take_while(|&zone| zone != NO_ZONE)
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
        let within = self.list(node).filter(move |&zone| is_within(listed, zone, highest));
        within.filter(move |&zone| fallback == Fallback::Nodes || is_near(zone))
    }

    /// What the lists and what may be had of them are now: to be asked about with [`Zonelists::have_moved`].
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        self.published.load()
    }

    /// Whether the lists, or what may be had without a change of theirs, have changed since.
    #[inline]
    pub(crate) fn have_moved(&self, since: Stamp) -> bool {
        let ignored = planted(Mutant::GenerationIgnored) || planted(Mutant::ListTrusted);
        self.published.has_moved(since) && !ignored
    }

    /// Has requests that are about to fail look again: frames came within reach, in zones that are listed. Any context.
    pub(crate) fn bump(&self) {
        self.published.bump();
    }

    /// Whether somebody is writing lists: a hint.
    pub(crate) fn are_being_rebuilt(&self) -> bool {
        self.writers.is_taken()
    }

    /// Publishes lists of the zones that are `populated` now, or sees to it that another writer does; then this `wait`s.
    /// `step` is told of each step, and may take its time. Whether it was done here. Task context; not from `step`.
    pub(crate) fn rebuild(
        &self,
        populated: impl Fn(ZoneId) -> bool,
        mut step: impl FnMut(RebuildStep),
        wait: impl FnMut(),
    ) -> bool {
        self.writers.run(|| self.write(&populated, &mut step), wait)
    }

    /// Writes the buffer that nobody follows, and publishes it. Whose turn it is only.
    fn write(&self, populated: &impl Fn(ZoneId) -> bool, step: &mut impl FnMut(RebuildStep)) {
        step(RebuildStep::Begun);
        let followed = self.published.load().buffer();
        let buffer = if planted(Mutant::RebuildInPlace) { followed } else { followed.other() };
        if planted(Mutant::RebuildInPlace) {
            self.lists(buffer).places.iter().for_each(|place| place.set(NO_ZONE));
        }
        self.order.begin();
        for local in (0..self.nodes() as u16).map(NodeId) {
            self.write_list(buffer, local, populated);
            step(RebuildStep::Listed(local));
        }
        step(RebuildStep::Written);
        if planted(Mutant::RebuildInPlace) {
            self.published.bump();
        } else {
            self.published.publish();
        }
        step(RebuildStep::Published);
    }

    fn write_list(&self, buffer: Buffer, local: NodeId, populated: &impl Fn(ZoneId) -> bool) {
        let own = |node| zones_of(self.listed, node).filter(|&zone| populated(zone));
        let order = self.order.of(local, &|node| own(node).next().is_some());
        let zones = order.flat_map(own).chain(core::iter::repeat(NO_ZONE));
        let list = self.places(buffer, local);
        list.iter().zip(zones).for_each(|(place, zone)| place.set(zone));
        let heads = self.lists(buffer).heads.get(usize::from(local.0)).into_iter().flatten();
        for (kind, head) in ZoneKind::ALL.into_iter().zip(heads) {
            let mut zones = list.iter().map(Place::get).take_while(|&zone| zone != NO_ZONE);
            head.set(zones.find(|&zone| is_within(self.listed, zone, kind)).unwrap_or(NO_ZONE));
        }
    }

    #[inline]
    fn lists(&self, buffer: Buffer) -> &Lists<'m> {
        match buffer {
            Buffer::Even => &self.even,
            Buffer::Odd => &self.odd,
        }
    }

    /// The places of a node's list.
    #[inline]
    fn places(&self, buffer: Buffer, node: NodeId) -> &'m [Place] {
        let length = self.listed.len();
        let places = self.lists(buffer).places.get(usize::from(node.0) * length..);
        places.and_then(|rest| rest.get(..length)).unwrap_or(&[])
    }
}

/// Which of these zones have frames, by their ids.
pub(crate) fn populated<'a>(zones: &'a [Zone<'a>]) -> impl Fn(ZoneId) -> bool + 'a {
    |zone| zones.get(usize::from(zone.0)).is_some_and(|zone| zone.managed() > 0)
}

fn is_within(listed: &[ListedZone], zone: ZoneId, highest: ZoneKind) -> bool {
    listed.get(usize::from(zone.0)).is_some_and(|z| z.kind <= highest)
}

/// The node's zones from the highest to the lowest.
fn zones_of(listed: &[ListedZone], node: NodeId) -> impl Iterator<Item = ZoneId> + '_ {
    let first = listed.partition_point(|zone| zone.node < node);
    let end = listed.partition_point(|zone| zone.node <= node);
    (first..end).rev().map(|zone| ZoneId(zone as u16))
}
