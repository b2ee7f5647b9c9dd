//! What is told of memory that comes and goes (Linux: the memory and node notifiers), and how it may be objected to.

use core::fmt;

use crate::frame::{FrameRange, NodeId, ZoneId};

/// A step of memory's coming or going.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryStep {
    /// The range is about to be added. May be vetoed.
    GoingToBeAdded,
    /// It has been added; its frames are nobody's.
    Added,
    /// Its frames are about to become a zone's (Linux: MEM_GOING_ONLINE). May be vetoed.
    GoingOnline,
    /// They can be allocated now (Linux: MEM_ONLINE).
    Online,
    /// They will not: nothing changed (Linux: MEM_CANCEL_ONLINE).
    CancelOnline,
    /// Its frames are about to be taken from their zone: none of them is handed out any more (Linux: MEM_GOING_OFFLINE).
    /// May be vetoed.
    GoingOffline,
    /// They are nobody's now (Linux: MEM_OFFLINE).
    Offline,
    /// They stay where they are, and are handed out again (Linux: MEM_CANCEL_OFFLINE).
    CancelOffline,
    /// The range, offline, is about to be removed. May be vetoed.
    GoingToBeRemoved,
    /// It is gone.
    Removed,
}

impl MemoryStep {
    /// Whether an objection is listened to.
    pub const fn may_be_vetoed(self) -> bool {
        matches!(self, Self::GoingToBeAdded | Self::GoingOnline | Self::GoingOffline | Self::GoingToBeRemoved)
    }
}

/// What it means for the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeChange {
    /// It has memory before and after.
    None,
    /// This is its first memory (Linux: NODE_ADDING_FIRST_MEMORY and its likes).
    First,
    /// This is its last memory (Linux: NODE_REMOVING_LAST_MEMORY and its likes).
    Last,
}

/// Something that happens to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryEvent {
    /// What.
    pub step: MemoryStep,
    /// To which frames.
    pub range: FrameRange,
    /// The node they belong to.
    pub node: NodeId,
    /// The zone they come to or go from; `None` if that is not about them.
    pub zone: Option<ZoneId>,
    /// What it means for the node.
    pub change: NodeChange,
}

/// An objection. Whatever was done is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Veto;

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("somebody who was told objects")
    }
}

impl core::error::Error for Veto {}
