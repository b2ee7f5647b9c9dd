//! What has to happen before a request may fail.

use super::grant::Asker;
use super::mask::{DIRECT_RECLAIM, FS, NOFAIL, NORETRY, RETRY_MAYFAIL, THISNODE, has, highest_zone};
use crate::machine::Class;

/// Above this order nobody is killed, and one pass of reclaim is all (Linux: PAGE_ALLOC_COSTLY_ORDER).
const COSTLY: u8 = 3;

/// When a request may fail, the soonest first. No request may while one of its tests admits it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// When no zone admits it.
    AtOnce,
    /// After one light pass of reclaim and compaction.
    AfterOneLightPass,
    /// After one pass of reclaim and compaction.
    AfterOnePass,
    /// When reclaim and compaction bring nothing any more.
    WithoutProgress,
    /// When, besides, nobody is killed for it any more.
    WithoutVictim,
    /// Never.
    Never,
}

/// When a request of this mask and order may fail. (Of an order above the largest there is, any may.)
pub fn failure(mask: u32, order: u8, asker: Asker) -> Failure {
    if !has(mask, DIRECT_RECLAIM) {
        return Failure::AtOnce;
    }
    if has(mask, NOFAIL) {
        return Failure::Never;
    }
    if asker.memalloc && !asker.interrupt {
        return Failure::AtOnce;
    }
    if has(mask, NORETRY) {
        return Failure::AfterOneLightPass;
    }
    if has(mask, RETRY_MAYFAIL) {
        return Failure::WithoutProgress;
    }
    if order > COSTLY { Failure::AfterOnePass } else { Failure::WithoutVictim }
}

/// Whether somebody may be killed for a request of this mask and order.
pub fn kills(mask: u32, order: u8, asker: Asker) -> bool {
    let goes_on = failure(mask, order, asker) >= Failure::WithoutVictim;
    // Memory of a node or of the lowest zones, or for a long run, is not what killing frees.
    let would_help = order <= COSTLY && !has(mask, THISNODE) && highest_zone(mask) >= Some(Class::Normal);
    goes_on && would_help && has(mask, FS) && !has(mask, RETRY_MAYFAIL) && !has(mask, NORETRY)
}
