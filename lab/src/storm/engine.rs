//! Carries a storm out: threads in rounds, a standstill after each that is judged, a deadline, and a watchdog.
//!
//! Knows no storm by name. Invariant: between the two barriers of a round the threads work and the judge rests, outside of
//! them the other way round; who finds a promise broken ends the storm with that round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fastrand::Rng;
use zonal_linux::WordKind;
use zonal_testkit::ticks::{Timer, ticking};

use super::call::Call;
use super::hand::{Hand, Whose};
use super::judge::Judge;
use super::pulse::{PATIENCE, Watch};
use super::report::Report;
use super::stage::{Room, Stage};
use super::tally::Tally;
use super::tick::{Bell, Handler};
use super::violation::Violation;
use super::{Finding, Threads};
use crate::progress::{Progress, Unit};

/// Every how many rounds a request is counted step by step: an odd number, so that it is roomy rounds and tight ones.
const STEPPED: u64 = 15;

/// How long, and with which dice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) seconds: u64,
    pub(super) seed: u64,
    /// Whose the slot words are.
    pub(super) words: WordKind,
    /// Rounds after which a storm that has a stated number of them ends.
    pub(super) rounds: u64,
}

impl Run {
    /// Whether there are rounds to come.
    pub(super) fn is_under(&self, rounds: u64) -> bool {
        rounds < self.rounds
    }
}

/// What a storm came to.
#[derive(Clone, Default, Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) audit: Vec<String>,
    pub(super) rounds: u64,
    pub(super) elapsed: Duration,
}

/// What the threads do next. Set by the first of them at a standstill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Storm.
    Storm,
    /// Give everything back.
    Clear,
    /// End.
    Over,
}

/// What the threads share.
struct Shared {
    storm: &'static dyn Threads,
    stage: Arc<Stage>,
    barrier: Barrier,
    until: Instant,
    rounds: AtomicU64,
    phase: Mutex<Phase>,
    /// What all have counted, and what the audits found.
    total: Mutex<(Tally, Vec<String>)>,
}

impl Shared {
    fn total(&self) -> MutexGuard<'_, (Tally, Vec<String>)> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, tally: &mut Tally) {
        self.total().0.add(&std::mem::take(tally));
    }

    /// What comes after a standstill.
    fn next(&self, phase: Phase) -> Phase {
        match phase {
            _ if self.total().0.first.is_some() => Phase::Over,
            Phase::Storm if Instant::now() < self.until => Phase::Storm,
            Phase::Storm => Phase::Clear,
            Phase::Clear | Phase::Over => Phase::Over,
        }
    }
}

/// Runs a storm to its end and says what it found.
///
/// # Errors
/// As `run`.
pub(super) fn rage(storm: &'static dyn Threads, dice: Run) -> Result<Finding> {
    Ok(run(storm, dice)?.finding(storm.name()))
}

impl Outcome {
    /// This part of a storm and the next one together.
    pub(super) fn and(mut self, next: Self) -> Self {
        self.tally.add(&next.tally);
        self.audit.extend(next.audit);
        Self { rounds: self.rounds + next.rounds, elapsed: self.elapsed + next.elapsed, ..self }
    }

    /// The same as it is reported.
    pub(super) fn finding(&self, storm: &'static str) -> Finding {
        let broken = self.tally.first.map(|violation| format!("{}: {violation}", violation.promise()));
        Finding { report: Report::of(storm, self), broken }
    }
}

/// Runs a storm to its end, or until a promise is broken.
///
/// # Errors
/// If the stage, the threads or their timers cannot be had.
pub(super) fn run(storm: &'static dyn Threads, run: Run) -> Result<Outcome> {
    let (threads, handlers) = (storm.threads(), storm.handlers());
    let stage =
        Arc::new(Stage::build(&storm.machine()?.with_words(run.words), threads, threads * (1 + handlers))?);
    let start = Instant::now();
    let shared = Arc::new(Shared {
        storm,
        stage: Arc::clone(&stage),
        barrier: Barrier::new(threads),
        until: start + Duration::from_secs(run.seconds),
        rounds: AtomicU64::new(0),
        phase: Mutex::new(Phase::Storm),
        total: Mutex::default(),
    });
    let workers: Vec<Worker> = (0..threads)
        .map(|thread| {
            let shared = Arc::clone(&shared);
            let work = move || work(&shared, thread, run.seed);
            thread::Builder::new().spawn(work).with_context(|| format!("{threads} threads cannot be started"))
        })
        .collect::<Result<_>>()?;
    let returned = watch(&shared, &workers, &Progress::new(run.seconds as usize, Unit::Seconds), start);
    for worker in workers.into_iter().filter(Worker::is_finished) {
        // A panic in a call is caught in the thread; one elsewhere is ours.
        worker.join().map_err(|_| anyhow!("a thread of the storm ended early"))??;
    }
    let (tally, audit) = shared.total().clone();
    if tally.first.is_none() && !returned {
        bail!("the storm stands still outside of the allocator");
    }
    if handlers > 0 && tally.interruptions == 0 && tally.first.is_none() {
        bail!(
            "no timer tick came while an allocator call was under way: this machine's timers are too coarse"
        );
    }
    Ok(Outcome { tally, audit, rounds: shared.rounds.load(Relaxed), elapsed: start.elapsed() })
}

type Worker = JoinHandle<Result<()>>;

