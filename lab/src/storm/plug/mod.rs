//! Storms of memory that comes and goes: threads ask and free, one plugs, in bursts; in between everybody stands still and all
//! is recounted.
//!
//! A refusal is judged when it comes, with everybody else stopped; a run handed out of a section that is offline, at once. In
//! between bursts nobody holds anything: then each section must go offline at the first try. Where sections may hold their own rows
//! there are two worlds, one like that and one not, in turn. Invariant: a storm is broken if
//! and only if a promise was.

mod caches;
mod company;
pub(super) mod everything;
mod ground;
mod hand;
pub(super) mod hotplug;
mod houses;
mod interrupt;
mod judge;
pub(super) mod last_block;
mod met;
mod plugger;
mod poison;
mod rows;
mod shortage;
mod world;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fastrand::Rng;
use zonal::{Gfp, Order};

use super::asker::ORDINARY;
use super::call::Call;
use super::engine::{Outcome, Run};
use super::gate::Gate;
use super::pulse::{PATIENCE, Pulse, watched};
use super::sets::Whence;
use super::tally::Tally;
use super::violation::Violation;
use super::wish::Wish;
use super::{Finding, Storm};
use company::Others;
use ground::Ground;
use hand::Hand;
use plugger::{Plugger, State};
use rows::Rows;
use world::World;

/// How long threads ask until all is recounted.
const BURST: Duration = Duration::from_millis(400);

/// A storm of memory that comes and goes.
trait Plugging: Storm {
    /// Where it happens.
    fn ground(&self) -> Ground;

    /// Whose the memory of sections' rows is, burst by burst.
    fn rows(&self) -> &'static [Rows] {
        &[Rows::Lent]
    }

    /// Threads that ask.
    fn threads(&self) -> usize;

    /// What a thread asks for next.
    fn wish(&self, dice: &mut Rng) -> Wish;

    /// And from where.
    fn whence(&self, _dice: &mut Rng) -> Whence {
        Whence::ANYWHERE
    }

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
    Gate::sit(storm.threads());
    let casts = storm.rows().iter().map(|&rows| Cast::of(storm, rows, run, dice.fork()));
    let mut casts = casts.collect::<Result<Vec<Cast>>>()?;
    let (mut tally, mut audit, mut rounds) = (Tally::default(), Vec::new(), 0);
    while tally.first.is_none() && Instant::now() < until && run.is_under(rounds) {
        let end = (Instant::now() + BURST).min(until);
        let Some(cast) = casts.first_mut() else { break };
        rounds += cast.burst(storm, end, &mut tally, pulse)?;
        tally.first = tally.first.or(cast.plugger.world.judged().first);
        if tally.first.is_none() {
            let stands = stand_still(&mut cast.plugger, &mut audit);
            stands.err().into_iter().for_each(|violation| tally.broke(violation));
            pulse.beat();
        }
        casts.rotate_left(1);
    }
    let mut details = String::new();
    for cast in casts {
        let world = cast.plugger.world;
        if tally.first.is_none() {
            cast.others.end()?;
        }
        tally.add(&world.judged());
        details += &format!("{}: {}", world.ground.rows.title(), world.met);
    }
    Ok((Outcome { tally, audit, rounds, elapsed: start.elapsed() }, details))
}

/// All who play a part in a world.
struct Cast {
    hands: Vec<Hand>,
    plugger: Plugger,
    others: Others,
    dice: Rng,
}

impl Cast {
    /// A world whose sections have such rows, and who plays a part there.
    fn of(storm: &'static dyn Plugging, rows: Rows, run: Run, mut dice: Rng) -> Result<Self> {
        let threads = storm.threads();
        let world = World::build(Ground { rows, ..storm.ground() }, run.words, threads)?;
        Ok(Self {
            hands: (0..threads).map(|place| Hand::new(world, place, dice.fork())).collect(),
            plugger: Plugger::new(world, dice.fork()),
            others: Others::begin(world, threads + 1, dice.fork())?,
            dice,
        })
    }

    /// All at once until the time is over or something breaks; the rounds of the one that plugs.
    fn burst(
        &mut self,
        storm: &'static dyn Plugging,
        end: Instant,
        tally: &mut Tally,
        pulse: &Pulse,
    ) -> Result<u64> {
        let (is_over, world) = (&AtomicBool::new(false), self.plugger.world);
        let Self { hands, plugger, others, dice } = self;
        world.cancel_at(Some(end));
        thread::scope(|scope| {
            let hands: Vec<_> =
                hands.iter_mut().map(|hand| scope.spawn(move || hand.burst(storm, is_over))).collect();
            let mover = scope.spawn(|| others.move_sets(is_over));
            let handlers = interrupt::handlers(world, storm.threads(), dice);
            let mut plugged = Ok(0);
            let ticked = interrupt::interrupted(handlers, || {
                while Instant::now() < end && !is_over.load(Relaxed) && plugged.is_ok() {
                    let round = storm.plug(plugger);
                    plugged = plugged.and_then(|rounds| Ok(rounds + u64::from(round?)));
                    pulse.beat();
                }
            });
            is_over.store(true, Relaxed);
            world.cancel_at(None);
            for hand in hands {
                match hand.join() {
                    Ok(counted) => tally.add(&counted?),
                    Err(_) => tally.broke(Violation::Panicked { thread: 0, call: Call::Alloc }),
                }
            }
            mover.join().map_err(|_| anyhow!("who moves the sets panicked"))??;
            tally.add(&ticked?.1);
            Ok(plugged.unwrap_or_else(|violation| {
                tally.broke(violation);
                0
            }))
        })
    }
}

/// What is looked at when nobody asks and nobody holds anything: a recount, and every section goes offline and comes back.
fn stand_still(plugger: &mut Plugger, audit: &mut Vec<String>) -> Result<(), Violation> {
    let Some(allocator) = plugger.world.allocator() else { return Ok(()) };
    let _stop = plugger.world.gate.stop();
    plugger.world.clear_caches()?;
    plugger.world.heal_all()?;
    let mut found = Ok(());
    let summary = allocator.audit(&mut |finding| {
        audit.push(finding.to_string());
        found = found.and(Err(Violation::Audit(finding)));
    });
    found?;
    let managed = plugger.managed();
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

/// A request by an ordinary task.
fn wish(gfp: Gfp, order: u8) -> Wish {
    Wish { gfp, order: Order::new(order).unwrap_or(Order::ZERO), task: ORDINARY }
}
