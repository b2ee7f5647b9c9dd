//! How much of a zone one compaction may look at, and what it may try there.

/// How hard a compaction tries (Linux: the priorities of direct compaction).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Priority {
    /// A few places nearby that are nearly free (Linux: ASYNC).
    Async,
    /// More of them, up to half used (Linux: SYNC_LIGHT).
    Light,
    /// All of the zone, blocks of every kind (Linux: SYNC_FULL).
    Full,
}

/// Shares of a place that are used, one pass each: up to an 8th, a 4th, half, all of it.
pub(super) const SHARES: [u64; 4] = [8, 4, 2, 1];

impl Priority {
    pub(crate) const ALL: [Self; 3] = [Self::Async, Self::Light, Self::Full];

    /// Passes made.
    pub(super) const fn passes(self) -> usize {
        match self {
            Self::Async => 1,
            Self::Light => 3,
            Self::Full => SHARES.len(),
        }
    }

    /// Blocks (or runs of blocks) looked at in a pass.
    pub(super) const fn looks(self) -> usize {
        match self {
            Self::Async => 512,
            Self::Light => 8192,
            Self::Full => usize::MAX,
        }
    }

    /// Places in which moves are begun, in all passes together.
    pub(super) const fn tries(self) -> usize {
        match self {
            Self::Async => 4,
            Self::Light => 32,
            Self::Full => usize::MAX,
        }
    }
}
