//! What keeps a range from going offline: a run, and why it stays.

use core::fmt;

use crate::error::AllocError;
use crate::frame::{Order, Pfn};
use crate::owner::Owner;
use crate::topology::Kind;

/// A run in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Obstacle {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its length, as far as is known; else a frame, or a block that is taken whole.
    pub order: Order,
    /// What its block is used for.
    pub kind: Kind,
    /// Whom it belongs to, where that is named ([`crate::Config::naming`]).
    pub owner: Option<Owner>,
    /// Why it stays.
    pub cause: ObstacleCause,
}

/// Why a run stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ObstacleCause {
    /// The platform refused to move it, as often as it was asked.
    Refused,
    /// The platform moves nothing at all.
    Immobile,
    /// There is nowhere to move it to.
    NoTarget(AllocError),
    /// It is in the hands of an operation that has not returned.
    InFlight,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pfn, order, kind, owner, cause } = self;
        write!(f, "{pfn}: {kind:?} run of order {order}")?;
        if let Some(owner) = owner {
            write!(f, " of owner {}", owner.get())?;
        }
        f.write_str(": ")?;
        match cause {
            ObstacleCause::Refused => f.write_str("the platform refuses to move it"),
            ObstacleCause::Immobile => f.write_str("the platform moves nothing"),
            ObstacleCause::NoTarget(error) => write!(f, "nowhere to move it to: {error}"),
            ObstacleCause::InFlight => f.write_str("in the hands of an operation"),
        }
    }
}
