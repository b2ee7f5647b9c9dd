//! Four nodes near full: what is left above the min mark of each is a little more than all hands together hold, so that a
//! request never lacks a frame that its set allows, wherever the set is.

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use zonal::{
    BLOCK_FRAMES, Caching, Climb, Config, Gfp, MemoryRange, NodeId, Order, PageAllocator, Pfn, Platform,
    Request, Task, Tuning, metadata_size,
};
use zonal_linux::{Machine, WordKind};

use super::super::asker;
use super::super::cpus::Cpus;
use super::super::owners::{Owners, Run};
use super::super::pulse::Pulse;
use super::super::tally::Tally;
use super::super::violation::Violation;
use super::NODES;
use super::hand::HELD;

/// Threads that ask.
pub(super) const HANDS: usize = 4;
/// Frames that an operation hides from others at most where nothing is cached: what it was asked for, and a claim that it
/// gives back.
const HIDDEN: u64 = 4;
/// The same where frames are cached: a credit that it collects, and a group.
const HIDDEN_CACHED: u64 = 1024 + 32;
/// Frames in the credit of a CPU at most.
const CREDIT: u64 = 1024;

/// Frames in the words that a CPU owns of a zone at most: without a barrier nobody else has them.
const WORDS: u64 = 18 * 32;

/// A machine on which nothing can be had back.
pub(super) struct Barren(Cpus);

impl Barren {
    /// From now on this thread works on this CPU.
    pub(super) fn play(&self, cpu: usize) {
        self.0.play(cpu);
    }
}

impl Platform for Barren {
    #[inline]
    fn cpu(&self) -> usize {
        self.0.now()
    }

    fn task(&self) -> Task {
        asker::task()
    }

    fn climbed(&self, climb: &Climb) {
        asker::note(climb);
    }

    fn pause(&self) {
        std::thread::yield_now();
    }
}

/// An allocator, and who holds what of its frames.
pub(super) struct Ground<'m> {
    pub(super) allocator: PageAllocator<'m, Barren>,
    /// Frames above its min mark that each node has left when every hand holds what it can, and hides what it can.
    pub(super) spare: u64,
    owners: Owners,
    serial: AtomicU64,
    node_frames: u64,
    pulse: &'m Pulse,
}

/// Whether a round's CPUs cache frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// They do not: nearer to full.
    Bare,
    /// They do.
    Cached,
}

/// Builds a machine near full and does something on it.
pub(super) fn on<R>(
    (round, words): (Round, WordKind),
    dice: &mut Rng,
    pulse: &Pulse,
    body: impl FnOnce(&Ground<'_>) -> R,
) -> Result<R> {
    let blocks = if round == Round::Bare { dice.u64(6..12) } else { dice.u64(40..64) };
    let node_frames = blocks * BLOCK_FRAMES;
    let memory = |node: u16| {
        let start = u64::from(node) * node_frames;
        MemoryRange::new(start, start + node_frames, node)
    };
    let memory = (0..NODES).map(memory).collect();
    let tuning = Tuning {
        min_free_kbytes: Some(dice.u64(256..2048)),
        watermark_scale_factor: 2000,
        watermark_boost_factor: 0,
        ..Tuning::default()
    };
    let caching = if round == Round::Bare { Caching::Off } else { Caching::All };
    let cpus = (0..HANDS).map(|cpu| NodeId(cpu as u16 % NODES)).collect();
    let machine = Machine::new(memory, cpus)?.with_zone_ends(Pfn::new(0), Pfn::new(0))?;
    let machine = machine.with_tuning(tuning)?.with_caching(caching);
    let cpus = Cpus::of(words, HANDS)?;
    let config = Config { own_words: cpus.own_words(), ..machine.config() };
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?];
    let allocator = PageAllocator::new(&config, Barren(cpus), &mut metadata)?;
    let hands = HANDS as u64;
    let spare = match round {
        Round::Bare => hands * HIDDEN,
        Round::Cached => hands * (HIDDEN_CACHED + CREDIT + if words == WordKind::Owned { WORDS } else { 0 }),
    };
    let owners = Owners::of(machine.memory());
    let ground = Ground { allocator, spare, owners, serial: AtomicU64::new(1), node_frames, pulse };
    ground.fill(spare + hands * HELD as u64)?;
    Ok(body(&ground))
}

impl Ground<'_> {
    /// Takes the frames of each node but for so many above its min mark.
    fn fill(&self, left: u64) -> Result<()> {
        for zone in self.allocator.zones() {
            let taken = (zone.free + zone.cached).checked_sub(zone.marks.min + zone.protection[2] + left);
            let taken = taken.context("the machine is too small for the storm")?;
            let gfp = Gfp::KERNEL | Gfp::MEMALLOC | Gfp::THISNODE;
            let request = Request::order(Order::ZERO).gfp(gfp)?.node(zone.node);
            for _ in 0..taken {
                let pfn = self.allocator.alloc_raw(&request)?;
                ensure!(
                    self.own(pfn, Order::ZERO).is_ok(),
                    "the machine hands out {pfn} twice while it is filled"
                );
            }
        }
        Ok(())
    }

    /// The frame's node.
    pub(super) fn node(&self, pfn: Pfn) -> NodeId {
        NodeId((pfn.get() / self.node_frames) as u16)
    }

    /// Notes the holder of a run.
    pub(super) fn own(&self, pfn: Pfn, order: Order) -> Result<Run, Violation> {
        self.pulse.beat();
        let run = Run::new(self.serial.fetch_add(1, Relaxed), pfn, order);
        self.owners.take(run).map(|()| run)
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
        if allocated > held {
            tally.broke(Violation::Lost { allocated, held });
        } else if allocated < held {
            tally.broke(Violation::FreeAndHeld { allocated, held });
        }
    }
}
