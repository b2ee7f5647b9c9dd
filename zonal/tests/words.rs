//! How many words a request reads where a zone is nearly full: as many whatever its size (x86-64 Linux, stepped).

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use support::{FakeCpu, Setup, built, order};
use zonal::{Order, PageAllocator, Pfn, Request, Reserves};
use zonal_testkit::stepper::{Trace, Window, trace};
use zonal_testkit::{Machine, Seeded};

/// Of so many frames one is free, anywhere among them.
const SPREAD: u64 = 100;
/// 16 GiB.
const SMALL: u64 = 1 << 22;
/// Requests served before the ones that are looked at, and freed after.
const HELD: usize = 40_000;
/// Requests looked at.
const SEEN: usize = 400;
/// More than they execute together.
const INSTRUCTIONS: usize = 8 << 20;

/// A zone of so many frames, of which one in a hundred is free.
fn full(frames: u64) -> PageAllocator<'static, &'static FakeCpu> {
    let (allocator, _) = built(&Setup::of(&Machine::one_node(1, &[(0, frames)])));
    let parted = order(8);
    let all = Request::order(parted).atomic().reserves(Reserves::All);
    let runs = (0..frames >> parted.get()).map(|_| allocator.alloc_raw(&all).expect("all of it is free"));
    assert_eq!(runs.count() as u64 * parted.frames(), frames);
    let mut dice = Seeded::new(2);
    for hundred in 0..frames / SPREAD {
        let pfn = Pfn::new(hundred * SPREAD + dice.below(SPREAD));
        // SAFETY: every frame was allocated above in runs of which parts may be freed; this one is freed once.
        unsafe { allocator.free_raw(pfn, Order::ZERO) }.expect("it is the test's");
    }
    allocator
}

/// What requests execute when many frames are held: allocations, then frees.
fn requests(frames: u64) -> (Trace, Trace) {
    let (allocator, window) = (full(frames), Window::of_program().expect("this process is on Linux"));
    let request = Request::order(Order::ZERO);
    let alloc = || allocator.alloc_raw(&request).expect("one frame in a hundred is free");
    let mut held: Vec<Pfn> = (0..HELD).map(|_| alloc()).collect();
    held.reserve(SEEN);
    let allocs = || (0..SEEN).for_each(|_| held.push(alloc()));
    let ((), allocs) = trace(&window, INSTRUCTIONS, allocs).expect("it is short");
    let free = |pfn: &Pfn| {
        // SAFETY: allocated above, freed once.
        unsafe { allocator.free_raw(*pfn, Order::ZERO) }.expect("it is the test's");
    };
    let (last, others) = held.split_at(SEEN);
    let ((), frees) = trace(&window, INSTRUCTIONS, || last.iter().for_each(free)).expect("it is short");
    others.iter().for_each(free);
    (allocs, frees)
}

/// Words read for an alloc and a free.
fn words(frames: u64) -> f64 {
    let (allocs, frees) = requests(frames);
    (allocs.reads() + frees.reads()) as f64 / SEEN as f64
}

fn reads_as_many(large: u64) {
    let (small, large) = (words(SMALL), words(large));
    println!("words read for an alloc and a free: {small:.1} in 16 GiB, {large:.1} in the larger zone");
    assert!(small > 10.0, "{small} words");
    assert!(large <= 1.3 * small, "{large} words in the larger zone, {small} in 16 GiB");
}

#[test]
fn a_request_reads_as_many_words_whatever_the_zone_s_size() {
    reads_as_many(4 * SMALL);
}

#[test]
#[ignore = "half a minute"]
fn a_request_reads_as_many_words_in_a_tebibyte() {
    reads_as_many(64 * SMALL);
}
