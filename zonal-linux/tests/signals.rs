//! A timer interrupts the allocator at random instructions, and the handler allocates and frees.
//!
//! Two workers each own a POSIX timer that signals their own thread; the next tick is armed inside the handler, so
//! handlers are interrupted too. A handler takes no lock, allocates no heap and cannot panic: what goes wrong is counted and
//! asserted afterwards. Invariant: every allocated frame carries the stamp of its run, and only who holds the run
//! removes it.
//!
//! `ZONAL_SIGNAL_SECONDS` sets how long each test runs, `ZONAL_SIGNAL_SEED` its random choices.

use std::cell::Cell;
use std::io::Error;
use std::ptr::{self, NonNull};
use std::sync::Once;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use zonal::{Checking, Gfp, Group, Order, PageAllocator, Pfn, Platform, Request, ZoneId};
use zonal_linux::{CpuSource, Machine, Pages, Pool, Simulation, play_cpu};

/// Handlers that may be on one thread's stack at once.
const DEPTH: u64 = 4;
/// What a handler asks for: mostly what interrupts ask for.
const HANDLER_ORDERS: [u8; 8] = [0, 0, 0, 0, 3, 3, 5, 9];
/// Shortest and longest time from arming to the next tick, in nanoseconds.
const TICK: (u64, u64) = (20_000, 60_000);
/// Interruptions a run has to reach to have shown anything.
const ENOUGH: u64 = 300;
/// How much longer than asked a run may take before a handler is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A promise that was broken.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// An allocated frame still carried a stamp.
    Double,
    /// A held frame carried another stamp than its run's.
    Stolen,
    /// A held frame's first word was written by somebody else.
    Overwritten,
    /// A free or a split of what is held was refused.
    RefusedFree,
    /// A single frame was refused although far more were free than can be in flight.
    RefusedFrame,
    /// A run outside the machine or off its alignment was handed out.
    Foreign,
    /// The timer could not be armed again.
    Timer,
}

const FAULTS: [Fault; 7] = [
    Fault::Double,
    Fault::Stolen,
    Fault::Overwritten,
    Fault::RefusedFree,
    Fault::RefusedFrame,
    Fault::Foreign,
    Fault::Timer,
];

/// An allocator call that can be interrupted.
#[derive(Clone, Copy, Debug)]
enum Call {
    Outside,
    Alloc,
    Free,
    Split,
    AllocBulk,
    FreeBulk,
    Drain,
    Close,
    Reopen,
}

const CALLS: [Call; 9] = [
    Call::Outside,
    Call::Alloc,
    Call::Free,
    Call::Split,
    Call::AllocBulk,
    Call::FreeBulk,
    Call::Drain,
    Call::Close,
    Call::Reopen,
];

/// A run that is held, as one word that is also its stamp: serial number, order, frame. Never 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run(u64);

impl Run {
    fn new(serial: u64, pfn: Pfn, order: Order) -> Self {
        Self(serial << 25 | u64::from(order.get()) << 20 | pfn.get())
    }

    fn pfn(self) -> Pfn {
        Pfn::new(self.0 & 0xf_ffff)
    }

    fn order(self) -> Order {
        Order::new((self.0 >> 20 & 31) as u8).unwrap_or(Order::ZERO)
    }

    fn frames(self) -> impl Iterator<Item = Pfn> {
        (0..self.order().frames()).map(move |at| self.pfn().add(at))
    }
}

/// How tight a run is.
#[derive(Clone, Copy)]
enum Room {
    /// Frames for everybody: a single frame is never refused. Each worker holds at most so many.
    Plenty(u64),
    /// The workers hold all there is.
    Exhausted,
}

type Address<'a> = &'a (dyn Fn(Pfn) -> Option<NonNull<u8>> + Sync);

/// What all workers share: the allocator, who owns which frame, and what went wrong.
struct Arena<'a, P: Platform> {
    allocator: &'a PageAllocator<'a, P>,
    /// Where frames are, if they exist.
    address: Option<Address<'a>>,
    room: Room,
    zones: Vec<ZoneId>,
    requests: [Request; 2],
    owners: Vec<AtomicU64>,
    serials: AtomicU64,
    /// Runs left for whoever comes next, on whatever CPU; 0 is none.
    left: [AtomicU64; 8],
    faults: [AtomicU64; FAULTS.len()],
    /// The first fault: which + 1, the stamp expected, the stamp found.
    first: [AtomicU64; 3],
}

impl<'a, P: Platform> Arena<'a, P> {
    fn new(allocator: &'a PageAllocator<'a, P>, address: Option<Address<'a>>, room: Room) -> Self {
        let frames = allocator.zones().map(|zone| zone.span.end.get()).max().unwrap_or(0);
        let request = |gfp| Request::order(Order::ZERO).gfp(gfp).unwrap();
        Self {
            allocator,
            address,
            room,
            zones: allocator.zones().map(|zone| zone.id).collect(),
            requests: [request(Gfp::KERNEL), request(Gfp::HIGHUSER_MOVABLE)],
            owners: (0..frames).map(|_| AtomicU64::new(0)).collect(),
            serials: AtomicU64::new(1),
            left: Default::default(),
            faults: Default::default(),
            first: Default::default(),
        }
    }

