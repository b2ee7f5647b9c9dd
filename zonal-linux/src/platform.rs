//! What the allocator of a pool asks of this process: CPU number, zeroes, memory that comes and goes, reclaim, wake-ups, a
//! clock.
//!
//! Where each hook may be called is said in [`Platform`]; here those of any context read thread-locals, read the clock or
//! ring a [`Bell`], and the others take the shrinkers' locks. Never allocates frames itself. Invariant: a node has one
//! bell for each daemon, whether or not a thread listens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use zonal::{
    Daemon, Demand, FRAME_SIZE, MemoryEvent, MemoryStep, Migration, NodeChange, NodeId, Oom, Order, Pfn,
    Platform, Task, Verdict, Veto, WaitContext, ZoneId,
};

use crate::bell::Bell;
use crate::cpu::CpuReader;
use crate::memory::FrameMemory;
use crate::mover::Movers;
use crate::refusal::{self, PlugError};
use crate::shrinker::Shrinkers;
use crate::task::{self, Flags};

/// What a request that waits for others sleeps (Linux: a tick).
const TICK: Duration = Duration::from_millis(1);

/// Whom to call when memory has run out.
pub(crate) type OnOom = Box<dyn Fn(&Oom) -> Verdict + Send + Sync>;

/// Whom to tell of memory that comes and goes.
pub(crate) type OnMemoryEvent = Box<dyn Fn(&MemoryEvent) -> Result<(), Veto> + Send + Sync>;

/// Whom to call with something to be read by people.
pub(crate) type OnReport = Box<dyn Fn(&dyn fmt::Display) + Send + Sync>;

/// The embedder's functions.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) oom: Option<OnOom>,
    pub(crate) memory: Option<OnMemoryEvent>,
    pub(crate) report: Option<OnReport>,
    /// Set by whoever wants offlining to stop.
    pub(crate) cancelled: Option<Arc<AtomicBool>>,
}

/// Who runs daemons for nodes that get their first memory.
pub(crate) trait Crew: Send + Sync {
    /// From now on the node's daemons run.
    fn serve(&self, node: NodeId) -> Result<(), PlugError>;
    /// Now they do not.
    fn dismiss(&self, node: NodeId);
}

/// What a pool, its allocator and its threads share.
pub(crate) struct Host {
    pub(crate) frames: FrameMemory,
    pub(crate) shrinkers: Shrinkers,
    pub(crate) movers: Movers,
    /// For each node kswapd's and kcompactd's.
    bells: Box<[[Bell; 2]]>,
    callbacks: Callbacks,
    /// The node of each zone, once the allocator is built.
    zones: OnceLock<Box<[NodeId]>>,
    /// None where nobody was asked to run daemons.
    crew: OnceLock<Weak<dyn Crew>>,
    start: Instant,
}

impl Host {
    pub(crate) fn new(frames: FrameMemory, nodes: usize, callbacks: Callbacks) -> Self {
        Self {
            frames,
            shrinkers: Shrinkers::default(),
            movers: Movers::default(),
            bells: (0..nodes).map(|_| Default::default()).collect(),
            callbacks,
            zones: OnceLock::new(),
            crew: OnceLock::new(),
            start: Instant::now(),
        }
    }

    /// Says which node each zone is in, by id. Only the first time counts.
    pub(crate) fn know_zones(&self, nodes: impl Iterator<Item = NodeId>) {
        self.zones.get_or_init(|| nodes.collect());
    }

    /// Says who runs the daemons of nodes to come. Only the first time counts.
    pub(crate) fn know_crew(&self, crew: Weak<dyn Crew>) {
        self.crew.get_or_init(|| crew);
    }

    fn crew(&self) -> Option<Arc<dyn Crew>> {
        self.crew.get()?.upgrade()
    }

    /// Tells the embedder.
    fn tell(&self, event: &MemoryEvent) -> Result<(), Veto> {
        self.callbacks.memory.as_ref().map_or(Ok(()), |tell| task::with(Flags::MEMALLOC, || tell(event)))
    }

    /// Makes a range memory, for which its node has daemons.
    fn plug(&self, event: &MemoryEvent) -> Result<(), PlugError> {
        self.frames.plug(event.range, event.node)?;
        match self.crew().filter(|_| event.change == NodeChange::First) {
            Some(crew) => crew.serve(event.node),
            None => Ok(()),
        }
    }

    /// Gives a range's memory back, and ends the daemons of a node that has no other.
    fn unplug(&self, event: &MemoryEvent) -> Result<(), PlugError> {
        if let Some(crew) = self.crew().filter(|_| event.change != NodeChange::None) {
            crew.dismiss(event.node);
        }
        Ok(self.frames.unplug(event.range, event.node)?)
    }

