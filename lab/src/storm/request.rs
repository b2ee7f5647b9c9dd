//! What storms ask for: a few classes of requests, told apart by whether they may wait.

use std::fmt;

use zonal::{Gfp, Order, Request};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// The kernel for itself; may wait.
    Kernel,
    /// A process; may wait, and its frames can be moved.
    User,
    /// Somebody who may not wait.
    Atomic,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Kernel, Self::User, Self::Atomic];

    pub(super) const fn may_block(self) -> bool {
        !matches!(self, Self::Atomic)
    }

    /// The request. None of these masks has bits that exclude each other.
    pub(super) fn request(self, order: Order) -> Request {
        let gfp = match self {
            Self::Kernel => Gfp::KERNEL,
            Self::User => Gfp::HIGHUSER_MOVABLE,
            Self::Atomic => Gfp::ATOMIC,
        };
        Request::order(order).gfp(gfp).unwrap_or(Request::order(order))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "a kernel's",
            Self::User => "a process's",
            Self::Atomic => "an atomic",
        })
    }
}
