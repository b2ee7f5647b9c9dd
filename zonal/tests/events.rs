//! What is counted, against what a test counted itself. (What counting costs: `cargo xtask golden`.)

mod support;

use std::sync::Barrier;
use std::thread;

use support::{FakeCpu, Leaked, Setup, audited, built, order};
use zonal::{Caching, Group, NodeId, Numa, Order, Pfn, Request};
use zonal_testkit::{Machine, Memory};

const FRAME: Request = Request::order(Order::ZERO);
/// Frames of each node of [`two_nodes`].
const NODE: u64 = 2048;

/// Two nodes of four blocks, a Normal zone and a CPU each.
fn two_nodes() -> Machine {
    Machine {
        memory: vec![Memory::of(0, 0..NODE), Memory::of(1, 16 * NODE..17 * NODE)],
        reserved: Vec::new(),
        distances: vec![10, 20, 20, 10],
        cpus: vec![0, 1],
        marks: Vec::new(),
        dma_end: 0,
        dma32_end: 0,
    }
}

/// An allocator of [`two_nodes`] and what should have been counted.
struct Counted {
    allocator: Leaked,
    cpu: &'static FakeCpu,
    allocated: u64,
    freed: u64,
    numa: [Numa; 2],
}

impl Counted {
    fn new(setup: &Setup) -> Self {
        let (allocator, cpu) = built(setup);
        Self { allocator, cpu, allocated: 0, freed: 0, numa: [Numa::default(); 2] }
    }

    /// A run at `pfn` was taken by the node's CPU for a request that preferred a node.
    fn took(&mut self, pfn: Pfn, by: Order, (near, preferred): (usize, usize)) {
        self.allocated += by.frames();
        let node = usize::from(pfn.get() >= NODE);
        let numa = &mut self.numa[node];
        *(if node == near { &mut numa.local } else { &mut numa.other }) += 1;
        *(if node == preferred { &mut numa.hit } else { &mut numa.miss }) += 1;
        self.numa[preferred].foreign += u64::from(node != preferred);
    }

    /// A run, if there is one.
    fn alloc(&mut self, by: Order, near: usize, asked: Option<usize>) -> Option<(Pfn, Order)> {
        self.cpu.move_to(near);
        let request = Request::order(by);
        let request = asked.map_or(request, |node| request.node(NodeId(node as u16)));
        let pfn = self.allocator.alloc_raw(&request).ok()?;
        self.took(pfn, by, (near, asked.unwrap_or(near)));
        Some((pfn, by))
    }

    fn free(&mut self, (pfn, by): (Pfn, Order), near: usize) {
        self.cpu.move_to(near);
        // SAFETY: the runs are the tests' own, each is freed once, and nobody touches their frames.
        unsafe { self.allocator.free_raw(pfn, by) }.expect("the run is held");
        self.freed += by.frames();
    }

    /// Frames from anywhere in bulk, and back.
    fn bulk(&mut self, frames: u64, near: usize) {
        self.cpu.move_to(near);
        let mut groups = [Group::EMPTY; 128];
        let filled = self.allocator.alloc_bulk(&FRAME, frames, &mut groups).expect("there are some");
        for pfn in groups[..filled].iter().flat_map(|group| group.iter()) {
            self.took(pfn, Order::ZERO, (near, near));
            self.freed += 1;
        }
        // SAFETY: as in `free`.
        unsafe { self.allocator.free_bulk(&groups[..filled]) }.expect("the frames are held");
    }

    #[track_caller]
    fn check(&self) {
        let events = self.allocator.events();
        let allocated: u64 = events.allocated.iter().sum();
        assert_eq!((allocated, events.freed), (self.allocated, self.freed));
        let numa: Vec<Numa> = self.allocator.zones().map(|zone| self.allocator.numa(zone.id)).collect();
        assert_eq!(numa, self.numa);
        assert_eq!(allocated - events.freed, audited(&self.allocator).allocated);
    }
}

#[test]
fn every_way_to_take_and_free_is_counted() {
    let setups = [Caching::Off, Caching::Local, Caching::All].map(|c| Setup::of(&two_nodes()).caching(c));
    for setup in setups.iter().cloned().chain([Setup::of(&two_nodes()).checked()]) {
        let mut counted = Counted::new(&setup);
        for round in 0..3 {
            let mut held = Vec::new();
            for step in 0.. {
                let by = order([0, 0, 3, 5, 6, 0, 9, 0, 2, 4, 7, 1, 8][step % 13]);
                let asked = [None, Some(0), Some(1), None, None][step % 5];
                let near = [0, 1, 1, 0][step % 4];
                let run = counted.alloc(by, near, asked);
                match run.or_else(|| counted.alloc(Order::ZERO, near, asked)) {
                    Some(run) => held.push(run),
                    None => break,
                }
            }
            counted.check();
            while held.len() > 20 {
                let run = held.swap_remove((held.len() * 7 + round) % held.len());
                counted.free(run, held.len() % 2);
            }
            counted.check();
            counted.bulk(700, round % 2);
            held.into_iter().for_each(|run| counted.free(run, 0));
            counted.bulk(3000, 1);
            counted.check();
        }
        assert!(counted.numa.iter().all(|numa| numa.miss > 0 && numa.foreign > 0), "both nodes were full");
    }
}

#[test]
fn a_refused_request_and_a_refused_free_count_nothing() {
    let mut counted = Counted::new(&Setup::of(&two_nodes()).checked());
    let run = counted.alloc(order(3), 0, None).expect("memory is empty");
    for pfn in [run.0.add(1), Pfn::new(5 * NODE)] {
        // SAFETY: misuse on purpose, which checked mode refuses.
        assert!(unsafe { counted.allocator.free_raw(pfn, Order::ZERO) }.is_err());
    }
    assert!(counted.alloc(order(12), 0, None).is_none());
    counted.check();
}

#[test]
fn exact_counts_and_runs_at_a_place_are_counted() {
    let mut counted = Counted::new(&Setup::of(&two_nodes()).checked());
    let allocator = &counted.allocator;
    let pfn = allocator.alloc_exact(&FRAME, 300).expect("memory is empty");
    let events = allocator.events();
    assert_eq!((events.allocated[2], events.freed), (512, 212), "what is cut off is freed");
    // SAFETY: the frames are the test's own.
    unsafe { allocator.free_exact(pfn, 300) }.expect("the run is held");
    let place = Pfn::new(16 * NODE + 64);
    allocator.alloc_at(&Request::order(order(4)), place).expect("it is free");
    (counted.allocated, counted.freed) = (528, 512);
    counted.numa[0] = Numa { hit: 1, local: 1, ..Numa::default() };
    counted.numa[1] = Numa { hit: 1, other: 1, ..Numa::default() };
    counted.check();
}

#[test]
fn checked_mode_misses_nothing() {
    const PAIRS: u64 = 100_000;
    let (allocator, _) = built(&Setup::of(&two_nodes()).checked());
    let start = Barrier::new(2); // both threads say that they are on CPU 0
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..PAIRS {
                    let pfn = allocator.alloc_raw(&FRAME).expect("two frames are held at most");
                    // SAFETY: the frame is this thread's, and nobody touches it.
                    unsafe { allocator.free_raw(pfn, Order::ZERO) }.expect("the frame is held");
                }
            });
        }
    });
    let events = allocator.events();
    assert_eq!((events.allocated[2], events.freed, events.numa.hit), (2 * PAIRS, 2 * PAIRS, 2 * PAIRS));
}
