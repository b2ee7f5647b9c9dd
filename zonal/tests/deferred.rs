//! Objects that are freed after a grace period: where they are kept, when they go, and what comes back to the allocator.

mod support;

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use support::{FakeCpu, Leaked, Setup, audited};
use zonal::{Collected, DeferredFree, DeferredHost, Gfp, Head, Order, Pfn, Pile, Queued};
use zonal_testkit::{BLOCK, Machine};

/// Objects on a sheet.
const SHEET: usize = 508;
/// Frames of the machine.
const FRAMES: u64 = 2 * BLOCK;

/// A frame's bytes.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Bytes([u8; 4096]);

/// An embedder whose grace periods end when the test says so.
struct Host {
    memory: NonNull<Bytes>,
    reachable: Cell<bool>,
    started: Cell<u64>,
    /// Grace periods up to this one are over.
    over: Cell<u64>,
    /// How often it was asked whether one is over.
    asked: Cell<u64>,
    freed: RefCell<Vec<NonNull<Head>>>,
    /// Called in the middle of `memory` and `start`, once.
    interrupt: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl Host {
    fn leaked() -> &'static Self {
        let memory = vec![Bytes([0; 4096]); FRAMES as usize].leak();
        Box::leak(Box::new(Self {
            memory: NonNull::from(memory).cast(),
            reachable: Cell::new(true),
            started: Cell::new(0),
            over: Cell::new(0),
            asked: Cell::new(0),
            freed: RefCell::default(),
            interrupt: RefCell::default(),
        }))
    }

    fn interrupted(&self) {
        let interrupt = self.interrupt.borrow_mut().take();
        interrupt.into_iter().for_each(|interrupt| interrupt());
    }

    /// Every grace period begun is over.
    fn pass(&self) {
        self.over.set(self.started.get());
    }

    fn freed(&self) -> usize {
        self.freed.borrow().len()
    }
}

// SAFETY: (1) each frame has its place in a leaked array. (2) There are no readers but the test, which reads nothing.
unsafe impl DeferredHost for Host {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        self.interrupted();
        // SAFETY: the machine has as many frames as the array.
        self.reachable.get().then(|| unsafe { self.memory.add(pfn.get() as usize) }.cast())
    }

    fn start(&self) -> u64 {
        self.started.set(self.started.get() + 1);
        let started = self.started.get();
        self.interrupted();
        started
    }

    fn is_over(&self, cookie: u64) -> bool {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() < 100_000, "a collection looks at what waits once, and waits for nobody");
        cookie <= self.over.get()
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        self.freed.borrow_mut().push(object);
        0
    }

    /// As if each were a frame.
    fn worth(&self, objects: u64) -> u64 {
        objects
    }
}

/// A queue and what it stands on.
#[derive(Clone, Copy)]
struct Ground {
    allocator: &'static Leaked,
    host: &'static Host,
    queue: &'static DeferredFree<Box<[Pile]>>,
}

impl Ground {
    /// With so many frames for each of two CPUs.
    fn with(limit: u64) -> Self {
        let machine = Machine::one_node(2, &[(0, FRAMES)]);
        let allocator = Setup::of(&machine).build(FakeCpu::leaked()).expect("a good machine");
        let piles: Box<[Pile]> = (0..2).map(|_| Pile::new()).collect();
        let queue = DeferredFree::new(piles, limit).expect("there are piles");
        Self {
            allocator: Box::leak(Box::new(allocator)),
            host: Host::leaked(),
            queue: Box::leak(Box::new(queue)),
        }
    }

    fn queue(self) -> Queued {
        let object = NonNull::from(Box::leak(Box::new(Head::new())));
        // SAFETY: nobody else knows the object, which stays; the host and the allocator are the queue's.
        unsafe { self.queue.defer(self.allocator, self.host, object) }
    }

    fn collect(self) -> Collected {
        // SAFETY: as above.
        unsafe { self.queue.collect(self.allocator, self.host) }
    }

    /// Everything that was queued is freed, once, and nothing is left.
    #[track_caller]
    fn assert_freed(self, objects: usize) {
        for _ in 0..2 {
            self.collect();
            self.host.pass();
        }
        self.collect();
        let mut freed = self.host.freed.borrow().clone();
        freed.sort_unstable();
        freed.dedup();
        assert_eq!((freed.len(), self.host.freed()), (objects, objects), "each once");
        assert!(self.queue.is_empty());
        assert_eq!(self.queue.objects(), 0);
        assert_eq!((self.queue.frames(), audited(self.allocator).allocated), (0, 0), "frames are back");
    }
}

