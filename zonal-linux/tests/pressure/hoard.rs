//! A cache of frames that nobody uses, which gives back what it is asked for.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zonal::{Daemon, Demand, NodeId, Order, Pfn, Request, Tuning};
use zonal_linux::{Machine, Pool, PoolPlan, Shrinker};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes of 32 MiB with the marks Linux would give them.
pub(crate) fn machine(nodes: usize) -> Machine {
    let machine = Machine::uniform(nodes, 32 << 20, 2 * nodes).unwrap();
    machine.with_tuning(Tuning::default()).unwrap()
}

/// Single frames of a node, and no others.
pub(crate) fn frame_of(node: NodeId) -> Request {
    Request::order(Order::ZERO).node(node).this_node()
}

/// Waits until something is so.
pub(crate) fn comes_true(what: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !what() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_micros(200));
    }
    true
}

/// Frames of a node.
pub(crate) struct Hoard {
    pub(crate) pool: Arc<Pool>,
    pub(crate) node: NodeId,
    frames: Mutex<Vec<Pfn>>,
    pub(crate) scans: AtomicU64,
}

impl Hoard {
    pub(crate) fn new(pool: &Arc<Pool>, node: NodeId) -> Arc<Self> {
        let frames = Mutex::default();
        Arc::new(Self { pool: Arc::clone(pool), node, frames, scans: AtomicU64::new(0) })
    }

    /// Takes all that a request gets without waiting; how many that was.
    pub(crate) fn fill(&self, request: &Request) -> u64 {
        let taken = std::iter::from_fn(|| self.pool.allocator().alloc_raw(request).ok());
        taken.map(|pfn| self.put(pfn)).count() as u64
    }

    pub(crate) fn put(&self, pfn: Pfn) {
        self.frames.lock().unwrap().push(pfn);
    }

    pub(crate) fn len(&self) -> u64 {
        self.frames.lock().unwrap().len() as u64
    }

    /// Frees so many frames, or all there are; how many that was.
    pub(crate) fn give(&self, frames: u64) -> u64 {
        let mut held = self.frames.lock().unwrap();
        let kept = held.len().saturating_sub(frames as usize);
        let given = held.split_off(kept);
        drop(held);
        // SAFETY: allocated one by one by `fill` or whoever called `put`, and taken out above.
        given.iter().for_each(|&pfn| unsafe { self.pool.allocator().free_raw(pfn, Order::ZERO) }.unwrap());
        given.len() as u64
    }

    /// Free frames of the node, and its high mark.
    pub(crate) fn free_and_high(&self) -> (u64, u64) {
        let zones = self.pool.allocator().zones().filter(|zone| zone.node == self.node);
        zones.fold((0, 0), |(free, high), zone| (free + zone.free + zone.cached, high + zone.marks.high))
    }

    pub(crate) fn is_at_high(&self) -> bool {
        let (free, high) = self.free_and_high();
        free >= high && !self.pool.allocator().has_work(Daemon::Kswapd, self.node)
    }
}

impl Shrinker for Hoard {
    fn count(&self, node: NodeId) -> u64 {
        if node == self.node { self.len() } else { 0 }
    }

    fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
        self.scans.fetch_add(1, Relaxed);
        (demand.node == self.node).then(|| self.give(frames))
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        self.give(u64::MAX);
    }
}

/// Builds the pool that is planned.
pub(crate) fn build(plan: PoolPlan<'_>) -> Arc<Pool> {
    Arc::new(plan.build().unwrap())
}

pub(crate) fn audit_is_clean(pool: &Pool) {
    let mut findings = Vec::new();
    let summary = pool.allocator().audit(&mut |finding| findings.push(finding.to_string()));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((summary.allocated, summary.in_flight), (0, 0));
}
