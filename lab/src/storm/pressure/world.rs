//! The embedder under pressure: page caches that give frames back, sometimes few and sometimes late, tasks that can be
//! killed, and a kswapd thread for each node.
//!
//! Lives as long as the program, for the allocator's platform is the world that the allocator is in. Invariant: a run is held
//! by a thread, lies in a cache, or is a task's; its frames bear its stamp.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use anyhow::Result;
use zonal::{
    AllocError, Climb, Config, Daemon, Demand, NodeId, Oom, PageAllocator, Platform, Task, Verdict, ZoneId,
    metadata_size,
};
use zonal_linux::Machine;

use super::super::asker;
use super::super::cpus::Cpus;
use super::super::gate::Gate;
use super::super::oracle::Oracle;
use super::super::owners::{Owners, Run};
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;

/// Runs that a kill gives back.
const KILLED: usize = 128;
/// Rounds of reclaim in vain that come before a kill at least.
const VAIN: u32 = 16;

thread_local! {
    /// What the others had done when this thread last came inside, if none of them was.
    static SINCE: Cell<Option<u64>> = const { Cell::new(None) };
    /// Calls of reclaim that have brought nothing since one that has.
    static IN_VAIN: Cell<u32> = const { Cell::new(0) };
    /// Whether the request under way has met a drought.
    static IS_DRY: Cell<bool> = const { Cell::new(false) };
    /// Calls of reclaim that have brought frames to the request under way.
    static BROUGHT: Cell<u64> = const { Cell::new(0) };
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, late, raised, reclaims, kills, short } = self;
        let [refused, late, raised, reclaims, kills, short] =
            [refused, late, raised, reclaims, kills, short].map(|count| count.load(Relaxed));
        writeln!(
            f,
            "{refused} requests were refused, {late} of them shortly before others freed what they wanted, {raised} while marks were raised; {reclaims} rounds of reclaim, {kills} kills; {short} times a node was short at the end"
        )
    }
}

type Allocator = PageAllocator<'static, &'static World>;

/// Everything that is not the allocator.
pub(super) struct World {
    pub(super) cpus: Cpus,
    pub(super) gate: Gate,
    pub(super) owners: Owners,
    pub(super) frames: u64,
    /// Whether reclaim finds nothing at all for a while.
    pub(super) drought: AtomicBool,
    allocator: OnceLock<Allocator>,
    caches: Vec<Mutex<VecDeque<Run>>>,
    /// Frames in the caches, by zone.
    cached: Vec<AtomicU64>,
    tasks: Mutex<Vec<Run>>,
    /// Frames of the tasks.
    pub(super) tasked: AtomicU64,
    kswapds: Vec<OnceLock<Thread>>,
    serial: AtomicU64,
    /// What is judged in hooks.
    pub(super) tally: Mutex<Tally>,
    pub(super) met: Met,
}

