//! What a handler does between two instructions of the call under test.
//!
//! What handlers take they keep, so that the call goes on in another state than it began in.

use zonal::{FrameRange, Gfp, Order};

use crate::stage::{Stage, ZONE};

/// What handlers ask for: what they interrupt may be whom a request that waits would wait for.
const NOWAIT: Gfp = Gfp::NOWAIT;
const MOVABLE: Gfp = Gfp::HIGHUSER_MOVABLE.difference(Gfp::DIRECT_RECLAIM);

/// What a handler does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Interruption {
    /// Allocates a frame.
    Takes,
    /// Frees what the case lets it free.
    Gives,
    /// Drains all CPUs.
    Drains,
    /// Allocates a block.
    TakesBlock,
    /// Allocates, frees and drains on the other CPU.
    OtherCpu,
    /// Closes the zone's caches until the call has returned.
    Closes,
    /// Isolates all blocks but the first until the call has returned.
    Isolates,
    /// At every instruction: allocates a frame, frees it, drains.
    EveryTime,
}

impl Interruption {
    /// All of them, those together that interrupt a call as it is stepped through once. What every operation must bear comes first.
    pub(crate) const PASSES: [&[Self]; 3] = [
        &[Self::Takes, Self::Gives, Self::Drains],
        &[Self::EveryTime],
        &[Self::TakesBlock, Self::OtherCpu, Self::Isolates, Self::Closes],
    ];

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::PASSES.into_iter().flatten().copied()
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Takes => "takes",
            Self::Gives => "gives",
            Self::Drains => "drains",
            Self::TakesBlock => "takes-block",
            Self::OtherCpu => "other-cpu",
            Self::Closes => "closes",
            Self::Isolates => "isolates",
            Self::EveryTime => "every-time",
        }
    }

    /// Whether every operation must bear it, in each of its states: it allocates, frees or drains.
    pub(crate) fn must_be_borne(self) -> bool {
        matches!(self, Self::Takes | Self::Gives | Self::Drains)
    }

    /// Calls it makes.
    pub(crate) fn calls(self) -> u64 {
        match self {
            Self::EveryTime => 3,
            Self::OtherCpu => 4,
            _ => 1,
        }
    }

    /// Does it.
    pub(crate) fn carry_out(self, stage: &Stage) {
        stage.note_moves();
        match self {
            Self::Takes => drop(stage.take(Order::ZERO, NOWAIT)),
            Self::Gives => stage.spares.take().into_iter().for_each(|pfn| stage.give(pfn)),
            Self::Drains => drop(stage.pages.drain_all()),
            Self::TakesBlock => drop(stage.take(Order::BLOCK, NOWAIT)),
            Self::OtherCpu => stage.on_cpu(1, || {
                let taken = stage.take(Order::ZERO, MOVABLE);
                stage.take(Order::ZERO, NOWAIT);
                taken.into_iter().for_each(|pfn| stage.give(pfn));
                stage.pages.drain_cpu(0);
            }),
            Self::Closes => {
                stage.pages.close_caches(ZONE);
                stage.is_closed.set(true);
            }
            Self::Isolates => {
                let others = FrameRange::new(stage.block(1).start, stage.all().end);
                let _ = stage.pages.isolate(others); // Busy where the call holds claims there
            }
            Self::EveryTime => {
                stage.take(Order::ZERO, NOWAIT).into_iter().for_each(|pfn| stage.give(pfn));
                stage.pages.drain_all();
            }
        }
    }
}
