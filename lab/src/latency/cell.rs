//! One cell of the table: an engine, a context, a load; and the threads that fill it.

use std::fmt;
use std::slice::from_ref;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use zonal::{Gfp, Order, Pfn};
use zonal_linux::{Pool, WordKind};

use super::interrupts;
use super::samples::{Op, Samples, Watch};
use crate::bench::{BuddySpin, Cpus, Engine, FrameAlloc, Setup, Wrong, Zonal};

/// The zone.
const BYTES: u64 = 1 << 30;
/// Frames that a thread holds at most, and a handler.
const HELD: usize = 4096;
const HELD_IN_HANDLER: usize = 64;
/// Calls between two looks whether the time is over.
const STRETCH: u32 = 256;
/// From one interrupt to the next.
const TICK: Duration = Duration::from_micros(23);

/// Who works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Zonal,
    FrameAlloc,
    BuddySpin,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Context {
    /// A task, which may wait.
    Task,
    /// One that may not.
    Atomic,
    /// A signal handler in the midst of the task's calls.
    Handler,
}

/// Who else is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// Nobody.
    Idle,
    /// A thread on each other CPU, at least one, that does the same in the same zone.
    Loaded,
}

/// What is measured at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) who: Who,
    pub(super) context: Context,
    pub(super) load: Load,
}

/// All cells. Only this allocator tells contexts apart, and only it may be called by who interrupted it.
pub(super) fn all() -> Vec<Cell> {
    let cells = |context, load| {
        let others = [Who::FrameAlloc, Who::BuddySpin].into_iter().filter(move |_| context == Context::Task);
        [Who::Zonal].into_iter().chain(others).map(move |who| Cell { who, context, load })
    };
    let contexts = [Context::Task, Context::Atomic, Context::Handler];
    let loads = |context| [Load::Idle, Load::Loaded].into_iter().map(move |load| (context, load));
    contexts.into_iter().flat_map(loads).flat_map(|(context, load)| cells(context, load)).collect()
}

impl Cell {
    /// Fills the cell for so long. The inner error is a wrong answer.
    pub(super) fn measure(&self, time: Duration, seed: u64) -> Result<Result<Samples, Wrong>> {
        match self.who {
            Who::Zonal => self.measure_on::<Zonal<Pool>>(time, seed),
            Who::FrameAlloc => self.measure_on::<FrameAlloc>(time, seed),
            Who::BuddySpin => self.measure_on::<BuddySpin>(time, seed),
        }
    }

    fn measure_on<E: Engine>(&self, time: Duration, seed: u64) -> Result<Result<Samples, Wrong>> {
        let gfp = if self.context == Context::Task { Gfp::KERNEL } else { Gfp::ATOMIC };
        let setup = Setup {
            cpus: 2,
            order: Order::ZERO,
            nodes: 1,
            bytes: BYTES,
            gfp,
            tuning: None,
            words: WordKind::Locked,
        };
        let engine = E::build(&setup, from_ref(&setup.zone()))?;
        let (before, cpus) = (engine.free_frames(), Cpus::allowed()?);
        let others = if self.load == Load::Idle { 0 } else { cpus.number().saturating_sub(1).max(1) };
        let is_over = AtomicBool::new(false);
        let mut samples = Samples::new(others)?;
        let filled = thread::scope(|scope| {
            let (engine, is_over, cpus) = (&engine, &is_over, &cpus);
            let others: Vec<_> = (1..=others)
                .map(|other| {
                    scope.spawn(move || {
                        cpus.pin(other);
                        Walker::new(engine, seed ^ other as u64, HELD).walk_until(is_over)
                    })
                })
                .collect();
            let filled = scope.spawn(|| {
                cpus.pin(0);
                self.fill(engine, time, seed, &mut samples)
            });
            let filled = filled.join().unwrap_or(Ok(Err(Wrong::Thread)));
            is_over.store(true, Relaxed);
            let ended = others.into_iter().map(|other| other.join().unwrap_or(Err(Wrong::Thread)));
            let ended: Result<(), Wrong> = ended.collect();
            filled.map(|filled| filled.and(ended))
        })?;
        let checked = filled.and_then(|()| match (before, engine.free_frames()) {
            (Some(before), Some(after)) if before != after => Err(Wrong::NotRestored { before, after }),
            _ => engine.audit(0, setup.frames()),
        });
        Ok(checked.map(|()| samples))
    }

