//! Requests from anywhere: each case in which Linux's nolock pair fails (linux-facts 1.2), or leaves frames where nobody finds
//! them, and what such a request must not do.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;

use support::{Setup, audited, order};
use zonal::{
    AllocError, Caching, Context, Cpuset, Daemon, Demand, FreeError, Gfp, HotRange, Marks, MemoryEvent,
    Mempolicy, NodeId, NodeMask, OnlineType, Oom, Order, PageAllocator, Pfn, Platform, Request,
    SECTION_FRAMES, Task, Verdict, Veto,
};
use zonal_testkit::{BLOCK, Class, Machine, Matrix, Memory};

const MARKS: Marks = Marks { min: 1000, low: 2000, high: 3000, promo: 4000 };

/// An embedder that writes down what it is asked to do, and has a nolock pair made in the middle of that.
#[derive(Default)]
struct Witness {
    cpu: Cell<usize>,
    task: Cell<Task>,
    reaches: Cell<bool>,
    calls: RefCell<Vec<&'static str>>,
    /// Pairs still to be made at the next calls.
    pairs: Cell<u32>,
    allocator: Cell<Option<&'static Pages>>,
}

type Pages = PageAllocator<'static, &'static Witness>;

impl Witness {
    fn note(&self, call: &'static str) {
        self.calls.borrow_mut().push(call);
        self.pair();
    }

    /// What an NMI that comes now does.
    fn pair(&self) {
        let Some(allocator) = self.allocator.get() else { return };
        if self.pairs.get() == 0 {
            return;
        }
        self.pairs.set(self.pairs.get() - 1);
        let pfn = allocator.alloc_nolock(Gfp::empty(), None, Order::ZERO).expect("there is plenty");
        free(allocator, pfn, 0);
    }
}

impl Platform for Witness {
    fn cpu(&self) -> usize {
        self.pair();
        self.cpu.get()
    }

    fn zero(&self, _first: Pfn, _frames: u64) -> bool {
        self.calls.borrow_mut().push("zero");
        self.reaches.get()
    }

    fn task(&self) -> Task {
        self.task.get()
    }

    fn wake(&self, _daemon: Daemon, _node: NodeId) {
        self.note("wake");
    }

    fn reclaim(&self, _demand: &Demand) -> u64 {
        self.note("reclaim");
        0
    }

    fn oom(&self, _oom: &Oom) -> Verdict {
        self.note("oom");
        Verdict::GiveUp
    }

    fn pause(&self) {
        self.note("pause");
    }

    fn report(&self, _report: &dyn Display) {
        self.note("report");
    }

    fn memory_event(&self, _event: &MemoryEvent) -> Result<(), Veto> {
        self.note("memory event");
        Ok(())
    }
}

fn build(setup: &Setup) -> (&'static Pages, &'static Witness) {
    let witness: &'static Witness = Box::leak(Box::default());
    let metadata = setup.lend().expect("the machine is a good one").leak();
    let allocator =
        PageAllocator::new(&setup.config(), witness, metadata).expect("the machine is a good one");
    let allocator: &'static Pages = Box::leak(Box::new(allocator));
    witness.allocator.set(Some(allocator));
    (allocator, witness)
}

/// One node and so many CPUs, with these blocks and [`MARKS`].
fn marked(cpus: usize, blocks: u64) -> (&'static Pages, &'static Witness) {
    let (allocator, witness) = build(&Setup::of(&Machine::one_node(cpus, &[(0, blocks * BLOCK)])));
    allocator.zones().for_each(|zone| assert!(allocator.set_marks(zone.id, MARKS)));
    (allocator, witness)
}

fn alloc(allocator: &Pages, by: u8) -> Result<Pfn, AllocError> {
    allocator.alloc_nolock(Gfp::empty(), None, order(by))
}

/// All that is to be had, by frames.
fn exhaust(allocator: &Pages) -> Vec<Pfn> {
    std::iter::from_fn(|| alloc(allocator, 0).ok()).collect()
}

fn free(allocator: &Pages, pfn: Pfn, by: u8) {
    // SAFETY: the tests free each run they hold once, and touch no frame.
    assert_eq!(unsafe { allocator.free_nolock(pfn, order(by)) }, Ok(()));
}

/// Frames that are free, counted or cached.
fn left(allocator: &Pages) -> u64 {
    allocator.zones().map(|zone| zone.free + zone.cached).sum()
}

