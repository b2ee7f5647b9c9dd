//! Linux's texts about memory, byte for byte: those of /proc, and what is said when a request fails or memory runs out.
//!
//! Each is a value that displays itself: nothing is gathered before, no lock is taken and no memory needed, and each word
//! is read once while the text is written. So a text is exact at quiescence, and in motion a picture of no single moment.
//! Figures that the allocator does not have come from [`Platform::usage`](crate::Platform::usage), or are 0.
//! Source: linux-facts 5.1 to 5.5 (v7.0).

pub(crate) mod buddyinfo;
pub(crate) mod failure;
pub(crate) mod fallback_order;
pub(crate) mod mem_info;
pub(crate) mod pagetypeinfo;
pub(crate) mod vmstat;
pub(crate) mod zoneinfo;

use crate::frame::{FRAME_SIZE, NodeId, Order};
use crate::state::State;
use crate::topology::ZoneKind;
use crate::usage::Usage;
use crate::zone::Zone;
use crate::zone::figures::{FreeRuns, ZoneInfo};

/// Orders that Linux prints: 0 to 10.
const ORDERS: usize = 11;

/// Zones that Linux has on each node: ours, and one for devices, which is never populated here.
const ZONES: [Option<ZoneKind>; 5] =
    [Some(ZoneKind::Dma), Some(ZoneKind::Dma32), Some(ZoneKind::Normal), Some(ZoneKind::Movable), None];

/// The name of one of [`ZONES`].
const fn zone_name(kind: Option<ZoneKind>) -> &'static str {
    match kind {
        Some(kind) => kind.name(),
        None => "Device",
    }
}

/// What a text is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) state: &'a State<'a>,
    pub(crate) usage: &'a dyn Usage,
}

impl<'a> Subject<'a> {
    /// All nodes, by number.
    fn nodes(self) -> impl Iterator<Item = NodeId> {
        (0..self.state.nodes.len()).map(|node| NodeId(node as u16))
    }

    /// A node's zones that manage frames, lowest first.
    fn zones_of(self, node: NodeId) -> impl Iterator<Item = &'a Zone<'a>> {
        self.zones().filter(move |zone| zone.node == node)
    }

    /// All zones that manage frames, node by node.
    fn zones(self) -> impl Iterator<Item = &'a Zone<'a>> {
        self.state.zones.iter().filter(|zone| zone.managed() > 0)
    }

    /// The sum of a figure over all zones.
    fn sum(self, figure: impl Fn(&ZoneInfo) -> u64) -> u64 {
        self.zones().map(|zone| figure(&zone.info())).sum()
    }
}

/// What is held back from requests for each of [`ZONES`]; an unpopulated one repeats the one before.
fn protection(info: Option<&ZoneInfo>) -> [u64; ZONES.len()] {
    let known = info.map_or([0; 4], |info| info.protection);
    core::array::from_fn(|at| known[at.min(known.len() - 1)])
}

/// Frames of wholly free blocks.
fn in_free_blocks(runs: &FreeRuns) -> u64 {
    let long = |of_type: &[u64; 19]| -> u64 {
        of_type.iter().zip(0..).skip(usize::from(Order::BLOCK.get())).map(frames).sum()
    };
    runs.iter().map(long).sum()
}

/// Frames of so many runs of an order.
fn frames((&runs, order): (&u64, u8)) -> u64 {
    runs * Order::from_raw(order).frames()
}

/// Frames in Linux's kB.
const fn kbytes(frames: u64) -> u64 {
    frames * (FRAME_SIZE / 1024)
}
