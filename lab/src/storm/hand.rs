//! One context at work: what it holds, its dice, and the calls it makes, each judged as soon as it returns.
//!
//! A thread's main code has a hand, and each level of its handlers one of its own, so that none shares a hand with the code
//! it interrupted. No call here locks, and none but a split or a hold touches the heap. Invariant: a `Run` is in one hand or
//! on one place of the shelf, and is freed once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use fastrand::Rng;
use zonal::{AllocError, BLOCK_FRAMES, FrameRange, FreeError, Group, Order, PageAllocator, Pfn};
use zonal_linux::SimulatedPlatform;

use super::call::Call;
use super::owners::Run;
use super::request::Class;
use super::stage::{Ground, Room, Stage};
use super::steps;
use super::tally::Tally;
use super::violation::Violation;

/// Runs a hand holds at most.
const RUNS: usize = 80 << 10;
/// Hands whose serial numbers are apart.
const HANDS: u64 = 64;
/// Instructions that a request for a single frame may take by itself: sixteen walks over all words and hints.
const STEPS_ALONE: u64 = 60_000;
/// And for each call that others completed meanwhile.
const STEPS_PER_CALL: u64 = 2000;

/// Whose hand it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    /// The thread.
    pub(super) thread: usize,
    /// How many handlers deep; 0 is the main code.
    pub(super) depth: usize,
}

/// One context at work.
pub(super) struct Hand {
    pub(super) stage: Arc<Stage>,
    pub(super) whose: Whose,
    pub(super) dice: Rng,
    pub(super) held: Vec<Run>,
    /// Frames of `held`.
    pub(super) frames: u64,
    pub(super) room: Room,
    pub(super) tally: Tally,
    serial: u64,
    /// Whether the next request is counted step by step.
    stepping: bool,
}

impl Hand {
    pub(super) fn new(stage: &Arc<Stage>, whose: Whose, seed: u64) -> Self {
        let number = (whose.thread * 8 + whose.depth) as u64 % HANDS;
        Self {
            stage: Arc::clone(stage),
            whose,
            dice: Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            held: Vec::with_capacity(if whose.depth == 0 { RUNS } else { 0 }),
            frames: 0,
            room: Room::Roomy,
            tally: Tally::default(),
            serial: HANDS + number,
            stepping: false,
        }
    }

    /// From now on this context runs on a CPU chosen at random.
    pub(super) fn migrate(&mut self) {
        let cpu = self.dice.usize(..self.stage.allocator().cpus());
        self.stage.cpus.play(cpu);
    }

    /// The next request is counted step by step.
    pub(super) fn step_next(&mut self) {
        self.stepping = true;
    }

    /// Whether something broke.
    pub(super) fn is_broken(&self) -> bool {
        self.tally.first.is_some()
    }

    /// Whether another run of the order may be held here.
    pub(super) fn may_hold(&self, order: Order) -> bool {
        self.held.len() < self.held.capacity() && self.frames + order.frames() <= self.stage.limit(self.room)
    }

