//! What a caller asks for, decoded once so that the fast path only reads fields.

use crate::error::AllocError;
use crate::frame::{NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::topology::{Kind, ZoneKind};

/// A request: an order, flags, and where. Build it once and use it for as many allocations as wanted.
///
/// ```
/// use zonal::{Gfp, NodeId, Order, Request};
/// let table = Request::order(Order::ZERO);                       // a frame for the kernel, near this CPU
/// let huge = Request::order(Order::BLOCK).gfp(Gfp::TRANSHUGE)?;  // 2 MiB, movable
/// let near = table.node(NodeId(1));
/// # let _ = (huge, near); Ok::<(), zonal::AllocError>(())
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
    /// Nothing but the CPU's own words for its first zone is asked of a hit: cacheable, no node, nothing to deliver.
    pub(crate) plain: bool,
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
            plain: true,
        }
        .settle()
    }

    /// The same run with these flags.
    ///
    /// # Errors
    /// [`AllocError::ForbiddenFlags`] with the bits that are unknown or exclude each other.
    pub const fn gfp(self, gfp: Gfp) -> Result<Self, AllocError> {
        let bits = gfp.forbidden();
        if bits != 0 {
            return Err(AllocError::ForbiddenFlags { bits });
        }
        Ok(Self { gfp, highest: gfp.highest_zone(), kind: gfp.kind(), ..self }.settle())
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

    /// The same request from somebody who has what is needed most.
    pub(crate) fn without_waiting(self) -> Self {
        Self { gfp: self.gfp.difference(Gfp::DIRECT_RECLAIM.union(Gfp::NOFAIL)), ..self }
    }

    const fn settle(self) -> Self {
        let cacheable = self.order.get() <= Order::GROUP.get() && !self.is_placed();
        let special = self.gfp.intersects(Gfp::ZERO.union(Gfp::THISNODE)) || self.node.is_some();
        Self { cacheable, plain: cacheable && !special, ..self }
    }

    /// Whether the run's place is restricted beyond zone and node.
    #[inline]
    pub(crate) const fn is_placed(&self) -> bool {
        self.below.is_some() || self.align.get() > self.order.get()
    }
}
