//! What a caller asks for, decoded once as far as the fast path reads it; how urgent it is, only a miss has to know.
//!
//! It is said by calls or by Linux's flags; both end as a mask, from which `saying` decodes the rest. So what
//! is said both ways is equal. Invariant: the mask is not [`Gfp::forbidden`], and every other field but order and place
//! follows from it.

use crate::error::AllocError;
use crate::frame::{NodeId, Order, Pfn};
use crate::gfp::{Gfp, Scope};
use crate::mutant::{Mutant, planted};
use crate::topology::{Kind, ZoneKind};
use crate::urgency::{Reserves, Urgency};

/// What a request that waits may do.
const WAITING: Gfp = Gfp::DIRECT_RECLAIM.union(Gfp::IO).union(Gfp::FS);
/// Each of them says how long a request tries.
const EFFORTS: Gfp = Gfp::NORETRY.union(Gfp::RETRY_MAYFAIL).union(Gfp::NOFAIL);

/// A request: an order, how urgent it is, for what, and where. Build it once and use it for as many allocations as
/// wanted. It begins as [`Gfp::KERNEL`]: it may wait, is reported if it fails, and takes Unmovable frames of any zone up
/// to Normal, the CPU's node first.
///
/// ```
/// use zonal::{Gfp, NodeId, Order, Request, Scope, ZoneKind};
/// let table = Request::order(Order::ZERO);                       // a frame for the kernel, near this CPU
/// let near = table.node(NodeId(1)).zeroed();
/// let packet = table.atomic().zones_up_to(ZoneKind::Dma32);      // from an interrupt, for a device
/// let page = table.movable().zones_up_to(ZoneKind::Movable).within(Scope::NOFS);
/// let huge = Request::order(Order::BLOCK).gfp(Gfp::TRANSHUGE)?;  // or by Linux's flags
/// assert_eq!(packet, table.gfp(Gfp::ATOMIC | Gfp::DMA32)?);
/// # let _ = (near, page, huge); Ok::<(), zonal::AllocError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub(crate) order: Order,
    pub(crate) gfp: Gfp,
    pub(crate) highest: ZoneKind,
    pub(crate) kind: Kind,
    pub(crate) node: Option<NodeId>,
    pub(crate) below: Option<Pfn>,
    pub(crate) align: Order,
    /// Slot words can serve it: at most a group, anywhere.
    pub(crate) cacheable: bool,
    /// What of it can hit, if it names no node and no place, asks the platform nothing and leaves nothing to deliver.
    pub(crate) hit: Hit,
    /// It neither waits nor names a node or a place: where there is nothing, a glance says so.
    pub(crate) glances: bool,
}

/// What of a request can hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hit {
    /// A frame: nothing but the CPU's own words for its first zone is asked for.
    Frame,
    /// The same of a longer run, at most a group.
    Run,
    /// A block: the one that the CPU freed last.
    Block,
    /// Nothing.
    Never,
}

impl Request {
    /// A run of `order` with [`Gfp::KERNEL`]: Unmovable, zones up to Normal, the CPU's node first.
    pub const fn order(order: Order) -> Self {
        Self {
            order,
            gfp: Gfp::KERNEL,
            highest: ZoneKind::Normal,
            kind: Kind::Unmovable,
            node: None,
            below: None,
            align: Order::ZERO,
            cacheable: true,
            hit: Hit::Frame,
            glances: false,
        }
        .settle()
    }

    /// The same run with these flags, whatever was said before in their place.
    ///
    /// # Errors
    /// [`AllocError::ForbiddenFlags`] with the bits that are unknown or exclude each other.
    pub const fn gfp(self, gfp: Gfp) -> Result<Self, AllocError> {
        let bits = gfp.forbidden();
        if bits != 0 {
            return Err(AllocError::ForbiddenFlags { bits });
        }
        Ok(self.saying(gfp))
    }

    /// The flags that say the same.
    pub const fn flags(&self) -> Gfp {
        self.gfp
    }

    /// What it may do for its frames.
    pub const fn urgency(&self) -> Urgency {
        Urgency::of(self.gfp)
    }