/// What a storm has met with: one that meets nothing proves nothing.
#[derive(Default)]
pub(super) struct Met {
    /// Refusals.
    pub(super) refused: AtomicU64,
    /// Those of them after which the oracle found a run, which others had freed since.
    pub(super) late: AtomicU64,
    /// Those of them that found a zone's marks raised, because kinds had been mixed there.
    pub(super) raised: AtomicU64,
    /// Rounds of reclaim by requests and kswapds.
    pub(super) reclaims: AtomicU64,
    /// Kills, and requests for one with nobody left.
    pub(super) kills: AtomicU64,
    /// Nodes that were short when the load stopped.
    pub(super) short: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world for so many threads that ask, on a machine of which every zone can be asked for.
    pub(super) fn build(machine: &Machine, places: usize) -> Result<&'static Self> {
        let cpus = Cpus::of(machine.words(), machine.cpus().len())?;
        let config = Config { own_words: cpus.own_words(), ..machine.config() };
        let metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?].leak();
        let nodes = machine.nodes();
        let world: &'static Self = Box::leak(Box::new(Self {
            cpus,
            gate: Gate::new(places),
            owners: Owners::of(machine.memory()),
            frames: machine.memory().iter().map(|memory| memory.range.frames()).sum(),
            drought: AtomicBool::new(false),
            allocator: OnceLock::new(),
            caches: (0..nodes).map(|_| Mutex::default()).collect(),
            cached: (0..4 * nodes).map(|_| AtomicU64::new(0)).collect(),
            tasks: Mutex::default(),
            tasked: AtomicU64::new(0),
            kswapds: (0..nodes).map(|_| OnceLock::new()).collect(),
            serial: AtomicU64::new(1),
            tally: Mutex::default(),
            met: Met::default(),
        }));
        let allocator = PageAllocator::new(&config, world, metadata)?;
        world.allocator.get_or_init(|| allocator);
        Ok(world)
    }

    /// The allocator; it was set when the world was built, before anybody could see it.
    pub(super) fn allocator(&self) -> Option<&Allocator> {
        self.allocator.get()
    }

    /// Whether a zone's marks are raised.
    pub(super) fn is_boosted(&self) -> bool {
        self.allocator().is_some_and(|allocator| allocator.zones().any(|zone| zone.boost > 0))
    }

    pub(super) fn oracle(&self) -> Option<Oracle<'_, 'static, &'static Self>> {
        Some(Oracle::new(self.allocator()?, &self.owners))
    }

    /// Asks for a run; refusals are the caller's to judge.
    pub(super) fn ask(&self, wish: Wish) -> Result<Result<Run, AllocError>, Violation> {
        let Some(allocator) = self.allocator() else { return Ok(Err(AllocError::NoZone)) };
        self.gate.inside(|| {
            IN_VAIN.set(0);
            BROUGHT.set(0);
            IS_DRY.set(false);
            SINCE.set(self.gate.others());
            match wish.ask(allocator) {
                Ok(pfn) => {
                    let run = Run::new(self.serial.fetch_add(1, Relaxed), pfn, wish.order);
                    self.owners.take(run).map(|()| Ok(run))
                }
                Err(error) => Ok(Err(error)),
            }
        })
    }

    /// Frees a run.
    pub(super) fn give(&self, run: Run) -> Result<(), Violation> {
        let Some(allocator) = self.allocator() else { return Ok(()) };
        self.gate.inside(|| {
            self.owners.give(run)?;
            let (pfn, order) = (run.pfn(), run.order());
            // SAFETY: the run was allocated with this order, and its stamp has just been taken off its frames, so nobody
            // else frees it; nobody touches frames at all.
            let freed = unsafe { allocator.free_raw(pfn, order) };
            freed.map_err(|error| Violation::FreeRefused { pfn, order, error })
        })
    }

    /// Whether nobody else was inside since this thread last came in: what lies there now lay there all along.
    pub(super) fn was_alone(&self) -> bool {
        SINCE.get().is_some() && SINCE.get() == self.gate.others()
    }

    /// Calls of reclaim that brought frames to this thread's last request.
    pub(super) fn brought() -> u64 {
        BROUGHT.get()
    }

    /// The upkeep that a daemon does once a second.
    pub(super) fn keep_up(&self) {
        self.allocator().map(PageAllocator::age_caches);
    }

    pub(super) fn broke(&self, violation: Violation) {
        locked(&self.tally).broke(violation);
    }

    /// Words that are their CPUs' own were given up when memory ran short: frees what is cached, so that they are given back.
    pub(super) fn leave_words(&self) {
        if !self.cpus.own() {
            return;
        }
        for node in 0..self.caches.len() {
            while let Some(run) = self.uncache(NodeId(node as u16)) {
                self.give(run).err().into_iter().for_each(|violation| self.broke(violation));
            }
        }
        self.gate.inside(|| self.keep_up());
    }

    /// Leaves a run in the cache of its node, where reclaim finds it.
    pub(super) fn cache(&self, run: Run) {
        let Some((node, zone)) = self.home(run) else { return };
        self.cached[usize::from(zone.0)].fetch_add(run.frames(), Relaxed);
        locked(&self.caches[usize::from(node.0)]).push_back(run);
    }

    /// The run that has been in the node's cache for longest.
    pub(super) fn uncache(&self, node: NodeId) -> Option<Run> {
        let run = locked(&self.caches[usize::from(node.0)]).pop_front()?;
        let (_, zone) = self.home(run)?;
        self.cached[usize::from(zone.0)].fetch_sub(run.frames(), Relaxed);
        Some(run)
    }

    /// Frames in a node's cache.
    pub(super) fn in_cache(&self, node: NodeId) -> u64 {
        locked(&self.caches[usize::from(node.0)]).iter().map(|run| run.frames()).sum()
    }

    fn home(&self, run: Run) -> Option<(NodeId, ZoneId)> {
        let zone = self.allocator()?.zones().find(|zone| zone.span.contains(run.pfn()))?;
        Some((zone.node, zone.id))
    }

    /// Leaves a run with a task that may be killed.
    pub(super) fn task_takes(&self, run: Run) {
        self.tasked.fetch_add(run.frames(), Relaxed);
        locked(&self.tasks).push(run);
    }

    /// A run of a task that ends.
    pub(super) fn task_leaves(&self) -> Option<Run> {
        let run = locked(&self.tasks).pop()?;
        self.tasked.fetch_sub(run.frames(), Relaxed);
        Some(run)
    }

    /// This thread is the node's kswapd until `is_over`.
    pub(super) fn be_kswapd(&self, node: NodeId, is_over: impl Fn() -> bool) {
        self.kswapds[usize::from(node.0)].get_or_init(thread::current);
        let Some(allocator) = self.allocator() else { return };
        while !is_over() {
            while allocator.has_work(Daemon::Kswapd, node) {
                self.gate.inside(|| allocator.kswapd(node));
            }
            // A wake since then is kept for this thread: it does not sleep at all.
            thread::park();
        }
    }

    /// Wakes the kswapds for their end.
    pub(super) fn wake_all(&self) {
        self.kswapds.iter().filter_map(OnceLock::get).for_each(Thread::unpark);
    }

    /// Whether reclaim finds nothing now.
    fn is_dry(&self) -> bool {
        let is_dry = self.drought.load(Relaxed);
        if is_dry {
            IS_DRY.set(true);
        }
        is_dry
    }

    /// Frees what the dice say of a node's cache: as much as is wanted, less, nothing, or late.
    fn shrink(&self, node: NodeId, wanted: u64) -> u64 {
        let wanted = match fastrand::u8(..16) {
            _ if self.is_dry() => 0,
            0..=4 => 0,
            5..=7 => wanted.div_ceil(4),
            8..=9 => {
                thread::sleep(Duration::from_micros(fastrand::u64(..300)));
                wanted
            }
            _ => wanted + fastrand::u64(..32),
        };
        let mut freed = 0;
        while freed < wanted {
            let Some(run) = self.uncache(node) else { break };
            if let Err(violation) = self.give(run) {
                self.broke(violation);
                break;
            }
            freed += run.frames();
        }
        freed
    }

    /// Whether it is too soon to kill: reclaim was not in vain, and there is plenty of it.
    fn judge_kill(&self, oom: &Oom) {
        let most = self.allocator().into_iter().flat_map(|allocator| allocator.zones());
        let plenty = most.map(|zone| 2 * (zone.marks.high + zone.protection[2])).sum::<u64>();
        let cached: u64 = self.cached.iter().map(|frames| frames.load(Relaxed)).sum();
        let in_vain = IN_VAIN.get();
        if in_vain < VAIN && cached > plenty && !IS_DRY.get() {
            self.broke(Violation::KilledSoon { gfp: oom.gfp, order: oom.order, in_vain, cached });
        }
    }
}

