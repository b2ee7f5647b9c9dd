//! Storm `kfree-rcu`: threads and their timer handlers take objects out of readers' sight and queue them, faster than grace
//! periods end, while all frames go and come back; a collector frees, and now and then a handler.
//!
//! Readers look at an object until the collector has been round three times, and see it freed if that does not wait for them.
//! At each standstill everything is queued under the eyes of a reader: nothing may be freed, and bookkeeping may have no more
//! than its frames; when the reader has left, a request that waits must have those; then every object is freed, once.

mod counted;
mod world;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zonal::{Order, Reader, Request};
use zonal_linux::{Role, acting_as};
use zonal_testkit::ticks::{Pace, Ticked, Timer, ticking};

use super::engine::Run;
use super::pulse::{PATIENCE, Pulse, watched};
use super::report::Report;
use super::steps;
use super::{Finding, Storm};
use crate::progress::{Progress, Unit};
use counted::Counted;
use world::{Counts, MOST, OBJECTS, World};

/// Threads that queue, each with a timer.
const FLOODS: u64 = 2;
/// How long threads work between standstills.
const ROUND: Duration = Duration::from_millis(150);
/// Rounds of the collector that a patient reader stays for, and how long at most.
const STAY: (u64, Duration) = (3, Duration::from_millis(2));
/// How long who collects, or hoards, rests.
const REST: Duration = Duration::from_micros(50);
/// However short the storm: one whose steps are counted, which takes long, and one at full speed.
const LEAST_ROUNDS: u64 = 2;
/// Every how many rounds each thread counts a replacement step by step.
const COUNTED: u64 = 4;
/// Of so many handlers one collects, in the midst of whatever its thread does.
const COLLECTS: u64 = 16;
/// Contexts that may be about to take a frame, and have counted it.
const ABOUT: u64 = FLOODS * 8;

/// A flood of objects to be freed.
pub(super) struct KfreeRcu;

impl Storm for KfreeRcu {
    fn name(&self) -> &'static str {
        "kfree-rcu"
    }

    fn about(&self) -> &'static str {
        "objects are queued from every context, readers look at them, frames run out: each is freed once, none early"
    }

    fn faults(&self) -> &'static [&'static str] {
        &[
            "DeferredEarly",
            "DeferredDropped",
            "DeferredUnbounded",
            "DeferredFrameKept",
            "DeferredAwaitsReaders",
        ]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let world = World::build(run.words)?;
        let start = Instant::now();
        let judged = watched(move |pulse| rounds(world, run, pulse))?.unwrap_or_else(|| Ok(hung()))?;
        Ok(judged.finding(self.name(), start.elapsed(), &world.counts))
    }
}

/// One round after the other.
fn rounds(world: &'static World, run: Run, pulse: &Pulse) -> Result<Judged> {
    let _registered = world.register();
    let (start, mut dice) = (Instant::now(), fastrand::Rng::with_seed(run.seed));
    let progress = Progress::new(run.seconds as usize, Unit::Seconds);
    let mut judged = Judged::default();
    let is_over = |rounds| rounds >= LEAST_ROUNDS && start.elapsed() >= Duration::from_secs(run.seconds);
    while !is_over(judged.rounds) && judged.broken.is_none() {
        judged.requests += flood(world, &mut judged, dice.u64(..))?;
        judged.rounds += 1;
        pulse.beat();
        judged.stand_still(world)?;
        pulse.beat();
        progress.reach(start.elapsed().as_secs() as usize);
    }
    Ok(judged)
}

/// A round that did not end: every thread of it looks at the clock again and again, but within a call.
fn hung() -> Judged {
    let mut judged = Judged::default();
    let seconds = PATIENCE.as_secs();
    judged.expect(false, || format!("P1: a call has not returned for {seconds} s"));
    judged
}

/// What one thread and its handlers have.
struct Flood<'w> {
    world: &'w World,
    reader: Reader<'w>,
    seed: AtomicU64,
    /// Whether the thread is in the middle of a replacement.
    within: AtomicBool,
    interruptions: AtomicU64,
    longest: AtomicU64,
    /// What was found of the counted replacements.
    counted: Mutex<Counted>,
}

