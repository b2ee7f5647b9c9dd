//! What the storms on zonelists share: four nodes, an allocator whose platform does what the storm's script says, and actors,
//! each on a thread that is watched.
//!
//! All nodes' memory is Normal; the last node's has the lowest frames, so that it can be asked for by a limit. A section each of
//! the other nodes may be plugged in, as Movable. Lives as long as the program, for the allocator's platform is the scene that
//! the allocator is in. Invariant: what an actor takes it gives back before it ends; then nothing is allocated.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fastrand::Rng;
use zonal::{
    AllocError, BLOCK_FRAMES, Config, Fallback, FrameRange, HotRange, Marks, MemoryRange, NodeId, Oom, Order,
    PageAllocator, Pfn, Platform, RebuildStep, Request, SECTION_FRAMES, Task, Topology, Verdict, ZoneId,
    metadata_size,
};

use super::Finding;
use super::asker;
use super::call::Call;
use super::engine::{Outcome, Run as Dice};
use super::owners::{Owners, Run};
use super::pulse::{PATIENCE, Pulse, watched};
use super::request::Class;
use super::stage::Seat;
use super::steps;
use super::tally::Tally;
use super::violation::Violation;

/// Nodes; each has a CPU, the last one none.
pub(super) const NODES: u16 = 4;
/// The node that is the last on everybody's list.
pub(super) const FAR: NodeId = NodeId(NODES - 1);
/// Frames of each node.
const FRAMES: u64 = 8 * BLOCK_FRAMES;
/// When the first request of an actor is counted step by step, and how many times as long as it took none is afterwards.
const FIRST_COUNTED: Duration = Duration::from_millis(500);
const UNCOUNTED: u32 = 8;
/// Instructions that a request may take by itself, and for each call that others completed meanwhile.
const STEPS_ALONE: u64 = 100_000;
const STEPS_PER_CALL: u64 = 2000;

