//! Storms of memory that comes and goes: threads ask and free, one plugs, in bursts; in between everybody stands still and all
//! is recounted.
//!
//! A refusal is judged when it comes, with everybody else stopped; a run handed out of a section that is offline, at once. In
//! between bursts nobody holds anything: then each section must go offline at the first try. Invariant: a storm is broken if
//! and only if a promise was.

pub(super) mod everything;
pub(super) mod hotplug;
mod houses;
pub(super) mod last_block;
mod world;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use zonal::{Climb, FrameRange, Gfp, HotplugError, Order};

use super::asker::{self, ORDINARY};
use super::call::Call;
use super::engine::{Outcome, Run};
use super::gate::Gate;
use super::pulse::{PATIENCE, Pulse, watched};
use super::tally::Tally;
use super::violation::Violation;
use super::wish::Wish;
use super::{Finding, Storm};
use houses::HOUSES;
use world::{Ground, World};

/// How long threads ask until all is recounted.
const BURST: Duration = Duration::from_millis(400);

/// A storm of memory that comes and goes.
trait Plugging: Storm {
    /// Where it happens.
    fn ground(&self) -> Ground;

    /// Threads that ask.
    fn threads(&self) -> usize;

    /// What a thread asks for next.
    fn wish(&self, dice: &mut Rng) -> Wish;

    /// Runs that a thread holds at most, of those that can be moved and of the others.
    fn held(&self) -> usize;

    /// What a thread does now and then besides asking.
    fn chore(&self, _hand: &mut Hand) {}

    /// One step of the one that plugs; whether that was a round.
    fn plug(&self, plugger: &mut Plugger) -> Result<bool, Violation>;
}

/// Lets a storm rage on a thread that is watched.
fn rage(storm: &'static dyn Plugging, run: Run) -> Result<Finding> {
    let raged = watched(move |pulse| bursts(storm, run, pulse))?;
    let (outcome, details) = raged.unwrap_or_else(|| Ok(hung()))?;
    let mut finding = outcome.finding(storm.name());
    finding.report.details = details;
    Ok(finding)
}

/// A call that never came back.
fn hung() -> (Outcome, String) {
    let mut tally = Tally::default();
    tally.broke(Violation::Hung { thread: 0, call: Call::Alloc, seconds: PATIENCE.as_secs() });
    (Outcome { tally, audit: Vec::new(), rounds: 0, elapsed: PATIENCE }, String::new())
}

fn bursts(storm: &'static dyn Plugging, run: Run, pulse: &Pulse) -> Result<(Outcome, String)> {
    let (start, mut dice) = (Instant::now(), Rng::with_seed(run.seed));
    let until = start + Duration::from_secs(run.seconds);
    let world = World::build(storm.ground(), storm.threads())?;
    Gate::sit(storm.threads());
    let mut plugger = Plugger::new(world, dice.fork());
    let (mut tally, mut audit, mut rounds) = (Tally::default(), Vec::new(), 0);
    while tally.first.is_none() && Instant::now() < until {
        let end = (Instant::now() + BURST).min(until);
        rounds += burst(storm, &mut plugger, end, (&mut tally, &mut dice), pulse);
        if tally.first.is_none() {
            let stands = stand_still(&mut plugger, &mut audit);
            stands.err().into_iter().for_each(|violation| tally.broke(violation));
            pulse.beat();
        }
    }
    tally.add(&world.judged());
    Ok((Outcome { tally, audit, rounds, elapsed: start.elapsed() }, world.met.to_string()))
}

