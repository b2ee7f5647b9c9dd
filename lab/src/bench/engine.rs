//! Whoever hands out frames: one small interface, so that every bench is the same code for each of them.
//!
//! An engine is set up for one order and called from any thread. Engines are compiled into the benches (no dynamic
//! dispatch on a timed path).

use std::ops::Range;

use anyhow::Result;
use zonal::{FRAME_SIZE, Gfp, Group, Order, Pfn, Tuning};
use zonal_linux::WordKind;

use super::wrong::{Wrong, check_distinct};

/// What an engine is set up for: one zone, or one in each of several nodes where the engine knows nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cpus: u16,
    pub(crate) order: Order,
    pub(crate) nodes: usize,
    /// Size of all zones together, a whole number of blocks each.
    pub(crate) bytes: u64,
    /// What requests say, where the engine hears it.
    pub(crate) gfp: Gfp,
    /// What its zones' marks follow from, where it has marks.
    pub(crate) tuning: Option<Tuning>,
    /// Whose its slot words are, where it has any.
    pub(crate) words: WordKind,
}

impl Setup {
    /// Frames of the zone.
    pub(crate) fn frames(&self) -> u64 {
        self.bytes / FRAME_SIZE
    }

    /// All of them, from the first.
    pub(crate) fn zone(&self) -> Range<u64> {
        0..self.frames()
    }
}

/// Allocates and frees runs of one order. Inlined as far as that makes an engine faster: a copy of frame-alloc's depot in each
/// loop is slower than a call.
pub(crate) trait Engine: Sync + Sized + 'static {
    /// Sets the engine up. Of the zone's frames, counted from its first, those of the ranges `free` are free (ascending
    /// and disjoint), all others taken for good.
    fn build(setup: &Setup, free: &[Range<u64>]) -> Result<Self>;

    /// Takes a run.
    fn alloc(&self) -> Result<Pfn, Wrong>;

    /// Asks for a run where there is none, and is refused for that reason.
    #[inline(always)]
    fn refuses(&self) -> Result<(), Wrong> {
        match self.alloc() {
            Ok(pfn) => Err(Wrong::NoneLeft { pfn }),
            Err(wrong) if wrong.is_out_of_memory() => Ok(()),
            Err(wrong) => Err(wrong),
        }
    }

    /// Gives a run back.
    ///
    /// # Safety
    /// The run came from `alloc` (or, at order 0, in a group), is given back once and not used any more.
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong>;

    /// Frames free, while nobody allocates or frees; `None` if the engine does not know.
    fn free_frames(&self) -> Option<u64>;

    /// Recounts everything, while nobody allocates or frees, `taken` frames are out and `runs` runs can be had.
    fn audit(&self, taken: u64, runs: u64) -> Result<(), Wrong>;
}

/// Allocates and frees scattered frames by the group.
pub(super) trait BulkEngine: Engine {
    /// Takes up to `frames` frames and says how many groups it filled.
    fn alloc_groups(&self, frames: u64, out: &mut [Group]) -> Result<usize, Wrong>;

    /// Gives groups back.
    ///
    /// # Safety
    /// As for [`Engine::free`], for every frame of every group.
    unsafe fn free_groups(&self, groups: &[Group]) -> Result<(), Wrong>;
}

/// The audit of an engine that counts nothing: all that is left is taken, must be `runs` distinct runs, and goes back.
pub(super) fn exhaust(engine: &impl Engine, order: Order, runs: u64) -> Result<(), Wrong> {
    let mut taken = Vec::new();
    loop {
        match engine.alloc() {
            Ok(pfn) => taken.push(pfn),
            Err(wrong) if wrong.is_out_of_memory() => break,
            Err(wrong) => return Err(wrong),
        }
    }
    if taken.len() as u64 != runs {
        return Err(Wrong::NotRestored { before: runs, after: taken.len() as u64 });
    }
    check_distinct(taken.clone(), order, order)?;
    // SAFETY: taken above, distinct, freed once.
    taken.into_iter().try_for_each(|pfn| unsafe { engine.free(pfn) })
}
