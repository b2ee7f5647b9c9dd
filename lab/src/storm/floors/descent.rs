//! One class after the other goes down to its floor: alone, each answer compared with the oracle's, then several threads at
//! once.

use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use zonal::{AllocError, GROUP_FRAMES, Gfp, Order, Request, ZoneInfo};
use zonal_testkit::contract::ZoneNow;

use super::super::asker::{self, ORDINARY};
use super::super::oracle::Seen;
use super::super::owners::Run;
use super::super::steps;
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::{CLASSES, LIMITS, Wish};
use super::ground::Ground;

/// Descents of one thread in a round.
const QUIET: usize = 6;
/// Requests of any class that follow each of them.
const PROBES: usize = 16;
/// Descents of several threads at once in a round.
const CROWDED: usize = 2;
/// Threads that go down at once: more than CPUs.
const THREADS: usize = 5;
/// Frames above the high mark that a descent begins with at most.
const SLACK: u64 = 400;
/// The orders asked for.
const ORDERS: [u8; 7] = [0, 0, 0, 1, 2, 3, 9];
/// The orders of what is held all along, so that both frames and runs are left.
const BALLAST: [u8; 4] = [0, 2, 5, 9];
/// Frames that go through each CPU's words before a descent.
const WARM: usize = 96;
/// Instructions that a refusal may take on a quiet machine.
const STEPS_ALONE: u64 = 60_000;

/// A round on one machine.
pub(super) struct Descents<'g, 'm> {
    ground: &'g Ground<'m>,
    dice: &'g mut Rng,
    tally: &'g mut Tally,
    /// What the round holds whatever else it does.
    ballast: Vec<Run>,
    /// What the descent under way holds.
    held: Vec<Run>,
}

impl<'g, 'm> Descents<'g, 'm> {
    pub(super) fn new(ground: &'g Ground<'m>, dice: &'g mut Rng, tally: &'g mut Tally) -> Self {
        Self { ground, dice, tally, ballast: Vec::new(), held: Vec::new() }
    }

    /// All descents, up to the first broken promise.
    pub(super) fn all(&mut self) -> Result<(), Violation> {
        self.take_ballast()?;
        for _ in 0..QUIET {
            self.fill_words()?;
            self.descend()?;
            self.give_all()?;
        }
        for _ in 0..CROWDED {
            self.fill_words()?;
            self.descend_at_once()?;
            self.give_all()?;
        }
        std::mem::swap(&mut self.ballast, &mut self.held);
        self.give_all()
    }

    /// Takes each zone down to a little above its high mark.
    fn take_ballast(&mut self) -> Result<(), Violation> {
        let zones: Vec<ZoneInfo> = self.ground.allocator.zones().collect();
        for zone in zones {
            let most = zone.protection.into_iter().max().unwrap_or_default();
            let left = zone.marks.high + most + self.dice.u64(0..SLACK);
            let limit = LIMITS[zone.kind as usize] | Gfp::NOWAIT | Gfp::THISNODE;
            while self.ground.owners.free(zone.span) > left {
                let order = self.order(&BALLAST);
                let Ok(request) = Request::order(order).gfp(limit) else { break };
                match self.ground.take(order, &request.node(zone.node))? {
                    Ok(run) => self.ballast.push(run),
                    Err(_) if order == Order::ZERO => break,
                    Err(_) => {}
                }
            }
        }
        // Holes of all sizes.
        for _ in 0..self.dice.usize(..64) {
            self.ballast_gap()?;
        }
        Ok(())
    }

    fn ballast_gap(&mut self) -> Result<(), Violation> {
        let at = self.dice.usize(..self.ballast.len().max(1));
        if at < self.ballast.len() && self.ballast[at].frames() < 64 {
            let run = self.ballast.swap_remove(at);
            self.ground.give(run)?;
        }
        Ok(())
    }

    /// Lets frames of all kinds go through the words of every CPU.
    fn fill_words(&mut self) -> Result<(), Violation> {
        for cpu in 0..self.ground.allocator.cpus() {
            asker::play_cpu(cpu);
            for kind in [Gfp::empty(), Gfp::RECLAIMABLE, LIMITS[3]] {
                let wish = Wish { gfp: Gfp::NOWAIT | kind, order: Order::ZERO, task: ORDINARY };
                for _ in 0..self.dice.usize(..WARM) {
                    self.ground.ask(wish)?.into_iter().for_each(|run| self.held.push(run));
                }
            }
        }
        self.give_all()
    }

    fn give_all(&mut self) -> Result<(), Violation> {
        self.dice.shuffle(&mut self.held);
        while let Some(run) = self.held.pop() {
            self.ground.give(run)?;
        }
        Ok(())
    }

    fn wish(&mut self) -> Wish {
        let (gfp, task) = self.pick(&CLASSES);
        let kind = if self.dice.u8(..8) == 0 { Gfp::RECLAIMABLE } else { Gfp::empty() };
        let limit = self.pick(&LIMITS);
        let gfp = gfp | if limit.contains(Gfp::MOVABLE) { limit } else { limit | kind };
        Wish { gfp, order: self.order(&ORDERS), task }
    }

