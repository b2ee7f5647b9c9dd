//! How an allocator comes to be: over fresh metadata, or over what an earlier one left.

use core::mem::MaybeUninit;

use crate::allocator::PageAllocator;
use crate::build::build;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::build::rebuild;
use crate::config::Config;
use crate::error::ConfigError;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::frame::FrameRange;
use crate::platform::Platform;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::recovery::{Recovery, RecoveryError};

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Builds an allocator in `metadata` ([`crate::metadata_size`] bytes). Every usable frame that is not reserved is
    /// free afterwards.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the mistake; nothing is built then.
    pub fn new(
        config: &Config<'_>,
        platform: P,
        metadata: &'m mut [MaybeUninit<u8>],
    ) -> Result<Self, ConfigError> {
        Ok(Self { state: build(config, metadata)?, platform })
    }

    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    /// Builds an allocator over what an earlier one left in `metadata` when its process died, at whatever step.
    ///
    /// Bits are the truth; counts and hints are made anew. What an operation had taken out of one place and not brought
    /// to another looks allocated: so `owned` is asked about every run that does, a frame or a whole block (in checked
    /// mode a run as it was allocated), and what it disowns is free afterwards. Marks may differ from the earlier ones;
    /// isolations and closings have ended. Linear in memory. A recovery that died is begun again.
    ///
    /// Memory that survives a power failure may hold stores out of order: that is not covered.
    ///
    /// # Errors
    /// A [`RecoveryError`] that says what the metadata is instead.
    ///
    /// # Safety
    /// (1) Every byte of `metadata` is initialised. (2) It is what an allocator that [`PageAllocator::new`] or this built
    /// in the same bytes left there (a copy, or a mapping at another address, counts as the same), or anything whose
    /// first 64 bytes it did not write: those are checked. (3) Nobody uses the earlier allocator any more, and who owns
    /// frames of it goes on to own only what `owned` says.
    pub unsafe fn recover(
        config: &Config<'_>,
        platform: P,
        metadata: &'m mut [MaybeUninit<u8>],
        mut owned: impl FnMut(FrameRange) -> bool,
    ) -> Result<(Self, Recovery), RecoveryError> {
        // SAFETY: the caller vouches for what `rebuild` asks.
        let (state, recovery) = unsafe { rebuild(config, metadata, &mut owned) }?;
        Ok((Self { state, platform }, recovery))
    }
}
