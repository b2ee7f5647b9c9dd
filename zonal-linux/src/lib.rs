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
//! Files, callers first: `pool`, `simulation`, `memory`, `binding`, `mapping`, `cpu`, `machine`, `meminfo`. Invariant: what a pool or a
//! simulation allocates lies in its machine's ranges, and a pool maps exactly those.

#![cfg(target_os = "linux")]

mod binding;
mod cpu;
mod machine;
mod mapping;
mod meminfo;
mod memory;
mod pool;
mod simulation;

pub use binding::Binding;
pub use machine::{Machine, MachineError};
pub use memory::{MemoryError, Pages, Step};
pub use pool::{LinuxPlatform, Pool, PoolError};
pub use simulation::{CpuSource, SimulatedPlatform, Simulation, play_cpu};
