//! A thread that asks for more than there is: most of what it gets goes into caches, some to tasks, some it holds for a
//! while.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use fastrand::Rng;
use zonal::{Gfp, NodeId, Order};

use super::super::asker::{self, ORDINARY};
use super::super::gate::Gate;
use super::super::oracle::Seen;
use super::super::owners::Run;
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;

use super::world::World;

/// What is asked for: the more often, the more rows.
const FLAGS: [Gfp; 16] = [
    Gfp::KERNEL,
    Gfp::KERNEL,
    Gfp::KERNEL,
    Gfp::KERNEL,
    Gfp::HIGHUSER_MOVABLE,
    Gfp::HIGHUSER_MOVABLE,
    Gfp::HIGHUSER_MOVABLE,
    Gfp::NOFS,
    Gfp::ATOMIC,
    Gfp::ATOMIC,
    Gfp::ATOMIC,
    Gfp::NOWAIT,
    Gfp::NOWAIT,
    Gfp::KERNEL.union(Gfp::NORETRY),
    Gfp::KERNEL.union(Gfp::RETRY_MAYFAIL),
    Gfp::KERNEL.union(Gfp::HIGH),
];
const ORDERS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 3, 9];
/// Requests at a round's end, which do not wait for the kswapd they wake.
const LAST: usize = 2000;
/// Steps for which a run is held at most.
const HELD_FOR: u64 = 400;
/// Walks, rounds of reclaim, pauses and kills that a request may take by itself: 17 rounds of reclaim with two walks each,
/// and some walks before a kill and before a failure.
const STEPS_ALONE: u64 = 150;
/// And for each call that others made meanwhile, and each round of reclaim that brought frames: as many again.
const STEPS_PER_CALL: u64 = 60;

/// One thread's part.
pub(super) struct Hand {
    world: &'static World,
    dice: Rng,
    /// What it holds, and until which step.
    held: Vec<(Run, u64)>,
    frames: u64,
    /// Frames it may hold.
    most: u64,
    step: u64,
    pub(super) tally: Tally,
}

impl Hand {
    pub(super) fn new(world: &'static World, threads: usize, seed: u64) -> Self {
        let most = world.frames / (4 * threads as u64);
        Self {
            world,
            dice: Rng::with_seed(seed),
            held: Vec::new(),
            frames: 0,
            most,
            step: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.tally.first.is_some()
    }

    /// One request, and what comes of it.
    pub(super) fn step(&mut self) {
        self.step += 1;
        if self.dice.u8(..32) == 0 {
            let cpus = self.world.allocator().map_or(1, zonal::PageAllocator::cpus);
            self.world.cpus.play(self.dice.usize(..cpus));
        }
        let done = self.let_go().and_then(|()| {
            let wish = self.wish();
            self.ask(wish)
        });
        done.err().into_iter().for_each(|violation| self.tally.broke(violation));
    }

    fn wish(&mut self) -> Wish {
        let (gfp, order) = (FLAGS[self.dice.usize(..16)], ORDERS[self.dice.usize(..16)]);
        let wish = Wish { gfp, order: Order::new(order).unwrap_or(Order::ZERO), task: ORDINARY };
        if self.dice.u8(..64) == 0 {
            return Wish { gfp: Gfp::KERNEL | Gfp::NOFAIL, order: Order::ZERO, ..wish };
        }
        wish
    }

    fn ask(&mut self, wish: Wish) -> Result<(), Violation> {
        let (start, before) = (Instant::now(), self.world.gate.steps());
        let outcome = self.world.ask(wish)?;
        self.tally.longest = self.tally.longest.max(start.elapsed());
        self.tally.requests += 1;
        self.count_steps(wish, self.world.gate.steps() - before)?;
        match outcome {
            Ok(run) => {
                self.put(run);
                Ok(())
            }
            Err(error) => {
                self.world.met.refused.fetch_add(1, Relaxed);
                if let Some(untried) = self.untried(wish) {
                    return Err(Violation::GaveUp { wish, untried });
                }
                let _stop = self.world.gate.stop();
                self.world.met.raised.fetch_add(self.world.is_boosted().into(), Relaxed);
                let Some(seen) = self.world.oracle().and_then(|oracle| oracle.admitting(wish)) else {
                    return Ok(());
                };
                let Seen { zone, now } = seen;
                // It lay there all along; or the request, made again while nobody else is at work, does not find it.
                let found = if self.world.was_alone() && !self.relies_on_kswapd(wish) {
                    None
                } else {
                    self.ask_alone(wish)?
                };
                match found {
                    Some(run) => {
                        self.world.met.late.fetch_add(1, Relaxed);
                        self.world.give(run)
                    }
                    None => Err(Violation::RefusedAdmitted { wish, zone: zone.id, now, error }),
                }
            }
        }
    }

    /// Who may not wait has no barrier passed for frames in words of other CPUs' own: kswapd has, if it is told.
    fn relies_on_kswapd(&self, wish: Wish) -> bool {
        self.world.cpus.own() && !wish.waits()
    }

    /// Asks while all others are stopped; who relies on kswapd, again after its work.
    fn ask_alone(&self, wish: Wish) -> Result<Option<Run>, Violation> {
        let found = self.world.ask(wish)?.ok();
        if found.is_some() || !self.relies_on_kswapd(wish) {
            return Ok(found);
        }
        self.world.keep_up();
        Ok(self.world.ask(wish)?.ok())
    }

    fn untried(&self, wish: Wish) -> Option<&'static str> {
        wish.untried(asker::climb())
    }

