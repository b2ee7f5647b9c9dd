//! An allocator as a `static`: built once, then shared by reference.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::allocator::PageAllocator;
use crate::config::Config;
use crate::error::ConfigError;
use crate::platform::Platform;

const EMPTY: u8 = 0;
const BUILDING: u8 = 1;
const READY: u8 = 2;

/// A place for one allocator, const-constructible.
///
/// | state | meaning | changed by |
/// |---|---|---|
/// | 0 | empty | construction; a failed `init` |
/// | 1 | one caller of `init` builds | `init`, by compare-exchange |
/// | 2 | ready, for ever | `init` |
///
/// Nobody waits: while one caller builds, `get` says that there is none yet.
pub struct OnceAllocator<P> {
    state: AtomicU8,
    allocator: UnsafeCell<MaybeUninit<PageAllocator<'static, P>>>,
}

// SAFETY: (1) the cell is written only by the one `init` that moved the state from EMPTY to BUILDING, and read only
// after READY was seen with Acquire; (2) from then on it is only shared by reference, for which the allocator itself
// must be Sync; (3) the platform moves in from another thread, hence Send.
unsafe impl<P: Send + Sync> Sync for OnceAllocator<P> {}

/// Why [`OnceAllocator::init`] did not build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// It has been built, or is being built by somebody else.
    AlreadyInit,
    /// The configuration was refused.
    Config(ConfigError),
}

impl core::fmt::Display for InitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::AlreadyInit => f.write_str("the allocator has been built already"),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InitError {}

impl<P: Platform> OnceAllocator<P> {
    /// An empty place.
    #[expect(clippy::new_without_default, reason = "only a static needs it, and that needs const")]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), allocator: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Builds the allocator.
    ///
    /// # Errors
    /// [`InitError::AlreadyInit`], or why the configuration was refused (the place is empty again then).
    pub fn init(
        &'static self,
        config: &Config<'_>,
        platform: P,
        metadata: &'static mut [MaybeUninit<u8>],
    ) -> Result<&'static PageAllocator<'static, P>, InitError> {
        // Acquire: after a failed init of another caller; partner: the Release store of EMPTY below.
        if self.state.compare_exchange(EMPTY, BUILDING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(InitError::AlreadyInit);
        }
        match PageAllocator::new(config, platform, metadata) {
            Err(error) => {
                self.state.store(EMPTY, Ordering::Release); // partner: the exchange above
                Err(InitError::Config(error))
            }
            Ok(allocator) => {
                // SAFETY: this caller alone moved the state to BUILDING, and nobody reads the cell before READY.
                let built = unsafe { (*self.allocator.get()).write(allocator) };
                self.state.store(READY, Ordering::Release); // partner: the Acquire in `get`
                Ok(built)
            }
        }
    }

    /// The allocator, once it is built. One load.
    #[inline]
    pub fn get(&'static self) -> Option<&'static PageAllocator<'static, P>> {
        // Acquire: the built allocator; partner: the Release store of READY in `init`.
        if self.state.load(Ordering::Acquire) != READY {
            return None;
        }
        // SAFETY: READY is stored only after the cell was written, and the cell is not written again.
        Some(unsafe { (*self.allocator.get()).assume_init_ref() })
    }
}