/// What the platform does in a storm.
pub(super) trait Script: Sync {
    /// At a step of a rebuild, on the thread of who rebuilds.
    fn step(&self, _scene: &'static Scene, _step: RebuildStep) {}

    /// With what is to be read by people.
    fn report(&self, _text: &dyn fmt::Display) {}
}

/// What actors do, again and again.
pub(super) type Part = fn(&mut Actor);

/// What all actors share.
pub(super) struct Scene {
    allocator: OnceLock<PageAllocator<'static, &'static Self>>,
    script: &'static dyn Script,
    owners: Owners,
    /// Each node's list as it is while nothing is plugged in.
    lists: OnceLock<Vec<Vec<ZoneId>>>,
    is_over: AtomicBool,
    serial: AtomicU64,
    rounds: AtomicU64,
    pub(super) seats: Vec<Seat>,
    tally: Mutex<Tally>,
}

/// The section of a node that may be plugged in.
pub(super) fn hot(node: u16) -> FrameRange {
    let first = u64::from(NODES + 1 + node) * SECTION_FRAMES;
    FrameRange::new(Pfn::new(first), Pfn::new(first + SECTION_FRAMES))
}

/// The frames of a node.
fn cold(node: u16) -> FrameRange {
    let start = u64::from((node + 1) % NODES) * SECTION_FRAMES;
    FrameRange::new(Pfn::new(start), Pfn::new(start + FRAMES))
}

impl Scene {
    /// For so many actors.
    pub(super) fn build(script: &'static dyn Script, actors: usize) -> Result<&'static Self> {
        let memory: Vec<_> = (0..NODES)
            .map(|node| MemoryRange::new(cold(node).start.get(), cold(node).end.get(), node))
            .collect();
        let hotplug: Vec<_> =
            (0..FAR.0).map(|node| HotRange::new(hot(node).start.get(), hot(node).end.get(), node)).collect();
        let distances = [10, 20, 30, 40, 20, 10, 30, 40, 30, 20, 10, 40, 40, 30, 20, 10];
        let cpus: Vec<_> = (0..FAR.0).map(NodeId).collect();
        let nodes = usize::from(NODES);
        let topology = Topology { memory: &memory, reserved: &[], nodes, distances: &distances, cpus: &cpus };
        let (dma_end, dma32_end) = (Pfn::new(0), Pfn::new(0));
        let config = Config { hotplug: &hotplug, dma_end, dma32_end, ..Config::new(topology) };
        let metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?].leak();
        let exists = hotplug.iter().map(|hot| MemoryRange { range: hot.range, ..memory[0] });
        let scene: &'static Self = Box::leak(Box::new(Self {
            allocator: OnceLock::new(),
            script,
            owners: Owners::of(&memory.iter().copied().chain(exists).collect::<Vec<_>>()),
            lists: OnceLock::new(),
            is_over: AtomicBool::new(false),
            serial: AtomicU64::new(1),
            rounds: AtomicU64::new(0),
            seats: (0..=actors).map(|_| Seat::default()).collect(),
            tally: Mutex::default(),
        }));
        let allocator = PageAllocator::new(&config, scene, metadata)?;
        for node in 0..FAR.0 {
            allocator.add_memory(hot(node)).map_err(|error| anyhow!("{error}"))?;
        }
        scene.allocator.get_or_init(|| allocator);
        scene.lists.get_or_init(|| (0..NODES).map(|node| scene.list(NodeId(node))).collect());
        Ok(scene)
    }

    /// The allocator; it was set when the scene was built, before anybody could see it.
    pub(super) fn allocator(&self) -> Option<&PageAllocator<'static, &'static Self>> {
        self.allocator.get()
    }

    /// From now on the zones of a node lie below their low mark: no fast walk takes from them, all others do.
    pub(super) fn make_short(&self, node: NodeId) {
        let marks = Marks { min: 64, low: FRAMES, high: FRAMES, promo: FRAMES };
        let Some(allocator) = self.allocator() else { return };
        for zone in allocator.zones().filter(|zone| zone.node == node) {
            allocator.set_marks(zone.id, marks);
        }
    }

    /// A node's list.
    fn list(&self, node: NodeId) -> Vec<ZoneId> {
        self.allocator().into_iter().flat_map(|allocator| allocator.zonelist(node, Fallback::Nodes)).collect()
    }

    /// Whether actors should end.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// A round is over.
    pub(super) fn note_round(&self) {
        self.rounds.fetch_add(1, Relaxed);
    }

    /// Calls that all actors completed.
    fn calls(&self) -> u64 {
        self.seats.iter().map(|seat| seat.calls.load(Relaxed)).sum()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broke(&self, violation: Violation) {
        self.tally().broke(violation);
        self.is_over.store(true, Relaxed);
    }

    /// Has actors play these parts, until the time is over or a promise is broken.
    pub(super) fn rage(&'static self, name: &'static str, dice: Dice, parts: &[Part]) -> Result<Finding> {
        let start = Instant::now();
        let actors: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(place, &part)| {
                thread::Builder::new().spawn(move || {
                    let played = watched(move |pulse| Actor::new(self, place, dice.seed).play(part, pulse));
                    if let Ok(None) = played {
                        self.hung(place);
                    }
                    played.map(drop)
                })
            })
            .collect::<Result<_, _>>()?;
        while start.elapsed() < Duration::from_secs(dice.seconds) && !self.is_over() {
            thread::sleep(Duration::from_millis(5));
        }
        self.is_over.store(true, Relaxed);
        for (thread, actor) in actors.into_iter().enumerate() {
            if !matches!(actor.join(), Ok(Ok(()))) {
                self.broke(Violation::Panicked { thread, call: Call::of(&self.seats[thread]) });
            }
        }
        let audit = self.recount();
        let (tally, rounds) = (*self.tally(), self.rounds.load(Relaxed));
        Ok(Outcome { tally, audit, rounds, elapsed: start.elapsed() }.finding(name))
    }

    /// An actor shows nothing any more: in a call, or because of another one that is.
    fn hung(&self, place: usize) {
        let mut inside = self.seats.iter().map(Call::of).enumerate().filter(|(_, call)| *call != Call::None);
        let (thread, call) = inside.next().unwrap_or((place, Call::None));
        self.broke(Violation::Hung { thread, call, seconds: PATIENCE.as_secs() });
    }

    /// What is wrong when all actors have given back what they took.
    fn recount(&self) -> Vec<String> {
        let (mut audit, Some(allocator)) = (Vec::new(), self.allocator()) else { return Vec::new() };
        if self.tally().first.is_some() {
            return audit; // some hold what they took still
        }
        let summary = allocator.audit(&mut |finding| {
            audit.push(finding.to_string());
            self.broke(Violation::Audit(finding));
        });
        if summary.allocated > 0 {
            self.broke(Violation::Lost { allocated: summary.allocated, held: 0 });
        }
        audit
    }
}

impl Platform for Scene {
    #[inline]
    fn cpu(&self) -> usize {
        asker::cpu()
    }

    fn task(&self) -> Task {
        asker::task()
    }

    fn pause(&self) {
        thread::sleep(Duration::from_micros(100));
    }

    fn rebuild_step(&self, step: RebuildStep) {
        // The scene is leaked: whom the allocator calls is the one that it is in.
        let scene = self.allocator().map(PageAllocator::platform);
        scene.into_iter().for_each(|scene| self.script.step(scene, step));
    }

    fn report(&self, text: &dyn fmt::Display) {
        self.script.report(text);
    }

    fn oom(&self, oom: &Oom) -> Verdict {
        self.broke(Violation::KilledNeedlessly { gfp: oom.gfp, order: oom.order });
        Verdict::GiveUp
    }
}

/// One who plays a part.
pub(super) struct Actor {
    pub(super) scene: &'static Scene,
    pub(super) place: usize,
    pub(super) dice: Rng,
    tally: Tally,
    /// When its next request is to be counted step by step.
    next_counted: Instant,
}

