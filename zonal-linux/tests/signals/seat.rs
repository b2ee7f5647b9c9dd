//! One worker: random calls of its main code, and what its handlers do in between.
//!
//! Handlers run on the same seat: everything in it is atomic, and what they call neither locks, nor touches the heap, nor
//! panics. Invariant: a `Run` is held by exactly one variable or place, and freed once.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Instant;

use zonal::{Gfp, Group, Order, PageAllocator, Platform, Request};
use zonal_linux::play_cpu;
use zonal_testkit::ticks::{Pace, Ticked, Timer};

use crate::arena::{Arena, Fault, Room, Run};

/// Handlers that may be on one thread's stack at once.
const DEPTH: u64 = 4;
/// What a handler asks for: mostly what interrupts ask for.
const HANDLER_ORDERS: [u8; 8] = [0, 0, 0, 0, 3, 3, 5, 9];

/// An allocator call that can be interrupted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
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

pub(crate) const CALLS: [Call; 9] = [
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

/// One worker: what its main code and its handlers share.
pub(crate) struct Seat<'a, P: Platform> {
    pub(crate) arena: &'a Arena<'a, P>,
    random: AtomicU64,
    /// The call the thread is in.
    pub(crate) inside: AtomicU64,
    pub(crate) depth: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) exits: AtomicU64,
    /// Ticks that interrupted another handler.
    pub(crate) nested: AtomicU64,
    /// Ticks by the call they interrupted.
    pub(crate) landed: [AtomicU64; CALLS.len()],
}

// SAFETY: everything in a seat is atomic, so that sharing it with the code that was interrupted is as sharing it with another
// thread; calls of the allocator may be interrupted and made in handlers. No lock, no heap, no panic.
unsafe impl<P: Platform> Ticked for Seat<'_, P> {
    /// Arms the next one first or, where the stack is deep enough, last.
    fn tick(&self, timer: &Timer) {
        self.entries.fetch_add(1, Relaxed);
        let depth = self.depth.fetch_add(1, Relaxed);
        if depth > 0 {
            self.nested.fetch_add(1, Relaxed);
        } else if let Some(landed) = self.landed.get(self.inside.load(Relaxed) as usize) {
            landed.fetch_add(1, Relaxed);
        }
        let is_last = depth + 1 >= DEPTH;
        if !is_last {
            self.arm(timer);
        }
        self.interrupt();
        self.depth.fetch_sub(1, Relaxed);
        self.exits.fetch_add(1, Relaxed);
        if is_last {
            self.arm(timer);
        }
    }
}

impl<'a, P: Platform> Seat<'a, P> {
    pub(crate) fn new(arena: &'a Arena<'a, P>, seed: u64) -> Self {
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
    pub(crate) fn below(&self, limit: u64) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }

    /// Arms the next tick.
    pub(crate) fn arm(&self, timer: &Timer) {
        if timer.arm(Pace::Usual, |limit| self.below(limit)).is_err() {
            self.arena.fault(Fault::Timer, 0, 0);
        }
    }

    /// Runs an allocator call with the flag up that handlers look at.
    pub(crate) fn call<R>(&self, call: Call, body: impl FnOnce(&'a PageAllocator<'a, P>) -> R) -> R {
        let before = self.inside.swap(call as u64, AcqRel);
        let result = body(self.arena.allocator);
        self.inside.swap(before, AcqRel);
        result
    }

    /// One that may wait, but in handlers: what they interrupt may be what they would wait for.
    pub(crate) fn request(&self) -> Request {
        let request = self.arena.requests[self.below(2) as usize];
        if self.is_handler() { request.nowait() } else { request }
    }

    fn is_handler(&self) -> bool {
        self.depth.load(Relaxed) > 0
    }

    /// Handlers ask by the nolock pair every other time.
    pub(crate) fn take(&self, order: Order) -> Option<Run> {
        let request = self.request().with_order(order);
        let nolock = self.is_handler() && self.below(2) == 0;
        let taken = self.call(Call::Alloc, |allocator| match nolock {
            true => allocator.alloc_nolock(Gfp::empty(), None, order),
            false => allocator.alloc_raw(&request),
        });
        match taken {
            Ok(pfn) => Some(self.arena.claim(pfn, order)),
            Err(_) => {
                self.refused(order);
                None
            }
        }
    }

    pub(crate) fn refused(&self, order: Order) {
        if matches!(self.arena.room, Room::Plenty(_)) && order == Order::ZERO {
            self.arena.fault(Fault::RefusedFrame, 0, 0);
        }
    }

    pub(crate) fn give(&self, run: Run) {
        self.arena.unstamp(run);
        // SAFETY: the run was allocated (or split off) with this order, and is held by nobody else: `Run`s are moved from
        // hand to hand and freed once.
        let freed = self.call(Call::Free, |allocator| unsafe {
            match self.is_handler() {
                true => allocator.free_nolock(run.pfn(), run.order()),
                false => allocator.free_raw(run.pfn(), run.order()),
            }
        });
        if freed.is_err() {
            self.arena.fault(Fault::RefusedFree, run.0, 0);
        }
    }

    /// Leaves a run for whoever comes next, and takes what was left there.
    pub(crate) fn trade(&self, run: u64) -> Option<Run> {
        let place = &self.arena.left[self.below(8) as usize];
        Some(Run(place.swap(run, AcqRel))).filter(|run| run.0 != 0)
    }

    /// Allocates scattered frames, stamps them, and frees them.
    pub(crate) fn bulk(&self) {
        let mut groups = [Group::EMPTY; 4];
        let (request, frames) = (self.request(), 1 + self.below(96));
        let filled = self.call(Call::AllocBulk, |all| all.alloc_bulk(&request, frames, &mut groups));
        let Ok(filled) = filled else { return self.refused(Order::ZERO) };
        let taken = groups.get(..filled).unwrap_or(&[]);
        let serial = self.arena.serials.fetch_add(1, Relaxed);
        let runs =
            || taken.iter().flat_map(|group| group.iter()).map(|pfn| Run::new(serial, pfn, Order::ZERO));
        runs().for_each(|run| self.arena.stamp(run));
        runs().for_each(|run| self.arena.unstamp(run));
        // SAFETY: allocated above and handed to nobody.
        if self.call(Call::FreeBulk, |allocator| unsafe { allocator.free_bulk(taken) }).is_err() {
            self.arena.fault(Fault::RefusedFree, serial, frames);
        }
    }

    pub(crate) fn drain(&self) {
        let cpu = self.below(self.arena.allocator.cpus() as u64) as usize;
        self.call(Call::Drain, |allocator| allocator.drain_cpu(cpu));
    }

    /// Closes a zone's caches, works without them, and opens them again.
    pub(crate) fn close(&self) {
        let zone = self.arena.zones[self.below(self.arena.zones.len() as u64) as usize];
        self.call(Call::Close, |allocator| allocator.close_caches(zone));
        if let Some(run) = self.take(Order::ZERO) {
            self.give(run);
        }
        self.call(Call::Reopen, |allocator| allocator.reopen_caches(zone));
    }

    /// What a handler does: one or two runs, and now and then upkeep.
    pub(crate) fn interrupt(&self) {
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

    pub(crate) fn handler_order(&self) -> Order {
        Order::new(HANDLER_ORDERS[self.below(HANDLER_ORDERS.len() as u64) as usize]).unwrap_or(Order::ZERO)
    }

    /// The main code: random runs, freed in random order, until the time is over; then all of them.
    pub(crate) fn work(&self, until: Instant) {
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
    pub(crate) fn split(&self, run: Run, held: &mut Vec<Run>) {
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
