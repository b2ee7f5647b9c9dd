//! Whether reclaim is worth another round.
//!
//! Bounds: 16 rounds without progress for orders up to 3, 16 in all above; progress at those orders begins anew. Another
//! round needs a zone that would pass its mark if all it could give back were free.

use crate::access::Access;
use crate::platform::Platform;
use crate::slow::walk::Walk;
use crate::slow::{COSTLY, FIRST_PRIORITY};

/// Rounds without progress (Linux: MAX_RECLAIM_RETRIES).
const ROUNDS: u32 = 16;

/// What has been tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    without_progress: u32,
}

impl Retry {
    pub(crate) const fn new() -> Self {
        Self { without_progress: 0 }
    }

    /// Whether no round was in vain so far.
    pub(crate) const fn is_new(&self) -> bool {
        self.without_progress == 0
    }

    /// How hard reclaim should look: harder with each round in vain.
    pub(crate) fn priority(&self) -> u8 {
        FIRST_PRIORITY.saturating_sub(self.without_progress as u8)
    }

    /// Whether to go on after a round of reclaim (Linux: should_reclaim_retry).
    pub(crate) fn after_reclaim(
        &mut self,
        walk: Walk<'_, '_>,
        platform: &impl Platform,
        access: Access,
        progress: bool,
    ) -> bool {
        if progress && walk.request.order <= COSTLY {
            self.without_progress = 0;
        } else {
            self.without_progress += 1;
        }
        self.without_progress <= ROUNDS
            && walk.zones().any(|zone| {
                // What is free now, cached frames included, and all that could be: no estimate of a counter.
                let free = zone.free() + zone.cached() + platform.reclaimable(zone.id);
                free >= walk.floor(zone, access) + walk.request.order.frames()
            })
    }
}