/// All at once until the time is over or something breaks; the rounds of the one that plugs.
fn burst(
    storm: &'static dyn Plugging,
    plugger: &mut Plugger,
    end: Instant,
    (tally, dice): (&mut Tally, &mut Rng),
    pulse: &Pulse,
) -> u64 {
    let is_over = AtomicBool::new(false);
    let world = plugger.world;
    let mut rounds = 0;
    thread::scope(|scope| {
        let hands: Vec<_> = (0..storm.threads())
            .map(|place| {
                let (mut hand, is_over) = (Hand::new(world, place, dice.fork()), &is_over);
                scope.spawn(move || {
                    Gate::sit(place);
                    while !is_over.load(Relaxed) && hand.tally.first.is_none() {
                        hand.step(storm);
                    }
                    is_over.store(true, Relaxed);
                    hand.end();
                    hand.tally
                })
            })
            .collect();
        while Instant::now() < end && !is_over.load(Relaxed) {
            match storm.plug(plugger) {
                Ok(round) => rounds += u64::from(round),
                Err(violation) => {
                    tally.broke(violation);
                    break;
                }
            }
            pulse.beat();
        }
        is_over.store(true, Relaxed);
        for hand in hands {
            match hand.join() {
                Ok(counted) => tally.add(&counted),
                Err(_) => tally.broke(Violation::Panicked { thread: 0, call: Call::Alloc }),
            }
        }
    });
    rounds
}

/// What is looked at when nobody asks and nobody holds anything: a recount, and every section goes offline and comes back.
fn stand_still(plugger: &mut Plugger, audit: &mut Vec<String>) -> Result<(), Violation> {
    let Some(allocator) = plugger.world.allocator() else { return Ok(()) };
    let mut found = Ok(());
    let summary = allocator.audit(&mut |finding| {
        audit.push(finding.to_string());
        found = found.and(Err(Violation::Audit(finding)));
    });
    found?;
    let managed = plugger.early + plugger.online() * zonal::SECTION_FRAMES;
    if summary.managed != managed {
        return Err(Violation::Managed { managed: summary.managed, existing: managed });
    }
    if summary.allocated > 0 {
        return Err(Violation::Lost { allocated: summary.allocated, held: 0 });
    }
    for section in 0..plugger.states.len() {
        if let State::Online(to) = plugger.states[section] {
            plugger
                .offline(section)?
                .map_err(|error| plugger.wrong("offlining, with nobody at work,", section, error))?;
            plugger.online_again(section, to)?;
        }
    }
    Ok(())
}

/// What has become of a section, as the one that plugs knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Absent,
    Offline,
    Online(zonal::OnlineType),
}

/// The one that plugs.
struct Plugger {
    world: &'static World,
    dice: Rng,
    states: Vec<State>,
    /// Frames that are there from the start.
    early: u64,
}

impl Plugger {
    fn new(world: &'static World, dice: Rng) -> Self {
        let early = world
            .allocator()
            .into_iter()
            .flat_map(|allocator| allocator.zones())
            .map(|zone| zone.managed)
            .sum();
        Self { world, dice, states: vec![State::Absent; world.hot.len()], early }
    }

    /// Sections that are online.
    fn online(&self) -> u64 {
        self.states.iter().filter(|state| matches!(state, State::Online(_))).count() as u64
    }

    fn wrong(&self, what: &'static str, section: usize, error: HotplugError) -> Violation {
        Violation::Plug { what, pfn: self.world.hot[section].start, error }
    }

