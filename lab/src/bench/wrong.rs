//! A wrong answer: what an engine must not say or do, with the values.

use zonal::{AllocError, FreeError, HotplugError, Order, Pfn};

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("an allocation was refused with memory to spare: {0}")]
    Refused(AllocError),
    #[error("an allocation was refused with memory to spare")]
    OutOfMemory,
    #[error("an allocation was refused: {0:?}")]
    Peer(frame_alloc::AllocError),
    #[error("{address:#x} is not aligned to a page")]
    NoPage { address: u64 },
    #[error("the run at {pfn} was handed out by a zone that has none")]
    NoneLeft { pfn: Pfn },
    #[error("a free of what was allocated was refused: {0}")]
    FreeRefused(FreeError),
    #[error("the runs of order {order} at {first} and {second} share frames")]
    Shared { first: Pfn, second: Pfn, order: Order },
    #[error("the run at {pfn} is not aligned to its order {order}")]
    Misaligned { pfn: Pfn, order: Order },
    #[error("{before} frames were free before, {after} are after everything was given back")]
    NotRestored { before: u64, after: u64 },
    #[error("memory that is free could not be plugged: {0}")]
    Plug(HotplugError),
    #[error("{cached} frames were cached, a drain found {frames}")]
    Drained { cached: u64, frames: u64 },
    #[error("the audit found: {0}")]
    Audit(String),
    #[error("not set up: {0}")]
    NotBuilt(String),
    #[error("a word changed under a thread that alone uses it")]
    WordChanged,
    #[error("{units} units of work took no time: it was left out")]
    NoWork { units: u64 },
    #[error("a thread ended early")]
    Thread,
}

impl Wrong {
    /// Whether an allocation was refused, for whatever cause.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::OutOfMemory | Self::Refused(_) | Self::Peer(_))
    }

    /// Whether it says that no run is left: right where none is.
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory | Self::Refused(AllocError::NoMemory { .. } | AllocError::NoRun { .. })
        )
    }
}

impl From<AllocError> for Wrong {
    fn from(error: AllocError) -> Self {
        Self::Refused(error)
    }
}

impl From<FreeError> for Wrong {
    fn from(error: FreeError) -> Self {
        Self::FreeRefused(error)
    }
}

/// Checks that runs of one order are aligned and share no frame.
pub(super) fn check_distinct(mut runs: Vec<Pfn>, order: Order, alignment: Order) -> Result<(), Wrong> {
    if let Some(&pfn) = runs.iter().find(|pfn| !pfn.is_aligned(alignment)) {
        return Err(Wrong::Misaligned { pfn, order });
    }
    runs.sort_unstable();
    match runs.windows(2).find(|pair| pair[1].get() - pair[0].get() < order.frames()) {
        Some(pair) => Err(Wrong::Shared { first: pair[0], second: pair[1], order }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_crooked_runs_are_found() {
        let check = |runs: &[u64], order| {
            let order = Order::new(order).unwrap();
            check_distinct(runs.iter().copied().map(Pfn::new).collect(), order, order)
        };
        assert!(check(&[7, 3, 5], 0).is_ok());
        assert!(check(&[16, 0, 8], 3).is_ok());
        assert!(matches!(check(&[7, 3, 7], 0), Err(Wrong::Shared { .. })));
        assert!(matches!(check(&[8, 4], 3), Err(Wrong::Misaligned { pfn, .. }) if pfn == Pfn::new(4)));
    }
}
