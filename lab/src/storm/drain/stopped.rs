//! Drains while the words' owners stand still at whatever instruction they are, and a hundred of them a second under load.
//!
//! Each of two owners works on a CPU of a node of its own, so that what is cached of that node is in its words; now and then it
//! asks for a frame of a third node. A drainer on a CPU of that one stops one owner or both, empties their words, and with
//! both stopped takes every frame there is. Between the stops it drains beside them, and now and then two thousand frames of
//! the third node at once. Lives as long as the program. Invariant: what an owner takes it gives back before it ends; then
//! nothing is allocated.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fastrand::Rng;
use zonal::{AllocError, GROUP_FRAMES, Order, Pfn, Request};

use super::brake::Brake;
use super::owner::Owner;
use super::times::Times;
use super::world::{DRAINER, OWNERS, World};
use crate::storm::call::Call;
use crate::storm::engine::{Outcome, Run as Dice};
use crate::storm::pulse::{PATIENCE, Pulse, watched};
use crate::storm::request::Class;
use crate::storm::steps;
use crate::storm::tally::Tally;
use crate::storm::violation::Violation;

/// Frames that an owner may have in its hands beyond what a refusal knows of: a run it was given or gives back, and one that has landed
/// but is not counted yet.
const IN_HAND: u64 = 2 * GROUP_FRAMES;
/// Between two rounds, of which each drains more than once.
const PERIOD: Duration = Duration::from_millis(5);
/// Stops in a round: what is on the move when one comes is luck.
const STOPS: usize = 4;
/// Drains under load in a round.
const DRAINS: usize = 12;
/// Rounds from one drain of much to the next, and from one that is counted step by step.
const MUCH_EVERY: u64 = 8;
const COUNTED_EVERY: u64 = 4;
/// Groups that a CPU caches of a kind.
const GROUPS: usize = 6;
/// Instructions of a drain of a CPU whose owner stands, and for each call that others completed meanwhile.
const STEPS_ALONE: u64 = 10_000;
const STEPS_PER_CALL: u64 = 2000;

/// Storms, and says what it found and how long the drains took.
pub(super) fn rage(dice: Dice) -> Result<(Outcome, Times)> {
    let world: &'static World = Box::leak(Box::new(World::build(dice.words)?));
    let start = Instant::now();
    let owners: Vec<_> = (0..OWNERS)
        .map(|place| {
            let seed = dice.seed ^ place as u64;
            thread::Builder::new()
                .spawn(move || watched(move |pulse| Owner::new(world, place, seed).work(pulse)))
        })
        .collect::<Result<_, _>>()
        .context("threads for the storm")?;
    let until = start + Duration::from_secs(dice.seconds);
    let times = Arc::new(Mutex::new(Times::default()));
    let noted = Arc::clone(&times);
    let drained = watched(move |pulse| {
        let mut drainer = Drainer {
            world,
            dice: Rng::with_seed(!dice.seed),
            tally: Tally::default(),
            times: noted,
            rounds: 0,
        };
        let worked = drainer.work(until, pulse);
        world.tally().add(&drainer.tally);
        worked.map(|()| drainer.rounds)
    })?;
    world.is_over.store(true, Relaxed);
    let Some(rounds) = drained.transpose()? else {
        let (thread, call) = (DRAINER, Call::of(&world.seats[DRAINER]));
        world.tally().broke(Violation::Hung { thread, call, seconds: PATIENCE.as_secs() });
        return Ok((world.outcome(Vec::new(), 0, start), Times::default()));
    };
    for (thread, owner) in owners.into_iter().enumerate() {
        let ended = owner.join().map_err(|_| anyhow!("an owner's watch ended early"))??;
        match ended {
            Some(worked) => worked?,
            None => {
                let (call, seconds) = (Call::of(&world.seats[thread]), PATIENCE.as_secs());
                world.tally().broke(Violation::Hung { thread, call, seconds });
            }
        }
    }
    let audit = world.recount();
    let times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((world.outcome(audit, rounds, start), times))
}

/// Who stops and drains.
struct Drainer {
    world: &'static World,
    dice: Rng,
    tally: Tally,
    times: Arc<Mutex<Times>>,
    rounds: u64,
}

impl Drainer {
    fn work(&mut self, until: Instant, pulse: &Pulse) -> Result<()> {
        self.world.cpus.play(self.world.cpus_of(DRAINER).start);
        while !self.world.brakes.iter().all(Brake::is_on) && !self.world.is_over.load(Relaxed) {
            thread::sleep(PERIOD);
        }
        while Instant::now() < until && self.tally.first.is_none() && !self.world.is_over.load(Relaxed) {
            let start = Instant::now();
            (0..STOPS).try_for_each(|_| self.stop_and_drain())?;
            (0..DRAINS).for_each(|_| self.drain_beside());
            if self.rounds.is_multiple_of(MUCH_EVERY) {
                self.drain_much();
            }
            self.rounds += 1;
            pulse.beat();
            thread::sleep(PERIOD.saturating_sub(start.elapsed()));
        }
        Ok(())
    }

