//! An allocator with its frames: every run it hands out is real memory of this process.
//!
//! A pool owns the metadata it lends to its allocator, and the frames. It never touches a frame but to zero it on
//! request. Invariant: `address(pfn)` is some exactly for the frames of the machine's ranges, and neighbouring frames of
//! one run have neighbouring addresses.

use std::fmt;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use zonal::{ConfigError, FRAME_SIZE, FrameRange, PageAllocator, Pfn, Platform, Recovery, RecoveryError};

use crate::binding::Binding;
use crate::cpu::CpuReader;
use crate::machine::Machine;
use crate::mapping::Mapping;
use crate::memory::{FrameMemory, MemoryError, Pages};

/// Why a pool or a simulation was not built. Nothing stays mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The allocator refuses the machine.
    #[error("{0}")]
    Config(ConfigError),
    /// There is no memory for the metadata or the frames.
    #[error("{0}")]
    Memory(#[from] MemoryError),
    /// The file with the metadata could not be read, mapped or made as long as it must be.
    #[error("the file with the metadata: {0}")]
    File(#[from] io::Error),
    /// Another process, or another allocator of this one, uses the file.
    #[error("the file with the metadata is in use")]
    InUse,
    /// The file is not as long as the machine's metadata.
    #[error("the file has {found} bytes, the machine's metadata {expected}")]
    FileLength {
        /// The machine's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// What the file holds is not the metadata of this machine, or is damaged.
    #[error("{0}")]
    Recovery(RecoveryError),
}

impl From<ConfigError> for PoolError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// An allocator and the metadata it works on. The field order matters: the allocator is dropped before its metadata is
/// unmapped.
pub(crate) struct Built<P: Platform> {
    /// `'static` stands for "as long as `metadata`"; `allocator` lets nobody see it.
    allocator: PageAllocator<'static, P>,
    metadata: Mapping,
    /// The file that holds the metadata, if one does, locked.
    _file: Option<File>,
}

impl<P: Platform> Built<P> {
    pub(crate) fn new(machine: &Machine, platform: P) -> Result<Self, PoolError> {
        let config = machine.config();
        let metadata = Mapping::zeroed(zonal::metadata_size(&config)?)?;
        // SAFETY: the loan outlives the allocator: both live in `Self`, the allocator is dropped first, a mapping stays
        // where it is when its owner moves, and the `'static` allocator is only ever shown as one of a shorter life
        // (`allocator` below). Nobody else uses the bytes: `Mapping` gives no other access to them.
        let loan = unsafe { metadata.bytes() };
        Ok(Self { allocator: PageAllocator::new(&config, platform, loan)?, metadata, _file: None })
    }

    /// Builds the allocator in a file: over what an earlier one left there, if one did.
    ///
    /// # Safety
    /// Nobody else writes to the file as long as this lives; the lock keeps off those that ask for it.
    pub(crate) unsafe fn open(
        machine: &Machine,
        platform: P,
        file: File,
        owned: impl FnMut(FrameRange) -> bool,
    ) -> Result<(Self, Option<Recovery>), PoolError>
    where
        P: Clone,
    {
        let config = machine.config();
        let bytes = zonal::metadata_size(&config)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(PoolError::InUse),
            locked => locked.map_err(io::Error::from)?,
        }
        let (expected, found) = (bytes as u64, file.metadata()?.len());
        match found {
            0 => file.set_len(expected)?,
            _ if found != expected => return Err(PoolError::FileLength { expected, found }),
            _ => {}
        }
        let metadata = Mapping::of_file(&file, bytes)?;
        // SAFETY: as in `new`; the caller vouches that nobody else uses the file's bytes.
        let loan = unsafe { metadata.bytes() };
        // SAFETY: (1) all bytes of a file are initialised; (2) the header tells whether an allocator left them; (3) who used
        // it before held the lock and is gone. What they owned, the caller says.
        match unsafe { PageAllocator::recover(&config, platform.clone(), loan, owned) } {
            Ok((allocator, recovery)) => {
                return Ok((Self { allocator, metadata, _file: Some(file) }, Some(recovery)));
            }
            Err(RecoveryError::NotBuilt) => {}
            Err(error) => return Err(PoolError::Recovery(error)),
        }
        // SAFETY: as above; the loan before was given back with the error.
        let loan = unsafe { metadata.bytes() };
        let allocator = PageAllocator::new(&config, platform, loan)?;
        Ok((Self { allocator, metadata, _file: Some(file) }, None))
    }

    /// The allocator, for as long as this is borrowed: `PageAllocator` is covariant in the life of its loan.
    #[inline]
    pub(crate) fn allocator(&self) -> &PageAllocator<'_, P> {
        &self.allocator
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.metadata.len()
    }
}

/// The platform of a [`Pool`]: the CPU number from the thread's rseq area, frames zeroed where they are mapped.
#[derive(Clone, Debug)]
pub struct LinuxPlatform {
    reader: CpuReader,
    frames: Arc<FrameMemory>,
}

impl Platform for LinuxPlatform {
    #[inline]
    fn cpu(&self) -> usize {
        self.reader.now()
    }

    fn zero(&self, first: Pfn, frames: u64) -> bool {
        let last = first.add(frames.saturating_sub(1));
        let (Some(start), Some(end)) = (self.frames.address(first), self.frames.address(last)) else {
            return false;
        };
        let bytes = frames * FRAME_SIZE;
        if frames == 0 || end.addr().get().wrapping_sub(start.addr().get()) as u64 != bytes - FRAME_SIZE {
            return false;
        }
        // SAFETY: all frames from `first` to `last` are mapped writable one after the other (the addresses of the two
        // ends are as far apart as their numbers), and the run belongs to the request in whose name the allocator calls.
        unsafe { start.write_bytes(0, bytes as usize) };
        true
    }
}

/// An allocator whose frames are real pages of this process.
pub struct Pool {
    built: Built<LinuxPlatform>,
    frames: Arc<FrameMemory>,
}

impl Pool {
    /// Maps the machine's memory as `pages` says, binds it to nodes where this machine has several, and builds the
    /// allocator.
    ///
    /// # Errors
    /// [`PoolError::Config`] for a machine the allocator refuses; [`PoolError::Memory`] where this machine does not have
    /// the memory, or not in pages of that size: never a signal later.
    pub fn build(machine: &Machine, pages: Pages) -> Result<Self, PoolError> {
        zonal::metadata_size(&machine.config())?;
        let frames = Arc::new(FrameMemory::map(machine.memory(), pages)?);
        let platform = LinuxPlatform { reader: CpuReader::find(), frames: Arc::clone(&frames) };
        Ok(Self { built: Built::new(machine, platform)?, frames })
    }

    /// The allocator.
    #[inline]
    pub fn allocator(&self) -> &PageAllocator<'_, LinuxPlatform> {
        self.built.allocator()
    }

    /// The first of the 4096 bytes of a frame, or `None` for a frame the machine does not have. Valid as long as the
    /// pool; who may use it is what the allocator says.
    #[inline]
    pub fn address(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        self.frames.address(pfn)
    }

    /// Whether the memory is bound to nodes, and why not.
    pub fn binding(&self) -> &Binding {
        self.frames.binding()
    }

    /// Bytes of metadata.
    pub fn metadata_bytes(&self) -> usize {
        self.built.metadata_bytes()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("frames", &self.frames).field("metadata", &self.built.metadata).finish()
    }
}