#[test]
fn every_order_is_served() {
    let setup = Setup::of(&Machine::one_node(2, &[(0, 1 << 19)]));
    for setup in [setup.clone(), setup.clone().caching(Caching::Off), setup.checked()] {
        let (allocator, _) = build(&setup);
        let before = left(allocator);
        for by in 0..=18 {
            let pfn = alloc(allocator, by).expect("Linux's end at 3 and 9");
            assert!(pfn.is_aligned(order(by)));
            assert_eq!(left(allocator), before - (1 << by));
            free(allocator, pfn, by);
        }
        assert_eq!(left(allocator), before);
        audited(allocator);
    }
}

#[test]
fn it_leaves_the_min_mark_to_the_frame_and_tells_nobody() {
    const TASK: Task = Task { memalloc: false, oom_victim: false, realtime: false, interrupt: false };
    let tasks = [
        TASK,
        Task { memalloc: true, ..TASK },
        Task { oom_victim: true, ..TASK },
        Task { realtime: true, ..TASK },
        Task { interrupt: true, ..TASK },
    ];
    for task in tasks {
        let (allocator, witness) = marked(2, 16);
        witness.task.set(task);
        let had = exhaust(allocator).len() as u64;
        assert_eq!(had, 16 * BLOCK - MARKS.min, "{task:?}");
        let refused = AllocError::NoMemory { order: Order::ZERO, free: 0, in_flight: 0 };
        assert_eq!(alloc(allocator, 0), Err(refused));
        assert_eq!(*witness.calls.borrow(), Vec::<&str>::new(), "{task:?}");
    }
}

#[test]
fn what_is_kept_for_atomic_requests_is_not_had() {
    let (allocator, _) = marked(1, 400);
    let atomic = Request::order(order(1)).atomic();
    while left(allocator) > MARKS.low + BLOCK {
        assert!(alloc(allocator, if left(allocator) > MARKS.low + 2 * BLOCK { 9 } else { 0 }).is_ok());
    }
    while allocator.zones().all(|zone| zone.free_highatomic < 32) {
        assert!(allocator.alloc_raw(&atomic).is_ok(), "one of them goes past the low mark");
    }
    let kept: u64 = allocator.zones().map(|zone| zone.free_highatomic).sum();
    exhaust(allocator);
    assert_eq!(left(allocator), MARKS.min);
    assert!((0..=18).all(|by| alloc(allocator, by).is_err()));
    assert_eq!(allocator.zones().map(|zone| zone.free_highatomic).sum::<u64>(), kept);
}

#[test]
fn flags_that_it_cannot_have_are_refused_by_name() {
    let (allocator, witness) = marked(1, 16);
    witness.reaches.set(true);
    let accepted = Gfp::ACCOUNT | Gfp::ZERO;
    for gfp in Gfp::all().iter() {
        let served = allocator.alloc_nolock(gfp | Gfp::ACCOUNT, None, Order::ZERO);
        match accepted.contains(gfp) {
            true => assert!(served.is_ok(), "{gfp}"),
            false => assert_eq!(served, Err(AllocError::ForbiddenFlags { bits: gfp.bits() }), "{gfp}"),
        }
    }
    let unknown = Gfp::from_bits_retain(1 << 31) | Gfp::KERNEL | accepted;
    let bits = 1 << 31 | Gfp::KERNEL.bits();
    let refused = Err(AllocError::ForbiddenFlags { bits });
    assert_eq!(allocator.alloc_nolock(unknown, None, Order::ZERO), refused);
    assert_eq!(*witness.calls.borrow(), ["zero"], "only who asks for it has it zeroed");
}

#[test]
fn frames_that_nobody_can_zero_go_back() {
    let (allocator, _) = marked(1, 16);
    let before = left(allocator);
    let served = allocator.alloc_nolock(Gfp::ZERO, None, order(4));
    assert!(matches!(served, Err(AllocError::CannotZero { .. })), "{served:?}");
    assert_eq!(left(allocator), before);
}

/// Two nodes of 8 blocks and one of 2, a CPU each.
fn nodes() -> (&'static Pages, &'static Witness) {
    let start = |node: u64| node * SECTION_FRAMES;
    let memory = |(node, blocks): (u64, u64)| Memory {
        frames: start(node)..start(node) + blocks * BLOCK,
        node: node as u16,
        class: Some(Class::Normal),
    };
    let machine = Machine {
        memory: [(0, 8), (1, 8), (2, 2)].map(memory).to_vec(),
        distances: Matrix::full(3, |_, _| 20).distances.concat(),
        cpus: vec![0, 1, 2],
        ..Machine::one_node(3, &[(0, BLOCK)])
    };
    build(&Setup::of(&machine))
}

fn home(pfn: Pfn) -> u64 {
    pfn.get() / SECTION_FRAMES
}