    /// The thread that is timed.
    fn fill<E: Engine>(
        &self,
        engine: &E,
        time: Duration,
        seed: u64,
        samples: &mut Samples,
    ) -> Result<Result<(), Wrong>> {
        let watch = Watch::new();
        let until = Instant::now() + time;
        let mut walker = Walker::new(engine, seed, HELD);
        samples.begin();
        if self.context != Context::Handler {
            let walked = walker.walk(until, |walker| walker.step(|op, call| watch.time(samples, op, call)));
            samples.end();
            return Ok(walked.and_then(|()| walker.end()));
        }
        let mut handler = Walker::new(engine, !seed, HELD_IN_HANDLER);
        let mut outcome = Ok(());
        let mut interrupt = || {
            if outcome.is_ok() {
                outcome = handler.step(|op, call| watch.time(samples, op, call));
            }
        };
        let walked = interrupts::during(TICK, &mut interrupt, || {
            walker.walk(until, |walker| walker.step(|_, call| call()))
        })?;
        samples.end();
        Ok(walked.and(outcome).and_then(|()| handler.end()).and_then(|()| walker.end()))
    }
}

/// One that takes and frees.
struct Walker<'e, E> {
    engine: &'e E,
    dice: Rng,
    held: Vec<Pfn>,
    most: usize,
}

impl<'e, E: Engine> Walker<'e, E> {
    fn new(engine: &'e E, seed: u64, most: usize) -> Self {
        Self { engine, dice: Rng::with_seed(seed), held: Vec::with_capacity(most), most }
    }

    /// One call, made by `make`: a refusal is noted there and is no error.
    fn step(
        &mut self,
        make: impl FnOnce(Op, &mut dyn FnMut() -> Result<(), Wrong>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let engine = self.engine;
        if self.held.len() < self.most && (self.held.is_empty() || self.dice.bool()) {
            let mut taken = None;
            let made = make(Op::Alloc, &mut || engine.alloc().map(|pfn| taken = Some(pfn)));
            self.held.extend(taken);
            return match made {
                Err(wrong) if wrong.is_refusal() => Ok(()),
                made => made,
            };
        }
        let pfn = self.held.swap_remove(self.dice.usize(..self.held.len()));
        // SAFETY: allocated by this walker, and it has just been taken off the list.
        make(Op::Free, &mut || unsafe { engine.free(pfn) })
    }

    fn walk(
        &mut self,
        until: Instant,
        mut step: impl FnMut(&mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        while Instant::now() < until {
            (0..STRETCH).try_for_each(|_| step(self))?;
        }
        Ok(())
    }

    fn walk_until(mut self, is_over: &AtomicBool) -> Result<(), Wrong> {
        while !is_over.load(Relaxed) {
            (0..STRETCH).try_for_each(|_| self.step(|_, call| call()))?;
        }
        self.end()
    }

    /// Frees what is held.
    fn end(mut self) -> Result<(), Wrong> {
        let engine = self.engine;
        // SAFETY: each was allocated by this walker, and is taken off the list.
        self.held.drain(..).try_for_each(|pfn| unsafe { engine.free(pfn) })
    }
}

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zonal => "zonal",
            Self::FrameAlloc => "frame-alloc",
            Self::BuddySpin => "buddy-spin",
        }
    }
}

impl Context {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Atomic => "atomic",
            Self::Handler => "handler",
        }
    }
}

impl Load {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "loaded",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.who.name(), self.context.name(), self.load.name())
    }
}
