//! [`zonal`] on the real memory of a Linux process.
//!
//! A [`Machine`] says what there is: read from TOML, from this machine, or made of equal nodes. A [`Pool`] is an
//! allocator for it whose frames are real pages; a [`Simulation`] is the same allocator without frames, for machines
//! larger than this one.
//!
//! ```
//! use zonal::{Order, Request};
//! use zonal_linux::{Machine, Pages, Pool};
//!
//! let machine = Machine::uniform(2, 64 << 20, 4)?;
//! let pool = Pool::build(&machine, Pages::Lazy)?;
//! let frame = pool.allocator().alloc(&Request::order(Order::ZERO))?;
//! let bytes = pool.address(frame.pfn()).ok_or("a frame without memory")?;
//! // SAFETY: the frame is ours until `frame` is dropped, and its 4096 bytes are mapped as long as the pool lives.
//! unsafe { bytes.cast::<u64>().write(42) };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where memory runs short
//!
//! A machine with a [`Machine::with_tuning`] has Linux's watermarks, and caches that can give frames back take part as
//! [`Shrinker`]s: at the low mark kswapd's thread begins to ask them, up to the high mark; at the min mark requests that
//! wait ask them too; when none has anything left, the callback for that is called, and then the request fails.
//!
//! ```
//! use std::sync::Mutex;
//! use zonal::{Demand, NodeId, Order, Request, Tuning, Verdict};
//! use zonal_linux::{Daemons, Machine, Pool, Shrinker};
//!
//! struct Cache(Mutex<Vec<u64>>); // whatever holds frames; here it only counts
//! impl Shrinker for Cache {
//!     fn count(&self, _node: NodeId) -> u64 {
//!         self.0.try_lock().map_or(0, |cached| cached.len() as u64)
//!     }
//!     fn scan(&self, frames: u64, _demand: &Demand) -> Option<u64> {
//!         let mut cached = self.0.try_lock().ok()?; // who holds it may be waiting for frames
//!         let given = frames.min(cached.len() as u64);
//!         cached.drain(..given as usize);
//!         Some(given)
//!     }
//! }
//!
//! let machine = Machine::uniform(1, 64 << 20, 4)?.with_tuning(Tuning::default())?;
//! let pool = Pool::plan(&machine).daemons(Daemons::Threads).on_oom(|_| Verdict::GiveUp).build()?;
//! let registered = pool.shrinkers().register(Cache(Mutex::default())); // until it is dropped
//! let frame = pool.allocator().alloc(&Request::order(Order::ZERO).movable())?;
//! # drop((frame, registered)); Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A pool that grows and shrinks
//!
//! A machine with a [`Machine::with_hotplug`] has addresses for more memory than it has. [`Pool::grow`] and [`Pool::online`] make sections of
//! 128 MiB memory of the process, [`Pool::shrink`] and [`Pool::offline`] give them back to the system; what is used there is
//! moved first by its owners, the [`Mover`]s.
//!
//! ```
//! use zonal::{NodeId, OnlineType, Order, Request, ZoneKind};
//! use zonal_linux::{Machine, Pages, Pool};
//!
//! let machine = Machine::uniform(1, 64 << 20, 4)?.with_hotplug(NodeId(0), 256 << 20)?;
//! let pool = Pool::build(&machine, Pages::Lazy)?;
//! assert_eq!(pool.grow(NodeId(0), 128 << 20, OnlineType::Movable).bytes, 128 << 20);
//! let request = Request::order(Order::ZERO).movable().zones_up_to(ZoneKind::Movable); // all others leave it alone
//! let frame = pool.allocator().alloc(&request)?;
//! assert!(pool.shrink(NodeId(0), 128 << 20).stopped.is_some(), "nobody has said how to move the frame");
//! drop(frame);
//! assert_eq!(pool.shrink(NodeId(0), 128 << 20).bytes, 128 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is worth knowing
//!
//! - A request waits (reclaims) unless it is [`zonal::Request::nowait`] or [`zonal::Request::atomic`]. In a signal handler
//!   it must be one of these, inside [`acting_as`] [`Role::Interrupt`].
//! - No request that waits under a lock that `scan` waits for: it would wait for itself. `scan` tries such a lock.
//! - `scan` runs on kswapd's thread and on requesters', several at once. What it allocates comes from below the marks.
//! - A cache that holds its pool is registered as a `Weak`: the pool holds what is registered.
//! - Long runs are made by moving frames of [`Mover`]s; failures are read where [`PoolPlan::on_report`] says.
//! - Nodes whose shrinkers gave nothing 16 times in a row have their kswapd left alone until a request that waits gets
//!   something from them.
//!
//! Files, callers first: `review`, `plug`, `pool`, `simulation`, `daemon`, `built`, `platform`, `refusal`, `shrinker`, `mover`, `registry`,
//! `task`, `grace`, `bell`, `memory`, `binding`, `mapping`, `cpu`, `machine`, `meminfo`. Invariant: what a pool or a simulation allocates lies in its machine's ranges, and
//! a pool maps exactly those.

#![cfg(target_os = "linux")]

mod bell;
mod binding;
mod built;
mod cpu;
mod daemon;
mod grace;
mod machine;
mod mapping;
mod meminfo;
mod memory;
mod mover;
mod own_words;
mod platform;
mod plug;
mod pool;
mod refusal;
mod registry;
mod review;
mod shrinker;
mod simulation;
mod task;
mod upkeep;

pub use binding::Binding;
pub use built::PoolError;
pub use cpu::CpuReader;
pub use grace::Grace;
pub use machine::{Machine, MachineError};
pub use memory::{MemoryError, Pages, Step};
pub use mover::{Mover, Movers, Relocation};
pub use own_words::WordKind;
pub use platform::LinuxPlatform;
pub use plug::{Pluggable, Resized};
pub use pool::{Daemons, Pool, PoolPlan};
pub use refusal::PlugError;
pub use registry::Registration;
pub use review::{Remark, Review};
pub use shrinker::{GivenBack, Shrinker, Shrinkers};
pub use simulation::{CpuSource, SimulatedPlatform, Simulation, play_cpu};
pub use task::{Role, acting_as};
