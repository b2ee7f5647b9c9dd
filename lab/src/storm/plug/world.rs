//! The embedder of memory that comes and goes: who holds which run, what may be moved, what is objected to.
//!
//! Lives as long as the program, for the allocator's platform is the world that the allocator is in. Nothing can be reclaimed
//! and nobody killed: there is always more kernel memory than all threads may hold, so that no single frame is ever refused.
//! Invariant: a section's epoch is odd from when it has gone offline until it is about to come online.

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::Result;
use zonal::{
    AllocError, Climb, Config, Demand, FrameRange, HotRange, MemoryEvent, MemoryRange, Migration, NodeId,
    Oom, Order, PageAllocator, Pfn, Platform, SECTION_FRAMES, Task, Topology, Tuning, Verdict, Veto,
    metadata_size,
};

use super::super::asker::{self, ORDINARY};
use super::super::gate::Gate;
use super::super::oracle::{Oracle, Seen};
use super::super::owners::{Owners, Run};
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::houses::Houses;

thread_local! {
    /// What the others had done when this thread last came inside, if none of them was.
    static SINCE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Where it happens: blocks of kernel memory and sections behind them that may be plugged in, a node each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub(super) nodes: u16,
    /// Blocks that are there from the start, on each node.
    pub(super) blocks: u64,
    /// Sections that may be plugged in, on each node.
    pub(super) sections: u64,
    /// CPUs of each node.
    pub(super) cpus: u16,
    pub(super) refusals: Refusals,
}

/// How refusals, and requests for a kill, are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusals {
    /// Wrong if a run lies there that lay there all along.
    Fair,
    /// Wrong if a run lies there: threads hold so little that there always was one.
    Strict,
}

/// What a storm has met with: one that meets nothing proves nothing.
#[derive(Default)]
pub(super) struct Met {
    pub(super) refused: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) unmoved: AtomicU64,
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, late, kills, moved, unmoved } = self;
        let [refused, late, kills, moved, unmoved] =
            [refused, late, kills, moved, unmoved].map(|count| count.load(Relaxed));
        writeln!(
            f,
            "{refused} requests were refused, {late} of them shortly before others freed what they wanted; {kills} asked for a kill; {moved} runs were moved, {unmoved} could not be"
        )
    }
}

pub(super) type Allocator = PageAllocator<'static, &'static World>;

/// Everything that is not the allocator.
pub(super) struct World {
    pub(super) gate: Gate,
    pub(super) owners: Owners,
    houses: Houses,
    allocator: OnceLock<Allocator>,
    /// The sections that may be plugged in.
    pub(super) hot: Vec<FrameRange>,
    epochs: Vec<AtomicU64>,
    turns: AtomicU64,
    refusals: Refusals,
    /// The step that is objected to, as a number; none of them.
    vetoed: AtomicU8,
    cancelled: AtomicBool,
    /// What is judged in hooks.
    tally: Mutex<Tally>,
    pub(super) met: Met,
}

/// No step is objected to.
const NO_VETO: u8 = u8::MAX;

