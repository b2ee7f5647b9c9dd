//! A machine of a few thousand frames with marks, an allocator for it on a platform that gives nothing back, and who holds
//! what.

use std::cmp::Ordering;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use fastrand::Rng;
use zonal::{
    AllocError, BLOCK_FRAMES, Caching, Checking, Climb, MemoryRange, NodeId, Order, PageAllocator, Pfn,
    Platform, Request, Task, Tuning, metadata_size,
};
use zonal_linux::Machine;

use super::super::asker;
use super::super::oracle::Oracle;
use super::super::owners::{Owners, Run};
use super::super::pulse::Pulse;
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::super::wish::Wish;

/// A machine on which nothing can be had back: a request is served from what is free, or not at all.
pub(super) struct Barren;

impl Platform for Barren {
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
}

/// An allocator, and who holds what of its frames.
pub(super) struct Ground<'m> {
    pub(super) allocator: PageAllocator<'m, Barren>,
    pub(super) owners: Owners,
    serial: AtomicU64,
    pulse: &'m Pulse,
}

/// A machine by the dice: one zone, one zone large enough to keep blocks for atomic requests, or every kind on two nodes.
pub(super) fn machine(dice: &mut Rng) -> Result<Machine> {
    let cpus = dice.usize(2..=4);
    let machine = match dice.u8(..8) {
        0..=2 => Machine::uniform(1, dice.u64(4..24) << 21, cpus)?,
        3 => Machine::uniform(1, 101 << 21, cpus)?,
        _ => two_nodes(dice, cpus)?,
    };
    let tuning = Tuning {
        min_free_kbytes: Some(dice.u64(128..4096)),
        watermark_scale_factor: dice.u16(1..300),
        watermark_boost_factor: 0,
        lowmem_reserve_ratio: [dice.u32(8..256), dice.u32(8..256), dice.u32(8..64), 0],
        defrag_mode: false,
    };
    let caching = if dice.bool() { Caching::All } else { Caching::Local };
    let checking = if dice.u8(..4) == 0 { Checking::On } else { Checking::Off };
    Ok(machine.with_tuning(tuning)?.with_caching(caching).with_checking(checking))
}

/// DMA, DMA32, Normal and Movable on the first node, Normal and Movable on the second.
fn two_nodes(dice: &mut Rng, cpus: usize) -> Result<Machine> {
    let mut start = 0;
    let mut blocks = |most: u64| {
        let from = start;
        start += dice.u64(2..=most) * BLOCK_FRAMES;
        (from, start)
    };
    let (dma, dma32, normal, movable) = (blocks(4), blocks(8), blocks(8), blocks(6));
    let (far, far_movable) = (blocks(12), blocks(6));
    let memory = vec![
        MemoryRange::new(dma.0, normal.1, 0),
        MemoryRange::new(movable.0, movable.1, 0).movable(),
        MemoryRange::new(far.0, far.1, 1),
        MemoryRange::new(far_movable.0, far_movable.1, 1).movable(),
    ];
    let nodes = (0..cpus).map(|cpu| NodeId((cpu % 2) as u16)).collect();
    Ok(Machine::new(memory, nodes)?.with_zone_ends(Pfn::new(dma.1), Pfn::new(dma32.1))?)
}

/// Builds the allocator and does something on it.
pub(super) fn on<R>(machine: &Machine, pulse: &Pulse, body: impl FnOnce(&Ground<'_>) -> R) -> Result<R> {
    let config = machine.config();
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?];
    let allocator = PageAllocator::new(&config, Barren, &mut metadata)?;
    let ground = Ground { allocator, owners: Owners::of(machine.memory()), serial: AtomicU64::new(1), pulse };
    Ok(body(&ground))
}

impl<'m> Ground<'m> {
    pub(super) fn oracle(&self) -> Oracle<'_, 'm, Barren> {
        Oracle::new(&self.allocator, &self.owners)
    }

    /// Asks for a run and notes its holder.
    pub(super) fn ask(&self, wish: Wish) -> Result<Result<Run, AllocError>, Violation> {
        self.own(wish.order, wish.ask(&self.allocator))
    }

    /// The same of an ordinary task that wants to say more.
    pub(super) fn take(&self, order: Order, request: &Request) -> Result<Result<Run, AllocError>, Violation> {
        self.own(order, self.allocator.alloc_raw(request))
    }

    fn own(
        &self,
        order: Order,
        outcome: Result<Pfn, AllocError>,
    ) -> Result<Result<Run, AllocError>, Violation> {
        self.pulse.beat();
        let pfn = match outcome {
            Ok(pfn) => pfn,
            Err(error) => return Ok(Err(error)),
        };
        let run = Run::new(self.serial.fetch_add(1, Relaxed), pfn, order);
        self.owners.take(run).map(|()| Ok(run))
    }

    /// Frees a run.
    pub(super) fn give(&self, run: Run) -> Result<(), Violation> {
        self.owners.give(run)?;
        let (pfn, order) = (run.pfn(), run.order());
        // SAFETY: the run was allocated with this order, its stamp has just been taken off its frames, so nobody else frees
        // it; nobody touches frames at all.
        let freed = unsafe { self.allocator.free_raw(pfn, order) };
        freed.map_err(|error| Violation::FreeRefused { pfn, order, error })
    }

    /// Recounts everything while nobody is at work.
    pub(super) fn recount(&self, tally: &mut Tally, audit: &mut Vec<String>) {
        let summary = self.allocator.audit(&mut |finding| {
            audit.push(finding.to_string());
            tally.broke(Violation::Audit(finding));
        });
        let free: u64 = self.allocator.zones().map(|zone| self.owners.free(zone.span)).sum();
        let (allocated, held) = (summary.allocated, summary.managed - free);
        match allocated.cmp(&held) {
            Ordering::Greater => tally.broke(Violation::Lost { allocated, held }),
            Ordering::Less => tally.broke(Violation::FreeAndHeld { allocated, held }),
            Ordering::Equal => {}
        }
    }
}