    fn inside<R>(
        &self,
        body: impl FnOnce(&'static world::Allocator, FrameRange) -> R,
        section: usize,
    ) -> Option<R> {
        let allocator = self.world.allocator()?;
        Some(self.world.gate.inside(|| body(allocator, self.world.hot[section])))
    }

    fn add(&mut self, section: usize) -> Result<(), HotplugError> {
        self.inside(|allocator, at| allocator.add_memory(at), section).unwrap_or(Ok(()))?;
        self.states[section] = State::Offline;
        Ok(())
    }

    fn remove(&mut self, section: usize) -> Result<(), HotplugError> {
        self.inside(|allocator, at| allocator.remove_memory(at), section).unwrap_or(Ok(()))?;
        self.states[section] = State::Absent;
        Ok(())
    }

    fn bring_online(&mut self, section: usize, to: zonal::OnlineType) -> Result<(), HotplugError> {
        self.world.turn_epoch(section);
        let done = self.inside(|allocator, at| allocator.online_memory(at, to), section).unwrap_or(Ok(0));
        match done {
            Ok(_) => self.states[section] = State::Online(to),
            Err(_) => self.world.turn_epoch(section),
        }
        done.map(|_| ())
    }

    /// The same where nothing may keep it from coming.
    fn online_again(&mut self, section: usize, to: zonal::OnlineType) -> Result<(), Violation> {
        self.bring_online(section, to).map_err(|error| self.wrong("onlining", section, error))
    }

    /// Takes a section offline, or says why it stays; an error is one that nothing explains.
    fn offline(&mut self, section: usize) -> Result<Result<(), HotplugError>, Violation> {
        let done = self.inside(|allocator, at| allocator.offline_memory(at, &mut |_| {}), section);
        match done {
            None => Ok(Ok(())),
            Some(Ok(_)) => {
                self.states[section] = State::Offline;
                self.world.turn_epoch(section);
                Ok(Ok(()))
            }
            Some(Err(
                error @ (HotplugError::InTheWay { .. }
                | HotplugError::Isolation(zonal::IsolateError::Busy { .. })
                | HotplugError::Vetoed { .. }
                | HotplugError::Cancelled),
            )) => Ok(Err(error)),
            Some(Err(error)) => Err(self.wrong("offlining", section, error)),
        }
    }
}

/// A thread that asks.
struct Hand {
    world: &'static World,
    dice: Rng,
    /// Houses in use, the longest first: of those that can be moved, and the others.
    used: [VecDeque<usize>; 2],
    vacant: [Vec<usize>; 2],
    tally: Tally,
}

impl Hand {
    fn new(world: &'static World, place: usize, dice: Rng) -> Self {
        let first = place * HOUSES;
        let half = |half: usize| (first + half * HOUSES / 2..first + (half + 1) * HOUSES / 2).collect();
        let used = [VecDeque::new(), VecDeque::new()];
        Self { world, dice, used, vacant: [half(0), half(1)], tally: Tally::default() }
    }

    /// One request, and a free if it holds enough.
    fn step(&mut self, storm: &dyn Plugging) {
        if self.dice.u8(..32) == 0 {
            let cpus = self.world.allocator().map_or(1, |allocator| allocator.cpus());
            asker::play_cpu(self.dice.usize(..cpus));
        }
        storm.chore(self);
        let wish = storm.wish(&mut self.dice);
        let half = usize::from(!wish.gfp.contains(Gfp::MOVABLE));
        let done = self.let_go(half, storm.held()).and_then(|()| self.ask(wish, half));
        done.err().into_iter().for_each(|violation| self.tally.broke(violation));
    }

    fn ask(&mut self, wish: Wish, half: usize) -> Result<(), Violation> {
        let Some(house) = self.vacant[half].pop() else { return Ok(()) };
        let start = Instant::now();
        let asked = self.world.ask(wish, house)?;
        self.tally.longest = self.tally.longest.max(start.elapsed());
        self.tally.requests += 1;
        let Climb { walks, reclaims, pauses, kills, .. } = asker::climb();
        let steps = [walks, reclaims, pauses, kills].into_iter().map(u64::from).sum();
        self.tally.max_steps = self.tally.max_steps.max(steps);
        match asked {
            Ok(()) => self.used[half].push_back(house),
            Err(error) => {
                self.vacant[half].push(house);
                self.world.judge(wish, error, house)?;
            }
        }
        Ok(())
    }

    /// Frees what it has held for longest, until it holds less than `most` (at least 1) runs of a kind.
    fn let_go(&mut self, half: usize, most: usize) -> Result<(), Violation> {
        while self.used[half].len() >= most {
            let Some(house) = self.used[half].pop_front() else { break };
            self.vacant[half].push(house);
            self.world.give(house)?;
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

/// A request by an ordinary task.
fn wish(gfp: Gfp, order: u8) -> Wish {
    Wish { gfp, order: Order::new(order).unwrap_or(Order::ZERO), task: ORDINARY }
}
