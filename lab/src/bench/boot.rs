//! What it takes to begin: an allocator for a machine that holds nothing yet, and the floor under that.

use std::marker::PhantomData;
use std::ptr;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use zonal::Pfn;

use super::engine::{Engine, Setup};
use super::ground::{Checked, Nothing};
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// So many repetitions, each right behind one off the clock, whose pages it takes. Pages that nobody has had for seconds may have
/// gone back to the host of a virtual machine, and whoever is first to touch them waits for it ten times as long as for a
/// fault: that is neither the allocator's nor the filled mapping's.
fn behind_another(units: Units, once: impl Fn() -> Result<Duration, Wrong>) -> Result<Timed, Wrong> {
    let twice = |_| once().and_then(|_off_the_clock| once());
    let elapsed = (0..units.0).map(twice).sum::<Result<Duration, Wrong>>()?;
    Ok(Timed { elapsed, operations: units.0 })
}

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
        behind_another(units, || self.boot())
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}

/// Fills a fresh mapping of pages such as the allocator's metadata has, page faults included. It goes again off the clock.
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
        // SAFETY: advice on the mapping made just above; where it is refused there, it is for the metadata.
        let _ = unsafe { madvise(memory, self.bytes, Advice::LinuxHugepage) };
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
        behind_another(units, || self.fill())
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &Nothing
    }
}
