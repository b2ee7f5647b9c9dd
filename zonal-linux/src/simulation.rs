//! The same allocator without frames: for machines larger than this one.
//!
//! Only metadata is mapped (0.004 % of the memory simulated); no frame can be read, written or zeroed. Invariant: a
//! simulation answers every request as a pool of the same machine would, but for [`zonal::Gfp::ZERO`].

use std::cell::Cell;
use std::fs::File;

use zonal::{FrameRange, PageAllocator, Platform, Recovery};

use crate::built::{Built, PoolError};
use crate::cpu::CpuReader;
use crate::machine::Machine;
use crate::own_words::WordKind;

/// Which CPU a thread is taken to run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuSource {
    /// The CPU it does run on.
    Thread,
    /// The number it gave to [`play_cpu`] last, 0 before: a few threads can play a thousand CPUs.
    Played,
}

thread_local! {
    /// Constant at first and without a destructor, so that reading it initialises nothing: a signal handler may.
    static PLAYED: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread plays CPU `cpu` in every simulation built with [`CpuSource::Played`].
pub fn play_cpu(cpu: usize) {
    PLAYED.set(cpu);
}

/// The platform of a [`Simulation`]: a CPU number, no frames.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedPlatform {
    source: CpuSource,
    reader: CpuReader,
}

impl Platform for SimulatedPlatform {
    #[inline]
    fn cpu(&self) -> usize {
        match self.source {
            CpuSource::Thread => self.reader.now(),
            CpuSource::Played => PLAYED.get(),
        }
    }
}

/// An allocator for a machine whose frames do not exist.
pub struct Simulation {
    built: Built<SimulatedPlatform>,
}

impl Simulation {
    /// Builds the allocator.
    ///
    /// # Errors
    /// [`PoolError::Config`] for a machine the allocator refuses, [`PoolError::Memory`] where its metadata does not fit.
    pub fn build(machine: &Machine, source: CpuSource) -> Result<Self, PoolError> {
        let platform = SimulatedPlatform { source, reader: CpuReader::find() };
        let words = if source == CpuSource::Thread { machine.words() } else { WordKind::Locked };
        // SAFETY: (1) with `CpuSource::Thread` the platform answers what its reader does; else the words are locked. (2) The
        // metadata is a mapping of this process.
        let own_words = unsafe { words.resolve(machine.cpus().len(), platform.reader) };
        Ok(Self { built: Built::new(machine, own_words, platform)? })
    }

    /// Builds the allocator with its metadata in a file, over what an earlier one left there, if one did: of a process
    /// that ended, at whatever step. `owned` is asked then as [`PageAllocator::recover`] says; an empty file becomes that
    /// of a new allocator. The file is locked as long as this lives.
    ///
    /// # Errors
    /// As [`Simulation::build`]; [`PoolError::InUse`], [`PoolError::File`], [`PoolError::FileLength`] and
    /// [`PoolError::Recovery`] for a file that cannot serve.
    ///
    /// # Safety
    /// Nobody else writes to the file as long as this lives; the lock keeps off those that ask for it.
    pub unsafe fn open(
        machine: &Machine,
        source: CpuSource,
        file: File,
        owned: impl FnMut(FrameRange) -> bool,
    ) -> Result<(Self, Option<Recovery>), PoolError> {
        let platform = SimulatedPlatform { source, reader: CpuReader::find() };
        // SAFETY: the caller vouches.
        let (built, recovery) = unsafe { Built::open(machine, platform, file, owned) }?;
        Ok((Self { built }, recovery))
    }

    /// The allocator.
    #[inline]
    pub fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.built.allocator()
    }

    /// Bytes of metadata.
    pub fn metadata_bytes(&self) -> usize {
        self.built.metadata_bytes()
    }
}
