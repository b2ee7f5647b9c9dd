//! How a refusal is judged: all others stopped, by what lies there and by what the same request comes to then.

use std::sync::atomic::Ordering::Relaxed;

use zonal::{AllocError, PageAllocator};

use super::super::asker;
use super::super::oracle::Seen;
use super::super::sets::Whence;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::world::World;

impl World {
    /// Judges a refusal, everybody else being stopped: if a run lies there that must be had, it lay there all along, or the
    /// same request, made again while nobody else is at work, has it.
    pub(super) fn judge(
        &self,
        wish: Wish,
        whence: Whence,
        error: AllocError,
        house: usize,
    ) -> Result<(), Violation> {
        self.met.refused.fetch_add(1, Relaxed);
        if let Some(untried) = wish.untried(asker::climb()) {
            return Err(Violation::GaveUp { wish, untried });
        }
        let _stop = self.gate.stop();
        self.note_out()?;
        let Some(Seen { zone, now }) = self.admitting(wish, whence) else { return Ok(()) };
        let all_along = self.lay_there_all_along() && !self.relies_on_kswapd(wish);
        if all_along || !self.has_alone(wish, whence, house)? {
            return Err(Violation::RefusedAdmitted { wish, zone: zone.id, now, error });
        }
        self.met.late.fetch_add(1, Relaxed);
        self.give(house).map(drop)
    }

    /// Who may not wait has no barrier passed for frames in words of other CPUs' own: kswapd has, if it is told.
    fn relies_on_kswapd(&self, wish: Wish) -> bool {
        self.cpus.own() && !wish.waits()
    }

    /// Whether the wish is served while all others are stopped; who relies on kswapd, after its work.
    fn has_alone(&self, wish: Wish, whence: Whence, house: usize) -> Result<bool, Violation> {
        if self.ask(wish, whence, house)?.is_ok() {
            return Ok(true);
        }
        if !self.relies_on_kswapd(wish) {
            return Ok(false);
        }
        self.allocator().map(PageAllocator::age_caches);
        Ok(self.ask(wish, whence, house)?.is_ok())
    }
}