/// Waits for the threads and shows progress; false if they do not return. Calls that hang are noted.
fn watch(shared: &Shared, workers: &[Worker], progress: &Progress, start: Instant) -> bool {
    let mut watch = Watch::default();
    while !workers.iter().all(Worker::is_finished) {
        progress.reach(start.elapsed().as_secs() as usize);
        if !watch.glance(|| shared.stage.calls()) {
            let seats = shared.stage.seats.iter().map(Call::of).enumerate();
            for (thread, call) in seats.filter(|&(_, call)| call != Call::None) {
                shared.total().0.broke(Violation::Hung { thread, call, seconds: PATIENCE.as_secs() });
            }
            return false;
        }
    }
    progress.reach(start.elapsed().as_secs() as usize); // the threads may have returned since the last look
    true
}

/// A storm's handler.
struct Interrupt {
    storm: &'static dyn Threads,
    hand: Hand,
}

// SAFETY: a hand at this depth is no other context's; what hands share is atomic, they lock nothing, and one without room to
// hold runs touches no heap. Storms' `interrupt` keeps to that.
unsafe impl Handler for Interrupt {
    fn dice(&mut self) -> &mut Rng {
        &mut self.hand.dice
    }

    fn interrupt(&mut self) {
        let call = Call::of(&self.hand.stage.seats[self.hand.whose.thread]);
        if call != Call::None {
            self.hand.tally.interrupted(call);
        }
        self.storm.interrupt(&mut self.hand);
    }
}

/// What a thread is interrupted with, and by which timer.
type Alarm<'a> = (&'a Bell<Interrupt>, &'a Timer);

/// One thread, with its timer if the storm has handlers.
fn work(shared: &Shared, thread: usize, seed: u64) -> Result<()> {
    let (stage, storm) = (&shared.stage, shared.storm);
    if storm.handlers() == 0 {
        rounds(shared, thread, seed, None);
        return Ok(());
    }
    let hand = |depth| Hand::new(stage, Whose { thread, depth }, seed);
    let bell = Bell::new((1..=storm.handlers()).map(|depth| Interrupt { storm, hand: hand(depth) }));
    ticking(&bell, |timer| rounds(shared, thread, seed, Some((&bell, timer))))
        .context("a POSIX timer that signals one thread (SIGEV_THREAD_ID)")
}

/// A thread's part of every round, and for the first of them the standstills.
fn rounds(shared: &Shared, thread: usize, seed: u64, alarm: Option<Alarm<'_>>) {
    let (stage, storm) = (&shared.stage, shared.storm);
    let mut hand = Hand::new(stage, Whose { thread, depth: 0 }, seed);
    let mut judge =
        (thread == 0).then(|| Hand::new(stage, Whose { thread: storm.threads(), depth: 0 }, !seed));
    loop {
        shared.barrier.wait();
        let phase = *shared.phase();
        if phase == Phase::Over {
            return;
        }
        // Nobody begins a roomy round while others still hold what they took in a tight one.
        guarded(shared, &mut hand, |hand| make_room(shared, hand));
        shared.barrier.wait();
        guarded(shared, &mut hand, |hand| match phase {
            Phase::Storm => burst(shared, hand, alarm),
            Phase::Clear | Phase::Over => hand.give_all(),
        });
        shared.barrier.wait();
        if let Some(judge) = &mut judge {
            guarded(shared, judge, |judge| stand_still(shared, judge, phase));
            *shared.phase() = shared.next(phase);
        }
    }
}

/// Frees what a thread may not hold in the round to come.
fn make_room(shared: &Shared, hand: &mut Hand) {
    hand.room = if shared.rounds.load(Relaxed).is_multiple_of(2) { Room::Roomy } else { Room::Tight };
    hand.trim();
}

/// A thread's part of a round.
fn burst(shared: &Shared, hand: &mut Hand, alarm: Option<Alarm<'_>>) {
    let (storm, round, room) = (shared.storm, shared.rounds.load(Relaxed), hand.room);
    let mine = round / STEPPED % storm.threads() as u64 == hand.whose.thread as u64;
    let stepped = (round.is_multiple_of(STEPPED) && mine).then(|| hand.dice.usize(..storm.steps()));
    let mut work = || {
        for step in 0..storm.steps() {
            if stepped == Some(step) {
                hand.step_next();
            }
            storm.step(hand);
        }
    };
    match alarm {
        None => work(),
        Some((bell, timer)) => {
            bell.each_hand(|interrupt| interrupt.hand.room = room);
            bell.during(timer, work);
            bell.each_hand(|interrupt| shared.add(&mut interrupt.hand.tally));
        }
    }
}

/// What is looked at when all stand still.
fn stand_still(shared: &Shared, hand: &mut Hand, phase: Phase) {
    if shared.total().0.first.is_some() {
        return;
    }
    hand.room = Room::Tight;
    let mut judge = Judge::of(hand);
    match phase {
        Phase::Storm => judge.look(),
        Phase::Clear | Phase::Over => judge.close(),
    }
    shared.total().1.append(&mut judge.audit);
    shared.rounds.fetch_add(1, Relaxed);
}

/// Does a context's part and hands in what it counted; a panic is a broken promise.
fn guarded(shared: &Shared, hand: &mut Hand, part: impl FnOnce(&mut Hand)) {
    if catch_unwind(AssertUnwindSafe(|| part(hand))).is_err() {
        let thread = hand.whose.thread;
        let call = Call::of(&shared.stage.seats[thread]);
        hand.tally.broke(Violation::Panicked { thread, call });
    }
    shared.add(&mut hand.tally);
}