    /// What a daemon's thread sleeps on; none for a node that is not there.
    pub(crate) fn bell(&self, daemon: Daemon, node: NodeId) -> Option<&Bell> {
        let [kswapd, kcompactd] = self.bells.get(usize::from(node.0))?;
        Some(match daemon {
            Daemon::Kswapd => kswapd,
            Daemon::Kcompactd => kcompactd,
        })
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("frames", &self.frames)
            .field("shrinkers", &self.shrinkers)
            .field("movers", &self.movers)
            .finish_non_exhaustive()
    }
}

/// The platform of a [`crate::Pool`]: the CPU number from the thread's rseq area, frames zeroed where they are mapped,
/// frames given back by the pool's shrinkers and moved by its movers, memory mapped where it is onlined and given back where it
/// is taken offline; the embedder's own requests inside a callback go below the marks
/// and do not wait, which would be for themselves.
#[derive(Clone, Debug)]
pub struct LinuxPlatform {
    reader: CpuReader,
    host: Arc<Host>,
}

impl LinuxPlatform {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { reader: CpuReader::find(), host }
    }
}

impl Platform for LinuxPlatform {
    #[inline]
    fn cpu(&self) -> usize {
        self.reader.now()
    }

    fn zero(&self, first: Pfn, frames: u64) -> bool {
        let memory = &self.host.frames;
        let last = first.add(frames.saturating_sub(1));
        let (Some(start), Some(end)) = (memory.address(first), memory.address(last)) else {
            return false;
        };
        let bytes = frames * FRAME_SIZE;
        if frames == 0 || end.addr().get().wrapping_sub(start.addr().get()) as u64 != bytes - FRAME_SIZE {
            return false;
        }
        // SAFETY: all frames from `first` to `last` are mapped writable one after the other (the addresses of the two
        // ends are as far apart as their numbers), and the run belongs to the request in whose name the allocator calls.
        unsafe { start.write_bytes(0, bytes as usize) };
        true
    }

    fn task(&self) -> Task {
        task::current()
    }

    fn wake(&self, daemon: Daemon, node: NodeId) {
        if let Some(bell) = self.host.bell(daemon, node) {
            bell.ring();
        }
    }

    fn reclaim(&self, demand: &Demand) -> u64 {
        self.host.shrinkers.reclaim(demand)
    }

    /// Those of the zone's whole node: shrinkers count by node.
    fn reclaimable(&self, zone: ZoneId) -> u64 {
        let node = self.host.zones.get().and_then(|nodes| nodes.get(usize::from(zone.0)));
        node.map_or(0, |&node| self.host.shrinkers.count(node))
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        self.migrate_run(from, to, Order::ZERO)
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        self.host.movers.run_of(pfn)
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        self.host.movers.relocate((from, to), order, &self.host.frames)
    }

    /// Memory is there before its frames are anybody's, and goes when they are nobody's.
    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        let host = &self.host;
        match event.step {
            MemoryStep::GoingOnline => host.tell(event).and_then(|()| objection(host.plug(event))),
            MemoryStep::CancelOnline => {
                let _ = host.unplug(event); // what went wrong before is the reason to know
                host.tell(event)
            }
            MemoryStep::Offline => {
                let given = host.unplug(event);
                let _ = host.tell(event); // it is too late to object
                objection(given)
            }
            _ => host.tell(event),
        }
    }

    fn cancelled(&self) -> bool {
        // Relaxed: nothing else is read because of it.
        self.host.callbacks.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }

    /// The callback's answer; one that panics gives up.
    fn oom(&self, oom: &Oom) -> Verdict {
        let Some(on_oom) = &self.host.callbacks.oom else { return Verdict::GiveUp };
        // What the callback broke by panicking is its own.
        let call = || catch_unwind(AssertUnwindSafe(|| on_oom(oom)));
        task::with(Flags::MEMALLOC, call).unwrap_or(Verdict::GiveUp)
    }

    fn report(&self, report: &dyn fmt::Display) {
        if let Some(write) = &self.host.callbacks.report {
            write(report);
        }
    }

    fn wait_context(&self) -> WaitContext {
        task::wait_context()
    }

    fn pause(&self) {
        thread::sleep(TICK);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.host.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Leaves the reason to who plugs, and objects.
fn objection(done: Result<(), PlugError>) -> Result<(), Veto> {
    done.map_err(|reason| {
        refusal::leave(reason);
        Veto
    })
}