impl World {
    /// A world for so many threads that ask, and one that plugs.
    pub(super) fn build(ground: Ground, threads: usize) -> Result<&'static Self> {
        let early = |node| {
            let start = u64::from(node) * (1 + ground.sections) * SECTION_FRAMES;
            MemoryRange::new(start, start + ground.blocks * zonal::BLOCK_FRAMES, node)
        };
        let memory: Vec<MemoryRange> = (0..ground.nodes).map(early).collect();
        let behind = |range: &MemoryRange| range.range.start.add(SECTION_FRAMES);
        let hotplug: Vec<HotRange> = memory
            .iter()
            .map(|range| {
                let start = behind(range).get();
                HotRange::new(start, start + ground.sections * SECTION_FRAMES, range.node.0)
            })
            .collect();
        let sections = |hot: &HotRange| {
            let starts = (hot.range.start.get()..hot.range.end.get()).step_by(SECTION_FRAMES as usize);
            starts.map(|start| FrameRange::new(Pfn::new(start), Pfn::new(start + SECTION_FRAMES)))
        };
        let hot: Vec<FrameRange> = hotplug.iter().flat_map(sections).collect();
        let all = hot.iter().map(|range| MemoryRange::new(range.start.get(), range.end.get(), 0));
        let owned: Vec<MemoryRange> = memory.iter().copied().chain(all).collect();
        let world: &'static Self = Box::leak(Box::new(Self {
            gate: Gate::new(threads + 1),
            owners: Owners::of(&owned),
            houses: Houses::new(threads),
            allocator: OnceLock::new(),
            epochs: hot.iter().map(|_| AtomicU64::new(1)).collect(),
            hot,
            turns: AtomicU64::new(1),
            refusals: ground.refusals,
            vetoed: AtomicU8::new(NO_VETO),
            cancelled: AtomicBool::new(false),
            tally: Mutex::default(),
            met: Met::default(),
        }));
        let nodes = usize::from(ground.nodes);
        let distances: Vec<u8> =
            (0..nodes * nodes).map(|at| if at % (nodes + 1) == 0 { 10 } else { 20 }).collect();
        let cpus: Vec<NodeId> =
            (0..ground.nodes * ground.cpus).map(|cpu| NodeId(cpu % ground.nodes)).collect();
        let topology = Topology { memory: &memory, reserved: &[], nodes, distances: &distances, cpus: &cpus };
        let tuning = Tuning { min_free_kbytes: Some(512 * u64::from(ground.nodes)), ..Tuning::default() };
        let config = Config {
            hotplug: &hotplug,
            tuning: Some(tuning),
            dma_end: Pfn::new(0),
            dma32_end: Pfn::new(0),
            ..Config::new(topology)
        };
        let metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?].leak();
        let allocator = PageAllocator::new(&config, world, metadata)?;
        world.allocator.get_or_init(|| allocator);
        Ok(world)
    }

    /// The allocator; it was set when the world was built, before anybody could see it.
    pub(super) fn allocator(&'static self) -> Option<&'static Allocator> {
        self.allocator.get()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was judged in hooks.
    pub(super) fn judged(&self) -> Tally {
        *self.tally()
    }

    /// Asks for a run that is to live in this house; refusals are the caller's to judge.
    pub(super) fn ask(&self, wish: Wish, house: usize) -> Result<Result<(), AllocError>, Violation> {
        let Some(allocator) = self.allocator.get() else { return Ok(Err(AllocError::NoZone)) };
        self.gate.inside(|| {
            SINCE.set(self.gate.others());
            let before = self.epoch_sum();
            match wish.ask(allocator) {
                Ok(pfn) => {
                    let serial = self.houses.serial(house, self.turns.fetch_add(1, Relaxed));
                    let run = Run::new(serial, pfn, wish.order);
                    self.owners.take(run)?;
                    let is_gone = self.epoch_at(pfn).is_some_and(|epoch| epoch.load(SeqCst) % 2 == 1);
                    if is_gone && before == self.epoch_sum() {
                        return Err(Violation::Unplugged { pfn, order: wish.order });
                    }
                    self.houses.enter(run);
                    Ok(Ok(()))
                }
                Err(error) => Ok(Err(error)),
            }
        })
    }

    /// Frees the run that lives there.
    pub(super) fn give(&self, house: usize) -> Result<(), Violation> {
        let (Some(allocator), Some(run)) = (self.allocator.get(), self.houses.leave(house)) else {
            return Ok(());
        };
        self.gate.inside(|| {
            self.owners.give(run)?;
            let (pfn, order) = (run.pfn(), run.order());
            // SAFETY: the run was allocated with this order, and its stamp has just been taken off its frames, so nobody
            // else frees it; nobody touches frames at all.
            let freed = unsafe { allocator.free_raw(pfn, order) };
            freed.map_err(|error| Violation::FreeRefused { pfn, order, error })
        })
    }

    /// Judges a refusal, everybody else being stopped: if a run lies there that must be had, it lay there all along, or the
    /// same request, made again while nobody else is at work, has it.
    pub(super) fn judge(&self, wish: Wish, error: AllocError, house: usize) -> Result<(), Violation> {
        self.met.refused.fetch_add(1, Relaxed);
        if let Some(untried) = wish.untried(asker::climb()) {
            return Err(Violation::GaveUp { wish, untried });
        }
        let _stop = self.gate.stop();
        let Some(Seen { zone, now }) = self.admitting(wish) else { return Ok(()) };
        if self.lay_there_all_along() || self.ask(wish, house)?.is_err() {
            return Err(Violation::RefusedAdmitted { wish, zone: zone.id, now, error });
        }
        self.met.late.fetch_add(1, Relaxed);
        self.give(house)
    }

    /// Whether what lies there now did so when this thread last came inside.
    fn lay_there_all_along(&self) -> bool {
        self.refusals == Refusals::Strict || SINCE.get().is_some() && SINCE.get() == self.gate.others()
    }

    /// The zone that must serve the wish now.
    fn admitting(&self, wish: Wish) -> Option<Seen> {
        Oracle::new(self.allocator.get()?, &self.owners).admitting(wish)
    }

    fn section_at(&self, pfn: Pfn) -> Option<usize> {
        self.hot.iter().position(|section| section.contains(pfn))
    }

    fn epoch_at(&self, pfn: Pfn) -> Option<&AtomicU64> {
        self.epochs.get(self.section_at(pfn)?)
    }

    /// All epochs added up. Each only grows, so equal sums mean equal terms.
    fn epoch_sum(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.load(SeqCst)).sum()
    }

    /// The section has gone offline, or is about to come online.
    pub(super) fn turn_epoch(&self, section: usize) {
        self.epochs.get(section).into_iter().for_each(|epoch| {
            epoch.fetch_add(1, SeqCst);
        });
    }

    /// From now on this step is objected to.
    pub(super) fn veto(&self, step: Option<zonal::MemoryStep>) {
        self.vetoed.store(step.map_or(NO_VETO, |step| step as u8), Relaxed);
    }

    /// From now on offlining is cancelled, or not.
    pub(super) fn cancel(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Relaxed);
    }

    /// A hook: outside, and back inside.
    fn hook<R>(&self, body: impl FnOnce() -> R) -> R {
        if Gate::is_stopper() {
            return body();
        }
        let result = self.gate.outside(body);
        SINCE.set(self.gate.others());
        result
    }
}

