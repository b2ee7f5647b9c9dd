//! The allocators that can be judged.

use clap::ValueEnum;
use zonal_testkit::conformance::Build;

use super::subject::Geometry;
use super::{buddy, frame_alloc};

/// Who is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Engine {
    /// The page allocator.
    Zonal,
    /// frame-alloc's buddy by itself.
    FrameAlloc,
    /// The same under its per-CPU depot.
    FrameAllocDepot,
    /// buddy_system_allocator under its spin lock.
    BuddySpin,
}

impl Engine {
    /// Its name on the command line and in every table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zonal => "zonal",
            Self::FrameAlloc => "frame-alloc",
            Self::FrameAllocDepot => "frame-alloc-depot",
            Self::BuddySpin => "buddy-spin",
        }
    }

    /// What the checks build their allocators with.
    pub(super) fn build(self) -> Build {
        match self {
            Self::Zonal => Geometry::PLAIN.build(),
            Self::FrameAlloc => frame_alloc::bare(),
            Self::FrameAllocDepot => frame_alloc::depot(),
            Self::BuddySpin => buddy::build(),
        }
    }
}
