//! Why memory was not plugged in or given back, and how who asked gets to know.
//!
//! The allocator's hook can only object. What stood in its way is left on the thread, which is the one that plugs. Invariant:
//! what is taken is what the last hook on this thread left since it was taken before.

use std::cell::Cell;
use std::io;

use zonal::{HotplugError, MemoryStep, NodeId};

use crate::memory::MemoryError;

/// Why a pool did not grow or shrink. Whatever had been done by then has been undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlugError {
    /// The allocator refuses, or somebody who was told of it ([`crate::PoolPlan::on_memory_event`]).
    #[error("{0}")]
    Hotplug(HotplugError),
    /// The system does not give the memory, or does not take it back.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system gave no thread for a daemon of a node whose first memory this would be.
    #[error("no thread for {name}{}: {error}", node.0)]
    Thread {
        /// The daemon's name.
        name: &'static str,
        /// Its node.
        node: NodeId,
        /// What the system says.
        error: io::Error,
    },
    /// The node has nothing more that may be plugged in, or be taken away.
    #[error("node {} has nothing more to be plugged", node.0)]
    Exhausted {
        /// The node.
        node: NodeId,
    },
}

thread_local! {
    static LEFT: Cell<Option<PlugError>> = const { Cell::new(None) };
}

/// Leaves a reason for who called.
pub(crate) fn leave(reason: PlugError) {
    LEFT.set(Some(reason));
}

/// The reason that was left last, if none has taken it.
pub(crate) fn take() -> Option<PlugError> {
    LEFT.take()
}

/// The reason for what the allocator says.
pub(crate) fn explain(error: HotplugError) -> PlugError {
    match (error, take()) {
        (HotplugError::Vetoed { step: MemoryStep::GoingOnline }, Some(reason)) => reason,
        _ => PlugError::Hotplug(error),
    }
}
