//! The embedder of memory that comes and goes: who holds which run, what may be moved, what is objected to, what is given
//! back, and how a refusal is judged.
//!
//! Lives as long as the program, for the allocator's platform is the world that the allocator is in. Without company nothing can
//! be reclaimed, and there is always more kernel memory than all threads may hold, so that no single frame is ever refused.
//! Invariant: a section's epoch is odd from when it has gone offline until it is about to come online.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use anyhow::{Context, Result};
use zonal::{
    AllocError, Climb, Daemon, Demand, FrameRange, MemoryEvent, Migration, NodeId, Oom, Order, PageAllocator,
    Pfn, Platform, Task, Verdict, Veto, ZoneId,
};
use zonal_linux::WordKind;

use super::super::asker::{self, ORDINARY};
use super::super::cpus::Cpus;
use super::super::gate::Gate;
use super::super::oracle::{Oracle, Seen};
use super::super::owners::{Owners, Run};
use super::super::sets::{self, Sets, Whence};
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::caches::{Cached, Caches};
use super::ground::{Company, Ground, Refusals};
use super::houses::{HOUSES, Houses, Moving};
use super::met::Met;
use super::poison::Bad;
use super::rows::{Frame, Rows, reading};

/// Shares of houses that caches may have.
const CACHED: usize = 60;
/// Rounds of reclaim in vain that come before a kill at least.
const VAIN: u32 = 16;

thread_local! {
    /// What the others had done when this thread last came inside, if none of them was.
    static SINCE: Cell<Option<u64>> = const { Cell::new(None) };
    /// Where the request under way comes from.
    static WHENCE: Cell<Whence> = const { Cell::new(Whence::ANYWHERE) };
    /// Calls of reclaim that have brought nothing since one that has.
    static IN_VAIN: Cell<u32> = const { Cell::new(0) };
    /// Moves of sets when the request began.
    static MOVES: Cell<u64> = const { Cell::new(0) };
}

pub(super) type Allocator = PageAllocator<'static, &'static World>;

/// Everything that is not the allocator.
pub(super) struct World {
    pub(super) cpus: Cpus,
    pub(super) gate: Gate,
    pub(super) ground: Ground,
    pub(super) owners: Owners,
    houses: Houses,
    allocator: OnceLock<Allocator>,
    /// The sections that may be plugged in.
    pub(super) hot: Vec<FrameRange>,
    epochs: Vec<AtomicU64>,
    /// The first frame of each of them, where that holds its rows.
    pub(super) rows: Vec<Frame>,
    turns: AtomicU64,
    pub(super) caches: Caches,
    /// The kswapds' threads, by node.
    pub(super) kswapds: Vec<OnceLock<Thread>>,
    pub(super) sets: &'static Sets<'static>,
    pub(super) bad: Bad,
    /// The step that is objected to, as a number; none of them.
    vetoed: AtomicU8,
    cancelled: AtomicBool,
    /// When it is cancelled in any case.
    end: Mutex<Option<Instant>>,
    /// What is judged in hooks.
    tally: Mutex<Tally>,
    pub(super) met: Met,
}

/// No step is objected to.
const NO_VETO: u8 = u8::MAX;

