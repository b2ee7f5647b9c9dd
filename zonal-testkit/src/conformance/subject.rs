//! What the suite asks of an allocator: two calls that every frame allocator has, and more that it may have.
//!
//! Frames are plain numbers, orders plain exponents. Whatever an allocator does not offer says so by default, and the
//! checks that need it are then unsupported, not broken.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Why a call did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum No {
    /// The allocator refused, and why.
    Refused(String),
    /// The allocator has no such call.
    Unsupported(&'static str),
}

impl No {
    /// A refusal for this reason.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused(reason.to_string())
    }
}

/// What a call returns.
pub type Answer<T> = Result<T, No>;

/// How closely frees are to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// As usual.
    Usual,
    /// As closely as the allocator can, if it has more than one mode.
    Closest,
}

/// The machine an allocator is built for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Its frames, ascending ranges unless the check is about bad ones. Nobody touches them.
    pub memory: Vec<Range<u64>>,
    /// How many CPUs it has.
    pub cpus: usize,
    /// How closely frees are to be looked at.
    pub watch: Watch,
}

/// How an allocator is made. A refused machine is [`No::Refused`].
pub type Build = Arc<dyn Fn(&Setup) -> Answer<Box<dyn FrameAllocator>> + Send + Sync>;

/// An allocator under test. It may be called by several threads at once.
pub trait FrameAllocator: Send + Sync {
    /// The largest order it says it serves.
    fn max_order(&self) -> u32;

    /// Takes `2^order` frames, naturally aligned; the first. Any order may be asked for.
    ///
    /// # Errors
    /// [`No::Refused`] where there is no such run or order.
    fn alloc(&self, order: u32) -> Answer<u64>;

    /// Gives back what [`FrameAllocator::alloc`] returned, as one run. Never called for anything else.
    ///
    /// # Errors
    /// [`No::Refused`], which is a broken promise.
    fn free(&self, pfn: u64, order: u32) -> Answer<()>;

    /// Gives back what the caller does not hold: free already, never its own, or of another order. Left out where that
    /// is undefined behaviour by the allocator's own contract.
    ///
    /// # Errors
    /// [`No::Refused`] is what a check hopes for.
    fn misuse(&self, pfn: u64, order: u32) -> Answer<()> {
        let _ = (pfn, order);
        Err(No::Unsupported("a wrong free is undefined behaviour"))
    }

    /// From now on the calling thread runs on this CPU.
    ///
    /// # Errors
    /// [`No::Unsupported`] where nothing is kept by CPU.
    fn on_cpu(&self, cpu: usize) -> Answer<()> {
        let _ = cpu;
        Err(No::Unsupported("nothing is kept by CPU"))
    }

    /// Takes the run of this order at this frame.
    ///
    /// # Errors
    /// [`No::Refused`] if a frame of it is not free.
    fn alloc_at(&self, order: u32, pfn: u64) -> Answer<()> {
        let _ = (order, pfn);
        Err(No::Unsupported("no request for a given frame"))
    }

    /// Takes a run that ends at or before frame `limit`; the first frame.
    ///
    /// # Errors
    /// [`No::Refused`] where there is no such run.
    fn alloc_below(&self, order: u32, limit: u64) -> Answer<u64> {
        let _ = (order, limit);
        Err(No::Unsupported("no request below an address"))
    }

    /// Takes a run whose first frame is a multiple of `2^align`; the first frame.
    ///
    /// # Errors
    /// [`No::Refused`] where there is no such run.
    fn alloc_aligned(&self, order: u32, align: u32) -> Answer<u64> {
        let _ = (order, align);
        Err(No::Unsupported("no request for more than natural alignment"))
    }

    /// Takes so many adjacent frames; the first. Any number may be asked for.
    ///
    /// # Errors
    /// [`No::Refused`] where there is no such run, or for a number that is none.
    fn alloc_count(&self, frames: u64) -> Answer<u64> {
        let _ = frames;
        Err(No::Unsupported("no request for a count"))
    }

    /// Gives back what [`FrameAllocator::alloc_count`] returned.
    ///
    /// # Errors
    /// [`No::Refused`], which is a broken promise.
    fn free_count(&self, pfn: u64, frames: u64) -> Answer<()> {
        let _ = (pfn, frames);
        Err(No::Unsupported("no request for a count"))
    }

    /// Takes up to so many single frames, wherever they are.
    ///
    /// # Errors
    /// [`No::Refused`] if not one is free.
    fn alloc_bulk(&self, frames: u64) -> Answer<Vec<u64>> {
        let _ = frames;
        Err(No::Unsupported("no bulk request"))
    }

    /// Gives single frames back, ascending.
    ///
    /// # Errors
    /// [`No::Refused`], which is a broken promise.
    fn free_bulk(&self, frames: &[u64]) -> Answer<()> {
        let _ = frames;
        Err(No::Unsupported("no bulk request"))
    }

    /// Makes a run that is held into runs of order `to`, to be freed one by one.
    ///
    /// # Errors
    /// [`No::Refused`], which is a broken promise.
    fn split(&self, pfn: u64, from: u32, to: u32) -> Answer<()> {
        let _ = (pfn, from, to);
        Err(No::Unsupported("a run is freed as it was taken"))
    }

    /// How many frames can be handed out, cached ones included.
    ///
    /// # Errors
    /// [`No::Unsupported`] where nobody counts.
    fn free_frames(&self) -> Answer<u64> {
        Err(No::Unsupported("no count of free frames"))
    }

    /// Empties the caches of all CPUs, from whichever CPU calls; how many frames were in them.
    ///
    /// # Errors
    /// [`No::Unsupported`] where there are none, or where they cannot be emptied so.
    fn drain(&self) -> Answer<u64> {
        Err(No::Unsupported("no caches to empty"))
    }

    /// Takes a range of whole blocks of 512 frames out of service: no frame of it is handed out until it is back.
    ///
    /// # Errors
    /// [`No::Refused`] where that cannot be done now.
    fn isolate(&self, range: Range<u64>) -> Answer<()> {
        let _ = range;
        Err(No::Unsupported("memory stays in service"))
    }

    /// Takes it back into service.
    ///
    /// # Errors
    /// [`No::Refused`], which is a broken promise.
    fn unisolate(&self, range: Range<u64>) -> Answer<()> {
        let _ = range;
        Err(No::Unsupported("memory stays in service"))
    }

    /// Recounts its own books while nothing else runs.
    ///
    /// # Errors
    /// [`No::Refused`] with what disagrees.
    fn audit(&self) -> Answer<()> {
        Err(No::Unsupported("no audit"))
    }
}