impl Platform for World {
    #[inline]
    fn cpu(&self) -> usize {
        asker::cpu()
    }

    fn task(&self) -> Task {
        asker::task()
    }

    fn climbed(&self, climb: &Climb) {
        asker::note(climb);
    }

    fn reclaim(&self, _demand: &Demand) -> u64 {
        0
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        self.migrate_run(from, to, Order::ZERO)
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        self.owners.holder(pfn).map(|run| (run.pfn(), run.order()))
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        let outcome = self.houses.relocate(&self.owners, (from, to), order).unwrap_or_else(|violation| {
            self.tally().broke(violation);
            Migration::Refused
        });
        let met = if outcome == Migration::Moved { &self.met.moved } else { &self.met.unmoved };
        met.fetch_add(1, Relaxed);
        outcome
    }

    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        if self.vetoed.load(Relaxed) == event.step as u8 { Err(Veto) } else { Ok(()) }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    fn oom(&self, oom: &Oom) -> Verdict {
        self.met.kills.fetch_add(1, Relaxed);
        if !Gate::is_stopper() {
            let wrong = self.lay_there_all_along();
            self.hook(|| {
                let _stop = self.gate.stop();
                let wish = Wish { gfp: oom.gfp, order: oom.order, task: ORDINARY };
                if wrong && self.admitting(wish).is_some() {
                    self.tally().broke(Violation::KilledSoon {
                        gfp: oom.gfp,
                        order: oom.order,
                        in_vain: 0,
                        cached: 0,
                    });
                }
            });
        }
        Verdict::GiveUp
    }

    fn pause(&self) {
        if !Gate::is_stopper() {
            self.hook(thread::yield_now);
        }
    }
}