#[test]
fn the_nearest_zone_goes_down_to_its_min_mark_before_the_next_is_asked() {
    let (allocator, witness) = nodes();
    allocator.zones().for_each(|zone| assert!(allocator.set_marks(zone.id, Marks { min: 100, ..MARKS })));
    witness.cpu.set(1);
    let homes: Vec<u64> = exhaust(allocator).into_iter().map(home).collect();
    let of = |node: u64| homes.iter().filter(|&&home| home == node).count() as u64;
    assert_eq!([of(0), of(1), of(2)], [8 * BLOCK - 100, 8 * BLOCK - 100, 2 * BLOCK - 100]);
    assert!(homes.is_sorted_by_key(|home| [1, 2, 0].iter().position(|node| node == home)), "nearest first");
}

#[test]
fn the_node_is_the_cpu_s_or_the_one_that_is_named() {
    let (allocator, witness) = nodes();
    let near = |node| allocator.alloc_nolock(Gfp::empty(), node, order(3)).map(home);
    for cpu in 0..3 {
        witness.cpu.set(cpu);
        assert_eq!(near(None), Ok(cpu as u64));
        assert_eq!(near(Some(NodeId(0))), Ok(0));
        assert_eq!(near(Some(NodeId(3))), Err(AllocError::NoSuchNode { node: NodeId(3) }));
    }
}

#[test]
fn a_cpuset_is_a_hard_wall_and_a_policy_is_none() {
    let (allocator, witness) = nodes();
    let only = |node| NodeMask::EMPTY.with(NodeId(node)).expect("a node of the machine");
    let cpuset = Cpuset::root(only(2)).expect("it has a node");
    let policy = Mempolicy::bind(only(1)).expect("it has a node");
    let ask = |context: &Context<'_>, by| {
        allocator.alloc_nolock_in(context, Gfp::empty(), None, order(by)).map(home)
    };
    let context = Context { policy: Some(&policy), ..Context::default() };
    assert_eq!(ask(&context, 0), Ok(0), "the policy's node is 1");
    let context = Context { cpuset: Some(&cpuset), exiting: true, ..context };
    let served: Vec<u64> = std::iter::from_fn(|| ask(&context, 0).ok()).collect();
    assert_eq!((served.len() as u64, served.iter().all(|&home| home == 2)), (2 * BLOCK, true));
    let refused = AllocError::NoMemory { order: Order::ZERO, free: 0, in_flight: 0 };
    assert_eq!(ask(&context, 0), Err(refused), "the wall is hard even for a task that ends");
    witness.task.set(Task { interrupt: true, ..Task::default() });
    assert_eq!(ask(&context, 0), Ok(0), "an interrupt is no task of the set");
}

/// Mohan, December 2025: 1024 requests, and the 671st fails with 221,198 pages free, since the list of its kind is empty, others
/// hold 491, and the zone is locked.
#[test]
fn what_words_of_other_kinds_and_cpus_hold_is_had() {
    let (allocator, witness) = marked(3, 16);
    let kinds = [Request::order(Order::ZERO), Request::order(Order::ZERO).movable()];
    let kinds = [kinds[0].nowait(), kinds[1].nowait(), kinds[0].reclaimable().nowait()];
    for cpu in 0..3 {
        witness.cpu.set(cpu);
        assert!(kinds.iter().all(|kind| allocator.alloc_raw(kind).is_ok()));
    }
    let cached: u64 = allocator.zones().map(|zone| zone.cached).sum();
    assert!(cached >= 9 * 31, "{cached} frames in words of three kinds and CPUs");
    witness.cpu.set(0);
    assert_eq!(exhaust(allocator).len() as u64, 16 * BLOCK - 9 - MARKS.min);
}

/// The blocks that other CPUs have freed are in their credits, not in the zone's count.
#[test]
fn what_other_cpus_have_freed_is_had() {
    let (allocator, witness) = build(&Setup::of(&Machine::one_node(3, &[(0, 6 * BLOCK)])));
    let blocks: Vec<Pfn> = (0..6).map(|_| alloc(allocator, 9).expect("there are six")).collect();
    for (at, &pfn) in blocks.iter().enumerate() {
        witness.cpu.set(at % 3);
        free(allocator, pfn, 9);
    }
    witness.cpu.set(0);
    assert!((0..6).all(|_| alloc(allocator, 9).is_ok()));
}