/// A hook: outside, and back inside.
impl World {
    fn hook<R>(&self, body: impl FnOnce() -> R) -> R {
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
        if daemon == Daemon::Kswapd {
            self.kswapds
                .get(usize::from(node.0))
                .and_then(OnceLock::get)
                .into_iter()
                .for_each(Thread::unpark);
        }
    }

    fn reclaim(&self, demand: &Demand) -> u64 {
        if Gate::is_stopper() {
            return 0;
        }
        self.met.reclaims.fetch_add(1, Relaxed);
        let freed = self.hook(|| self.shrink(demand.node, demand.frames));
        if freed == 0 {
            IN_VAIN.set(IN_VAIN.get() + 1);
        } else {
            IN_VAIN.set(0);
            BROUGHT.set(BROUGHT.get() + 1);
        }
        freed
    }

    fn reclaimable(&self, zone: ZoneId) -> u64 {
        let frames = self.cached.get(usize::from(zone.0)).map_or(0, |frames| frames.load(Relaxed));
        if self.is_dry() { 0 } else { frames }
    }

    fn oom(&self, oom: &Oom) -> Verdict {
        if Gate::is_stopper() {
            return Verdict::GiveUp;
        }
        self.met.kills.fetch_add(1, Relaxed);
        self.hook(|| {
            self.judge_kill(oom);
            let killed: Vec<Run> = (0..KILLED).map_while(|_| self.task_leaves()).collect();
            let verdict = if killed.is_empty() { Verdict::GiveUp } else { Verdict::Killed };
            let given = killed.into_iter().try_for_each(|run| self.give(run));
            given.err().into_iter().for_each(|violation| self.broke(violation));
            verdict
        })
    }

    fn pause(&self) {
        if !Gate::is_stopper() {
            self.hook(|| thread::sleep(Duration::from_micros(100)));
        }
    }
}