impl Actor {
    pub(super) fn new(scene: &'static Scene, place: usize, seed: u64) -> Self {
        let dice = Rng::with_seed(seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { scene, place, dice, tally: Tally::default(), next_counted: Instant::now() + FIRST_COUNTED }
    }

    fn play(mut self, part: Part, pulse: &Pulse) {
        asker::play_cpu(self.place % usize::from(FAR.0));
        while !self.scene.is_over() {
            part(&mut self);
            pulse.beat();
            if self.tally.first.is_some() {
                break;
            }
        }
        self.end();
    }

    /// Hands in what was counted.
    pub(super) fn end(self) {
        let mut total = self.scene.tally();
        total.add(&self.tally);
        if total.first.is_some() {
            self.scene.is_over.store(true, Relaxed);
        }
    }

    /// Makes a call, with the seat showing which.
    pub(super) fn call<R>(
        &mut self,
        call: Call,
        body: impl FnOnce(&PageAllocator<'static, &'static Scene>) -> R,
    ) -> Option<R> {
        let seat = &self.scene.seats[self.place];
        let before = seat.inside.swap(call as u8, Relaxed);
        let result = self.scene.allocator().map(body);
        seat.inside.store(before, Relaxed);
        seat.calls.fetch_add(1, Relaxed);
        self.tally.requests += 1;
        result
    }

    /// Asks for a frame that must be had, and gives it back; now and then its instructions are counted.
    pub(super) fn must_have(&mut self, class: Class, change: impl Fn(Request) -> Request) {
        let request = change(class.request(Order::ZERO));
        let outcome = if Instant::now() < self.next_counted {
            let start = Instant::now();
            let outcome = self.call(Call::Alloc, |allocator| allocator.alloc_raw(&request));
            self.tally.longest = self.tally.longest.max(start.elapsed());
            outcome
        } else {
            self.counted(class, &request)
        };
        match outcome {
            Some(Ok(pfn)) => self.give(pfn),
            Some(Err(error)) => {
                self.tally.broke(Violation::Refused { class, spare: FRAMES / 2, error });
            }
            None => {}
        }
    }

    /// The slowest of requests: the lists change by the dozen while it follows one.
    fn counted(&mut self, class: Class, request: &Request) -> Option<Result<Pfn, AllocError>> {
        let (before, start) = (self.scene.calls(), Instant::now());
        let counted =
            self.call(Call::Alloc, |allocator| steps::counted_among_others(|| allocator.alloc_raw(request)));
        self.next_counted = Instant::now() + start.elapsed() * UNCOUNTED;
        let (outcome, steps) = counted?;
        self.stepped(class, steps, self.scene.calls() - before - 1);
        Some(outcome)
    }

    /// Notes a request's steps, and judges those of one that does not wait.
    fn stepped(&mut self, class: Class, steps: u64, others: u64) {
        let bound = (STEPS_ALONE + others * STEPS_PER_CALL).min(steps::MOST - 1);
        if steps > bound && class == Class::Atomic {
            self.tally.broke(Violation::Steps { steps, others, bound });
        }
        if steps > self.tally.max_steps {
            (self.tally.max_steps, self.tally.others) = (steps, others);
        }
    }

    /// Asks for a frame that may not be there, and gives it back.
    pub(super) fn may_have(&mut self, class: Class) {
        let request = class.request(Order::ZERO).silent();
        let taken = self.call(Call::Alloc, |allocator| allocator.alloc_raw(&request));
        taken.and_then(Result::ok).into_iter().for_each(|pfn| self.give(pfn));
    }

    /// Stamps a frame, takes the stamp off and frees it.
    fn give(&mut self, pfn: Pfn) {
        let run = Run::new(self.scene.serial.fetch_add(1, Relaxed), pfn, Order::ZERO);
        if !self.scene.owners.has_place(pfn, Order::ZERO) {
            return self.tally.broke(Violation::Nowhere { pfn, order: Order::ZERO });
        }
        let held = self.scene.owners.take(run).and_then(|()| self.scene.owners.give(run));
        held.err().into_iter().for_each(|violation| self.tally.broke(violation));
        // SAFETY: allocated by the caller just now and given to nobody else; nobody touches frames at all.
        let freed = self.call(Call::Free, |allocator| unsafe { allocator.free_raw(pfn, Order::ZERO) });
        if let Some(Err(error)) = freed {
            self.tally.broke(Violation::FreeRefused { pfn, order: Order::ZERO, error });
        }
    }

    /// Has the lists rebuilt.
    pub(super) fn rebuild(&mut self) {
        self.call(Call::Rebuild, |allocator| allocator.rebuild_zonelists());
    }

    /// Looks whether each node's list is whole. Only while nothing is plugged in.
    pub(super) fn look_at_lists(&mut self) {
        let whole = self.scene.lists.get().into_iter().flatten();
        for (node, whole) in (0..).map(NodeId).zip(whole) {
            let seen = self.scene.list(node);
            if seen != *whole {
                let (zones, of) = (seen.len(), whole.len());
                self.tally.broke(Violation::NotWhole { node, zones, of });
            }
        }
    }
}
