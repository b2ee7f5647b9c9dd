//! Drains: slot words of four CPUs filled off the clock, then emptied from one thread; and words of which none holds a frame.

use std::time::{Duration, Instant};

use anyhow::Result;
use zonal::{FRAME_SIZE, GROUP_FRAMES, Gfp, Order, PageAllocator, Pfn, Request};
use zonal_linux::{CpuSource, Machine, SimulatedPlatform, Simulation, play_cpu};

use super::case::Case;
use super::ground::Checked;
use super::name::BenchName;
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Memory of the machine.
const BYTES: u64 = 1 << 30;
/// Groups that a CPU caches of a kind.
const GROUPS: usize = 6;
/// Lines of slot words that a CPU has for a zone, one a kind.
const LINES: u64 = 3;
/// Frames that a drain finds at least.
const CACHED: u64 = 2000;

/// Which drain is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drained {
    /// All that all CPUs cache, of which there is much.
    All,
    /// One CPU after the other, with nothing cached.
    Nothing,
}

/// The machine, of which nothing is taken.
pub(super) struct Drain {
    simulation: Simulation,
    cpus: usize,
    drained: Drained,
}

impl Drain {
    pub(super) fn of(case: &Case) -> Result<Self> {
        let cpus = usize::from(case.cpus);
        let simulation = Simulation::build(&Machine::uniform(1, BYTES, cpus)?, CpuSource::Played)?;
        let drained = if case.bench == BenchName::DrainEmpty { Drained::Nothing } else { Drained::All };
        Ok(Self { simulation, cpus, drained })
    }

    fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.simulation.allocator()
    }

    /// Fills every word of every CPU: whole groups are taken, and freed frame by frame, the first of each group first.
    fn fill(&self) -> Result<(), Wrong> {
        for cpu in 0..self.cpus {
            play_cpu(cpu);
            for gfp in [Gfp::KERNEL, Gfp::KERNEL | Gfp::MOVABLE, Gfp::KERNEL | Gfp::RECLAIMABLE] {
                let request = Request::order(Order::GROUP).gfp(gfp)?;
                let mut groups = [Pfn::new(0); GROUPS];
                for group in &mut groups {
                    *group = self.allocator().alloc_raw(&request)?;
                }
                for at in 0..GROUP_FRAMES {
                    for group in groups {
                        // SAFETY: the group was allocated just above, a part of such a run may be freed, and each once.
                        unsafe { self.allocator().free_raw(group.add(at), Order::ZERO) }?;
                    }
                }
            }
        }
        play_cpu(0);
        Ok(())
    }

    /// Frames that all words hold, and frames in blocks.
    fn frames(&self) -> (u64, u64) {
        let add = |(cached, free), zone: zonal::ZoneInfo| (cached + zone.cached, free + zone.free);
        self.allocator().zones().fold((0, 0), add)
    }

    /// Times the drains of a fill; what they found.
    fn drain(&self) -> (Duration, u64) {
        let start = Instant::now();
        let frames = match self.drained {
            Drained::All => self.allocator().drain_all(),
            Drained::Nothing => (0..self.cpus).map(|cpu| self.allocator().drain_cpu(cpu)).sum(),
        };
        (start.elapsed(), frames)
    }
}

impl Workload for Drain {
    /// An operation is a frame that was drained, or a line of words that was looked at.
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let (mut elapsed, mut operations) = (Duration::ZERO, 0);
        for _ in 0..units.0 {
            if self.drained == Drained::All {
                self.fill()?;
            }
            let cached = self.frames().0;
            let (took, frames) = self.drain();
            if frames != cached || (self.drained == Drained::All) != (cached >= CACHED) {
                return Err(Wrong::Drained { cached, frames });
            }
            elapsed += took;
            operations += if frames > 0 { frames } else { self.cpus as u64 * LINES };
        }
        Ok(Timed { elapsed, operations })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        let request = Request::order(Order::ZERO).gfp(Gfp::KERNEL)?;
        Ok(vec![self.allocator().alloc_raw(&request)?])
    }

    fn ground(&self) -> &dyn Checked {
        self
    }
}

impl Checked for Drain {
    fn release(&self, held: &[Pfn]) -> Result<(), Wrong> {
        // SAFETY: `hold` took each of them as a single frame, and they are freed once.
        let free = |&pfn| unsafe { self.allocator().free_raw(pfn, Order::ZERO) };
        held.iter().try_for_each(free)?;
        self.allocator().drain_all();
        Ok(())
    }

    fn rest(&self) -> Result<(), Wrong> {
        let (cached, free) = self.frames();
        match (BYTES / FRAME_SIZE, cached + free) {
            (before, after) if before != after => Err(Wrong::NotRestored { before, after }),
            _ => Ok(()),
        }
    }

    fn audit(&self) -> Result<(), Wrong> {
        let mut found = Ok(());
        self.allocator().audit(&mut |finding| found = Err(Wrong::Audit(finding.to_string())));
        found
    }
}