impl Flood<'_> {
    /// A number nobody foresees. In handlers, too: who is interrupted in between draws one that was drawn before.
    fn draw(&self) -> u64 {
        let seed = self
            .seed
            .load(Relaxed)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed.store(seed, Relaxed);
        seed >> 20
    }

    /// Replaces what is at some place. Any context.
    fn replace(&self) {
        let number = self.draw() as usize;
        self.world.replace(number, number >> 8);
    }

    /// Looks at some place in a section of a reader.
    fn look(&self, until: impl Fn() -> bool) {
        self.reader.read(|| {
            let Some(object) = self.world.at(self.draw() as usize) else { return };
            let seen = object.seen();
            loop {
                self.world.counts.early.fetch_add(u64::from(!object.is_as(seen)), Relaxed);
                if until() {
                    break;
                }
            }
        });
        self.world.counts.looks.fetch_add(1, Relaxed);
    }

    /// Looks until the collector has been round.
    fn stay(&self) {
        let collections = || self.world.counts.collections.load(Acquire);
        let (begun, start) = (collections(), Instant::now());
        self.look(|| collections() >= begun + STAY.0 || start.elapsed() > STAY.1);
    }

    /// Replaces something, counted step by step. Handlers come in between, and are not counted.
    fn replace_counted(&self) {
        let queued = || self.world.counts.queued.load(Relaxed);
        let before = queued();
        let ((), steps) = steps::counted(|| self.replace());
        let others = (queued() - before).saturating_sub(1);
        locked(&self.counted).add((steps, others));
    }

    /// Works until the time is over.
    fn rage(&self, timer: &Timer, until: Instant) -> Result<()> {
        timer.arm(Pace::Usual, |below| self.draw() % below)?;
        while Instant::now() < until {
            for _ in 0..256 {
                let start = Instant::now();
                self.within.store(true, Relaxed);
                self.replace();
                self.within.store(false, Relaxed);
                self.longest.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
            }
            match self.draw() % 8 {
                0 => self.stay(),
                _ => self.look(|| true),
            }
        }
        Ok(())
    }
}

// SAFETY: atomics, a queue and grace periods made for it, and a reader's seat, which a handler leaves as it found it. No lock,
// no heap. Nothing in it panics.
unsafe impl Ticked for Flood<'_> {
    fn tick(&self, timer: &Timer) {
        // Who lost its timer is interrupted no more.
        let _ = timer.arm(Pace::Usual, |below| self.draw() % below);
        self.interruptions.fetch_add(u64::from(self.within.load(Relaxed)), Relaxed);
        acting_as(Role::Interrupt, || {
            (0..8).for_each(|_| self.replace());
            self.look(|| true);
            if self.draw().is_multiple_of(COLLECTS) {
                self.world.collect();
            }
        });
    }
}