#[test]
fn objects_wait_on_sheets_until_their_grace_period_is_over() {
    let ground = Ground::with(4);
    let queued: Vec<Queued> = (0..2 * SHEET).map(|_| ground.queue()).collect();
    for (at, queued) in queued.into_iter().enumerate() {
        assert_eq!(queued, if at % SHEET == 0 { Queued::OnNewSheet } else { Queued::OnSheet }, "{at}");
    }
    assert_eq!((ground.queue.frames(), audited(ground.allocator).allocated), (2, 2));
    for _ in 0..3 {
        assert_eq!(ground.collect(), Collected::default(), "no grace period has ended");
    }
    ground.host.pass();
    ground.queue();
    assert_eq!(ground.collect(), Collected { objects: 2 * SHEET as u64, frames: 2 });
    assert_eq!(ground.host.freed(), 2 * SHEET, "what came later waits for its own");
    ground.assert_freed(2 * SHEET + 1);
}

#[test]
fn without_frames_objects_wait_by_their_heads() {
    let ground = Ground::with(4);
    let hoard: Vec<Pfn> =
        std::iter::from_fn(|| ground.allocator.alloc_nolock(Gfp::empty(), None, Order::ZERO).ok()).collect();
    assert_eq!(hoard.len() as u64, FRAMES);
    assert!((0..10).all(|_| ground.queue() == Queued::ByHead));
    assert_eq!(ground.collect(), Collected::default());
    assert_eq!(ground.collect(), Collected::default(), "no grace period has ended");
    ground.host.pass();
    assert_eq!(ground.collect(), Collected { objects: 10, frames: 0 });
    for pfn in hoard {
        // SAFETY: taken above, and freed once.
        unsafe { ground.allocator.free_nolock(pfn, Order::ZERO) }.expect("it was taken");
    }
    assert_eq!(ground.queue(), Queued::OnNewSheet);
    ground.assert_freed(11);
}

#[test]
fn a_cpu_has_no_more_frames_than_its_limit() {
    let ground = Ground::with(1);
    for at in 0..SHEET + 100 {
        assert_eq!(ground.queue() == Queued::ByHead, at >= SHEET, "{at}");
    }
    assert_eq!((ground.queue.frames(), audited(ground.allocator).allocated), (1, 1));
    assert_eq!(ground.collect(), Collected::default());
    assert_eq!(ground.queue(), Queued::ByHead, "waiting sheets count");
    ground.assert_freed(SHEET + 101);
    assert_eq!(Ground::with(0).queue(), Queued::ByHead);
}

#[test]
fn what_is_queued_when_a_grace_period_begins_is_not_freed_by_it() {
    let ground = Ground::with(4);
    ground.queue();
    *ground.host.interrupt.borrow_mut() = Some(Box::new(move || {
        ground.queue();
    }));
    ground.collect();
    ground.host.over.set(1);
    ground.collect();
    assert_eq!(ground.host.freed(), 1, "the first grace period began before the second object came");
    ground.assert_freed(2);
}

#[test]
fn who_is_interrupted_by_another_with_a_new_sheet_gives_its_own_back() {
    let ground = Ground::with(4);
    *ground.host.interrupt.borrow_mut() = Some(Box::new(move || {
        assert_eq!(ground.queue(), Queued::OnNewSheet);
    }));
    assert_eq!(ground.queue(), Queued::OnSheet);
    assert_eq!((ground.queue.frames(), audited(ground.allocator).allocated), (1, 1));
    ground.assert_freed(2);
}

#[test]
fn what_a_shrinker_counts_is_frames_and_what_objects_are_worth() {
    let ground = Ground::with(2);
    let expect = |objects: usize, frames: u64, when: &str| {
        let (counted, taken) = (ground.queue.objects(), ground.queue.frames());
        assert_eq!((counted, taken), (objects as u64, frames), "{when}");
        assert_eq!(ground.queue.reclaimable(ground.host), counted + taken, "{when}");
    };
    expect(0, 0, "empty");
    (0..2 * SHEET + 100).for_each(|_| _ = ground.queue());
    expect(2 * SHEET + 100, 2, "two full sheets and a hundred by their heads");
    ground.collect();
    expect(2 * SHEET + 100, 2, "all of it waits");
    (0..10).for_each(|_| _ = ground.queue());
    expect(2 * SHEET + 110, 2, "ten more");
    ground.host.pass();
    ground.collect();
    expect(10, 0, "they wait");
    ground.queue();
    expect(11, 1, "on a sheet again");
    ground.assert_freed(2 * SHEET + 111);
    expect(0, 0, "all freed");
}

#[test]
fn a_shrinker_gets_frames_back_in_one_call_where_grace_periods_are_short() {
    let ground = Ground::with(4);
    ground.host.over.set(u64::MAX);
    ground.queue();
    // SAFETY: the host and the allocator are the queue's.
    let given = unsafe { ground.queue.shrink(ground.allocator, ground.host, 1) };
    assert_eq!((given, ground.queue.frames(), ground.host.freed()), (1, 0, 1));
}

#[test]
fn frames_out_of_reach_and_no_piles_at_all() {
    let ground = Ground::with(4);
    ground.host.reachable.set(false);
    assert_eq!(ground.queue(), Queued::ByHead);
    assert_eq!(audited(ground.allocator).allocated, 0);
    ground.assert_freed(1);
    assert!(DeferredFree::new(&[] as &[Pile], 1).is_none());
}
