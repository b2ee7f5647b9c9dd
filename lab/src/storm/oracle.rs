//! What must be served, from the table of owners alone: a frame is free if nobody holds it, wherever the allocator keeps it.
//!
//! Counts frame by frame, so it is exact while nobody is inside the allocator. Of the allocator it believes the zones'
//! marks, boosts and spans, and which blocks are kept for long atomic requests; the rest of the contract is the testkit's.

use zonal::{BLOCK_FRAMES, FrameRange, NodeId, Order, PageAllocator, Platform, ZoneInfo};
use zonal_testkit::contract::{Failure, ZoneNow, highest_zone};

use super::owners::Owners;
use super::wish::Wish;

/// The naive judge of an allocator.
pub(super) struct Oracle<'o, 'm, P> {
    allocator: &'o PageAllocator<'m, P>,
    owners: &'o Owners,
}

/// A zone, and its figures as the contract names them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) zone: ZoneInfo,
    pub(super) now: ZoneNow,
}

impl Seen {
    /// The zone if the blocks kept for atomic requests were given up.
    pub(super) fn given_up(self) -> ZoneNow {
        let Self { now, .. } = self;
        ZoneNow { highatomic: 0, longest: now.longest.max(now.longest_highatomic), ..now }
    }
}

impl<'o, 'm, P: Platform> Oracle<'o, 'm, P> {
    pub(super) fn new(allocator: &'o PageAllocator<'m, P>, owners: &'o Owners) -> Self {
        Self { allocator, owners }
    }

    /// The zones that the wish's flags allow.
    pub(super) fn zones(&self, wish: Wish) -> impl Iterator<Item = ZoneInfo> {
        let highest = highest_zone(wish.gfp.bits()).map(|highest| highest as usize);
        self.allocator.zones().filter(move |zone| Some(zone.kind as usize) <= highest)
    }

    /// The zones that the wish may be served from, now.
    pub(super) fn look(&self, wish: Wish) -> Vec<Seen> {
        self.zones(wish).map(|zone| self.zone(zone, wish.order)).collect()
    }

    /// The zone that must serve the wish now.
    pub(super) fn admitting(&self, wish: Wish) -> Option<Seen> {
        self.admitting_on(wish, |_| true)
    }

    /// The zone of these nodes that must serve the wish now. Before a request fails that tries hard, no block is kept from it.
    pub(super) fn admitting_on(&self, wish: Wish, allowed: impl Fn(NodeId) -> bool) -> Option<Seen> {
        let mut seen = self.look(wish);
        seen.retain(|seen| allowed(seen.zone.node));
        let tries = wish.failure() >= Failure::WithoutProgress;
        let figure = |seen: &Seen| match tries {
            true => seen.given_up(),
            // A kept block is not given whole.
            false if wish.order >= Order::BLOCK => ZoneNow { longest_highatomic: None, ..seen.now },
            false => seen.now,
        };
        let figures: Vec<ZoneNow> = seen.iter().map(figure).collect();
        wish.admitting(&figures).and_then(|at| seen.get(at).copied())
    }

    /// A zone's figures, as far as a request of this order depends on them.
    fn zone(&self, zone: ZoneInfo, order: Order) -> Seen {
        let (mut free, mut longest) = ([0; 2], [None; 2]);
        for block in self.allocator.blocks(zone.id).filter(|block| !block.isolated) {
            let frames = FrameRange::new(block.start, block.start.add(BLOCK_FRAMES));
            let (kept, here) = (usize::from(block.reserved), self.owners.free(frames));
            free[kept] += here;
            let may = here >= order.frames() && longest[kept].is_none();
            if may && self.owners.free_run(frames, order).is_some() {
                longest[kept] = Some(order.get());
            }
        }
        let ([open, highatomic], [longest, longest_highatomic]) = (free, longest);
        let now = ZoneNow {
            free: open + highatomic,
            highatomic,
            marks: [zone.marks.min, zone.marks.low, zone.marks.high],
            boost: zone.boost,
            reserve: zone.protection,
            longest,
            longest_highatomic,
        };
        Seen { zone, now }
    }
}
