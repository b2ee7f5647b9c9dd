//! What owners and drainer share: nodes, who holds what, brakes, and what was counted.
//!
//! Invariant: a run is stamped from after its allocation until before its free.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use zonal::{Order, PageAllocator, Pfn};
use zonal_linux::{CpuSource, Machine, SimulatedPlatform, Simulation, WordKind};

use super::brake::Brake;
use crate::storm::call::Call;
use crate::storm::cpus::Cpus;
use crate::storm::engine::Outcome;
use crate::storm::owners::{Owners, Run};
use crate::storm::stage::{Ground, Seat};
use crate::storm::tally::Tally;
use crate::storm::violation::Violation;

/// Owners, each with a node of its own.
pub(super) const OWNERS: usize = 2;
/// The drainer's node, behind theirs, and its place.
pub(super) const DRAINER: usize = OWNERS;
/// CPUs of each node: who works there is on the first. One where words are their CPUs' own, which must be real.
const CPUS: usize = 6;
/// Memory of each node.
const BYTES: u64 = 48 << 20;

/// What all share.
pub(super) struct World {
    simulation: Simulation,
    pub(super) cpus: Cpus,
    per_node: usize,
    pub(super) owners: Owners,
    pub(super) zones: Vec<Ground>,
    /// The owners' seats, and the drainer's.
    pub(super) seats: Vec<Seat>,
    pub(super) brakes: [Brake; OWNERS],
    /// The longest call of owners since somebody looked, in nanoseconds; those in which they were stopped left out.
    pub(super) longest: AtomicU64,
    /// Times that anybody was stopped.
    pub(super) stops: AtomicU64,
    serial: AtomicU64,
    pub(super) is_over: AtomicBool,
    tally: Mutex<Tally>,
}

impl World {
    pub(super) fn build(words: WordKind) -> Result<Self> {
        let per_node = if words == WordKind::Owned { 1 } else { CPUS };
        let machine = Machine::uniform(OWNERS + 1, BYTES, (OWNERS + 1) * per_node)?.with_words(words);
        let cpus = Cpus::of(words, machine.cpus().len())?;
        let source = if cpus.own() { CpuSource::Thread } else { CpuSource::Played };
        let simulation = Simulation::build(&machine, source)?;
        let ground = |zone: zonal::ZoneInfo| Ground { id: zone.id, span: zone.span, mark: 0, floor: 0 };
        Ok(Self {
            owners: Owners::of(machine.memory()),
            zones: simulation.allocator().zones().map(ground).collect(),
            simulation,
            cpus,
            per_node,
            seats: (0..=OWNERS).map(|_| Seat::default()).collect(),
            brakes: Default::default(),
            longest: AtomicU64::new(0),
            stops: AtomicU64::new(0),
            serial: AtomicU64::new(1),
            is_over: AtomicBool::new(false),
            tally: Mutex::default(),
        })
    }

    pub(super) fn allocator(&self) -> &PageAllocator<'_, SimulatedPlatform> {
        self.simulation.allocator()
    }

    /// The CPUs of a node.
    pub(super) fn cpus_of(&self, node: usize) -> Range<usize> {
        node * self.per_node..(node + 1) * self.per_node
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames that the words of a node's CPUs hold.
    pub(super) fn cached(&self, node: usize) -> u64 {
        let zones = self.allocator().zones().filter(|zone| usize::from(zone.node.0) == node);
        zones.map(|zone| zone.cached).sum()
    }

    /// Stamps a run that was handed out.
    pub(super) fn own(&self, pfn: Pfn, order: Order, tally: &mut Tally) -> Run {
        let run = Run::new(self.serial.fetch_add(1, Relaxed), pfn, order);
        if !self.owners.has_place(pfn, order) {
            tally.broke(Violation::Nowhere { pfn, order });
        }
        self.owners.take(run).err().into_iter().for_each(|violation| tally.broke(violation));
        run
    }

    /// Makes a call, with the seat showing which.
    pub(super) fn call<R>(&self, seat: usize, call: Call, tally: &mut Tally, body: impl FnOnce() -> R) -> R {
        let seat = &self.seats[seat];
        seat.inside.store(call as u8, Relaxed);
        let result = body();
        seat.inside.store(Call::None as u8, Relaxed);
        seat.calls.fetch_add(1, Relaxed);
        tally.requests += 1;
        result
    }

    /// Takes the stamp off a run and frees it.
    pub(super) fn give(&self, seat: usize, run: Run, tally: &mut Tally) {
        self.owners.give(run).err().into_iter().for_each(|violation| tally.broke(violation));
        let (pfn, order) = (run.pfn(), run.order());
        // SAFETY: the run was allocated with this order, is held by the caller alone, and freed once. Nobody touches frames.
        let freed = self.call(seat, Call::Free, tally, || unsafe { self.allocator().free_raw(pfn, order) });
        if let Err(error) = freed {
            tally.broke(Violation::FreeRefused { pfn, order, error });
        }
    }

    /// What is wrong when everything has been given back.
    pub(super) fn recount(&self) -> Vec<String> {
        let mut audit = Vec::new();
        if self.tally().first.is_some() {
            return audit;
        }
        self.allocator().drain_all();
        let summary = self.allocator().audit(&mut |finding| {
            audit.push(finding.to_string());
            self.tally().broke(Violation::Audit(finding));
        });
        if summary.allocated > 0 {
            self.tally().broke(Violation::Lost { allocated: summary.allocated, held: 0 });
        }
        audit
    }

    pub(super) fn outcome(&self, audit: Vec<String>, rounds: u64, start: Instant) -> Outcome {
        Outcome { tally: *self.tally(), audit, rounds, elapsed: start.elapsed() }
    }
}
