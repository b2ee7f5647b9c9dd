//! A thread that asks, holds a little, and judges what it is refused.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::Result;
use fastrand::Rng;
use zonal::{Climb, Gfp};

use super::super::asker;
use super::super::gate::Gate;
use super::super::sets::Whence;
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::Plugging;
use super::ground::Company;
use super::houses::Half;
use super::interrupt::{self, DEPTH};
use super::rows::reading;
use super::world::World;

/// A thread that asks.
pub(super) struct Hand {
    pub(super) world: &'static World,
    pub(super) dice: Rng,
    place: usize,
    /// Houses in use, the longest first: of those that can be moved, and the others.
    used: [VecDeque<usize>; 2],
    vacant: [Vec<usize>; 2],
    tally: Tally,
}

impl Hand {
    pub(super) fn new(world: &'static World, place: usize, dice: Rng) -> Self {
        let vacant = Half::ALL.map(|half| half.houses(place).rev().skip(DEPTH).collect());
        let used = [VecDeque::new(), VecDeque::new()];
        Self { world, dice, place, used, vacant, tally: Tally::default() }
    }

    /// Asks until the burst is over, which ends if something breaks; what was counted here and in handlers.
    pub(super) fn burst(&mut self, storm: &'static dyn Plugging, is_over: &AtomicBool) -> Result<Tally> {
        Gate::sit(self.place);
        let handlers = interrupt::handlers(self.world, self.place, &mut self.dice);
        let ticked = interrupt::interrupted(handlers, || {
            while !is_over.load(Relaxed) && self.tally.first.is_none() {
                self.step(storm);
            }
        });
        is_over.store(true, Relaxed);
        self.end();
        self.tally.add(&ticked?.1);
        Ok(std::mem::take(&mut self.tally))
    }

    /// One request, and a free if it holds enough.
    fn step(&mut self, storm: &dyn Plugging) {
        if self.dice.u8(..32) == 0 {
            let cpus = self.world.allocator().map_or(1, |allocator| allocator.cpus());
            self.world.cpus.play(self.dice.usize(..cpus));
        }
        storm.chore(self);
        let (wish, whence) = (storm.wish(&mut self.dice), storm.whence(&mut self.dice));
        let half = usize::from(!wish.gfp.contains(Gfp::MOVABLE));
        let done = self.let_go(half, storm.held()).and_then(|()| self.ask(wish, whence, half));
        done.err().into_iter().for_each(|violation| self.tally.broke(violation));
    }

    fn ask(&mut self, wish: Wish, whence: Whence, half: usize) -> Result<(), Violation> {
        let Some(house) = self.vacant[half].pop() else { return Ok(()) };
        let start = Instant::now();
        let asked = self.world.ask(wish, whence, house)?;
        self.tally.longest = self.tally.longest.max(start.elapsed());
        self.tally.requests += 1;
        let Climb { walks, reclaims, pauses, kills, .. } = asker::climb();
        let steps = [walks, reclaims, pauses, kills].into_iter().map(u64::from).sum();
        self.tally.max_steps = self.tally.max_steps.max(steps);
        match asked {
            Ok(()) => self.used[half].push_back(house),
            Err(error) => {
                self.vacant[half].push(house);
                reading(|| self.world.judge(wish, whence, error, house))?;
            }
        }
        Ok(())
    }

    /// Lets go of what it has held for longest, until it holds less than `most` (at least 1) runs of a kind: where there are
    /// caches, most of it is left there.
    fn let_go(&mut self, half: usize, most: usize) -> Result<(), Violation> {
        while self.used[half].len() >= most {
            let Some(house) = self.used[half].pop_front() else { break };
            let is_cached = self.world.ground.company == Company::All && self.dice.u8(..4) != 0;
            let vacant = if is_cached { self.world.cache(house) } else { None };
            if vacant.is_none() {
                self.world.give(house)?;
            }
            self.vacant[half].push(vacant.unwrap_or(house));
        }
        Ok(())
    }

    /// Frees everything.
    fn end(&mut self) {
        for half in 0..2 {
            let freed = self.let_go(half, 1);
            freed.err().into_iter().for_each(|violation| self.tally.broke(violation));
        }
    }
}
