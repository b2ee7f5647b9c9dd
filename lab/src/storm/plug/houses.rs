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
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use zonal::{Migration, Order, Pfn};

use super::super::owners::{Owners, Run};
use super::super::violation::Violation;

/// Houses of a share: the first half for what can be moved, the other for what cannot.
pub(super) const HOUSES: usize = 64;
const MOVING: u64 = 1;

/// What may live in a house.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// What can be moved.
    Movable,
    /// What cannot.
    Pinned,
}

impl Half {
    pub(super) const ALL: [Self; 2] = [Self::Movable, Self::Pinned];

    pub(super) fn of(house: usize) -> Self {
        if house % HOUSES < HOUSES / 2 { Self::Movable } else { Self::Pinned }
    }

    /// The houses of this half in a share.
    pub(super) fn houses(self, share: usize) -> Range<usize> {
        let first = share * HOUSES + self as usize * HOUSES / 2;
        first..first + HOUSES / 2
    }
}

/// The run in a house is being moved.
pub(super) struct Moving;

/// All houses.
pub(super) struct Houses(Vec<AtomicU64>);

impl Houses {
    /// So many shares at least; a power of two of houses, so that a serial number that overflows still leads back to one.
    pub(super) fn new(shares: usize) -> Self {
        Self((0..(shares * HOUSES).next_power_of_two()).map(|_| AtomicU64::new(0)).collect())
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

    /// The run that lives there now, unless it is being moved.
    pub(super) fn look(&self, house: usize) -> Option<Run> {
        let word = self.0.get(house)?.load(Relaxed);
        if word == MOVING { None } else { Run::from_word(word) }
    }

    /// The run that lives there moves out, to be freed. Waits for who is moving it.
    pub(super) fn leave(&self, house: usize) -> Option<Run> {
        loop {
            match self.leave_now(house) {
                Ok(run) => return run,
                Err(Moving) => spin_loop(),
            }
        }
    }

    /// The same for who cannot wait: it may have interrupted who is moving the run.
    pub(super) fn leave_now(&self, house: usize) -> Result<Option<Run>, Moving> {
        let Some(word) = self.0.get(house) else { return Ok(None) };
        let now = word.load(Relaxed);
        if now == 0 {
            return Ok(None);
        }
        if now != MOVING && word.compare_exchange(now, 0, Acquire, Relaxed).is_ok() {
            return Ok(Run::from_word(now));
        }
        Err(Moving)
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
        if Half::of(house) == Half::Pinned
            || word.compare_exchange(run.word(), MOVING, AcqRel, Relaxed).is_err()
        {
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
    fn a_house_whose_run_is_being_moved_is_left_alone() {
        let houses = Houses::new(1);
        let run = Run::new(houses.serial(7, 1 << 40), Pfn::new(3), Order::ZERO);
        houses.enter(run);
        assert_eq!(houses.look(7), Some(run), "the serial number leads back, however large");
        houses.0[7].store(MOVING, Relaxed);
        assert!(houses.leave_now(7).is_err() && houses.look(7).is_none());
        houses.enter(run);
        assert!(matches!(houses.leave_now(7), Ok(Some(left)) if left == run));
        assert!(matches!(houses.leave_now(7), Ok(None)));
    }

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