    fn fault(&self, fault: Fault, expected: u64, found: u64) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
        if self.first[0].compare_exchange(0, fault as u64 + 1, Relaxed, Relaxed).is_ok() {
            self.first[1].store(expected, Relaxed);
            self.first[2].store(found, Relaxed);
        }
    }

    /// The first word of a frame that is real.
    fn word(&self, pfn: Pfn) -> Option<&AtomicU64> {
        let address = (self.address?)(pfn)?.cast::<u64>();
        // SAFETY: a frame is mapped writable and page-aligned as long as its pool, which this borrows; the tests reach frames
        // through this function only, so every access is atomic even if a frame is handed out twice.
        Some(unsafe { AtomicU64::from_ptr(address.as_ptr()) })
    }

    /// Puts the run's stamp on its frames, or says that they had one.
    fn stamp(&self, run: Run) {
        for pfn in run.frames() {
            match self.owners.get(pfn.get() as usize).map(|owner| owner.swap(run.0, Relaxed)) {
                Some(0) => {}
                Some(found) => self.fault(Fault::Double, run.0, found),
                None => self.fault(Fault::Foreign, run.0, pfn.get()),
            }
            if let Some(word) = self.word(pfn) {
                word.store(run.0, Relaxed);
            }
        }
    }

    /// Takes the run's stamp off its frames, or says that they had another.
    fn unstamp(&self, run: Run) {
        for pfn in run.frames() {
            if let Some(word) = self.word(pfn).map(|word| word.load(Relaxed)).filter(|&word| word != run.0) {
                self.fault(Fault::Overwritten, run.0, word);
            }
            let owner = self.owners.get(pfn.get() as usize);
            if let Some(Err(found)) = owner.map(|owner| owner.compare_exchange(run.0, 0, Relaxed, Relaxed)) {
                self.fault(Fault::Stolen, run.0, found);
            }
        }
    }

    fn claim(&self, pfn: Pfn, order: Order) -> Run {
        let run = Run::new(self.serials.fetch_add(1, Relaxed), pfn, order);
        if !pfn.is_aligned(order) || pfn.get() >= self.owners.len() as u64 {
            self.fault(Fault::Foreign, run.0, pfn.get());
        }
        self.stamp(run);
        run
    }
}

/// One worker: what its main code and its handlers share.
struct Seat<'a, P: Platform> {
    arena: &'a Arena<'a, P>,
    random: AtomicU64,
    /// The call the thread is in.
    inside: AtomicU64,
    depth: AtomicU64,
    entries: AtomicU64,
    exits: AtomicU64,
    /// Ticks that interrupted another handler.
    nested: AtomicU64,
    /// Ticks by the call they interrupted.
    landed: [AtomicU64; CALLS.len()],
}

impl<'a, P: Platform> Seat<'a, P> {
    fn new(arena: &'a Arena<'a, P>, seed: u64) -> Self {
        Self {
            arena,
            random: AtomicU64::new(seed),
            inside: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            exits: AtomicU64::new(0),
            nested: AtomicU64::new(0),
            landed: Default::default(),
        }
    }