    /// Makes a call, timed.
    fn call<R>(&mut self, call: Call, body: impl FnOnce(&PageAllocator<'_, SimulatedPlatform>) -> R) -> R {
        let start = Instant::now();
        let result = self.untimed(call, body);
        self.tally.longest = self.tally.longest.max(start.elapsed());
        result
    }

    /// Makes a call, with the seat showing which.
    fn untimed<R>(&mut self, call: Call, body: impl FnOnce(&PageAllocator<'_, SimulatedPlatform>) -> R) -> R {
        let seat = &self.stage.seats[self.whose.thread];
        let before = seat.inside.swap(call as u8, Relaxed);
        let result = body(self.stage.allocator());
        seat.inside.store(before, Relaxed);
        seat.calls.fetch_add(1, Relaxed);
        self.tally.requests += 1;
        result
    }

    /// Asks for a run, which is the caller's then; `None` if it was refused.
    pub(super) fn request(&mut self, class: Class, order: Order) -> Result<Run, AllocError> {
        let pfn = if std::mem::take(&mut self.stepping) {
            let before = self.stage.calls();
            let (outcome, steps) =
                self.untimed(Call::Alloc, |allocator| steps::counted(|| class.ask(allocator, order)));
            self.stepped(order, steps, self.stage.calls() - before - 1);
            outcome
        } else {
            self.call(Call::Alloc, |allocator| class.ask(allocator, order))
        }?;
        Ok(self.own(pfn, order))
    }

    /// Notes a request's steps and judges those for a single frame. (A run is looked for in every block up to sixteen times,
    /// which may be more than is counted.)
    pub(super) fn stepped(&mut self, order: Order, steps: u64, others: u64) {
        let bound = (STEPS_ALONE + others * STEPS_PER_CALL).min(steps::MOST - 1);
        if order == Order::ZERO && steps > bound {
            self.tally.broke(Violation::Steps { steps, others, bound });
        }
        if steps > self.tally.max_steps {
            (self.tally.max_steps, self.tally.others) = (steps, others);
        }
    }

    /// Asks for a run and judges a refusal of a single frame where there was room.
    pub(super) fn take(&mut self, class: Class, order: Order) -> Option<Run> {
        self.request(class, order).map_err(|error| self.refused(class, order, error)).ok()
    }

    fn refused(&mut self, class: Class, order: Order, error: AllocError) {
        if self.room == Room::Roomy && order == Order::ZERO {
            self.refused_wrongly(class, error);
        }
    }

    /// A single frame was refused although there is one.
    pub(super) fn refused_wrongly(&mut self, class: Class, error: AllocError) {
        let spare = self.stage.spare();
        self.tally.broke(Violation::Refused { class, spare, error });
    }

    /// The upkeep that a daemon does once a second: slot words that CPUs own are given up where memory runs short.
    pub(super) fn keep_up(&mut self) {
        self.call(Call::Drain, |allocator| allocator.age_caches());
    }

    /// Has the zonelists rebuilt.
    pub(super) fn rebuild(&mut self) {
        self.call(Call::Rebuild, |allocator| allocator.rebuild_zonelists());
    }

    /// Asks for a run and keeps it, if there is room for it.
    pub(super) fn take_and_hold(&mut self, class: Class, order: Order) {
        let taken = if self.may_hold(order) { self.take(class, order) } else { None };
        taken.into_iter().for_each(|run| self.hold(run));
    }

    /// Asks for a run and frees it at once.
    pub(super) fn take_and_give(&mut self, class: Class, order: Order) {
        if let Some(run) = self.take(class, order) {
            self.give(run);
        }
    }

    /// A class of requests, and an order from `orders`. Handlers do not wait: what they interrupt may be whom they would
    /// wait for.
    pub(super) fn wish(&mut self, orders: &[u8]) -> (Class, Order) {
        let classes = if self.whose.depth == 0 { &Class::ALL[..] } else { &Class::ANYWHERE };
        let class = classes[self.dice.usize(..classes.len())];
        (class, Order::new(orders[self.dice.usize(..orders.len())]).unwrap_or(Order::ZERO))
    }

    /// Keeps a run.
    pub(super) fn hold(&mut self, run: Run) {
        self.frames += run.frames();
        self.held.push(run);
    }

    /// One of the runs held, which is the caller's then.
    pub(super) fn pick(&mut self) -> Option<Run> {
        if self.held.is_empty() {
            return None;
        }
        let run = self.held.swap_remove(self.dice.usize(..self.held.len()));
        self.frames -= run.frames();
        Some(run)
    }

    /// Splits one of the runs held.
    pub(super) fn split_one(&mut self) {
        if let Some(run) = self.pick() {
            self.split(run);
        }
    }

    /// Leaves one of the runs held on the shelf and keeps what was left there.
    pub(super) fn trade_one(&mut self) {
        if let Some(run) = self.pick() {
            let place = self.dice.usize(..);
            let back = self.stage.trade(place, Some(run));
            back.into_iter().for_each(|run| self.hold(run));
        }
    }

    /// Frees one of the runs held.
    pub(super) fn give_one(&mut self) {
        if let Some(run) = self.pick() {
            self.give(run);
        }
    }

    /// Frees what is held beyond what may be.
    pub(super) fn trim(&mut self) {
        while self.frames > self.stage.limit(self.room) {
            self.give_one();
        }
    }

    /// Frees everything held.
    pub(super) fn give_all(&mut self) {
        while let Some(run) = self.pick() {
            self.give(run);
        }
    }

    /// Stamps a run that was handed out.
    fn own(&mut self, pfn: Pfn, order: Order) -> Run {
        self.serial += HANDS;
        let run = Run::new(self.serial, pfn, order);
        if !self.stage.owners.has_place(pfn, order) {
            self.tally.broke(Violation::Nowhere { pfn, order });
        }
        let taken = self.stage.owners.take(run);
        self.judge(taken);
        run
    }

    fn judge(&mut self, outcome: Result<(), Violation>) {
        if let Err(violation) = outcome {
            self.tally.broke(violation);
        }
    }

    /// Frees a run. Handlers do so by the nolock pair.
    pub(super) fn give(&mut self, run: Run) {
        let nolock = self.whose.depth > 0;
        self.give_by(run, |allocator, pfn, order| {
            // SAFETY: the run was allocated, or split off, with this order, and its frames are held by nobody else: a `Run`
            // moves from hand to hand and is freed once. Nobody touches frames at all.
            unsafe { if nolock { allocator.free_nolock(pfn, order) } else { allocator.free_raw(pfn, order) } }
        });
    }

    /// Frees a run by the nolock pair.
    pub(super) fn give_nolock(&mut self, run: Run) {
        // SAFETY: as in `give`.
        self.give_by(run, |allocator, pfn, order| unsafe { allocator.free_nolock(pfn, order) });
    }

    fn give_by(
        &mut self,
        run: Run,
        free: impl FnOnce(&PageAllocator<'_, SimulatedPlatform>, Pfn, Order) -> Result<(), FreeError>,
    ) {
        let given = self.stage.owners.give(run);
        self.judge(given);
        let (pfn, order) = (run.pfn(), run.order());
        let freed = self.call(Call::Free, |allocator| free(allocator, pfn, order));
        self.judge(freed.map_err(|error| Violation::FreeRefused { pfn, order, error }));
    }

    /// Splits a run into parts, which are held and freed on their own.
    fn split(&mut self, run: Run) {
        let (pfn, from) = (run.pfn(), run.order());
        let to = Order::new(from.get().saturating_sub(self.dice.u8(0..4))).unwrap_or(Order::ZERO);
        if self.held.len() + (from.frames() / to.frames()) as usize > self.held.capacity() {
            return self.give(run);
        }
        let given = self.stage.owners.give(run);
        self.judge(given);
        // SAFETY: the run is held here and nowhere else; from now on only its parts are.
        let split = self.call(Call::Split, |allocator| unsafe { allocator.split_raw(pfn, from, to) });
        self.judge(split.map_err(|error| Violation::FreeRefused { pfn, order: to, error }));
        for at in (0..from.frames()).step_by(to.frames() as usize) {
            let part = self.own(pfn.add(at), to);
            self.hold(part);
        }
    }

    /// Allocates scattered frames, stamps them, and frees them.
    pub(super) fn bulk(&mut self, class: Class) {
        let mut groups = [Group::EMPTY; 4];
        let (request, frames) = (class.request(Order::ZERO), self.dice.u64(1..=96));
        let filled =
            self.call(Call::AllocBulk, |allocator| allocator.alloc_bulk(&request, frames, &mut groups));
        let groups = match filled {
            Ok(filled) => &groups[..filled],
            Err(error) => return self.refused(class, Order::ZERO, error),
        };
        let first = self.serial + HANDS;
        groups.iter().flat_map(|group| group.iter()).for_each(|pfn| {
            self.own(pfn, Order::ZERO);
        });
        let serials = (first..).step_by(HANDS as usize);
        for (pfn, serial) in groups.iter().flat_map(|group| group.iter()).zip(serials) {
            let given = self.stage.owners.give(Run::new(serial, pfn, Order::ZERO));
            self.judge(given);
        }
        // SAFETY: allocated above and handed to nobody.
        let freed = self.call(Call::FreeBulk, |allocator| unsafe { allocator.free_bulk(groups) });
        let pfn = groups.first().map_or(Pfn::new(0), |group| group.base);
        self.judge(freed.map_err(|error| Violation::FreeRefused { pfn, order: Order::ZERO, error }));
    }

    /// Frees what must not be freed: no run of the order is allocated there. Only for allocators that check.
    pub(super) fn misuse(&mut self, pfn: Pfn, order: Order) {
        // SAFETY: in checked mode a free that is not the caller's to make is refused, but for a stale one of a run allocated
        // again with the same order: no such run begins at the frame, for its owner, who is the caller, has another.
        let freed = self.call(Call::Free, |allocator| unsafe { allocator.free_raw(pfn, order) });
        if freed.is_ok() {
            self.tally.broke(Violation::FreeAccepted { pfn, order });
        }
    }

    /// A zone.
    pub(super) fn zone(&mut self) -> Ground {
        let at = self.dice.usize(..self.stage.zones.len());
        self.stage.zones[at]
    }

    /// Empties one CPU's words.
    pub(super) fn drain_one(&mut self) {
        let cpu = self.dice.usize(..self.stage.allocator().cpus());
        self.call(Call::Drain, |allocator| allocator.drain_cpu(cpu));
    }

    /// Empties all CPUs' words.
    pub(super) fn drain_all(&mut self) {
        self.call(Call::Drain, |allocator| allocator.drain_all());
    }

    /// A pass over idle caches.
    pub(super) fn age_caches(&mut self) {
        self.call(Call::Drain, |allocator| allocator.age_caches());
    }

    /// Closes a zone's caches, makes sure that they stay empty during `work`, and opens them again.
    pub(super) fn while_closed(&mut self, mut work: impl FnMut(&mut Self)) {
        let zone = self.zone().id;
        self.call(Call::Close, |allocator| allocator.close_caches(zone));
        work(self);
        let cached =
            self.stage.allocator().zones().find(|info| info.id == zone).map_or(0, |info| info.cached);
        if cached != 0 {
            self.tally.broke(Violation::CachedClosed { zone, frames: cached });
        }
        self.call(Call::Reopen, |allocator| allocator.reopen_caches(zone));
    }

    /// Isolates a block, and ends that.
    pub(super) fn isolate(&mut self) {
        let span = self.zone().span;
        let block = self.dice.u64(..span.frames() / BLOCK_FRAMES) * BLOCK_FRAMES;
        let range = FrameRange::new(span.start.add(block), span.start.add(block + BLOCK_FRAMES));
        // Refused where others hold claims on the block's frames: that is theirs to do.
        if self.call(Call::Isolate, |allocator| allocator.isolate(range)).is_ok() {
            let _ = self.call(Call::Unisolate, |allocator| allocator.unisolate(range));
        }
    }
}