    /// Only zones up to this one. Movable zones are for requests that are [`Request::movable`] as well; others are
    /// served up to Normal.
    pub const fn zones_up_to(self, highest: ZoneKind) -> Self {
        let rest = self.gfp.difference(Gfp::DMA.union(Gfp::DMA32).union(Gfp::HIGHMEM));
        self.saying(rest.union(match highest {
            ZoneKind::Dma => Gfp::DMA,
            ZoneKind::Dma32 => Gfp::DMA32,
            ZoneKind::Normal => Gfp::empty(),
            ZoneKind::Movable => Gfp::HIGHMEM,
        }))
    }

    /// The frames' content can be moved: they lie with others of that kind.
    pub const fn movable(self) -> Self {
        self.saying(self.gfp.difference(Gfp::RECLAIMABLE).union(Gfp::MOVABLE))
    }

    /// The frames' content can be dropped on demand: they lie with others of that kind.
    pub const fn reclaimable(self) -> Self {
        self.saying(self.gfp.difference(Gfp::MOVABLE).union(Gfp::RECLAIMABLE))
    }

    /// Zeroed frames, by [`crate::Platform::zero`].
    pub const fn zeroed(self) -> Self {
        self.also(Gfp::ZERO)
    }

    /// From a context that cannot wait and has nobody to fall back on: wakes kswapd, and has part of the reserve.
    pub const fn atomic(self) -> Self {
        let rest = Reserves::High.put_in(self.gfp.difference(WAITING));
        self.saying(rest.union(Gfp::KSWAPD_RECLAIM))
    }

    /// From a context that cannot wait and can do without: wakes kswapd, has no reserve, and fails without a report.
    pub const fn nowait(self) -> Self {
        let rest = Reserves::Ordinary.put_in(self.gfp.difference(WAITING));
        self.saying(rest.union(Gfp::NOWAIT))
    }

    /// Wakes no daemon.
    pub const fn wakes_nobody(self) -> Self {
        self.saying(self.gfp.difference(Gfp::KSWAPD_RECLAIM))
    }

    /// Without what these scopes rule out.
    pub const fn within(self, scope: Scope) -> Self {
        self.saying(self.gfp.within(scope))
    }

    /// How far below the min mark it may go.
    pub const fn reserves(self, reserves: Reserves) -> Self {
        self.saying(reserves.put_in(self.gfp))
    }

    /// One light pass of reclaim and compaction, if it waits at all.
    pub const fn try_once(self) -> Self {
        self.saying(self.gfp.difference(EFFORTS).union(Gfp::NORETRY))
    }

    /// As long as reclaim or compaction help, but nobody is killed for it.
    pub const fn try_hard(self) -> Self {
        self.saying(self.gfp.difference(EFFORTS).union(Gfp::RETRY_MAYFAIL))
    }

    /// Until it has its frames. One that may not wait fails all the same.
    pub const fn never_fail(self) -> Self {
        self.saying(self.gfp.difference(EFFORTS).union(Gfp::NOFAIL))
    }

    /// Fails without a report.
    pub const fn silent(self) -> Self {
        self.also(Gfp::NOWARN)
    }

    /// Only from the CPU's node, or the one that [`Request::node`] says.
    pub const fn this_node(self) -> Self {
        self.also(Gfp::THISNODE)
    }

    /// Only from the task's cpuset, whatever happens.
    pub const fn hardwall(self) -> Self {
        self.also(Gfp::HARDWALL)
    }

    /// The frames will be dirtied: not those of nodes where nothing more may be, while others have some ([`crate::Platform::may_dirty`]).
    pub const fn to_be_written(self) -> Self {
        self.also(Gfp::WRITE)
    }

    /// The frames are charged to the task's memory cgroup (carried for the platform).
    pub const fn charged(self) -> Self {
        self.also(Gfp::ACCOUNT)
    }

    /// The run is one object (carried for the platform).
    pub const fn compound(self) -> Self {
        self.also(Gfp::COMP)
    }