    /// A number below `limit` (splitmix64): one atomic addition, so that a handler in the middle does no harm.
    fn below(&self, limit: u64) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }

    /// Runs an allocator call with the flag up that handlers look at.
    fn call<R>(&self, call: Call, body: impl FnOnce(&'a PageAllocator<'a, P>) -> R) -> R {
        let before = self.inside.swap(call as u64, AcqRel);
        let result = body(self.arena.allocator);
        self.inside.swap(before, AcqRel);
        result
    }

    fn request(&self) -> Request {
        self.arena.requests[self.below(2) as usize]
    }

    fn take(&self, order: Order) -> Option<Run> {
        let request = self.request().with_order(order);
        match self.call(Call::Alloc, |allocator| allocator.alloc_raw(&request)) {
            Ok(pfn) => Some(self.arena.claim(pfn, order)),
            Err(_) => {
                self.refused(order);
                None
            }
        }
    }

    fn refused(&self, order: Order) {
        if matches!(self.arena.room, Room::Plenty(_)) && order == Order::ZERO {
            self.arena.fault(Fault::RefusedFrame, 0, 0);
        }
    }

    fn give(&self, run: Run) {
        self.arena.unstamp(run);
        // SAFETY: the run was allocated (or split off) with this order, and is held by nobody else: `Run`s are moved from
        // hand to hand and freed once.
        let freed = self.call(Call::Free, |allocator| unsafe { allocator.free_raw(run.pfn(), run.order()) });
        if freed.is_err() {
            self.arena.fault(Fault::RefusedFree, run.0, 0);
        }
    }

    /// Leaves a run for whoever comes next, and takes what was left there.
    fn trade(&self, run: u64) -> Option<Run> {
        let place = &self.arena.left[self.below(8) as usize];
        Some(Run(place.swap(run, AcqRel))).filter(|run| run.0 != 0)
    }

    /// Allocates scattered frames, stamps them, and frees them.
    fn bulk(&self) {
        let mut groups = [Group::EMPTY; 4];
        let (request, frames) = (self.request(), 1 + self.below(96));
        let filled = self.call(Call::AllocBulk, |all| all.alloc_bulk(&request, frames, &mut groups));
        let Ok(filled) = filled else { return self.refused(Order::ZERO) };
        let taken = groups.get(..filled).unwrap_or(&[]);
        let serial = self.arena.serials.fetch_add(1, Relaxed);
        let runs = || taken.iter().flat_map(|group| group.iter()).map(|pfn| Run::new(serial, pfn, Order::ZERO));
        runs().for_each(|run| self.arena.stamp(run));
        runs().for_each(|run| self.arena.unstamp(run));
        // SAFETY: allocated above and handed to nobody.
        if self.call(Call::FreeBulk, |allocator| unsafe { allocator.free_bulk(taken) }).is_err() {
            self.arena.fault(Fault::RefusedFree, serial, frames);
        }
    }

    fn drain(&self) {
        let cpu = self.below(self.arena.allocator.cpus() as u64) as usize;
        self.call(Call::Drain, |allocator| allocator.drain_cpu(cpu));
    }

    /// Closes a zone's caches, works without them, and opens them again.
    fn close(&self) {
        let zone = self.arena.zones[self.below(self.arena.zones.len() as u64) as usize];
        self.call(Call::Close, |allocator| allocator.close_caches(zone));
        if let Some(run) = self.take(Order::ZERO) {
            self.give(run);
        }
        self.call(Call::Reopen, |allocator| allocator.reopen_caches(zone));
    }

    /// What a handler does: one or two runs, and now and then upkeep.
    fn interrupt(&self) {
        play_cpu(self.below(self.arena.allocator.cpus() as u64) as usize);
        match self.below(32) {
            0 => self.drain(),
            1 => self.close(),
            2..6 => self.bulk(),
            _ => {
                let first = self.take(self.handler_order());
                let second = self.take(self.handler_order());
                let traded = first.and_then(|run| self.trade(run.0));
                second.into_iter().chain(traded).for_each(|run| self.give(run));
            }
        }
    }

    fn handler_order(&self) -> Order {
        Order::new(HANDLER_ORDERS[self.below(HANDLER_ORDERS.len() as u64) as usize]).unwrap_or(Order::ZERO)
    }

    /// The main code: random runs, freed in random order, until the time is over; then all of them.
    fn work(&self, until: Instant) {
        let mut held = Vec::new();
        let mut frames = 0;
        let limit = if let Room::Plenty(limit) = self.arena.room { limit } else { u64::MAX };
        while Instant::now() < until {
            let dice = self.below(64);
            if dice < 36 && frames < limit {
                let order = Order::new(self.below(11).min(self.below(11)) as u8).unwrap_or(Order::ZERO);
                held.extend(self.take(order));
            } else if dice < 58 && !held.is_empty() {
                let run: Run = held.swap_remove(self.below(held.len() as u64) as usize);
                match dice % 4 {
                    0 => held.extend(self.trade(run.0)),
                    1 => self.split(run, &mut held),
                    _ => self.give(run),
                }
            } else {
                match dice {
                    58 => self.drain(),
                    59 => self.close(),
                    60 => held.extend(self.trade(0)),
                    _ => self.bulk(),
                }
            }
            frames = held.iter().map(|run| run.order().frames()).sum();
        }
        held.into_iter().for_each(|run| self.give(run));
    }

    /// Splits a run into up to eight parts, which are freed on their own.
    fn split(&self, run: Run, held: &mut Vec<Run>) {
        let to = run.order().get() - self.below(4).min(u64::from(run.order().get())) as u8;
        let to = Order::new(to).unwrap_or(Order::ZERO);
        self.arena.unstamp(run);
        // SAFETY: the run is held here and nowhere else; from now on only its parts are.
        let split = self.call(Call::Split, |all| unsafe { all.split_raw(run.pfn(), run.order(), to) });
        if split.is_err() {
            self.arena.fault(Fault::RefusedFree, run.0, u64::from(to.get()));
        }
        let starts = (0..run.order().frames()).step_by(to.frames() as usize);
        held.extend(starts.map(|at| self.arena.claim(run.pfn().add(at), to)));
    }
}
