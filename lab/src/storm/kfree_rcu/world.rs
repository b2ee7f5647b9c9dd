//! What the flood goes through: objects at places that readers look at, their queue, and a pool whose frames it may have.
//!
//! | an object's word | |
//! |---|---|
//! | bits 0, 1 | 0 free, 1 live (in somebody's hand or at a place), 2 queued |
//! | the rest | how often it was freed |
//!
//! Invariant: who has exchanged free for live puts the object at one place; who takes it from there alone exchanges live for
//! queued, and queues it.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

use anyhow::{Context, Result, anyhow};
use zonal::{DeferredFree, DeferredHost, Demand, Head, NodeId, Order, Pfn, Pile, Queued, Tuning, Verdict};
use zonal_linux::{Grace, Machine, Pool, Registration, Shrinker, WordKind};

use super::super::cpus::Cpus;

/// Objects there are.
pub(super) const OBJECTS: usize = 1 << 16;
/// Places at which some of them are seen.
const PLACES: usize = 64;
/// Piles of the queue, and bookkeeping frames that each may have.
const PILES: usize = 2;
const LIMIT: u64 = 16;
/// Bookkeeping frames in all.
pub(super) const MOST: u64 = PILES as u64 * LIMIT;
/// Objects looked at to find a free one.
const TRIES: usize = 64;

const FREE: u64 = 0;
const LIVE: u64 = 1;
const QUEUED: u64 = 2;
const STATE: u64 = 3;

/// Named by its head.
#[repr(C)]
pub(super) struct Object {
    head: Head,
    word: AtomicU64,
}

impl Object {
    /// Its word, to be compared with [`Object::is_as`] while it may not be freed.
    pub(super) fn seen(&self) -> u64 {
        self.word.load(Acquire)
    }

    /// Whether it was in use when it was seen, and has not been freed since.
    pub(super) fn is_as(&self, seen: u64) -> bool {
        seen & STATE != FREE && (self.word.load(Acquire) | STATE) == (seen | STATE)
    }

    fn goes(&self, from: u64, to: u64) -> bool {
        let word = self.word.load(Relaxed);
        word & STATE == from && self.word.compare_exchange(word, word - from + to, AcqRel, Relaxed).is_ok()
    }
}

/// What contexts counted. Exact at a standstill.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) queued: AtomicU64,
    pub(super) by_head: AtomicU64,
    pub(super) freed: AtomicU64,
    /// Frees of objects that were not queued.
    pub(super) wrong: AtomicU64,
    /// Objects that went while somebody looked at them.
    pub(super) early: AtomicU64,
    pub(super) looks: AtomicU64,
    pub(super) collections: AtomicU64,
    /// Frames that came back through the shrinker.
    pub(super) shrunk: AtomicU64,
}

/// Everything, for as long as the program runs.
pub(super) struct World {
    pub(super) pool: Pool,
    pub(super) grace: Grace,
    queue: DeferredFree<Box<[Pile]>>,
    objects: Box<[Object]>,
    places: Box<[AtomicPtr<Object>]>,
    pub(super) counts: Counts,
}

// SAFETY: (1) The pool's address of a frame is its memory, as long as the pool lives: as long as the program. (2) `Grace` says
// when those have left who came before, and its `start` is called after the object was taken from its place.
unsafe impl DeferredHost for World {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        self.pool.address(pfn)
    }

    fn start(&self) -> u64 {
        self.grace.start()
    }

    fn is_over(&self, cookie: u64) -> bool {
        self.grace.is_over(cookie)
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        // SAFETY: every head that is queued is the first field of an object of this world.
        let object = unsafe { object.cast::<Object>().as_ref() };
        // Counted first: whoever finds it free may queue it again.
        self.counts.freed.fetch_add(1, Relaxed);
        if !object.goes(QUEUED, STATE + 1) {
            self.counts.wrong.fetch_add(1, Relaxed);
        }
        0
    }

    /// Objects are no frames of the pool.
    fn worth(&self, _objects: u64) -> u64 {
        0
    }
}

