//! A page-frame allocator without locks: NUMA nodes and zones, zonelists, per-CPU slot words, any context.
//!
//! It hands out page frame numbers of memory that it never touches, from metadata that the embedder lends (0.004 % of
//! the memory). No path that allocates or frees takes a lock, disables interrupts or waits for a particular thread: it may be
//! called from a task, an interrupt, an NMI or a signal handler, also in the middle of another call. Only a request that
//! says it may wait ([`Gfp::DIRECT_RECLAIM`], in `GFP_KERNEL`, which a new [`Request`] says) belongs to a task: when its
//! walks have found nothing it reclaims, compacts and waits through the [`Platform`]. Handlers ask with
//! [`Request::atomic`] or [`Request::nowait`].
//!
//! ```
//! use core::mem::MaybeUninit;
//! use zonal::*;
//!
//! let memory = [MemoryRange::new(0x100, 0x4_0000, 0)];              // 1 GiB less 1 MiB, node 0
//! let topology =
//!     Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
//! let config = Config::new(topology);
//! let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?];
//! let allocator = PageAllocator::new(&config, OneCpu, &mut metadata)?;
//!
//! let frames = allocator.alloc(&Request::order(Order::BLOCK))?;      // 2 MiB, freed on drop
//! assert!(frames.pfn().is_aligned(Order::BLOCK));
//! let (low, high) = frames.split().expect("more than one frame");
//! drop(low);
//! let (pfn, order) = high.leak();                                    // or by hand
//! unsafe { allocator.free_raw(pfn, order)? };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Data flows one way: request -> zonelist -> zone (mark) -> slot word -> section -> block entry -> row of 64 bits;
//! the modules below stand in that order. `ARCHITECTURE.md` has the protocols, a page each.
#![no_std]
#![warn(clippy::missing_errors_doc)]

#[cfg(any(test, zonal_mutants, zonal_shuttle, zonal_loom))]
extern crate std;

mod access;
mod allocator;
mod audit;
mod block;
mod build;
mod bulk;
mod cache;
mod compact;
mod config;
mod construction;
mod contig;
mod daemon;
mod deferred;
mod error;
mod events;
mod exact;
mod frame;
mod frees;
mod gfp;
mod grace;
mod hint;
mod hits;
mod hotplug;
mod memory_event;
mod metadata;
#[cfg(all(test, any(zonal_loom, zonal_shuttle)))]
mod models;
mod movable;
mod mutant;
mod naming;
mod node;
mod nolock;
mod once;
mod own_rows;
mod own_words;
mod owned;
mod owner;
mod placed;
mod platform;
mod poison;
mod poisoning;
mod policy;
mod rate;
mod rebuild;
mod recovery;
mod report;
mod request;
mod restricted;
mod section;
mod slow;
mod state;
mod stats;
mod sync;
mod tag;
mod topology;
mod tuning;
mod upkeep;
mod urgency;
mod usage;
mod wait;
mod waiting;
mod watermark;
mod zone;
mod zonelist;

pub use allocator::PageAllocator;
pub use audit::{AuditSummary, Finding};
pub use build::metadata_size;
pub use compact::CompactSummary;
pub use config::{Caching, Checking, Config, Mark, Naming};
pub use deferred::DeferredFree;
pub use deferred::head::Head;
pub use deferred::host::DeferredHost;
pub use deferred::pile::{Collected, Pile, Queued};
pub use error::{AllocError, ConfigError, FreeError, IsolateError};
pub use events::{Event, Events, Numa};
pub use frame::{
    BLOCK_FRAMES, FRAME_SIZE, FrameRange, GROUP_FRAMES, Group, MAX_FRAMES, NodeId, Order, Pfn,
    SECTION_FRAMES, ZoneId,
};
pub use gfp::{Gfp, Scope};
pub use grace::{Grace, Reader, Seat};
pub use hotplug::error::HotplugError;
pub use hotplug::evacuate::Offlined;
pub use hotplug::obstacle::{Obstacle, ObstacleCause};
pub use hotplug::online::{AutoMovable, OnlineType};
pub use memory_event::{MemoryEvent, MemoryStep, NodeChange, Veto};
pub use movable::{Amount, MovableError, MovableSizing, movable_split};
#[cfg(feature = "faults")]
#[doc(hidden)]
pub use mutant::plant_fault;
pub use once::{InitError, OnceAllocator};
pub use own_rows::OwnRows;
pub use own_words::OwnWords;
pub use owned::Frames;
pub use owner::{Owner, OwnerError};
pub use platform::{
    Climb, Daemon, Demand, Migration, OneCpu, Oom, Platform, RebuildStep, Step, Task, Verdict,
};
pub use poison::{PoisonError, Poisoned};
pub use policy::cpuset::{Cpuset, CpusetError};
pub use policy::mempolicy::{Follow, Mempolicy, MempolicyError};
pub use policy::nodemask::{NodeMask, NodeMaskError};
pub use policy::reach::Context;
pub use recovery::{Recovery, RecoveryError};
pub use request::Request;
pub use topology::{HotRange, Kind, MemoryRange, Placement, Topology, ZoneKind};
pub use urgency::{Effort, Reserves, Urgency};
pub use usage::{NodeStat, Unknown, Usage, ZoneStat};
pub use wait::{InvalidWait, Preemption, Running, Wait, WaitContext};
pub use watermark::{Marks, Pageset, Tuning, Watermarks};
pub use zone::figures::{BlockInfo, BlockState, ZoneInfo};
pub use zonelist::Fallback;
