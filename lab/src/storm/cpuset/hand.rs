//! A thread that asks from within the sets, holds a few frames, and judges what it gets and what it is refused.

use std::collections::VecDeque;
use std::time::Instant;

use fastrand::Rng;
use zonal::{Climb, Gfp, Order};

use super::super::asker::{self, ORDINARY};
use super::super::owners::Run;
use super::super::sets::{Sets, Whence};
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::ground::Ground;

/// Frames that a hand holds at most.
pub(super) const HELD: usize = 8;
/// What is asked for: the more often, the more rows.
const FLAGS: [Gfp; 10] = [
    Gfp::KERNEL.union(Gfp::HARDWALL),
    Gfp::KERNEL.union(Gfp::HARDWALL),
    Gfp::KERNEL,
    Gfp::HIGHUSER_MOVABLE,
    Gfp::KERNEL.union(Gfp::HARDWALL).union(Gfp::NORETRY),
    Gfp::KERNEL.union(Gfp::HARDWALL).union(Gfp::NOFAIL),
    Gfp::NOWAIT.union(Gfp::HARDWALL),
    Gfp::NOWAIT,
    Gfp::ATOMIC,
    Gfp::ATOMIC.union(Gfp::HARDWALL),
];
/// Walks, rounds of reclaim, pauses and kills that a request may take by itself: each walk before a failure is made again up
/// to sixteen times where something is on the move.
const STEPS_ALONE: u64 = 80;
/// And for each move meanwhile: as many again.
const STEPS_PER_MOVE: u64 = 80;

/// One thread's part.
pub(super) struct Hand<'g> {
    ground: &'g Ground<'g>,
    sets: &'g Sets<'g>,
    dice: Rng,
    held: VecDeque<Run>,
    pub(super) tally: Tally,
}

impl<'g> Hand<'g> {
    pub(super) fn new(ground: &'g Ground<'g>, sets: &'g Sets<'g>, cpu: usize, dice: Rng) -> Self {
        ground.allocator.platform().play(cpu);
        Self { ground, sets, dice, held: VecDeque::new(), tally: Tally::default() }
    }

    /// Asks once, and gives back what has been held for longest.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        while self.held.len() >= self.dice.usize(1..=HELD) {
            let Some(run) = self.held.pop_front() else { break };
            self.ground.give(run)?;
        }
        let whence = Whence::any(&mut self.dice);
        let wish = Wish { gfp: FLAGS[self.dice.usize(..FLAGS.len())], order: Order::ZERO, task: ORDINARY };
        self.ask(wish, whence)
    }

    fn ask(&mut self, wish: Wish, whence: Whence) -> Result<(), Violation> {
        let context = self.sets.context(whence);
        let (start, moves) = (Instant::now(), self.sets.moves());
        let before = self.sets.note(whence.set);
        let served = wish.ask_in(&self.ground.allocator, &context);
        let after = self.sets.note(whence.set);
        self.tally.requests += 1;
        self.tally.longest = self.tally.longest.max(start.elapsed());
        self.count_steps(wish, self.sets.moves() - moves)?;
        if asker::climb().kills > 0 {
            return Err(Violation::KilledInSet { wish, spare: self.ground.spare });
        }
        let pfn =
            served.map_err(|error| Violation::RefusedInSet { wish, spare: self.ground.spare, error })?;
        let run = self.ground.own(pfn, wish.order)?;
        self.held.push_back(run);
        let Some((before, after)) = before.zip(after) else { return Ok(()) };
        let node = self.ground.node(pfn);
        match before.allowed(after, node) {
            Some(false) if wish.stays_in_set() => Err(Violation::OutsideSet { wish, pfn, node }),
            _ => Ok(()),
        }
    }

    /// Judges how far a request went by how often something moved meanwhile.
    fn count_steps(&mut self, wish: Wish, moves: u64) -> Result<(), Violation> {
        let Climb { walks, reclaims, pauses, kills, .. } = asker::climb();
        let steps = [walks, reclaims, pauses, kills].into_iter().map(u64::from).sum();
        if steps > self.tally.max_steps {
            (self.tally.max_steps, self.tally.others) = (steps, moves);
        }
        let bound = STEPS_ALONE + STEPS_PER_MOVE * moves;
        if steps > bound { Err(Violation::Climbed { wish, steps, others: moves, bound }) } else { Ok(()) }
    }

    /// Gives everything back.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        std::mem::take(&mut self.held).into_iter().try_for_each(|run| self.ground.give(run))
    }
}
