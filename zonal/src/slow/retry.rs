//! Whether reclaim and compaction are worth another round.
//!
//! Bounds: 16 rounds without progress for orders up to 3, 16 in all above; progress at those orders begins anew. Another
//! round needs a zone that would pass its mark if all it could give back were free. Compaction in vain makes the next one
//! harder, up to the light priority for orders above 3 and to the full one below; where it lacks frames, another round
//! needs a zone that would have them if all it could give back were free.

use crate::access::{Access, Level};
use crate::compact::Priority;
use crate::frame::Order;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::slow::compaction::Compacted;
use crate::slow::walk::Walk;
use crate::slow::{COSTLY, FIRST_PRIORITY};

/// Rounds without progress (Linux: MAX_RECLAIM_RETRIES).
const ROUNDS: u32 = 16;

/// What has been tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    without_progress: u32,
    compaction: Priority,
    /// Rounds in which compaction lacked frames.
    short: u32,
}

impl Retry {
    pub(crate) const fn new() -> Self {
        Self { without_progress: 0, compaction: Priority::Async, short: 0 }
    }

    /// Whether no round was in vain so far.
    pub(crate) const fn is_new(&self) -> bool {
        self.without_progress == 0
    }

    /// How hard reclaim should look: harder with each round in vain.
    pub(crate) fn priority(&self) -> u8 {
        let harder = if planted(Mutant::PriorityStuck) { 0 } else { self.without_progress as u8 };
        FIRST_PRIORITY.saturating_sub(harder)
    }

    /// How hard compaction should try.
    pub(crate) const fn compaction(&self) -> Priority {
        self.compaction
    }

    /// Whether to go on because of what came of compaction (Linux: should_compact_retry).
    pub(crate) fn after_compaction(
        &mut self,
        walk: Walk<'_, '_>,
        platform: &impl Platform,
        compacted: &Compacted,
    ) -> bool {
        let order = walk.request.order;
        if order == Order::ZERO || walk.request.is_placed() || planted(Mutant::CompactionNotRetried) {
            return false;
        }
        if *compacted == Compacted::Short {
            self.short += 1;
            return self.short <= ROUNDS
                && walk.possible().any(|zone| {
                    let low = zone.marks.floor(Access::at(Level::Low), walk.request.highest, order);
                    let reclaimable = platform.reclaimable(zone.id);
                    let free = (zone.free() + zone.cached()).saturating_add(reclaimable);
                    reclaimable > 0 && free >= low + 2 * order.frames()
                });
        }
        let harder = match self.compaction {
            Priority::Async => Some(Priority::Light),
            Priority::Light if order <= COSTLY => Some(Priority::Full),
            Priority::Light | Priority::Full => None,
        };
        self.compaction = harder.unwrap_or(self.compaction);
        harder.is_some()
    }

    /// Whether to go on after a round of reclaim (Linux: should_reclaim_retry).
    pub(crate) fn after_reclaim(
        &mut self,
        walk: Walk<'_, '_>,
        platform: &impl Platform,
        access: Access,
        progress: bool,
    ) -> bool {
        if progress && walk.request.order <= COSTLY && !planted(Mutant::ProgressForgotten) {
            self.without_progress = 0;
        } else {
            self.without_progress += 1;
        }
        let rounds = if planted(Mutant::KillsSoon) { 0 } else { ROUNDS };
        self.without_progress <= rounds
            && walk.possible().any(|zone| {
                // What is free now, cached frames included, and all that could be: no estimate of a counter.
                let free = zone.free() + zone.cached();
                let more = platform.reclaimable(zone.id);
                let free = if planted(Mutant::ReclaimableIgnored) { free } else { free.saturating_add(more) };
                let order = walk.request.order;
                // Without a run in sight reclaim goes on only as long as compaction may make one.
                (order == Order::ZERO || zone.may_have_run(order))
                    && free >= walk.floor(zone, access) + order.frames()
            })
    }
}
