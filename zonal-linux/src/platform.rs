//! What the allocator of a pool asks of this process: CPU number, zeroes, reclaim, wake-ups, a clock.
//!
//! Where each hook may be called is said in [`Platform`]; here those of any context read thread-locals, read the clock or
//! ring a [`Bell`], and the others take the shrinkers' locks. Never allocates frames itself. Invariant: a node has one
//! bell for each daemon, whether or not a thread listens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use zonal::{Daemon, Demand, FRAME_SIZE, Migration, NodeId, Oom, Pfn, Platform, Task, Verdict, ZoneId};

use crate::bell::Bell;
use crate::cpu::CpuReader;
use crate::memory::FrameMemory;
use crate::shrinker::Shrinkers;
use crate::task::{self, Flags};

/// What a request that waits for others sleeps (Linux: a tick).
const TICK: Duration = Duration::from_millis(1);

/// Whom to call when memory has run out.
pub(crate) type OnOom = Box<dyn Fn(&Oom) -> Verdict + Send + Sync>;

/// Whom to call to have the first frame's content in the second.
pub(crate) type OnMigrate = Box<dyn Fn(Pfn, Pfn) -> Migration + Send + Sync>;

/// Whom to call with something to be read by people.
pub(crate) type OnReport = Box<dyn Fn(&dyn fmt::Display) + Send + Sync>;

/// The embedder's functions.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) oom: Option<OnOom>,
    pub(crate) migrate: Option<OnMigrate>,
    pub(crate) report: Option<OnReport>,
}

/// What a pool, its allocator and its threads share.
pub(crate) struct Host {
    pub(crate) frames: FrameMemory,
    pub(crate) shrinkers: Shrinkers,
    /// For each node kswapd's and kcompactd's.
    bells: Box<[[Bell; 2]]>,
    callbacks: Callbacks,
    /// The node of each zone, once the allocator is built.
    zones: OnceLock<Box<[NodeId]>>,
    start: Instant,
}

impl Host {
    pub(crate) fn new(frames: FrameMemory, nodes: usize, callbacks: Callbacks) -> Self {
        Self {
            frames,
            shrinkers: Shrinkers::default(),
            bells: (0..nodes).map(|_| Default::default()).collect(),
            callbacks,
            zones: OnceLock::new(),
            start: Instant::now(),
        }
    }

    /// Says which node each zone is in, by id. Only the first time counts.
    pub(crate) fn know_zones(&self, nodes: impl Iterator<Item = NodeId>) {
        self.zones.get_or_init(|| nodes.collect());
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
            .finish_non_exhaustive()
    }
}

/// The platform of a [`crate::Pool`]: the CPU number from the thread's rseq area, frames zeroed where they are mapped,
/// frames given back by the pool's shrinkers; the embedder's own requests inside a callback go below the marks
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
        let Some(migrate) = &self.host.callbacks.migrate else { return Migration::Unsupported };
        task::with(Flags::MEMALLOC, || migrate(from, to))
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

    fn pause(&self) {
        thread::sleep(TICK);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.host.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
