//! Other allocators, each called as its makers call it when it is fastest; BENCHMARKS.md says how and why.

mod buddy;
mod frame_alloc;
mod malloc;
mod span;

/// Orders that the frame allocators are set up for: as few as the table needs, since each is one more level to split
/// and to merge.
pub(super) const ORDERS: usize = 10;

pub(crate) use buddy::BuddySpin;
pub(crate) use frame_alloc::FrameAlloc;
pub(super) use frame_alloc::FrameAllocDepot;
#[cfg(target_env = "gnu")]
pub(super) use malloc::Glibc;
pub(super) use malloc::Malloc;
#[cfg(feature = "c-peers")]
pub(super) use malloc::{Jemalloc, Mimalloc};