/// Linux parks what a contended free brings until an ordinary free comes by.
#[test]
fn what_is_freed_is_had_at_once_and_by_anybody() {
    let (allocator, witness) = build(&Setup::of(&Machine::one_node(2, &[(0, 4 * BLOCK)])));
    for by in (0..=11).rev() {
        let held: Vec<Pfn> = std::iter::from_fn(|| alloc(allocator, by).ok()).collect();
        assert_eq!((held.len() as u64) << by, 4 * BLOCK);
        for &pfn in &held {
            witness.cpu.set(0);
            free(allocator, pfn, by);
            witness.cpu.set(1);
            assert_eq!(alloc(allocator, by), Ok(pfn), "order {by}");
        }
        witness.cpu.set(0);
        held.into_iter().for_each(|pfn| free(allocator, pfn, by));
        witness.cpu.set(1);
    }
    // Frame by frame, too, they are whole blocks again, without a drain or an ordinary free.
    let singles = exhaust(allocator);
    let (even, odd): (Vec<Pfn>, Vec<Pfn>) = singles.into_iter().partition(|pfn| pfn.get() % 2 == 0);
    for (cpu, frames) in [even, odd].into_iter().enumerate() {
        witness.cpu.set(cpu);
        frames.into_iter().for_each(|pfn| free(allocator, pfn, 0));
    }
    let blocks: BTreeSet<Pfn> = std::iter::from_fn(|| alloc(allocator, 9).ok()).collect();
    assert_eq!(blocks.len(), 4);
}

/// Linux's lists take such frees past their bound.
#[test]
fn words_hold_no_more_for_many_frees() {
    let (allocator, _) = build(&Setup::of(&Machine::one_node(1, &[(0, 64 * BLOCK)])));
    let held = exhaust(allocator);
    held.into_iter().rev().for_each(|pfn| free(allocator, pfn, 0));
    let cached: u64 = allocator.zones().map(|zone| zone.cached).sum();
    assert!(cached <= 18 * 32, "{cached} frames in words");
    audited(allocator);
}

#[test]
fn a_free_that_is_none_is_refused() {
    let (allocator, _) = build(&Setup::of(&Machine::one_node(1, &[(0, BLOCK)])).checked());
    let pfn = alloc(allocator, 3).expect("there is room");
    // SAFETY: checked mode refuses what is not the caller's to free.
    let refused = unsafe { allocator.free_nolock(pfn, order(2)) };
    let (allocated, freed) = (order(3), order(2));
    assert_eq!(refused, Err(FreeError::WrongOrder { pfn, allocated, freed }));
    free(allocator, pfn, 3);
    // SAFETY: as above.
    let refused = unsafe { allocator.free_nolock(pfn, order(3)) };
    assert_eq!(refused, Err(FreeError::DoubleFree { pfn, order: order(3) }));
}

/// Linux refuses all while page structs are initialised: what is not there yet is no reason here.
#[test]
fn memory_that_is_still_coming_does_not_matter() {
    let hot = [HotRange::new(8 * SECTION_FRAMES, 9 * SECTION_FRAMES, 0)];
    let (allocator, witness) = build(&Setup::of(&Machine::one_node(1, &[(0, 4 * BLOCK)])).hotplug(&hot));
    let section = support::range(8 * SECTION_FRAMES, 9 * SECTION_FRAMES);
    assert!(allocator.add_memory(section).is_ok());
    assert!(alloc(allocator, 9).is_ok(), "a section that is offline");
    witness.pairs.set(100);
    assert!(allocator.online_memory(section, OnlineType::Kernel).is_ok());
    assert!(allocator.offline_memory(section, &mut |_| {}).is_ok());
    let asked = witness.calls.borrow().iter().filter(|call| **call == "memory event").count();
    assert!(asked >= 4 && witness.pairs.get() <= 100 - asked as u32, "{asked} events");
    witness.pairs.set(0);
    audited(allocator);
}

/// One CPU, where Linux's trylocks always succeed: in the middle of whatever else it does.
#[test]
fn the_only_cpu_may_be_in_the_middle_of_anything() {
    let (allocator, witness) = marked(1, 16);
    let held: Vec<Pfn> = exhaust(allocator);
    held[..64].iter().for_each(|&pfn| free(allocator, pfn, 0));
    witness.pairs.set(1000);
    // Up the ladder in vain, and down again: reclaim, a kill, a report.
    assert!(allocator.alloc_raw(&Request::order(order(8))).is_err());
    let calls: BTreeSet<&str> = witness.calls.borrow().iter().copied().collect();
    assert!(["wake", "reclaim", "report"].iter().all(|call| calls.contains(call)), "{calls:?}");
    assert!(witness.pairs.get() < 1000 - 3);
    witness.pairs.set(0);
    held[64..].iter().for_each(|&pfn| free(allocator, pfn, 0));
    assert_eq!(left(allocator), 16 * BLOCK);
    audited(allocator);
}
