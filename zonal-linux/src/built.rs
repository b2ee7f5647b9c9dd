//! An allocator and the metadata it owns, and why there is none.
//!
//! It knows nothing of frames' memory, and runs nothing. Invariant: the metadata is lent to this allocator alone, and mapped
//! as long as the allocator lives.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use zonal::{
    Config, ConfigError, FrameRange, NodeId, OwnWords, PageAllocator, Platform, Recovery, RecoveryError,
};

use crate::machine::Machine;
use crate::mapping::Mapping;
use crate::memory::MemoryError;

/// Why a pool or a simulation was not built. Nothing stays mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The allocator refuses the machine.
    #[error("{0}")]
    Config(ConfigError),
    /// There is no memory for the metadata or the frames.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The file with the metadata could not be read, mapped or made as long as it must be.
    #[error("the file with the metadata")]
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
    /// The system gave no thread for a daemon.
    #[error("no thread for {name}{}: {error}", node.0)]
    Thread {
        /// The daemon's name.
        name: &'static str,
        /// Its node.
        node: NodeId,
        /// What the system says.
        error: io::Error,
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
    pub(crate) fn new(
        machine: &Machine,
        own_words: Option<OwnWords>,
        platform: P,
    ) -> Result<Self, PoolError> {
        let config = Config { own_words, ..machine.config() };
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
