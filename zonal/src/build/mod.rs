//! From a configuration to the arrays an allocator works on: checks, sizes, and the first state of every word.
//!
//! Sizes are an upper bound found without memory; what is built is exact. A block belongs to one zone, that of its
//! first usable frame: ranges of two nodes that meet inside a block share it, so that no frame is lost.

mod check;
mod frames;
mod ground;
mod header;
mod lists;
mod marks;
mod rules;
mod sections;
mod sizes;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
mod survivors;
mod zones;

use core::mem::MaybeUninit;

use crate::build::check::check;
use crate::build::ground::Ground;
use crate::build::header::Header;
use crate::build::sizes::{Sizes, sizes, tally};
use crate::config::Config;
use crate::error::ConfigError;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::frame::FrameRange;
use crate::metadata::Carver;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::recovery::{Recovery, RecoveryError};
use crate::state::State;

/// Bytes of metadata that [`crate::PageAllocator::new`] needs for this configuration, alignment included: about
/// 4.7 KiB for each 128 MiB section that holds memory or may be plugged in (0.7 where that holds its own rows), 1.2 KiB for each CPU, 448 bytes for each cached (CPU, zone) pair
/// and 64 for any, in checked mode a byte a frame, and four where owners are named. Absent memory costs nothing.
///
/// # Errors
/// A [`ConfigError`] naming what is wrong with the configuration.
pub fn metadata_size(config: &Config<'_>) -> Result<usize, ConfigError> {
    Ok(tally(config, &checked_sizes(config)?).bytes())
}

/// Builds the whole state in the loan.
pub(crate) fn build<'m>(
    config: &Config<'_>,
    loan: &'m mut [MaybeUninit<u8>],
) -> Result<State<'m>, ConfigError> {
    let sizes = checked_sizes(config)?;
    let address = loan.as_ptr().addr();
    let carver = &mut Carver::new(loan, tally(config, &sizes).bytes());
    let header = carver.array(1, |_| Header::incomplete(config, address))?;
    let ground = Ground::lay(config, carver, &sizes)?;
    let arrays = ground.new_arrays(config, carver)?;
    let state = ground.raise(config, carver, arrays)?;
    header.iter().for_each(Header::complete);
    Ok(state)
}

/// Builds the state over the words that an earlier allocator left in the loan; what `owned` disowns is free afterwards.
///
/// # Safety
/// As [`crate::PageAllocator::recover`].
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
pub(crate) unsafe fn rebuild<'m>(
    config: &Config<'_>,
    loan: &'m mut [MaybeUninit<u8>],
    owned: &mut dyn FnMut(FrameRange) -> bool,
) -> Result<(State<'m>, Recovery), RecoveryError> {
    if config.own_rows.is_some() {
        return Err(RecoveryError::OwnRows);
    }
    let sizes = checked_sizes(config)?;
    let address = loan.as_ptr().addr();
    let carver = &mut Carver::new(loan, tally(config, &sizes).bytes());
    // SAFETY: the caller vouches that all bytes are initialised; a header is of integers.
    let header = unsafe { carver.survivor::<Header>(1) }?;
    header.iter().try_for_each(|header| header.check(config, address))?;
    let mut ground = Ground::lay(config, carver, &sizes)?;
    // SAFETY: the header says that the same steps built the same arrays in these bytes.
    let (mut arrays, in_flight) = unsafe { ground.old_arrays(config, carver) }?;
    let mut found = ground.survey(config, &mut arrays, owned)?;
    found.in_flight = in_flight;
    Ok((ground.raise(config, carver, arrays)?, found))
}

fn checked_sizes(config: &Config<'_>) -> Result<Sizes, ConfigError> {
    check(config)?;
    sizes(config)
}
