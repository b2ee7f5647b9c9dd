//! An allocator with its frames: every run it hands out is real memory of this process.
//!
//! A pool owns the metadata it lends to its allocator, and the frames. It never touches a frame but to zero it on
//! request. Invariant: `address(pfn)` is some exactly for the frames of the machine's ranges, and neighbouring frames of
//! one run have neighbouring addresses.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use zonal::{ConfigError, FRAME_SIZE, PageAllocator, Pfn, Platform};

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
}

impl<P: Platform> Built<P> {
    pub(crate) fn new(machine: &Machine, platform: P) -> Result<Self, PoolError> {
        let config = machine.config();
        let metadata = Mapping::zeroed(zonal::metadata_size(&config)?)?;
        // SAFETY: the loan outlives the allocator: both live in `Self`, the allocator is dropped first, a mapping stays
        // where it is when its owner moves, and the `'static` allocator is only ever shown as one of a shorter life
        // (`allocator` below). Nobody else uses the bytes: `Mapping` gives no other access to them.
        let loan = unsafe { metadata.bytes() };
        Ok(Self { allocator: PageAllocator::new(&config, platform, loan)?, metadata })
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
