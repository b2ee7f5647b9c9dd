//! The page allocator as an engine, through its public calls: one node, marks 0 and requests that may wait unless
//! the bench is about others, caching as by default.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::Result;
use zonal::{AllocError, Group, Order, PageAllocator, Pfn, Platform, Request, Reserves};
use zonal_linux::{CpuSource, LinuxPlatform, Machine, Pages, Pool, SimulatedPlatform, Simulation};

use super::engine::{BulkEngine, Engine, Setup};
use super::wrong::Wrong;

/// The longest run of which a part may be freed by itself.
const PARTED: Order = Order::new(8).unwrap();

/// Where the allocator comes from.
pub(crate) trait Home: Sync + Sized + 'static {
    type Platform: Platform;

    fn build(machine: &Machine) -> Result<Self>;

    fn allocator(&self) -> &PageAllocator<'_, Self::Platform>;
}

impl Home for Pool {
    type Platform = LinuxPlatform;

    fn build(machine: &Machine) -> Result<Self> {
        Ok(Pool::build(machine, Pages::Lazy)?)
    }

    #[inline(always)]
    fn allocator(&self) -> &PageAllocator<'_, LinuxPlatform> {
        self.allocator()
    }
}

impl Home for Simulation {
    type Platform = SimulatedPlatform;

    fn build(machine: &Machine) -> Result<Self> {
        Ok(Simulation::build(machine, CpuSource::Thread)?)
    }

    #[inline(always)]
    fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.allocator()
    }
}

/// The page allocator of a pool of this process, or of a simulation where frames need not exist.
pub(crate) struct Zonal<H> {
    home: H,
    request: Request,
    order: Order,
}

impl<H: Home> Zonal<H> {
    /// Takes every frame, and frees those of the ranges.
    fn leave(&self, frames: u64, free: &[Range<u64>]) -> Result<(), Wrong> {
        let allocator = self.home.allocator();
        // Below every mark.
        let request = Request::order(PARTED).atomic().reserves(Reserves::All);
        let mut first = Pfn::new(u64::MAX);
        for _ in 0..frames >> PARTED.get() {
            first = first.min(allocator.alloc_raw(&request)?);
        }
        for (start, order) in free.iter().cloned().flat_map(runs) {
            // SAFETY: all frames of the zone were allocated just above, in runs of which parts may be freed; the ranges
            // are disjoint, and so are their runs.
            unsafe { allocator.free_raw(first.add(start), order) }?;
        }
        Ok(())
    }
}

fn machine(setup: &Setup) -> Result<Machine> {
    let bytes_per_node = setup.bytes / setup.nodes.max(1) as u64;
    let machine = Machine::uniform(setup.nodes, bytes_per_node, usize::from(setup.cpus))?;
    let machine = machine.with_words(setup.words);
    Ok(match setup.tuning {
        Some(tuning) => machine.with_tuning(tuning)?,
        None => machine,
    })
}

/// Bytes of metadata that the allocator takes.
pub(super) fn metadata(setup: &Setup) -> Result<usize> {
    Ok(zonal::metadata_size(&machine(setup)?.config())?)
}

/// A range cut into aligned runs of no more than [`PARTED`] frames.
fn runs(range: Range<u64>) -> impl Iterator<Item = (u64, Order)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let rest = range.end.checked_sub(at)?.checked_ilog2()?;
        let order = Order::new(at.trailing_zeros().min(rest).min(u32::from(PARTED.get())) as u8)?;
        let start = at;
        at += order.frames();
        Some((start, order))
    })
}

impl<H: Home> Engine for Zonal<H> {
    fn build(setup: &Setup, free: &[Range<u64>]) -> Result<Self> {
        let machine = machine(setup)?;
        let (request, order) = (Request::order(setup.order).gfp(setup.gfp)?, setup.order);
        let engine = Self { home: H::build(&machine)?, request, order };
        if free != from_ref(&setup.zone()) {
            engine.leave(setup.frames(), free)?;
        }
        Ok(engine)
    }

    #[inline(always)]
    fn alloc(&self) -> Result<Pfn, Wrong> {
        Ok(self.home.allocator().alloc_raw(&self.request)?)
    }

    /// Looks at the allocator's own answer, as the others do: turned into a wrong one it would be copied first.
    #[inline(always)]
    fn refuses(&self) -> Result<(), Wrong> {
        match self.home.allocator().alloc_raw(&self.request) {
            Ok(pfn) => Err(Wrong::NoneLeft { pfn }),
            Err(AllocError::NoMemory { .. } | AllocError::NoRun { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[inline(always)]
    unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
        // SAFETY: the caller vouches for what `free_raw` asks; the order is that of every allocation here.
        Ok(unsafe { self.home.allocator().free_raw(pfn, self.order) }?)
    }

    fn free_frames(&self) -> Option<u64> {
        Some(self.home.allocator().zones().map(|zone| zone.free + zone.cached).sum())
    }

    fn audit(&self, taken: u64, _runs: u64) -> Result<(), Wrong> {
        let mut first = None;
        let summary = self.home.allocator().audit(&mut |finding| {
            first.get_or_insert_with(|| finding.to_string());
        });
        match first {
            Some(finding) => Err(Wrong::Audit(finding)),
            None if summary.allocated != taken || summary.in_flight != 0 => {
                Err(Wrong::Audit(format!("{summary:?} with {taken} frames held")))
            }
            None => Ok(()),
        }
    }
}

impl<H: Home> BulkEngine for Zonal<H> {
    #[inline(always)]
    fn alloc_groups(&self, frames: u64, out: &mut [Group]) -> Result<usize, Wrong> {
        Ok(self.home.allocator().alloc_bulk(&self.request, frames, out)?)
    }

    #[inline(always)]
    unsafe fn free_groups(&self, groups: &[Group]) -> Result<(), Wrong> {
        // SAFETY: the caller vouches for what `free_bulk` asks.
        Ok(unsafe { self.home.allocator().free_bulk(groups) }?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_make_up_their_range() {
        let cut = |range| runs(range).map(|(start, order)| (start, order.get())).collect::<Vec<_>>();
        assert_eq!(cut(3..3), []);
        assert_eq!(cut(5..12), [(5, 0), (6, 1), (8, 2)]);
        assert_eq!(cut(0..513), [(0, 8), (256, 8), (512, 0)]);
    }
}