    /// Judges how far a request went by what others did meanwhile.
    fn count_steps(&mut self, wish: Wish, others: u64) -> Result<(), Violation> {
        let climb = asker::climb();
        let steps = u64::from(climb.walks)
            + u64::from(climb.reclaims)
            + u64::from(climb.pauses)
            + u64::from(climb.kills);
        let others = others + World::brought();
        let bound = STEPS_ALONE + STEPS_PER_CALL * others;
        if steps > self.tally.max_steps {
            (self.tally.max_steps, self.tally.others) = (steps, others);
        }
        if steps > bound { Err(Violation::Climbed { wish, steps, others, bound }) } else { Ok(()) }
    }

    /// What a run is used for.
    fn put(&mut self, run: Run) {
        match self.dice.u8(..16) {
            0..=2 if self.frames + run.frames() <= self.most => {
                self.frames += run.frames();
                self.held.push((run, self.step + self.dice.u64(1..HELD_FOR)));
            }
            3..=5 if self.world.tasked.load(Relaxed) < self.world.frames / 4 => {
                self.world.task_takes(run);
            }
            _ => self.world.cache(run),
        }
    }

    /// Frees what it has held for long enough; now and then a task ends or a file is deleted.
    fn let_go(&mut self) -> Result<(), Violation> {
        let step = self.step;
        let due: Vec<Run> =
            self.held.extract_if(.., |(_, until)| *until <= step).map(|(run, _)| run).collect();
        for run in due {
            self.frames -= run.frames();
            self.world.give(run)?;
        }
        let more = match self.dice.u8(..64) {
            0..=2 => self.world.task_leaves(),
            3..=5 => self.world.uncache(NodeId(self.dice.u16(..2))),
            _ => None,
        };
        more.map_or(Ok(()), |run| self.world.give(run))
    }

    /// Leaves everything it holds in the caches, and asks for a little more that it will not wait for.
    pub(super) fn end(&mut self) {
        std::mem::take(&mut self.held).into_iter().for_each(|(run, _)| self.world.cache(run));
        for _ in 0..LAST {
            let asked = self.world.ask(Wish { gfp: Gfp::ATOMIC, order: Order::ZERO, task: ORDINARY });
            match asked {
                Ok(Ok(run)) => self.world.cache(run),
                Ok(Err(_)) => return,
                Err(violation) => return self.tally.broke(violation),
            }
        }
    }

    /// Takes its place among the threads.
    pub(super) fn sit(&self, place: usize) {
        Gate::sit(place);
    }
}