/// What a pool asks for frames.
struct Squeeze(&'static World);

impl Shrinker for Squeeze {
    fn count(&self, _node: NodeId) -> u64 {
        self.0.queue.reclaimable(self.0)
    }

    fn scan(&self, frames: u64, _demand: &Demand) -> Option<u64> {
        // SAFETY: the world is the queue's only host, and its pool the only allocator.
        let given = unsafe { self.0.queue.shrink(self.0.pool.allocator(), self.0, frames) };
        self.0.counts.shrunk.fetch_add(given, Relaxed);
        Some(given)
    }
}

impl World {
    /// 32 MiB of real memory with Linux's marks.
    pub(super) fn build(words: WordKind) -> Result<&'static Self> {
        let machine = Machine::uniform(1, 32 << 20, 2)?.with_tuning(Tuning::default())?.with_words(words);
        Cpus::of(words, machine.cpus().len())?;
        let pool = Pool::plan(&machine).on_oom(|_| Verdict::GiveUp).build()?;
        let piles: Box<[Pile]> = (0..PILES).map(|_| Pile::new()).collect();
        Ok(Box::leak(Box::new(Self {
            pool,
            grace: Grace::default(),
            queue: DeferredFree::new(piles, LIMIT).context("a queue has piles")?,
            objects: (0..OBJECTS).map(|_| Object { head: Head::new(), word: AtomicU64::new(FREE) }).collect(),
            places: (0..PLACES).map(|_| AtomicPtr::new(null_mut())).collect(),
            counts: Counts::default(),
        })))
    }

    /// Has the pool ask the queue for frames while what is returned lives.
    pub(super) fn register(&'static self) -> Registration {
        self.pool.shrinkers().register(Squeeze(self))
    }

    /// Bookkeeping frames.
    pub(super) fn frames(&self) -> u64 {
        self.queue.frames()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What is at a place. Who reads may look at it.
    pub(super) fn at(&self, place: usize) -> Option<&Object> {
        let object = NonNull::new(self.places.get(place % PLACES)?.load(Acquire))?;
        // SAFETY: an object of this world, which goes with it; that it may be another by now is what readers look for.
        Some(unsafe { object.as_ref() })
    }

    /// Puts a free object, looked for from `from`, at a place, and queues what was there. Any context.
    pub(super) fn replace(&self, place: usize, from: usize) {
        let mut candidates = (0..TRIES).filter_map(|step| self.objects.get((from + step) % OBJECTS));
        if let Some(object) = candidates.find(|object| object.goes(FREE, LIVE)) {
            self.put(place, NonNull::from(object).as_ptr());
        }
    }

    /// Empties a place.
    fn put(&self, place: usize, object: *mut Object) {
        let Some(place) = self.places.get(place % PLACES) else { return };
        // Release: who reads the place sees the object live; Acquire: this is the last one to see what was there.
        let before = NonNull::new(place.swap(object, AcqRel));
        before.into_iter().for_each(|before| self.defer(before));
    }

    fn defer(&self, object: NonNull<Object>) {
        // SAFETY: an object of this world.
        if !unsafe { object.as_ref() }.goes(LIVE, QUEUED) {
            self.counts.wrong.fetch_add(1, Relaxed);
            return;
        }
        self.counts.queued.fetch_add(1, Relaxed);
        // SAFETY: (1) it was taken from its place, by this thread alone. (2) Objects stay; this one was live. (3) As in `collect`.
        let queued = unsafe { self.queue.defer(self.pool.allocator(), self, object.cast()) };
        self.counts.by_head.fetch_add(u64::from(queued == Queued::ByHead), Relaxed);
    }

    /// One collection.
    pub(super) fn collect(&self) {
        // SAFETY: the world is the queue's only host, and its pool the only allocator.
        unsafe { self.queue.collect(self.pool.allocator(), self) };
        self.counts.collections.fetch_add(1, Release);
    }

    /// Queues what is at the places. For a standstill.
    pub(super) fn clear(&self) {
        (0..PLACES).for_each(|place| self.put(place, null_mut()));
    }

    /// Queues every object that is free. For a standstill.
    pub(super) fn queue_all(&self) {
        let free = self.objects.iter().filter(|object| object.goes(FREE, LIVE));
        free.for_each(|object| self.defer(NonNull::from(object)));
    }

    /// Every frame above the min marks, which nolock requests leave too.
    pub(super) fn hoard(&self) -> Vec<Pfn> {
        let allocator = self.pool.allocator();
        let take = || allocator.alloc_raw(&zonal::Request::order(Order::ZERO).nowait()).ok();
        std::iter::from_fn(take).collect()
    }

    /// Frees frames.
    pub(super) fn give(&self, frames: Vec<Pfn>) -> Result<()> {
        for pfn in frames {
            // SAFETY: taken by this storm, one by one, and given back once; nobody touches them.
            let given = unsafe { self.pool.allocator().free_raw(pfn, Order::ZERO) };
            given.map_err(|error| anyhow!("a frame taken was refused: {error}"))?;
        }
        Ok(())
    }
}
