//! What shuttle's scenarios share: the platform, the stamps that prove ownership, and random numbers it can replay.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::vec::Vec;

use shuttle::rand::{RngCore, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner, thread};

use crate::error::{AllocError, FreeError};
use crate::frame::{FrameRange, Order, Pfn};
use crate::memory_event::{MemoryEvent, Veto};
use crate::models::stage::{Plan, Stage};
use crate::platform::{Migration, Platform};
use crate::poison::Poisoned;
use crate::request::Request;
use crate::sync::AtomicU64 as SharedU64;

/// Bytes of stack of a thread: an allocator is built on one.
const STACK: usize = 1 << 18;
/// Steps of one run after which it counts as stuck: a promise is that nobody waits for anybody.
const STEPS: usize = 2_000_000;
/// Both schedulers start from it, so that a run repeats; `SHUTTLE_RANDOM_SEED` overrides it.
const SEED: u64 = 0x20_26;

shuttle::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// A platform on which each thread says which CPU it runs on, some frames can be moved, and memory may be objected to.
#[derive(Debug, Default)]
pub(super) struct StormCpu {
    /// Where these frames are, 0 for none. Who changes a word from a frame's number has the frame that it leaves.
    pub(super) movable: [SharedU64; 3],
    /// 1 while somebody objects to what may be objected to.
    pub(super) objects: SharedU64,
}

impl Platform for StormCpu {
    fn cpu(&self) -> usize {
        cpu()
    }

    fn pause(&self) {
        thread::yield_now();
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        // AcqRel: as any lock under which frames change owners.
        let moves = |place: &SharedU64| {
            place.compare_exchange(from.get(), to.get(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if self.movable.iter().any(moves) { Migration::Moved } else { Migration::Refused }
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let is_there = self.movable.iter().any(|place| place.load(Ordering::Acquire) == pfn.get());
        is_there.then_some((pfn, Order::ZERO))
    }

    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        let objects = event.step.may_be_vetoed() && self.objects.load(Ordering::Relaxed) != 0;
        if objects { Err(Veto) } else { Ok(()) }
    }
}

/// Runs a scenario many times: half with priorities that change at few places (PCT), half evenly.
pub(super) fn storm(runs: usize, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    Runner::new(PctScheduler::new_from_seed(SEED, 4, runs / 2), config()).run(scenario);
    evenly(runs - runs / 2, scenario);
}

/// Runs a scenario many times; at each step every thread is as likely to go on as any other.
pub(super) fn evenly(runs: usize, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    Runner::new(RandomScheduler::new_from_seed(SEED, runs), config()).run(scenario);
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.silence_warnings = true;
    config
}

/// The CPU of this thread.
pub(super) fn cpu() -> usize {
    CPU.with(Cell::get)
}

/// Runs `act` on a thread of a CPU of its own.
pub(super) fn on_cpu(cpu: usize, act: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        CPU.with(|own| own.set(cpu));
        act();
    })
}

/// Runs `act` on as many threads, each on a CPU of its own.
pub(super) fn on_all_cpus(
    stage: &Arc<StormStage>,
    threads: usize,
    act: impl Fn(&mut Owner) + Send + Sync + Copy + 'static,
) {
    let threads: Vec<_> = (0..threads)
        .map(|cpu| {
            let stage = Arc::clone(stage);
            on_cpu(cpu, move || act(&mut Owner { stage, stamp: cpu as u64 + 1, held: Vec::new() }))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("the thread ran"));
}

/// A number below `below`.
pub(super) fn number(below: usize) -> usize {
    (thread_rng().next_u64() % below as u64) as usize
}

/// A stage on which each frame has its owner's stamp; 0: nobody's.
pub(super) type StormStage = Stage<StormCpu, AtomicU64>;

/// A stage without owners.
pub(super) fn stage(plan: &Plan) -> Arc<StormStage> {
    Arc::new(Stage::new(plan, || AtomicU64::new(0)))
}

/// A thread, and the runs that it owns.
pub(super) struct Owner {
    pub(super) stage: Arc<StormStage>,
    stamp: u64,
    pub(super) held: Vec<(Pfn, Order)>,
}

impl Owner {
    /// Whether this is the thread of the first CPU.
    pub(super) fn is_first(&self) -> bool {
        self.stamp == 1
    }

    /// Allocates a run and stamps it.
    pub(super) fn take(&mut self, order: Order) -> Result<(), AllocError> {
        let pfn = self.stage.allocator.alloc_raw(&Request::order(order).nowait().wakes_nobody())?;
        self.own(pfn, order);
        Ok(())
    }

    /// Notes a run that this thread has got.
    pub(super) fn own(&mut self, pfn: Pfn, order: Order) {
        assert!(pfn.is_aligned(order));
        let run = pfn.get()..pfn.get() + order.frames();
        let moved = self
            .stage
            .allocator
            .platform
            .movable
            .iter()
            .any(|place| run.contains(&place.load(Ordering::Acquire)));
        assert!(!moved, "a frame of {pfn} is a movable one");
        let has_rows = self.stage.allocator.state.own_rows.is_some();
        assert!(!has_rows || !run.contains(&self.stage.hot().start.get()), "{pfn} holds rows");
        let mut poison = self.stage.allocator.state.poison.frames(FrameRange::new(pfn, Pfn::new(run.end)));
        assert!(poison.all(|(_, state)| state == Poisoned::Pending), "a frame of {pfn} is out for good");
        for stamp in self.stage.contents(pfn, order) {
            assert_eq!(stamp.swap(self.stamp, Ordering::Relaxed), 0, "a frame of {pfn} is somebody else's");
        }
        self.held.push((pfn, order));
    }

    /// Ends the ownership of a run before it is freed.
    pub(super) fn disown(&self, pfn: Pfn, order: Order) {
        for stamp in self.stage.contents(pfn, order) {
            assert_eq!(stamp.swap(0, Ordering::Relaxed), self.stamp, "a frame of {pfn} was somebody else's");
        }
    }

    /// Frees one of the held runs.
    pub(super) fn give(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (pfn, order) = self.held.swap_remove(number(self.held.len()));
        self.disown(pfn, order);
        // SAFETY: the run was held by this thread, as its stamps showed, and is not any more.
        let freed: Result<(), FreeError> = unsafe { self.stage.allocator.free_raw(pfn, order) };
        freed.expect("the owner may free");
    }

    /// Frees all of them.
    pub(super) fn give_all(&mut self) {
        while !self.held.is_empty() {
            self.give();
        }
    }
}