    /// Stops one owner or both, and empties the words of who stands.
    fn stop_and_drain(&mut self) -> Result<()> {
        let (world, first) = (self.world, self.dice.usize(..OWNERS));
        let stopped = if self.dice.u8(..4) == 0 { OWNERS } else { 1 };
        let stopped: Vec<usize> = (0..stopped).map(|at| (first + at) % OWNERS).collect();
        world.stops.fetch_add(1, Relaxed);
        if !stopped.iter().all(|&owner| world.brakes[owner].stop()) {
            bail!("a thread of the storm does not take the signal that stops it");
        }
        for &owner in &stopped {
            self.tally.interruptions += u64::from(Call::of(&world.seats[owner]) != Call::None);
            self.drain_stopped(owner);
        }
        if stopped.len() == OWNERS {
            self.take_everything();
        }
        if !stopped.iter().all(|&owner| world.brakes[owner].release()) {
            bail!("a thread of the storm does not go on");
        }
        Ok(())
    }

    /// Empties the words of an owner that stands: all of them, in bounded steps.
    fn drain_stopped(&mut self, owner: usize) {
        let (world, cpu) = (self.world, self.world.cpus_of(owner).start);
        let drain = || world.allocator().drain_cpu(cpu);
        if self.rounds.is_multiple_of(COUNTED_EVERY) {
            let calls = || world.seats.iter().take(OWNERS).map(|seat| seat.calls.load(Relaxed)).sum::<u64>();
            let before = calls();
            let (_, steps) = world.call(DRAINER, Call::Drain, &mut self.tally, || steps::counted(drain));
            let others = calls() - before;
            let bound = STEPS_ALONE + others * STEPS_PER_CALL;
            if steps > bound {
                self.tally.broke(Violation::DrainSteps { steps, others, bound });
            }
            if steps > self.tally.max_steps {
                (self.tally.max_steps, self.tally.others) = (steps, others);
            }
        } else {
            let start = Instant::now();
            let frames = world.call(DRAINER, Call::Drain, &mut self.tally, drain);
            self.note(|times| times.stopped.add(start.elapsed(), frames));
        }
        let frames = world.cached(owner);
        if frames > 0 {
            self.tally.broke(Violation::NotDrained { cpu, frames });
        }
    }

    /// With all owners stopped: takes all frames there are, and gives them back.
    fn take_everything(&mut self) {
        let (world, class) = (self.world, Class::Atomic);
        let request = class.request(Order::ZERO).silent();
        let mut held = Vec::new();
        let error = loop {
            match world.call(DRAINER, Call::Alloc, &mut self.tally, || world.allocator().alloc_raw(&request))
            {
                Ok(pfn) => held.push(world.own(pfn, Order::ZERO, &mut self.tally)),
                Err(error) => break error,
            }
        };
        let spare: u64 = world.zones.iter().map(|zone| world.owners.free(zone.span)).sum();
        let known = match error {
            AllocError::NoMemory { in_flight, .. } | AllocError::NoRun { in_flight, .. } => in_flight,
            _ => 0,
        };
        if spare > known + OWNERS as u64 * IN_HAND {
            self.tally.broke(Violation::Refused { class, spare, error });
        }
        held.into_iter().for_each(|run| world.give(DRAINER, run, &mut self.tally));
    }

    /// A drain while the owners work: of a CPU, a zone, a range or everything.
    fn drain_beside(&mut self) {
        let (world, node) = (self.world, self.dice.usize(..=OWNERS));
        let (what, zone) = (self.dice.u8(..4), world.zones[node]);
        let start = Instant::now();
        let frames = world.call(DRAINER, Call::Drain, &mut self.tally, || match what {
            0 => world.allocator().drain_cpu(world.cpus_of(node).start),
            1 => world.allocator().drain_zone(zone.id),
            2 => world.allocator().drain_range(zone.span),
            _ => world.allocator().drain_all(),
        });
        self.note(|times| times.beside.add(start.elapsed(), frames));
    }

    /// Fills the words of the third node's CPUs, and empties all at once: two thousand frames.
    fn drain_much(&mut self) {
        let world = self.world;
        for cpu in world.cpus_of(DRAINER) {
            world.cpus.play(cpu);
            for class in [Class::Kernel, Class::User] {
                self.fill(&class.request(Order::GROUP).silent());
            }
        }
        world.cpus.play(world.cpus_of(DRAINER).start);
        world.longest.store(0, Relaxed);
        let calls = || world.seats.iter().take(OWNERS).map(|seat| seat.calls.load(Relaxed));
        let before: Vec<u64> = calls().collect();
        let start = Instant::now();
        let frames = world.call(DRAINER, Call::Drain, &mut self.tally, || world.allocator().drain_all());
        let took = start.elapsed();
        // Until the calls under way have come to an end.
        while calls().zip(&before).any(|(now, before)| now < before + 2) && start.elapsed() < PERIOD {
            thread::yield_now();
        }
        let others = Duration::from_nanos(world.longest.load(Relaxed));
        self.note(|times| {
            times.much.add(took, frames);
            times.others.push(others);
        });
    }

    /// Takes groups whole and frees them frame by frame, the first of each first: then each is in a word.
    fn fill(&mut self, request: &Request) {
        let world = self.world;
        let taken = (0..GROUPS).map_while(|_| world.allocator().alloc_raw(request).ok());
        let groups: Vec<Pfn> = taken.collect();
        for at in 0..GROUP_FRAMES {
            for group in &groups {
                let pfn = group.add(at);
                // SAFETY: the group was allocated just above, a part of such a run may be freed, and each once.
                if let Err(error) = unsafe { world.allocator().free_raw(pfn, Order::ZERO) } {
                    self.tally.broke(Violation::FreeRefused { pfn, order: Order::ZERO, error });
                }
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Times)) {
        note(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
