//! What an embedder says so that a section which is plugged in holds its own rows.
//!
//! Only facts about the machine; where a section's rows are is in `section::rows`, when they come and go in `hotplug`.

use core::ptr::NonNull;

use crate::frame::Pfn;

/// How sections that are plugged in hold their own rows ([`crate::Config::own_rows`]; Linux: memmap_on_memory).
///
/// A row is a bit a frame: 4096 bytes a section, five sixths of what is kept of one. With this they are not lent for each
/// section that may ever come, but lie in the section's first frame from the moment it is added until it has been removed:
/// that frame is never handed out, so a section has no run across its start, and its first block is never taken whole. The
/// price is that [`crate::PageAllocator::remove_memory`] must wait for all who may still be looking at those rows.
///
/// What words say who may touch a row (its block's entry), and what is noted of frames in checked mode or where owners are
/// named, is lent from the start all the same. Such metadata cannot be recovered.
#[derive(Clone, Copy, Debug)]
pub struct OwnRows {
    pub(crate) memory: fn(first: Pfn) -> Option<NonNull<u8>>,
    pub(crate) quiesce: fn() -> bool,
}

impl OwnRows {
    /// Rows in the first frame of each section. `memory(first)` says where that frame is; it is called in task context when the
    /// section is added, behind [`crate::MemoryStep::GoingToBeAdded`]; `None`: the section is not added. `quiesce()` waits until
    /// nobody looks at rows any more that were out of sight before, or says that it cannot, and the section is not removed; it is
    /// called in task context, once a removal, behind [`crate::MemoryStep::GoingToBeRemoved`], outside every protocol step.
    ///
    /// # Safety
    /// (1) From `memory(first)` to the end of the removal the [`crate::FRAME_SIZE`] bytes there, aligned as much, are readable
    /// and writable, and nobody's but the allocator's: not another section's rows, and in no range that is handed out. (2) When
    /// `quiesce()` has returned true, every call of the allocator that was under way when it was called, but for the removal, has
    /// returned, however long it was in a hook of the platform; what such a call has returned that looks at blocks (an iterator, a
    /// report) is gone, too; and what the caller wrote before is seen by calls that begin after.
    pub const unsafe fn new(memory: fn(first: Pfn) -> Option<NonNull<u8>>, quiesce: fn() -> bool) -> Self {
        Self { memory, quiesce }
    }
}