impl World {
    /// A world for so many threads that ask, one that plugs, one that moves sets, and a kswapd for each node: their places at
    /// the gate, in this order.
    pub(super) fn build(ground: Ground, words: WordKind, threads: usize) -> Result<&'static Self> {
        let cpus = Cpus::of(words, usize::from(ground.nodes * ground.cpus))?;
        let own_words = cpus.own_words();
        let (nodes, hot) = (usize::from(ground.nodes), ground.hot());
        // One each, and one for who plugs.
        let own = threads + 1;
        let shares = own + if ground.company == Company::All { CACHED } else { 0 };
        let world: &'static Self = Box::leak(Box::new(Self {
            cpus,
            gate: Gate::new(threads + 2 + nodes),
            owners: ground.owners(),
            houses: Houses::new(shares),
            allocator: OnceLock::new(),
            epochs: hot.iter().map(|_| AtomicU64::new(1)).collect(),
            rows: hot.iter().filter(|_| ground.rows == Rows::Own).map(|_| Frame::new()).collect(),
            hot,
            turns: AtomicU64::new(1),
            caches: Caches::new(ground.nodes, own * HOUSES..shares * HOUSES),
            kswapds: (0..nodes).map(|_| OnceLock::new()).collect(),
            sets: sets::forever(ground.nodes)?,
            bad: Bad::default(),
            vetoed: AtomicU8::new(NO_VETO),
            cancelled: AtomicBool::new(false),
            end: Mutex::default(),
            tally: Mutex::default(),
            met: Met::default(),
            ground,
        }));
        if ground.rows == Rows::Own {
            let shut = world.hot.iter().try_for_each(|section| world.owners.shut(section.start));
            shut.context("frames that hold rows")?;
        }
        let allocator = ground.allocator(world, own_words)?;
        world.allocator.get_or_init(|| allocator);
        Ok(world)
    }

    /// The allocator; it was set when the world was built, before anybody could see it.
    pub(super) fn allocator(&self) -> Option<&Allocator> {
        self.allocator.get()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something broke in a hook.
    pub(super) fn broke(&self, violation: Violation) {
        self.tally().broke(violation);
    }

    /// What was judged in hooks.
    pub(super) fn judged(&self) -> Tally {
        *self.tally()
    }

    /// Makes calls of the allocator, which nobody is stopped in the midst of, and which a removal waits for.
    pub(super) fn inside<R>(&self, calls: impl FnOnce() -> R) -> R {
        reading(|| self.gate.inside(calls))
    }

    /// Asks for a run that is to live in this house; refusals are the caller's to judge.
    pub(super) fn ask(
        &self,
        wish: Wish,
        whence: Whence,
        house: usize,
    ) -> Result<Result<(), AllocError>, Violation> {
        self.inside(|| {
            SINCE.set(self.gate.others());
            WHENCE.set(whence);
            IN_VAIN.set(0);
            MOVES.set(self.sets.moves());
            self.ask_inside(wish, whence, house)
        })
    }

    /// The same for who is inside already.
    pub(super) fn ask_inside(
        &self,
        wish: Wish,
        whence: Whence,
        house: usize,
    ) -> Result<Result<(), AllocError>, Violation> {
        let Some(allocator) = self.allocator.get() else { return Ok(Err(AllocError::NoZone)) };
        let (epochs, noted) = (self.epoch_sum(), self.sets.note(whence.set));
        let pfn = match wish.ask_in(allocator, &self.sets.context(whence)) {
            Ok(pfn) => pfn,
            Err(error) => return Ok(Err(error)),
        };
        let run = Run::new(self.houses.serial(house, self.turns.fetch_add(1, Relaxed)), pfn, wish.order);
        self.owners.take(run)?;
        let is_gone = self.epoch_at(pfn).is_some_and(|epoch| epoch.load(SeqCst) % 2 == 1);
        if is_gone && epochs == self.epoch_sum() {
            return Err(Violation::Unplugged { pfn, order: wish.order });
        }
        let node = self.ground.node(pfn);
        let sets = noted.zip(self.sets.note(whence.set));
        if sets.and_then(|(before, after)| before.allowed(after, node)) == Some(false) && wish.stays_in_set()
        {
            return Err(Violation::OutsideSet { wish, pfn, node });
        }
        self.houses.enter(run);
        Ok(Ok(()))
    }

    /// Frees the run that lives there, and returns it.
    pub(super) fn give(&self, house: usize) -> Result<Option<Run>, Violation> {
        let Some(run) = self.houses.leave(house) else { return Ok(None) };
        self.inside(|| self.free(run)).map(|()| Some(run))
    }

    /// The same for who is inside already and cannot wait; false while the run is being moved.
    pub(super) fn give_now(&self, house: usize) -> Result<bool, Violation> {
        match self.houses.leave_now(house) {
            Ok(run) => run.map_or(Ok(()), |run| self.free(run)).map(|()| true),
            Err(Moving) => Ok(false),
        }
    }

    fn free(&self, run: Run) -> Result<(), Violation> {
        let Some(allocator) = self.allocator.get() else { return Ok(()) };
        self.owners.give(run)?;
        self.shut_bad(run)?;
        let (pfn, order) = (run.pfn(), run.order());
        // SAFETY: the run was allocated with this order, and its stamp has just been taken off its frames, so nobody
        // else frees it; nobody touches frames at all.
        let freed = unsafe { allocator.free_raw(pfn, order) };
        freed.map_err(|error| Violation::FreeRefused { pfn, order, error })
    }

    /// Leaves the run that lives there in the cache of its node; a vacant house for it, if the cache takes it.
    pub(super) fn cache(&self, house: usize) -> Option<usize> {
        let run = self.houses.look(house)?;
        let zone = self.allocator.get()?.zone_of(run.pfn())?;
        self.caches.put(self.ground.node(run.pfn()), Cached { house, zone, frames: run.frames() })
    }

    /// Whether what lies there now did so when this thread last came inside.
    pub(super) fn lay_there_all_along(&self) -> bool {
        self.ground.refusals == Refusals::Strict || SINCE.get().is_some() && SINCE.get() == self.gate.others()
    }

    /// This thread has been interrupted by who may have freed something: nothing lay there all along.
    pub(super) fn interrupted() {
        SINCE.set(None);
    }

    /// The zone that must serve the wish now.
    pub(super) fn admitting(&self, wish: Wish, whence: Whence) -> Option<Seen> {
        let oracle = Oracle::new(self.allocator.get()?, &self.owners);
        oracle.admitting_on(wish, |node| self.sets.surely_allows(whence, node))
    }

    pub(super) fn section_at(&self, pfn: Pfn) -> Option<usize> {
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

    /// From now on it is cancelled when this time has come: as long as others free, it goes on for the next of them.
    pub(super) fn cancel_at(&self, end: Option<Instant>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// Whether it is too soon to kill, everybody else being stopped: a run lies there that lay there all along, or reclaim was
    /// not in vain and there is plenty of it.
    fn judge_kill(&self, wish: Wish) -> Option<Violation> {
        let (whence, in_vain) = (WHENCE.get(), IN_VAIN.get());
        let oracle = Oracle::new(self.allocator.get()?, &self.owners);
        let (mut cached, mut plenty) = (0, 0);
        for zone in oracle.zones(wish).filter(|zone| self.sets.surely_allows(whence, zone.node)) {
            cached += self.caches.of_zone(zone.id);
            plenty += 2 * (zone.marks.high + zone.protection[2]);
        }
        // Who has been moved meanwhile may have reclaimed elsewhere.
        let is_plenty = in_vain < VAIN && cached > plenty && MOVES.get() == self.sets.moves();
        let is_wrong = is_plenty || self.lay_there_all_along() && self.admitting(wish, whence).is_some();
        let (gfp, order) = (wish.gfp, wish.order);
        is_wrong.then_some(Violation::KilledSoon { gfp, order, in_vain, cached })
    }

    /// A hook: outside, and back inside.
    pub(super) fn hook<R>(&self, body: impl FnOnce() -> R) -> R {
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
        self.cpus.now()
    }

    fn task(&self) -> Task {
        asker::task()
    }

    fn climbed(&self, climb: &Climb) {
        asker::note(climb);
    }

    fn wake(&self, daemon: Daemon, node: NodeId) {
        let kswapd = self.kswapds.get(usize::from(node.0)).filter(|_| daemon == Daemon::Kswapd);
        kswapd.and_then(OnceLock::get).into_iter().for_each(Thread::unpark);
    }

    fn reclaim(&self, demand: &Demand) -> u64 {
        if Gate::is_stopper() || self.ground.company == Company::Nobody {
            return 0;
        }
        self.met.reclaims.fetch_add(1, Relaxed);
        let freed = self.hook(|| self.shrink(demand));
        IN_VAIN.set(if freed == 0 { IN_VAIN.get() + 1 } else { 0 });
        freed
    }

    fn reclaimable(&self, zone: ZoneId) -> u64 {
        self.caches.of_zone(zone)
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        self.migrate_run(from, to, Order::ZERO)
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        self.owners.holder(pfn).map(|run| (run.pfn(), run.order()))
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        let outcome = self.houses.relocate(&self.owners, (from, to), order).unwrap_or_else(|violation| {
            self.broke(violation);
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
        let end = || *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.cancelled.load(Relaxed) || end().is_some_and(|end| Instant::now() >= end)
    }

    fn oom(&self, oom: &Oom) -> Verdict {
        self.met.kills.fetch_add(1, Relaxed);
        if !Gate::is_stopper() {
            self.hook(|| {
                let _stop = self.gate.stop();
                let wish = Wish { gfp: oom.gfp, order: oom.order, task: ORDINARY };
                let wrong = self.note_out().err().or_else(|| self.judge_kill(wish));
                wrong.into_iter().for_each(|violation| self.broke(violation));
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
