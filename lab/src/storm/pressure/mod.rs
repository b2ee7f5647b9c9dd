//! Storm `pressure`: threads ask for more than there is, on two nodes of different sizes, while a kswapd for each and the
//! threads themselves have frames given back, by caches that yield much, little, late, or nothing for a while.
//!
//! A refusal is judged when it comes: everybody else is stopped, and the oracle looks. If it finds a usable run, and either
//! nobody was inside since the request's last rung began or the same request finds nothing again, the refusal was wrong. When
//! the load stops, a node that is short must come back to its high mark by its kswapd alone.
//!
//! Invariant: a world that is stopped changes by what its stopper does, so what the oracle sees then is exact.

mod hand;
mod world;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;
use zonal::{BLOCK_FRAMES, MemoryRange, NodeId, Pfn, Tuning, ZoneInfo};
use zonal_linux::Machine;

use super::call::Call;
use super::engine::{Outcome, Run};
use super::gate::Gate;
use super::pulse::{PATIENCE, Watch};
use super::tally::Tally;
use super::violation::Violation;
use super::{Finding, Storm};
use hand::Hand;
use world::World;

/// Threads that ask.
const THREADS: usize = 4;
/// How long they do so in a round.
const ROUND: Duration = Duration::from_millis(300);
/// Every how many rounds there is a drought in the middle.
const DROUGHT: u64 = 4;
/// How long a node may stay short with nobody asking.
const SHORT: Duration = Duration::from_secs(8);

/// More demand than memory.
pub(super) struct Pressure;

impl Storm for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn about(&self) -> &'static str {
        "threads ask for more than there is, while kswapds and the threads have frames given back"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["WakeLost", "CachedForgotten", "CreditForgotten", "EvictionDropsFrame"]
    }

    fn seconds(&self) -> u64 {
        30
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let mut dice = Rng::with_seed(run.seed);
        let world = World::build(&machine(&mut dice)?.with_words(run.words), THREADS + 2)?;
        let start = Instant::now();
        let until = start + Duration::from_secs(run.seconds);
        let shared = Arc::new(Shared { world, is_over: AtomicBool::new(false), total: Mutex::default() });
        let kswapds = (0..2).map(|node| shared.kswapd(NodeId(node))).collect::<Result<Vec<_>>>()?;
        let (mut audit, mut rounds) = (Vec::new(), 0);
        loop {
            shared.load(rounds, &mut dice)?;
            rounds += 1;
            if !shared.is_broken() {
                shared.stand_still(rounds, &mut audit);
            }
            if shared.is_broken() || Instant::now() >= until {
                break;
            }
        }
        shared.is_over.store(true, Relaxed);
        world.wake_all();
        let returned = shared.wait_for(|| kswapds.iter().all(thread::JoinHandle::is_finished));
        returned.into_iter().for_each(|violation| world.broke(violation));
        let tally = shared.total();
        let mut finding = Outcome { tally, audit, rounds, elapsed: start.elapsed() }.finding(self.name());
        finding.report.details = world.met.to_string();
        Ok(finding)
    }
}

/// Two nodes of different sizes with four CPUs, the first with DMA32 and Normal.
fn machine(dice: &mut Rng) -> Result<Machine> {
    let mut blocks = |range| dice.u64(range) * BLOCK_FRAMES;
    let (low, near, far) = (blocks(4..8), blocks(12..24), blocks(6..12));
    let memory = vec![MemoryRange::new(0, low + near, 0), MemoryRange::new(low + near, low + near + far, 1)];
    let tuning = Tuning {
        min_free_kbytes: Some(dice.u64(512..2048)),
        watermark_scale_factor: 100,
        // Marks that rise where kinds are mixed, every other time.
        watermark_boost_factor: if dice.bool() { 15_000 } else { 0 },
        ..Tuning::default()
    };
    let cpus = [0, 0, 1, 1].map(NodeId).to_vec();
    Ok(Machine::new(memory, cpus)?.with_zone_ends(Pfn::new(0), Pfn::new(low))?.with_tuning(tuning)?)
}

/// What the threads of a storm share.
struct Shared {
    world: &'static World,
    is_over: AtomicBool,
    /// What hands have counted.
    total: Mutex<Tally>,
}

impl Shared {
    /// What hands and hooks have counted.
    fn total(&self) -> Tally {
        let mut total = *self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.add(&self.world.tally.lock().unwrap_or_else(PoisonError::into_inner));
        total
    }

