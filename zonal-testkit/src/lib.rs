//! What the page allocator is tested against: a naive model of it, an independent zonelist order, Linux's contract of a
//! request ([`contract`]), machines, and a suite of checks that any frame allocator can be run through
//! ([`conformance`]).
//!
//! The crate names nothing of `zonal`: frames are plain `u64` numbers, zones plain indices. It never predicts which frame
//! an allocator chooses; it judges the choice afterwards. Whatever is slow but obvious is written the slow and obvious
//! way. Beside the model stand a `stepper` for x86-64 Linux, which interrupts any code at every instruction, and `ticks` for
//! Linux, which interrupt it at random ones.
//!
//! Invariant of a [`Model`]: for each zone `free + held + isolated = managed`, each counted frame by frame.
//!
//! ```
//! use zonal_testkit::{Ask, Class, Machine, Model};
//!
//! let mut model = Model::new(&Machine::one_block());
//! let ask = Ask::run(3, model.zonelist(0, Class::Normal));
//! model.granted(&ask, 64)?;                              // frames 64..72 were free: no objection
//! assert!(model.granted(&ask, 64).is_err());             // handed out twice
//! assert!(model.refused(&ask).is_err());                 // 504 frames are free: no reason to refuse
//! model.freed(64, 8)?;
//! assert_eq!(model.total().free, 512);
//! # Ok::<(), zonal_testkit::Violation>(())
//! ```

#![deny(unsafe_code)]

pub mod conformance;
pub mod contract;
mod machine;
mod model;
mod plugged;
pub mod policy;
mod seeded;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod stepper;
#[cfg(target_os = "linux")]
pub mod ticks;
mod violation;
mod zonelist;

pub use machine::{BLOCK, Class, Machine, Mark, Memory};
pub use model::{Ask, Figures, Leaves, Model, Zone};
pub use plugged::{Plug, Plugged};
pub use seeded::Seeded;
pub use violation::Violation;
pub use zonelist::{Matrix, zonelist_order};
