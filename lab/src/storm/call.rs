//! The calls of the allocator by name: what a seat shows while a thread is in one.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::stage::Seat;

/// A call of the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    None,
    Alloc,
    Free,
    Split,
    AllocBulk,
    FreeBulk,
    Drain,
    Close,
    Reopen,
    Isolate,
    Unisolate,
    Rebuild,
    Online,
    Offline,
}

impl Call {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 14] = [
        Self::None,
        Self::Alloc,
        Self::Free,
        Self::Split,
        Self::AllocBulk,
        Self::FreeBulk,
        Self::Drain,
        Self::Close,
        Self::Reopen,
        Self::Isolate,
        Self::Unisolate,
        Self::Rebuild,
        Self::Online,
        Self::Offline,
    ];

    /// The call a seat is in.
    pub(super) fn of(seat: &Seat) -> Self {
        Self::ALL.get(usize::from(seat.inside.load(Relaxed))).copied().unwrap_or(Self::None)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "its own code",
            Self::Alloc => "an allocation",
            Self::Free => "a free",
            Self::Split => "a split",
            Self::AllocBulk => "a bulk allocation",
            Self::FreeBulk => "a bulk free",
            Self::Drain => "a drain",
            Self::Close => "a closing of caches",
            Self::Reopen => "a reopening of caches",
            Self::Isolate => "an isolation",
            Self::Unisolate => "the end of an isolation",
            Self::Rebuild => "a rebuild of the zonelists",
            Self::Online => "an onlining",
            Self::Offline => "an offlining",
        })
    }
}
