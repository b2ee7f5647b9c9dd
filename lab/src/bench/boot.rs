//! What it takes to begin: an allocator for a machine that holds nothing yet, and the floor under that.

use std::marker::PhantomData;
use std::ptr;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use zonal::Pfn;

use super::engine::{Engine, Setup};
use super::ground::{Checked, Nothing};
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Sets an engine up, page faults included. It goes again off the clock.
pub(super) struct Boot<E> {
    setup: Setup,
    engine: PhantomData<fn() -> E>,
}

impl<E: Engine> Boot<E> {
    pub(super) fn of(setup: Setup) -> Self {
        Self { setup, engine: PhantomData }
    }

    /// One boot; afterwards everything is free, and a run can be had and given back.
    fn boot(&self) -> Result<Duration, Wrong> {
        let start = Instant::now();
        let engine = E::build(&self.setup, from_ref(&self.setup.zone()));
        let elapsed = start.elapsed();
        let engine = engine.map_err(|error| Wrong::NotBuilt(format!("{error:#}")))?;
        // SAFETY: allocated in this line, freed once.
        engine.alloc().and_then(|pfn| unsafe { engine.free(pfn) })?;
        match (self.setup.frames(), engine.free_frames()) {
            (before, Some(after)) if before != after => Err(Wrong::NotRestored { before, after }),
            _ => Ok(elapsed),
        }
    }
}

impl<E: Engine> Workload for Boot<E> {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let elapsed = (0..units.0).map(|_| self.boot()).sum::<Result<Duration, Wrong>>()?;
        Ok(Timed { elapsed, operations: units.0 })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}

/// Fills a fresh mapping, page faults included. It goes again off the clock.
pub(super) struct Memset {
    bytes: usize,
}

impl Memset {
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes }
    }

    fn fill(&self) -> Result<Duration, Wrong> {
        let error = |error: rustix::io::Errno| Wrong::NotBuilt(format!("{} bytes: {error}", self.bytes));
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let start = Instant::now();
        // SAFETY: a fresh mapping where the kernel likes replaces nothing.
        let memory =
            unsafe { mmap_anonymous(ptr::null_mut(), self.bytes, protection, flags) }.map_err(error)?;
        // SAFETY: all of it was mapped writable just above, and nobody else knows it.
        unsafe { memory.cast::<u8>().write_bytes(0, self.bytes) };
        let elapsed = start.elapsed();
        // SAFETY: mapped above with this length, and not used any more.
        unsafe { munmap(memory, self.bytes) }.map_err(error)?;
        Ok(elapsed)
    }
}

impl Workload for Memset {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let elapsed = (0..units.0).map(|_| self.fill()).sum::<Result<Duration, Wrong>>()?;
        Ok(Timed { elapsed, operations: units.0 })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}
