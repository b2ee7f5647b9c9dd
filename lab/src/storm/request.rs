//! What storms ask for: a few classes of requests, told apart by whether they may wait.

use std::fmt;

use zonal::{AllocError, Gfp, Order, PageAllocator, Pfn, Platform, Request};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// The kernel for itself; may wait.
    Kernel,
    /// A process; may wait, and its frames can be moved.
    User,
    /// Somebody who may not wait.
    Atomic,
    /// Somebody who may be anywhere, and asks by the nolock pair.
    Nolock,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Kernel, Self::User, Self::Atomic, Self::Nolock];

    /// Those of handlers.
    pub(super) const ANYWHERE: [Self; 2] = [Self::Atomic, Self::Nolock];

    pub(super) const fn may_block(self) -> bool {
        !matches!(self, Self::Atomic | Self::Nolock)
    }

    /// The request. None of these masks has bits that exclude each other.
    pub(super) fn request(self, order: Order) -> Request {
        let gfp = match self {
            Self::Kernel => Gfp::KERNEL,
            Self::User => Gfp::HIGHUSER_MOVABLE,
            Self::Atomic => Gfp::ATOMIC,
            Self::Nolock => Gfp::NOMEMALLOC | Gfp::NOWARN,
        };
        Request::order(order).gfp(gfp).unwrap_or(Request::order(order))
    }

    /// Makes the request.
    pub(super) fn ask<P: Platform>(
        self,
        allocator: &PageAllocator<'_, P>,
        order: Order,
    ) -> Result<Pfn, AllocError> {
        match self {
            Self::Nolock => allocator.alloc_nolock(Gfp::empty(), None, order),
            Self::Kernel | Self::User | Self::Atomic => allocator.alloc_raw(&self.request(order)),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "a kernel's",
            Self::User => "a process's",
            Self::Atomic => "an atomic",
            Self::Nolock => "a nolock",
        })
    }
}