/// Lets all threads work for a round. Calls that were made.
fn flood(world: &'static World, judged: &mut Judged, seed: u64) -> Result<u64> {
    let until = Instant::now() + ROUND;
    let (at_work, is_counted) = (AtomicU64::new(FLOODS), judged.rounds.is_multiple_of(COUNTED));
    let before = world.counts.queued.load(Relaxed);
    let (longest, interruptions, most) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (failed, counted) = (Mutex::new(None), Mutex::new(Counted::default()));
    thread::scope(|scope| {
        for at in 0..FLOODS {
            let (longest, interruptions, failed, counted) = (&longest, &interruptions, &failed, &counted);
            let at_work = &at_work;
            scope.spawn(move || {
                let flood = Flood {
                    world,
                    reader: world.grace.reader(),
                    seed: AtomicU64::new(seed.wrapping_add(at)),
                    within: AtomicBool::new(false),
                    interruptions: AtomicU64::new(0),
                    longest: AtomicU64::new(0),
                    counted: Mutex::default(),
                };
                let raged = ticking(&flood, |timer| {
                    flood.rage(timer, until)?;
                    // Last, as it takes longest: all others go on meanwhile.
                    if is_counted {
                        flood.replace_counted();
                    }
                    Ok(())
                });
                at_work.fetch_sub(1, Relaxed);
                locked(counted).merge(*locked(&flood.counted));
                longest.fetch_max(flood.longest.load(Relaxed), Relaxed);
                interruptions.fetch_add(flood.interruptions.load(Relaxed), Relaxed);
                note(failed, raged.context("timers").and_then(|raged| raged));
            });
        }
        scope.spawn(|| {
            while at_work.load(Relaxed) > 0 {
                world.collect();
                most.fetch_max(world.frames(), Relaxed);
                thread::sleep(REST);
            }
        });
        scope.spawn(|| {
            while at_work.load(Relaxed) > 0 {
                let hoarded = world.hoard();
                thread::sleep(REST);
                // May have what bookkeeping has; refused where a reader is in the way.
                let asked = world.pool.allocator().alloc_raw(&Request::order(Order::ZERO));
                let all = hoarded.into_iter().chain(asked).collect();
                note(&failed, world.give(all));
                thread::sleep(REST);
            }
        });
    });
    judged.longest = judged.longest.max(longest.into_inner());
    judged.interruptions += interruptions.into_inner();
    judged.most = judged.most.max(most.into_inner());
    judged.counted.merge(*locked(&counted));
    match failed.into_inner().unwrap_or_default() {
        Some(error) => Err(error),
        None => Ok(world.counts.queued.load(Relaxed) - before),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(failed: &Mutex<Option<anyhow::Error>>, result: Result<()>) {
    if let (Err(error), Ok(mut failed)) = (result, failed.lock()) {
        *failed = Some(error);
    }
}

/// What all rounds came to.
#[derive(Default)]
struct Judged {
    rounds: u64,
    requests: u64,
    longest: u64,
    interruptions: u64,
    counted: Counted,
    /// Bookkeeping frames, at most.
    most: u64,
    failed_blocking: u64,
    lost: u64,
    double: u64,
    audit: Vec<String>,
    broken: Option<String>,
}

impl Judged {
    /// Notes that a promise was broken.
    fn expect(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(broken());
        }
    }

    /// Nobody else is at work.
    fn stand_still(&mut self, world: &'static World) -> Result<()> {
        let counts = &world.counts;
        let (early, most) = (counts.early.load(Relaxed), self.most);
        self.expect(early == 0, || {
            format!("P5: {early} looks at an object found it freed while its reader looked")
        });
        self.expect(most <= MOST + ABOUT, || {
            format!("P3: bookkeeping had {most} frames, {MOST} are its limit")
        });
        let too_many = self.counted.too_many;
        self.expect(too_many.is_none(), || {
            let (steps, bound) = too_many.unwrap_or_default();
            format!("P1: queueing an object took {steps} instructions; {bound} are allowed")
        });
        world.clear();
        let reader = world.grace.reader();
        let freed = reader.read(|| {
            world.collect(); // what was stamped before the reader came may go
            world.collect();
            world.queue_all();
            let before = counts.freed.load(Relaxed);
            (0..3).for_each(|_| world.collect());
            counts.freed.load(Relaxed) - before
        });
        self.expect(freed == 0, || format!("P5: {freed} objects were freed before their reader had left"));
        let frames = world.frames();
        self.expect(frames <= MOST, || format!("P3: bookkeeping has {frames} frames, {MOST} are its limit"));
        self.squeeze(world, frames)?;
        (0..2).for_each(|_| world.collect());
        self.settle(world);
        Ok(())
    }

    /// A request that waits must be served when bookkeeping has the last frames, and no reader is in the way.
    fn squeeze(&mut self, world: &'static World, frames: u64) -> Result<()> {
        self.expect(frames > 0, || format!("P3: {OBJECTS} objects were queued without a frame"));
        let hoarded = world.hoard();
        let asked = world.pool.allocator().alloc_raw(&Request::order(Order::ZERO));
        if let Err(error) = asked {
            self.failed_blocking += 1;
            self.expect(false, || {
                format!("P2: refused while the shrinker could give {frames} frames: {error}")
            });
        }
        world.give(hoarded.into_iter().chain(asked).collect())
    }

    /// Every object was freed once, every frame is back.
    fn settle(&mut self, world: &'static World) {
        let [queued, freed, wrong] =
            [&world.counts.queued, &world.counts.freed, &world.counts.wrong].map(|count| count.load(Relaxed));
        self.double = wrong;
        self.expect(wrong == 0, || format!("P5: {wrong} frees or removals of objects that were not there"));
        self.lost = queued.saturating_sub(freed);
        self.expect(queued == freed && world.is_empty(), || {
            format!("P5: {queued} objects were queued, {freed} freed")
        });
        let summary = world.pool.allocator().audit(&mut |finding| self.audit.push(finding.to_string()));
        let (held, allocated) = (world.frames(), summary.allocated);
        self.lost += allocated;
        self.expect(held == 0 && allocated == 0, || {
            format!("P5: {allocated} frames did not come back; the queue says it has {held}")
        });
        if let Some(finding) = self.audit.first().cloned() {
            self.expect(false, || format!("P5: audit: {finding}"));
        }
    }

    fn finding(self, storm: &'static str, elapsed: Duration, counts: &Counts) -> Finding {
        let [queued, by_head, looks, collections, shrunk] =
            [&counts.queued, &counts.by_head, &counts.looks, &counts.collections, &counts.shrunk]
                .map(|count| count.load(Relaxed));
        let details = format!(
            "{queued} objects queued, {by_head} of them by their heads; {looks} looks, {collections} collections; \
             bookkeeping had {} frames at most, {shrunk} came back through the shrinker\n",
            self.most
        );
        let report = Report {
            storm,
            seconds: elapsed.as_secs_f64(),
            rounds: self.rounds,
            requests: self.requests,
            failed_blocking: self.failed_blocking,
            lost: self.lost,
            double: self.double,
            interruptions: self.interruptions,
            max_steps: self.counted.steps,
            others: self.counted.others,
            longest_wait_us: self.longest,
            audit: self.audit,
            details,
            ..Report::default()
        };
        Finding { report, broken: self.broken }
    }
}
