//! The atomics of every protocol word, and the one switch that hands the shipping code to a model checker.
//!
//! Every atomic of this crate is named through here. `--cfg zonal_loom` puts loom's atomics behind the names,
//! `--cfg zonal_shuttle` shuttle's; both shrink the geometry ([`crate::frame`]) so that whole races fit.
//! This module never chooses an ordering: each call site names its own and its partner.

#[cfg(not(any(zonal_loom, zonal_shuttle)))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};
#[cfg(zonal_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};
#[cfg(zonal_shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering;

/// For what model checkers need not see: counters that no step decides by, and scratch that a word hands on.
pub(crate) use core::sync::atomic::AtomicU64 as UnmodelledU64;

/// Stands between a SeqCst read-modify-write and a SeqCst load of *another* word that must not be read earlier
/// (the store-then-load pairs of the hints, see `hint.rs`).
///
/// In the language's memory model the two SeqCst accesses alone give that order, and on x86 the locked instruction
/// does; loom treats SeqCst accesses as acquire-release only, so its build needs the fence spelled out.
#[inline(always)]
pub(crate) fn store_load_barrier() {
    #[cfg(zonal_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Keeps what was read before it, with whatever ordering, from being read after the load that follows: a walk that
/// found nothing is older than the second reading of the transit word ([`crate::zone::count`]).
#[inline(always)]
pub(crate) fn load_barrier() {
    fence(Ordering::Acquire);
}
