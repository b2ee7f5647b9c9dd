//! What a recovery found, or why there was none (see [`crate::PageAllocator::recover`]).

use core::fmt;

use crate::error::ConfigError;
use crate::frame::Pfn;

/// What was found when an allocator was recovered. All figures are frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Frames managed.
    pub managed: u64,
    /// Free frames now: in blocks and from slot words, and all that follow.
    pub free: u64,
    /// Frames that had been in slot words.
    pub cached: u64,
    /// Frames claimed by operations that had not taken them yet.
    pub claimed: u64,
    /// Frames taken towards runs that had not been completed.
    pub tentative: u64,
    /// Frames that looked allocated and that nobody owns: they were in the hands of operations that never returned, or
    /// of callers that noted nothing.
    pub disowned: u64,
    /// Poisoned frames that are out: neither free nor owned.
    pub poisoned: u64,
    /// Frames that the dead operations had announced as on the move. Each is in one of the figures above, or owned: a
    /// run taken from a slot word, or from the blocks well above the mark, is not announced.
    pub in_flight: u64,
    /// Frames found both free and in a slot word (an earlier recovery was interrupted, or frames were freed twice).
    pub twice: u64,
}

/// Why nothing was recovered. The metadata is as it was, but where it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The configuration is refused by itself.
    Config(ConfigError),
    /// No allocator was completed in this metadata: build a new one.
    NotBuilt,
    /// The metadata is of another machine, other options or another version of this library.
    OtherConfig {
        /// The fingerprint found.
        found: u64,
        /// The configuration's.
        expected: u64,
    },
    /// The metadata lies at an address that differs from the earlier one by no multiple of 4096.
    Moved {
        /// The earlier address, modulo 4096.
        from: usize,
        /// The address now, modulo 4096.
        to: usize,
    },
    /// The configuration has sections hold their own rows ([`crate::Config::own_rows`]), which are not in the metadata.
    OwnRows,
    /// A word says what no allocator writes.
    Damaged {
        /// The first frame of its block.
        block: Pfn,
    },
}

impl From<ConfigError> for RecoveryError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotBuilt => f.write_str("no allocator was completed in this metadata"),
            Self::OtherConfig { found, expected } => {
                write!(f, "the metadata is of configuration {found:#018x}, not of {expected:#018x}")
            }
            Self::Moved { from, to } => {
                write!(f, "the metadata lay at an address {from} above a page's start, now it is {to}")
            }
            Self::OwnRows => f.write_str("rows that sections hold themselves cannot be recovered"),
            Self::Damaged { block } => write!(f, "the words of block {block} are damaged"),
        }
    }
}

impl core::error::Error for RecoveryError {}
