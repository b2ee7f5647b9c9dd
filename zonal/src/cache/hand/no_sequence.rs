//! Where restartable sequences are not built: never called, as nobody can say there that words are owned by them
//! ([`crate::OwnWords::sequences`]).

use super::Try;
use crate::sync::AtomicU64;

/// Of a thread that is nowhere the owner.
///
/// # Safety
/// None needed.
#[inline(always)]
pub(super) unsafe fn plain(_: (isize, &AtomicU64), _: &AtomicU64, _: u64, _: u64) -> Try {
    Try::Elsewhere
}

/// The same.
///
/// # Safety
/// None needed.
pub(super) unsafe fn locked(_: (isize, u32), _: &AtomicU64, _: u64, _: u64) -> Try {
    Try::Elsewhere
}
