//! Conformance: any frame allocator is run through the promises made here and the holes found elsewhere.
//!
//! An allocator joins by a [`FrameAllocator`] of two calls; the more of the others it has, the more checks judge it. Each
//! [`Check`] builds machines of its own, enters every answer in a ledger, and ends in a [`Verdict`]. What an observer from
//! outside cannot see is not here: that no step takes a lock (P1) and that readers never wait for writers (P6).
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use zonal_testkit::conformance::{Answer, Build, FrameAllocator, No, Verdict, checks};
//!
//! /// Hands out frames upwards and forgets what is freed.
//! struct Upwards {
//!     next: Mutex<u64>,
//!     end: u64,
//! }
//!
//! impl FrameAllocator for Upwards {
//!     fn max_order(&self) -> u32 {
//!         10
//!     }
//!
//!     fn alloc(&self, order: u32) -> Answer<u64> {
//!         let mut next = self.next.lock().map_err(No::refused)?;
//!         let frames = 1u64.checked_shl(order).filter(|_| order <= 10).ok_or(No::refused("no such order"))?;
//!         let start = next.next_multiple_of(frames);
//!         if start + frames > self.end {
//!             return Err(No::refused("memory is used up"));
//!         }
//!         *next = start + frames;
//!         Ok(start)
//!     }
//!
//!     fn free(&self, _pfn: u64, _order: u32) -> Answer<()> {
//!         Ok(())
//!     }
//! }
//!
//! let build: Build = Arc::new(|setup| match setup.memory.as_slice() {
//!     [one] => Ok(Box::new(Upwards { next: Mutex::new(one.start), end: one.end })),
//!     _ => Err(No::Unsupported("one range of memory only")),
//! });
//! let verdict = |name| checks().find(|check| check.name == name).map(|check| check.run(&build));
//! assert!(matches!(verdict("last-frame"), Some(Verdict::Broken(_))));
//! assert_eq!(verdict("bad-order"), Some(Verdict::Holds));
//! assert_eq!(verdict("drain"), Some(Verdict::Unsupported("nothing is kept by CPU")));
//! ```
//!
//! Files: [`FrameAllocator`] in `subject`, [`Check`] in `check`, the ledger in `stand`, the checks by what they are
//! about: `runs`, `caches`, `placed`, `misuse`, `service`, `threads`, `cost`.

mod caches;
mod check;
mod cost;
mod misuse;
mod placed;
mod runs;
mod service;
mod stand;
mod subject;
mod threads;

pub use check::{Check, Repeats, Verdict};
pub use subject::{Answer, Build, FrameAllocator, No, Setup, Watch};

/// All checks, in the order in which they are best read.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let parts: [&[Check]; 7] = [
        &runs::CHECKS,
        &caches::CHECKS,
        &placed::CHECKS,
        &misuse::CHECKS,
        &service::CHECKS,
        &threads::CHECKS,
        &cost::CHECKS,
    ];
    parts.into_iter().flatten()
}
