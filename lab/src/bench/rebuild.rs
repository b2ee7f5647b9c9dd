//! Zonelists of 64 nodes: what a rebuild takes, and the longest of the requests that follow them, beside a thread that has
//! them rebuilt without pause or beside one that does something else.

use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use anyhow::Result;
use zonal::{FRAME_SIZE, Gfp, Marks, Order, PageAllocator, Pfn, Request};
use zonal_linux::{CpuSource, Machine, SimulatedPlatform, Simulation};

use super::case::Case;
use super::ground::Checked;
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

const NODES: usize = 64;
/// Frames of each node.
const FRAMES: u64 = 1 << 15;
/// Requests in a unit.
const REQUESTS: u64 = 64;

/// The machine, of which nothing is taken.
struct Nodes {
    simulation: Simulation,
}

impl Nodes {
    /// Marks by which no fast walk finds anything: each request goes by its whole list, and then along it.
    fn build(cpus: u16) -> Result<Self> {
        let machine = Machine::uniform(NODES, FRAMES * FRAME_SIZE, usize::from(cpus))?;
        let simulation = Simulation::build(&machine, CpuSource::Thread)?;
        let marks = Marks { min: 0, low: FRAMES, high: FRAMES, promo: FRAMES };
        for zone in simulation.allocator().zones() {
            simulation.allocator().set_marks(zone.id, marks);
        }
        Ok(Self { simulation })
    }

    fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.simulation.allocator()
    }

    /// Free frames, cached ones among them.
    fn free(&self) -> u64 {
        self.allocator().zones().map(|zone| zone.free + zone.cached).sum()
    }
}

impl Checked for Nodes {
    fn release(&self, held: &[Pfn]) -> Result<(), Wrong> {
        // SAFETY: `hold` took each of them as a single frame, and they are freed once.
        let free = |&pfn| unsafe { self.allocator().free_raw(pfn, Order::ZERO) };
        held.iter().try_for_each(free).map_err(Wrong::FreeRefused)
    }

    fn rest(&self) -> Result<(), Wrong> {
        match (NODES as u64 * FRAMES, self.free()) {
            (before, after) if before != after => Err(Wrong::NotRestored { before, after }),
            _ => Ok(()),
        }
    }

    fn audit(&self) -> Result<(), Wrong> {
        let mut first = None;
        self.allocator().audit(&mut |finding| {
            first.get_or_insert_with(|| finding.to_string());
        });
        first.map_or(Ok(()), |finding| Err(Wrong::Audit(finding)))
    }
}

/// Rebuilds, one after the other.
pub(super) struct Rebuild {
    nodes: Nodes,
}

impl Rebuild {
    pub(super) fn of(case: &Case) -> Result<Self> {
        Ok(Self { nodes: Nodes::build(case.cpus)? })
    }
}

impl Workload for Rebuild {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let start = Instant::now();
        (0..units.0).for_each(|_| self.nodes.allocator().rebuild_zonelists());
        Ok(Timed { elapsed: start.elapsed(), operations: units.0 })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &self.nodes
    }
}

/// What the threads beside the reader do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beside {
    /// Keep their processor busy.
    Idling,
    /// Have the lists rebuilt.
    Rebuilding,
}

/// One thread asks, the others are beside it until it has done.
pub(super) struct Reader {
    nodes: Nodes,
    beside: Beside,
    start: Barrier,
    has_done: AtomicBool,
    /// Nanoseconds of its longest request.
    longest: AtomicU64,
}

impl Reader {
    pub(super) fn of(case: &Case, beside: Beside) -> Result<Self> {
        Ok(Self {
            nodes: Nodes::build(case.cpus)?,
            beside,
            start: Barrier::new(usize::from(case.threads)),
            has_done: AtomicBool::new(false),
            longest: AtomicU64::new(0),
        })
    }

    /// The longest of so many requests.
    fn read(&self, requests: u64) -> Result<Duration, Wrong> {
        let request = Request::order(Order::ZERO).gfp(Gfp::ATOMIC)?;
        let mut longest = Duration::ZERO;
        for _ in 0..requests {
            let start = Instant::now();
            let taken = self.nodes.allocator().alloc_raw(&request);
            longest = longest.max(start.elapsed());
            self.nodes.release(&[taken?])?;
        }
        Ok(longest)
    }
}

impl Workload for Reader {
    /// As if each request took as long as the longest.
    fn work(&self, thread: usize, units: Units) -> Result<Timed, Wrong> {
        let operations = units.0 * REQUESTS;
        if thread == 0 {
            self.has_done.store(false, Relaxed); // the barrier orders it
            self.start.wait();
            let longest = self.read(operations);
            let ns = longest.as_ref().map_or(0, |longest| longest.as_nanos() as u64);
            self.longest.store(ns, Relaxed);
            self.has_done.store(true, Release); // partner: below
            longest?;
        } else {
            self.start.wait();
            while !self.has_done.load(Acquire) {
                match self.beside {
                    Beside::Idling => spin_loop(),
                    Beside::Rebuilding => self.nodes.allocator().rebuild_zonelists(),
                }
            }
        }
        let elapsed = Duration::from_nanos(self.longest.load(Relaxed) * operations);
        Ok(Timed { elapsed, operations })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        let request = Request::order(Order::ZERO).gfp(Gfp::ATOMIC)?;
        Ok(vec![self.nodes.allocator().alloc_raw(&request)?])
    }

    fn ground(&self) -> &dyn Checked {
        &self.nodes
    }
}