    fn order(&mut self, from: &[u8]) -> Order {
        Order::new(self.pick(from)).unwrap_or(Order::ZERO)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.dice.usize(..from.len())]
    }

    /// One class until it is refused; then others, each as deep as it goes.
    fn descend(&mut self) -> Result<(), Violation> {
        let wish = self.wish();
        while self.step(wish)? {}
        self.count_steps(wish)?;
        for _ in 0..PROBES {
            let wish = self.wish();
            self.step(wish)?;
        }
        self.never_fail()
    }

    /// One request: served if and only if the oracle admits it. Whether it was.
    fn step(&mut self, wish: Wish) -> Result<bool, Violation> {
        if self.dice.u8(..4) == 0 {
            asker::play_cpu(self.dice.usize(..self.ground.allocator.cpus()));
        }
        let before = self.ground.oracle().look(wish);
        let start = Instant::now();
        let outcome = self.ground.ask(wish)?;
        self.tally.longest = self.tally.longest.max(start.elapsed());
        self.tally.requests += 1;
        match outcome {
            Ok(run) => {
                self.held.push(run);
                served(wish, run, &before)?;
                Ok(true)
            }
            Err(error) => match self.ground.oracle().admitting(wish) {
                Some(Seen { zone, now }) => {
                    Err(Violation::RefusedAdmitted { wish, zone: zone.id, now, error })
                }
                None if before.is_empty() => Ok(false), // no zone at all: there is nothing to try
                None => match wish.untried(asker::climb()) {
                    Some(untried) => Err(Violation::GaveUp { wish, untried }),
                    None => Ok(false),
                },
            },
        }
    }

    /// Counts the instructions of a refusal that nobody and nothing disturbs.
    fn count_steps(&mut self, wish: Wish) -> Result<(), Violation> {
        if wish.waits() || wish.order != Order::ZERO {
            return Ok(());
        }
        let (outcome, steps) = steps::counted(|| wish.ask(&self.ground.allocator));
        self.tally.requests += 1;
        self.tally.max_steps = self.tally.max_steps.max(steps);
        if let Ok(pfn) = outcome {
            return Err(Violation::Nowhere { pfn, order: wish.order });
        }
        if steps > STEPS_ALONE {
            return Err(Violation::Steps { steps, others: 0, bound: STEPS_ALONE });
        }
        Ok(())
    }

    /// A request that cannot fail has whatever there is, as one without marks would.
    fn never_fail(&mut self) -> Result<(), Violation> {
        let limit = self.pick(&LIMITS);
        let wish = |flag| Wish { gfp: Gfp::KERNEL | limit | flag, order: Order::ZERO, task: ORDINARY };
        if self.ground.oracle().admitting(wish(Gfp::MEMALLOC)).is_none() {
            return Ok(()); // it would wait for ever
        }
        let wish = wish(Gfp::NOFAIL);
        self.tally.requests += 1;
        match self.ground.ask(wish)? {
            Ok(run) => {
                self.held.push(run);
                Ok(())
            }
            Err(_) => Err(Violation::GaveUp { wish, untried: "it may not fail at all" }),
        }
    }

    /// Several threads of one class, each until it is refused. Nothing is left that the last of them could have had.
    fn descend_at_once(&mut self) -> Result<(), Violation> {
        let wish = loop {
            let wish = self.wish();
            if wish.order < Order::BLOCK {
                break wish;
            }
        };
        let (ground, barrier, all) = (self.ground, Barrier::new(THREADS), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (barrier, all) = (&barrier, &all);
                scope.spawn(move || {
                    asker::play_cpu(thread % ground.allocator.cpus());
                    barrier.wait();
                    let taken = down(ground, wish);
                    all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(taken);
                });
            }
        });
        for taken in all.into_inner().unwrap_or_default() {
            self.held.append(&mut taken?);
        }
        self.tally.requests += self.held.len() as u64;
        self.crowd_is_down(wish)
    }

    fn crowd_is_down(&mut self, wish: Wish) -> Result<(), Violation> {
        let seen = self.ground.oracle().look(wish);
        if let Some(Seen { zone, now }) = self.ground.oracle().admitting(wish) {
            let error = AllocError::NoMemory { order: wish.order, free: 0, in_flight: 0 };
            return Err(Violation::RefusedAdmitted { wish, zone: zone.id, now, error });
        }
        // Each of the others may have taken a run on the strength of the same figures, and a refill that began before the
        // zone was short puts the rest of its group into a word, from which hits are served.
        let excess = (THREADS as u64 - 1) * (wish.order.frames() + GROUP_FRAMES - 1);
        for Seen { zone, now } in seen {
            let before = ZoneNow {
                free: now.free + excess + wish.order.frames(),
                longest: Some(wish.order.get()),
                ..now
            };
            if wish.admitting(&[before]).is_none()
                && self.held.iter().any(|run| zone.span.contains(run.pfn()))
            {
                return Err(Violation::TooDeep { wish, zone: zone.id, now, excess });
            }
        }
        Ok(())
    }
}

/// Takes until it is refused.
fn down(ground: &Ground<'_>, wish: Wish) -> Result<Vec<Run>, Violation> {
    let mut taken = Vec::new();
    while let Ok(run) = ground.ask(wish)? {
        taken.push(run);
    }
    Ok(taken)
}

/// Judges what a request was given by how the zones looked before.
fn served(wish: Wish, run: Run, before: &[Seen]) -> Result<(), Violation> {
    let (pfn, order) = (run.pfn(), run.order());
    let from = before.iter().find(|seen| seen.zone.span.contains(pfn));
    let Some(&seen) = from else { return Err(Violation::Nowhere { pfn, order }) };
    let admits = |now: ZoneNow| wish.admitting(&[now]).is_some();
    // A request that waits has blocks given up that are kept for atomic ones.
    if admits(seen.now) || (wish.waits() && admits(seen.given_up())) {
        return Ok(());
    }
    let Seen { zone, now } = seen;
    Err(Violation::BelowFloor { wish, zone: zone.id, now })
}
