//! Where held runs live: a word each, so that a run can be moved while its holder does something else.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | nobody lives here |
//! | 1 | the run that lived here is being moved |
//! | else | the run, as its stamp says |
//!
//! Invariant: who changes a word from a run's has the run, and puts a run's there last. So a run is freed or moved, never both.

use std::hint::spin_loop;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use zonal::{Migration, Order, Pfn};

use super::super::owners::{Owners, Run};
use super::super::violation::Violation;

/// Houses of a thread: the first half for what can be moved, the other for what cannot.
pub(super) const HOUSES: usize = 64;
const MOVING: u64 = 1;

/// All threads' houses.
pub(super) struct Houses(Vec<AtomicU64>);

impl Houses {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads * HOUSES).map(|_| AtomicU64::new(0)).collect())
    }

    /// The serial number of the `turn`-th run of a house: it leads back there.
    pub(super) fn serial(&self, house: usize, turn: u64) -> u64 {
        turn * self.0.len() as u64 + house as u64
    }

    fn of(&self, run: Run) -> Option<(usize, &AtomicU64)> {
        let house = (run.serial() % self.0.len() as u64) as usize;
        Some((house, self.0.get(house)?))
    }

    /// A run moves in. Release: with what its holder wrote.
    pub(super) fn enter(&self, run: Run) {
        self.of(run).into_iter().for_each(|(_, word)| word.store(run.word(), Release));
    }

    /// The run that lives there moves out, to be freed. Waits for who is moving it.
    pub(super) fn leave(&self, house: usize) -> Option<Run> {
        let word = self.0.get(house)?;
        loop {
            let now = word.load(Relaxed);
            if now == 0 {
                return None;
            }
            if now != MOVING && word.compare_exchange(now, 0, Acquire, Relaxed).is_ok() {
                return Run::from_word(now);
            }
            spin_loop();
        }
    }

    /// Moves the run at `from`, if it is one that can be moved and nobody is at it.
    pub(super) fn relocate(
        &self,
        owners: &Owners,
        (from, to): (Pfn, Pfn),
        order: Order,
    ) -> Result<Migration, Violation> {
        let run = owners.holder(from).filter(|run| run.pfn() == from && run.order() == order);
        let Some((run, (house, word))) = run.and_then(|run| Some((run, self.of(run)?))) else {
            return Ok(Migration::Refused);
        };
        let stays = house % HOUSES >= HOUSES / 2;
        if stays || word.compare_exchange(run.word(), MOVING, AcqRel, Relaxed).is_err() {
            return Ok(Migration::Refused);
        }
        let moved = Run::new(run.serial(), to, order);
        owners.take(moved)?;
        owners.give(run)?;
        word.store(moved.word(), Release);
        Ok(Migration::Moved)
    }
}

#[cfg(test)]
mod tests {
    use zonal::MemoryRange;

    use super::*;

    #[test]
    fn a_run_is_moved_or_freed_and_pinned_ones_stay() {
        let (owners, houses) = (Owners::of(&[MemoryRange::new(0, 64, 0)]), Houses::new(1));
        let order = Order::new(2).unwrap();
        let (from, to) = (Pfn::new(8), Pfn::new(16));
        for (house, expected) in [(3, Migration::Moved), (HOUSES - 1, Migration::Refused)] {
            let run = Run::new(houses.serial(house, 1), from, order);
            owners.take(run).unwrap();
            assert_eq!(
                houses.relocate(&owners, (from, to), order).unwrap(),
                Migration::Refused,
                "in a hand still"
            );
            houses.enter(run);
            assert_eq!(houses.relocate(&owners, (from, to), order).unwrap(), expected);
            let now = houses.leave(house).unwrap();
            assert_eq!(now.pfn(), if expected == Migration::Moved { to } else { from });
            assert_eq!(
                houses.relocate(&owners, (now.pfn(), from), order).unwrap(),
                Migration::Refused,
                "it has left"
            );
            owners.give(now).unwrap();
        }
    }
}
