//! Memory that goes and comes: a section of the Movable zone of which nothing is in use, between two that stay.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use zonal::{
    Config, FrameRange, HotRange, MemoryRange, NodeId, OneCpu, OnlineType, PageAllocator, Pfn,
    SECTION_FRAMES, Topology, ZoneKind, metadata_size,
};

use super::case::Case;
use super::ground::Checked;
use super::name::BenchName;
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Sections that are there from the start, and those that may be plugged in.
const EARLY: u64 = 8;
const HOT: u64 = 3;

/// Which way is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Offline,
    /// What of it all CPUs' words are looked at for.
    Drain,
    Online,
}

/// The section in the middle goes and comes.
pub(super) struct Plug {
    allocator: PageAllocator<'static, OneCpu>,
    section: FrameRange,
    way: Way,
    free: u64,
}

impl Plug {
    /// A machine with the case's CPUs, all of its sections online. It lives as long as the program.
    pub(super) fn build(case: &Case) -> Result<Self> {
        let memory = [MemoryRange::new(0, EARLY * SECTION_FRAMES, 0)];
        let hotplug = [HotRange::new(EARLY * SECTION_FRAMES, (EARLY + HOT) * SECTION_FRAMES, 0)];
        let cpus = vec![NodeId(0); usize::from(case.cpus)];
        let topology = Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &cpus };
        let limits = Pfn::new(0);
        let config =
            Config { hotplug: &hotplug, dma_end: limits, dma32_end: limits, ..Config::new(topology) };
        let metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?].leak();
        let allocator = PageAllocator::new(&config, OneCpu, metadata)?;
        allocator.add_memory(hotplug[0].range)?;
        allocator.online_memory(hotplug[0].range, OnlineType::Movable)?;
        let start = hotplug[0].range.start.add(SECTION_FRAMES);
        let section = FrameRange::new(start, start.add(SECTION_FRAMES));
        let way = match case.bench {
            BenchName::Online => Way::Online,
            BenchName::OfflineDrain => Way::Drain,
            _ => Way::Offline,
        };
        let movable = allocator.zones().find(|zone| zone.kind == ZoneKind::Movable);
        let free = movable.context("a Movable zone")?.free;
        if free != HOT * SECTION_FRAMES {
            return Err(anyhow!("{free} frames are free in the Movable zone"));
        }
        Ok(Self { allocator, section, way, free })
    }

    /// Once there and back; the time of the way that is timed.
    fn once(&self) -> Result<Duration, Wrong> {
        let start = Instant::now();
        if self.way == Way::Drain {
            return match self.allocator.drain_range(self.section) {
                0 => Ok(start.elapsed()),
                frames => Err(Wrong::Drained { cached: 0, frames }),
            };
        }
        self.allocator.offline_memory(self.section, &mut |_| {}).map_err(Wrong::Plug)?;
        let gone = start.elapsed();
        let start = Instant::now();
        self.allocator.online_memory(self.section, OnlineType::Movable).map_err(Wrong::Plug)?;
        Ok(if self.way == Way::Offline { gone } else { start.elapsed() })
    }

    fn zone_free(&self) -> u64 {
        let movable = self.allocator.zones().find(|zone| zone.kind == ZoneKind::Movable);
        movable.map_or(0, |zone| zone.free)
    }
}

impl Workload for Plug {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..units.0 {
            elapsed += self.once()?;
        }
        Ok(Timed { elapsed, operations: units.0 })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        Ok(Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        self
    }
}

impl Checked for Plug {
    fn release(&self, _held: &[Pfn]) -> Result<(), Wrong> {
        Ok(())
    }

    fn rest(&self) -> Result<(), Wrong> {
        match self.zone_free() {
            after if after == self.free => Ok(()),
            after => Err(Wrong::NotRestored { before: self.free, after }),
        }
    }

    fn audit(&self) -> Result<(), Wrong> {
        let mut found = Ok(());
        self.allocator.audit(&mut |finding| found = Err(Wrong::Audit(finding.to_string())));
        found
    }
}
