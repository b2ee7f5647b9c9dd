//! Why memory could not be plugged in or taken away. Whatever had been done by then has been undone.

use core::fmt;

use crate::error::IsolateError;
use crate::frame::{Pfn, SECTION_FRAMES};
use crate::memory_event::MemoryStep;

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HotplugError {
    /// The range is empty, or does not begin and end with a section.
    Unaligned {
        /// Its first frame or the one past its last.
        pfn: Pfn,
    },
    /// The section is not one that may be plugged in (see [`crate::Config::hotplug`]).
    NotPluggable {
        /// Its first frame.
        pfn: Pfn,
    },
    /// The section is not in the state that this begins from.
    State {
        /// Its first frame.
        pfn: Pfn,
        /// What has become of it.
        found: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// The range belongs to several nodes, or its sections to several zones.
    SeveralZones {
        /// The first frame of another one.
        pfn: Pfn,
    },
    /// Somebody else is plugging: one at a time.
    Busy,
    /// Somebody who was told of it objected.
    Vetoed {
        /// The step that did not take place.
        step: MemoryStep,
    },
    /// [`crate::Platform::cancelled`] said so.
    Cancelled,
    /// The blocks could not be isolated.
    Isolation(IsolateError),
    /// Somebody has ended the isolation of a block while it was going offline.
    Unisolated {
        /// The block's first frame.
        pfn: Pfn,
    },
    /// A frame that would come is poisoned: heal it first.
    Poisoned {
        /// The frame.
        pfn: Pfn,
    },
    /// There is nowhere to keep the section's rows: [`crate::OwnRows`] does not say where its first frame is.
    NoRows {
        /// Its first frame.
        pfn: Pfn,
    },
    /// Somebody may be looking at rows that lie in the sections: [`crate::OwnRows`] cannot tell that nobody does.
    NotQuiet,
    /// Frames are in the way that could not be moved; each has been reported.
    InTheWay {
        /// How many.
        frames: u64,
    },
}

impl fmt::Display for HotplugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unaligned { pfn } => {
                write!(
                    f,
                    "{pfn} is not where a section begins: {SECTION_FRAMES} frames are plugged at a time"
                )
            }
            Self::NotPluggable { pfn } => write!(f, "the section at {pfn} is not hot-pluggable"),
            Self::State { pfn, found, needed } => {
                write!(f, "the section at {pfn} is {found}, not {needed}")
            }
            Self::SeveralZones { pfn } => write!(f, "the section at {pfn} belongs to another zone"),
            Self::Busy => f.write_str("memory is being plugged by somebody else"),
            Self::Vetoed { step } => write!(f, "somebody objected to {step:?}"),
            Self::Cancelled => f.write_str("it was cancelled"),
            Self::Isolation(error) => write!(f, "isolation: {error}"),
            Self::Unisolated { pfn } => write!(f, "the isolation of the block at {pfn} was ended meanwhile"),
            Self::Poisoned { pfn } => write!(f, "frame {pfn} is poisoned"),
            Self::NoRows { pfn } => write!(f, "nowhere to keep the rows of the section at {pfn}"),
            Self::NotQuiet => f.write_str("its rows may still be looked at"),
            Self::InTheWay { frames } => write!(f, "{frames} frames are in the way"),
        }
    }
}

impl core::error::Error for HotplugError {}

impl From<IsolateError> for HotplugError {
    fn from(error: IsolateError) -> Self {
        Self::Isolation(error)
    }
}