    /// Prefer this node to the CPU's (and use only it with [`Gfp::THISNODE`]).
    pub const fn node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }.settle()
    }

    /// Only frames below this one: every frame of the run is. Searched linearly.
    pub const fn below(self, limit: Pfn) -> Self {
        Self { below: Some(limit), ..self }.settle()
    }

    /// The first frame is a multiple of `align`'s frames (no effect at or below the order itself). Searched linearly.
    pub const fn aligned(self, align: Order) -> Self {
        Self { align, ..self }.settle()
    }

    /// The same request at another order.
    pub const fn with_order(self, order: Order) -> Self {
        Self { order, ..self }.settle()
    }

    /// Whether it may wake the daemons.
    #[inline]
    pub(crate) const fn wakes(&self) -> bool {
        self.gfp.contains(Gfp::KSWAPD_RECLAIM)
    }

    /// The same request from somebody who has what is needed most: it does not wait, nor does it get more for that.
    pub(crate) fn without_waiting(self) -> Self {
        if !self.urgency().waits {
            return self;
        }
        let reserves = match self.urgency().reserves {
            Reserves::Ordinary => Reserves::None,
            Reserves::High => Reserves::Half,
            others => others,
        };
        let gfp = self.gfp.difference(Gfp::DIRECT_RECLAIM.union(Gfp::NOFAIL));
        self.saying(if planted(Mutant::BulkUrgent) { gfp } else { reserves.put_in(gfp) })
    }

    const fn also(self, flags: Gfp) -> Self {
        self.saying(self.gfp.union(flags))
    }

    /// The same with another mask, none of whose bits exclude each other: what follows from it is decoded anew.
    const fn saying(self, gfp: Gfp) -> Self {
        Self { gfp, highest: gfp.highest_zone(), kind: gfp.kind(), ..self }.settle()
    }

    const fn settle(self) -> Self {
        let cacheable = self.order.get() <= Order::GROUP.get() && !self.is_placed();
        let asks = Gfp::ZERO.union(Gfp::THISNODE).union(Gfp::WRITE);
        let special = self.gfp.intersects(asks) || self.node.is_some();
        let hit = match self.order {
            _ if special || self.is_placed() => Hit::Never,
            Order::ZERO => Hit::Frame,
            Order::BLOCK => Hit::Block,
            order if order.get() <= Order::GROUP.get() => Hit::Run,
            _ => Hit::Never,
        };
        let glances = !self.urgency().waits && !matches!(hit, Hit::Never);
        Self { cacheable, hit, glances, ..self }
    }

    /// Whether the run's place is restricted beyond zone and node.
    #[inline]
    pub(crate) const fn is_placed(&self) -> bool {
        self.below.is_some() || self.align.get() > self.order.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_follows_every_change_of_the_mask() {
        let table = Request::order(Order::GROUP);
        let lower = table.zones_up_to(ZoneKind::Dma32).movable().atomic().silent();
        assert_eq!(lower.urgency(), Urgency::of(Gfp::ATOMIC | Gfp::NOWARN));
        assert_eq!((lower.highest, lower.kind, lower.hit), (ZoneKind::Dma32, Kind::Movable, Hit::Run));
        let back = lower.gfp(Gfp::KERNEL).map(|request| request.node(NodeId(1)).never_fail());
        let Ok(back) = back else { panic!("no flag of KERNEL is forbidden") };
        assert_eq!(back.urgency(), Urgency { never_fails: true, ..table.urgency() });
        assert_eq!((back.highest, back.kind, back.hit), (ZoneKind::Normal, Kind::Unmovable, Hit::Never));
        assert_eq!(
            [table.zeroed(), table.this_node(), table.to_be_written()].map(|it| it.hit),
            [Hit::Never; 3]
        );
        assert!(table.zeroed().cacheable);
        assert_eq!(Request::order(Order::ZERO).hit, Hit::Frame);
    }

    #[test]
    fn movable_zones_are_for_movable_content() {
        let user = Request::order(Order::ZERO).zones_up_to(ZoneKind::Movable);
        assert_eq!(user.highest, ZoneKind::Normal);
        assert_eq!(user.movable().highest, ZoneKind::Movable);
        assert_eq!(user.movable().reclaimable().highest, ZoneKind::Normal);
        assert_eq!(user.movable().within(Scope::PIN).highest, ZoneKind::Normal);
    }
}
