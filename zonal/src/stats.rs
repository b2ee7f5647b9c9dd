//! Looking: what zones and blocks hold. Every figure says how exact it is.

use core::fmt;

use crate::allocator::PageAllocator;
use crate::events::{Events, Numa};
use crate::frame::{NodeId, Pfn, ZoneId};
use crate::platform::Platform;
use crate::report::Subject;
use crate::report::buddyinfo::Buddyinfo;
use crate::report::pagetypeinfo::Pagetypeinfo;
use crate::report::vmstat::Vmstat;
use crate::report::zoneinfo::Zoneinfo;
use crate::topology::ZoneKind;
use crate::zone::figures::{BlockInfo, ZoneInfo};
use crate::zone::{Block, Zone};
use crate::zonelist::Fallback;

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// All zones' figures, by id.
    pub fn zones(&self) -> impl Iterator<Item = ZoneInfo> + use<'m, '_, P> {
        self.state.zones.iter().map(Zone::info)
    }

    /// A zone's blocks that hold frames, ascending.
    pub fn blocks(&self, zone: ZoneId) -> impl Iterator<Item = BlockInfo> + use<'m, '_, P> {
        self.state.zones.get(usize::from(zone.0)).into_iter().flat_map(|zone| zone.blocks().map(Block::info))
    }

    /// A zone's maximal free runs by order (Linux's buddyinfo): aligned, disjoint, blocks joined up to order 10.
    /// Frames in slot words are not in them. Each row is read once.
    pub fn free_runs(&self, zone: ZoneId) -> [u64; 19] {
        let runs = self.state.zones.get(usize::from(zone.0)).map(Zone::free_runs).unwrap_or_default();
        core::array::from_fn(|order| runs.iter().map(|of_type| of_type[order]).sum())
    }

    /// The zones of a node's list, in the order they are tried.
    pub fn zonelist(
        &self,
        node: NodeId,
        fallback: Fallback,
    ) -> impl Iterator<Item = ZoneId> + use<'m, '_, P> {
        self.state.lists.walk(node, ZoneKind::Movable, fallback)
    }

    /// The nodes of a node's fallback list, in the order they are tried.
    pub fn node_order(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<'m, '_, P> {
        self.state.node_order(node)
    }

    /// The zone that manages the frame.
    pub fn zone_of(&self, pfn: Pfn) -> Option<ZoneId> {
        self.state.block(pfn).ok().map(|(zone, _)| zone.id)
    }

    /// What has happened since the allocator was built. Reads a few lines for each CPU and zone.
    pub fn events(&self) -> Events {
        self.state.events()
    }

    /// Where requests found their runs in this zone, or wanted to find them. As exact as [`PageAllocator::events`].
    pub fn numa(&self, zone: ZoneId) -> Numa {
        let zone = self.state.zones.get(usize::from(zone.0));
        zone.map_or(Numa::default(), |zone| self.state.taken(zone).1)
    }

    /// The text of Linux's `/proc/buddyinfo`. Frames in slot words are in no run, as Linux's in page lists are not.
    pub fn buddyinfo(&self) -> impl fmt::Display {
        Buddyinfo(self.subject())
    }

    /// The text of `/proc/pagetypeinfo`.
    pub fn pagetypeinfo(&self) -> impl fmt::Display {
        Pagetypeinfo(self.subject())
    }

    /// The text of `/proc/zoneinfo`. For page lists stand slot words: `high` is the most frames that a CPU's hold, `batch`
    /// what a refill takes at most. What others know comes from [`Platform::usage`].
    pub fn zoneinfo(&self) -> impl fmt::Display {
        Zoneinfo(self.subject())
    }

    /// The text of `/proc/vmstat`: what the allocator counts, and what [`Platform::usage`] knows.
    pub fn vmstat(&self) -> impl fmt::Display {
        Vmstat(self.subject())
    }

    fn subject(&self) -> Subject<'_> {
        Subject { state: &self.state, usage: self.platform.usage() }
    }

    /// Number of CPUs in the table.
    pub fn cpus(&self) -> usize {
        self.state.cpus.len()
    }

    /// The platform.
    pub fn platform(&self) -> &P {
        &self.platform
    }
}