    fn is_broken(&self) -> bool {
        self.total().first.is_some()
    }

    fn kswapd(self: &Arc<Self>, node: NodeId) -> Result<thread::JoinHandle<()>> {
        let shared = Arc::clone(self);
        let (ready, is_ready) = mpsc::channel();
        let work = move || {
            Gate::sit(THREADS + usize::from(node.0));
            let _ = ready.send(());
            shared.world.be_kswapd(node, || shared.is_over.load(Relaxed));
        };
        let handle = thread::Builder::new().spawn(work).context("a thread for kswapd")?;
        is_ready.recv().map_err(|_| anyhow!("kswapd ended early"))?;
        Ok(handle)
    }

    /// The threads' part of a round; a call that hangs is noted.
    fn load(self: &Arc<Self>, round: u64, dice: &mut Rng) -> Result<()> {
        let end = Instant::now() + ROUND;
        let working = Arc::new(AtomicU64::new(THREADS as u64));
        self.world.leave_words();
        for place in 0..THREADS {
            let (shared, working, seed) = (Arc::clone(self), Arc::clone(&working), dice.u64(..));
            let work = move || {
                shared.burst(place, seed, end);
                working.fetch_sub(1, Relaxed);
            };
            thread::Builder::new().spawn(work).context("a thread that asks")?;
        }
        if round % DROUGHT == DROUGHT - 1 {
            thread::sleep(ROUND / 3);
            self.world.drought.store(true, Relaxed);
            thread::sleep(ROUND / 3);
            self.world.drought.store(false, Relaxed);
        }
        let hung = self.wait_for(|| working.load(Relaxed) == 0);
        hung.into_iter().for_each(|violation| self.world.broke(violation));
        Ok(())
    }

    fn burst(&self, place: usize, seed: u64, end: Instant) {
        let mut hand = Hand::new(self.world, THREADS, seed);
        hand.sit(place);
        while Instant::now() < end && !hand.is_broken() {
            hand.step();
        }
        hand.end();
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(&hand.tally);
    }

    /// Waits until it is so, as long as anybody comes in or out now and then.
    fn wait_for(&self, is_so: impl Fn() -> bool) -> Option<Violation> {
        let mut watch = Watch::default();
        while !is_so() {
            if !watch.glance(|| self.world.gate.steps()) {
                let thread = self.world.gate.occupied().unwrap_or_default();
                return Some(Violation::Hung { thread, call: Call::Alloc, seconds: PATIENCE.as_secs() });
            }
        }
        None
    }

    /// What is looked at when nobody asks: each kswapd ends its work, then everything is recounted.
    fn stand_still(&self, rounds: u64, audit: &mut Vec<String>) {
        // After a drought nobody wakes a kswapd that gave up, until somebody's reclaim has helped.
        if !rounds.is_multiple_of(DROUGHT) {
            (0..2).map(NodeId).for_each(|node| self.kswapd_ends_its_work(node));
        }
        let _stop = self.world.gate.stop();
        let Some(allocator) = self.world.allocator() else { return };
        let summary = allocator.audit(&mut |finding| {
            audit.push(finding.to_string());
            self.world.broke(Violation::Audit(finding));
        });
        let free: u64 = allocator.zones().map(|zone| self.world.owners.free(zone.span)).sum();
        let (allocated, held) = (summary.allocated, self.world.frames - free);
        if allocated > held {
            self.world.broke(Violation::Lost { allocated, held });
        } else if allocated < held {
            self.world.broke(Violation::FreeAndHeld { allocated, held });
        }
    }

    /// A node all of whose zones are short comes back to its high mark, if its cache has frames for that.
    fn kswapd_ends_its_work(&self, node: NodeId) {
        let above = |mark: fn(&ZoneInfo) -> u64| {
            let _stop = self.world.gate.stop();
            let zones = self.world.allocator().into_iter().flat_map(|allocator| allocator.zones());
            let mut zones = zones.filter(|zone| zone.node == node);
            zones.any(|zone| self.world.owners.free(zone.span) >= mark(&zone) + zone.protection[2])
        };
        let wanted = self.world.frames / 16;
        if above(|zone| zone.marks.low) || self.world.in_cache(node) < wanted {
            return;
        }
        self.world.met.short.fetch_add(1, Relaxed);
        let since = Instant::now();
        while !above(|zone| zone.marks.high) {
            if since.elapsed() > SHORT {
                self.world.broke(Violation::Asleep { node, cached: self.world.in_cache(node) });
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
