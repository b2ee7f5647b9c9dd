//! Slot words that their CPUs own: who may have what is in them, when, and for how many barriers. One thread plays all CPUs,
//! as pinned ones, which x86-64 alone has ([`zonal::OwnWords::pinned`]).

#![cfg(target_arch = "x86_64")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{FakeCpu, Leaked, Setup, audited};
use zonal::{
    AllocError, Daemon, FrameRange, IsolateError, NodeId, Order, Pfn, PoisonError, Poisoned, Request,
};
use zonal_testkit::{BLOCK, Machine};

/// Blocks of the zone: its words can hold 1152 frames, and are their CPUs' own while three times as many are free.
const BLOCKS: u64 = 16;

/// A node of two CPUs.
fn build(barrier: fn(usize) -> bool) -> (Leaked, &'static FakeCpu) {
    let cpu = FakeCpu::leaked();
    let machine = Machine::one_node(2, &[(0, BLOCKS * BLOCK)]);
    (Setup::of(&machine).owned(barrier).build(cpu).expect("a good machine"), cpu)
}

fn take(allocator: &Leaked, request: &Request) -> Result<Pfn, AllocError> {
    allocator.alloc_raw(request)
}

fn give(allocator: &Leaked, pfn: Pfn) {
    // SAFETY: the tests free what they took, once.
    unsafe { allocator.free_raw(pfn, Order::ZERO) }.expect("it was taken");
}

/// Takes frames as CPU 0 until `left` are left, then frees `cached` of them, into its words as far as those go.
fn leave(allocator: &Leaked, (left, cached): (u64, u64)) -> Vec<Pfn> {
    let request = Request::order(Order::ZERO).atomic();
    let mut taken: Vec<Pfn> =
        (0..BLOCKS * BLOCK - left).map(|_| take(allocator, &request).expect("there is more")).collect();
    for _ in 0..cached {
        let pfn = taken.pop().expect("there are more");
        give(allocator, pfn);
    }
    taken
}

#[test]
fn hits_need_no_barrier_and_a_drain_one_for_each_cpu_that_caches() {
    static BARRIERS: AtomicU64 = AtomicU64::new(0);
    let (allocator, cpu) = build(|_| {
        BARRIERS.fetch_add(1, Ordering::Relaxed);
        true
    });
    assert!(allocator.owns_words());
    let request = Request::order(Order::ZERO);
    for _ in 0..100 {
        let pfn = take(&allocator, &request).expect("nothing is taken");
        give(&allocator, pfn);
    }
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 0);
    cpu.move_to(1);
    assert!(allocator.drain_all() > 0);
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 1, "CPU 1 caches nothing");
    assert_eq!(allocator.drain_all(), 0);
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 1, "nobody caches anything");
    audited(&allocator);
}

#[test]
fn who_may_not_have_a_barrier_passed_gets_nothing_and_loses_nothing() {
    let (allocator, cpu) = build(|_| false);
    let pfn = take(&allocator, &Request::order(Order::ZERO)).expect("nothing is taken");
    cpu.move_to(1);
    assert_eq!((allocator.drain_all(), allocator.drain_zone(zonal::ZoneId(0))), (0, 0));
    cpu.move_to(0);
    give(&allocator, pfn);
    audited(&allocator);
}

/// What is asked of words whose CPU's barrier is refused fails with that CPU, or is counted, and is done when asked for again.
#[test]
fn what_is_refused_a_barrier_is_told_and_can_be_asked_for_again() {
    static REFUSES: AtomicBool = AtomicBool::new(true);
    let (allocator, cpu) = build(|cpu| cpu != 0 || !REFUSES.load(Ordering::Relaxed));
    let pfn = take(&allocator, &Request::order(Order::ZERO)).expect("nothing is taken");
    let cached = |allocator: &Leaked| allocator.zones().map(|zone| zone.cached).sum::<u64>();
    let refused = |allocator: &Leaked| allocator.zones().map(|zone| zone.refused_barriers).sum::<u64>();
    let (held, zone) = (cached(&allocator), zonal::ZoneId(0));
    let start = Pfn::new(pfn.get() / BLOCK * BLOCK);
    let block = FrameRange::new(start, start.add(BLOCK));
    cpu.move_to(1);
    assert_eq!(allocator.isolate(block), Err(IsolateError::Undrained { cpu: 0 }));
    assert!(allocator.blocks(zone).all(|block| !block.isolated), "nothing stays isolated");
    assert_eq!((cached(&allocator), refused(&allocator)), (held, 1));
    let calls: [fn(&Leaked) -> u64; 4] = [
        |allocator| allocator.drain_all(),
        |allocator| allocator.drain_cpu(0),
        |allocator| allocator.drain_range(FrameRange::new(Pfn::new(0), Pfn::new(BLOCKS * BLOCK))),
        |allocator| allocator.close_caches(zonal::ZoneId(0)),
    ];
    for (before, call) in (1..).zip(calls) {
        assert_eq!((call(&allocator), cached(&allocator)), (0, held));
        assert!(refused(&allocator) > before, "it is told");
    }
    assert!(allocator.reopen_caches(zone));
    let next = pfn.add(1);
    assert_eq!(allocator.poison(next), Err(PoisonError::Undrained { cpu: 0 }));
    assert_eq!(allocator.poisoned(next), Some(Poisoned::Pending));
    REFUSES.store(false, Ordering::Relaxed);
    let told = refused(&allocator);
    assert_eq!(allocator.poison(next), Ok(Poisoned::Out));
    assert_eq!(allocator.unpoison(next), Ok(Poisoned::Out));
    assert!(allocator.isolate(block).is_ok());
    assert_eq!((cached(&allocator), refused(&allocator)), (0, told));
    allocator.unisolate(block).expect("it is isolated");
    give(&allocator, pfn);
    audited(&allocator);
}

/// P4: the words are everybody's before anybody needs them, for one barrier a CPU, and their own again when there is room.
#[test]
fn words_are_given_up_ahead_of_need_and_given_back() {
    static BARRIERS: AtomicU64 = AtomicU64::new(0);
    let (allocator, cpu) = build(|_| {
        BARRIERS.fetch_add(1, Ordering::Relaxed);
        true
    });
    // So few that the refills on the way have seen it; kswapd comes to it.
    let taken = leave(&allocator, (2000, 0));
    assert!(allocator.has_work(Daemon::Kswapd, NodeId(0)), "who refills tells kswapd");
    assert!(allocator.kswapd(NodeId(0)));
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 2);
    // CPU 0 puts a group into its words and CPU 1, which may not wait, takes all there is.
    cpu.move_to(1);
    let mut rest = Vec::new();
    while let Ok(pfn) = take(&allocator, &Request::order(Order::ZERO).atomic()) {
        rest.push(pfn);
    }
    assert_eq!(taken.len() as u64 + rest.len() as u64, BLOCKS * BLOCK, "every frame can be had");
    cpu.move_to(0);
    let group = FrameRange::new(rest[0], rest[0].add(1));
    give(&allocator, group.start);
    cpu.move_to(1);
    let again = take(&allocator, &Request::order(Order::ZERO).atomic());
    assert_eq!(again.ok(), Some(group.start), "it is in CPU 0's words, or in its block");
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 2, "once an episode");
    rest.into_iter().chain(taken).for_each(|pfn| give(&allocator, pfn));
    allocator.age_caches();
    allocator.drain_all();
    assert!(BARRIERS.load(Ordering::Relaxed) > 2, "words that are their CPUs' own again cost a barrier");
    audited(&allocator);
}

/// A run may lack a frame that another CPU's word has while most of the zone is free: nobody sees that ahead, so who may not
/// wait is refused; then kswapd, which was told, frees it.
#[test]
fn a_run_is_refused_once_for_frames_in_owned_words() {
    let (allocator, cpu) = build(|_| true);
    let wish = Request::order(Order::BLOCK).atomic();
    let blocks: Vec<Pfn> = std::iter::from_fn(|| allocator.alloc_raw(&wish).ok()).collect();
    assert_eq!(blocks.len() as u64, BLOCKS);
    // One frame of each block stays, but for the last's, which goes into a word.
    for block in &blocks {
        // SAFETY: it is held here; from now on its frames are.
        unsafe { allocator.split_raw(*block, Order::BLOCK, Order::ZERO) }.expect("it was taken");
        (1..BLOCK).for_each(|frame| give(&allocator, block.add(frame)));
    }
    assert!(allocator.kswapd(NodeId(0)), "there was none left");
    let last = blocks[blocks.len() - 1];
    give(&allocator, last);
    cpu.move_to(1);
    assert!(allocator.zones().any(|zone| zone.cached > 0 && zone.free > zone.span.frames() / 2));
    assert!(allocator.alloc_raw(&wish).is_err(), "a barrier is not for it");
    assert!(allocator.has_work(Daemon::Kswapd, NodeId(0)), "it has told kswapd");
    assert!(allocator.kswapd(NodeId(0)));
    assert_eq!(allocator.alloc_raw(&wish), Ok(last));
    // SAFETY: it was allocated just now.
    unsafe { allocator.free_raw(last, Order::BLOCK) }.expect("it was taken");
    blocks.iter().filter(|&&block| block != last).for_each(|&block| give(&allocator, block));
    allocator.age_caches();
    audited(&allocator);
}

/// On pinned CPUs a barrier waits for calls to end: no request passes one in its middle, not one that may wait either.
#[test]
fn no_request_passes_a_barrier_of_pinned_cpus() {
    static BARRIERS: AtomicU64 = AtomicU64::new(0);
    let (allocator, cpu) = build(|_| {
        BARRIERS.fetch_add(1, Ordering::Relaxed);
        true
    });
    let taken = leave(&allocator, (0, 64));
    cpu.move_to(1);
    let waits = Request::order(Order::ZERO).try_once();
    let all = || std::iter::from_fn(|| take(&allocator, &waits).ok());
    let mut rest: Vec<Pfn> = all().collect();
    assert!(rest.len() < 64, "some are in CPU 0's words");
    assert_eq!(BARRIERS.load(Ordering::Relaxed), 0);
    assert!(allocator.kswapd(NodeId(0)), "it was told");
    rest.extend(all());
    assert_eq!((rest.len(), BARRIERS.load(Ordering::Relaxed)), (64, 2));
    rest.into_iter().chain(taken).for_each(|pfn| give(&allocator, pfn));
    audited(&allocator);
}

/// Takes all there is as CPU 0, with both daemons at work, while CPU 1 sleeps over what it has cached of the last zone.
fn exhaust(allocator: &Leaked) -> u64 {
    let request = Request::order(Order::ZERO).atomic();
    let mut taken = 0;
    while take(allocator, &request).is_ok() {
        taken += 1;
        [NodeId(0), NodeId(1)].iter().for_each(|&node| {
            allocator.kswapd(node);
        });
    }
    taken
}

#[test]
fn words_of_another_node_are_given_up_that_only_others_empty() {
    let cpu = FakeCpu::leaked();
    let machine = Machine::equal_nodes(2, 1, 0, BLOCKS * BLOCK);
    let allocator = Setup::of(&machine).owned(|_| true).build(cpu).expect("a good machine");
    cpu.move_to(1);
    let request = Request::order(Order::ZERO).atomic();
    let own: Vec<Pfn> = (0..128).map(|_| take(&allocator, &request).expect("nothing is taken")).collect();
    own.into_iter().for_each(|pfn| give(&allocator, pfn));
    cpu.move_to(0);
    assert_eq!(exhaust(&allocator), 2 * BLOCKS * BLOCK);
}

#[test]
fn words_of_a_lower_zone_are_given_up_that_is_nobodys_first() {
    let cpu = FakeCpu::leaked();
    let mut machine = Machine::one_node(2, &[(0, 2 * BLOCKS * BLOCK)]);
    machine.dma32_end = BLOCKS * BLOCK;
    let allocator = Setup::of(&machine).owned(|_| true).build(cpu).expect("a good machine");
    let request = Request::order(Order::ZERO).atomic();
    let taken: Vec<Pfn> = std::iter::from_fn(|| take(&allocator, &request).ok()).collect();
    allocator.age_caches();
    let low: Vec<Pfn> = taken.into_iter().filter(|pfn| pfn.get() < BLOCKS * BLOCK).take(64).collect();
    low.iter().for_each(|&pfn| give(&allocator, pfn));
    cpu.move_to(1);
    assert!(low.iter().all(|_| take(&allocator, &request).is_ok()), "64 are free");
}

#[test]
fn a_zone_without_room_begins_with_everybodys_words() {
    let cpu = FakeCpu::leaked();
    let machine = Machine::one_node(2, &[(0, 2 * BLOCK)]);
    let allocator = Setup::of(&machine).owned(|_| false).build(cpu).expect("a good machine");
    let pfn = take(&allocator, &Request::order(Order::ZERO)).expect("nothing is taken");
    give(&allocator, pfn);
    cpu.move_to(1);
    assert!(allocator.drain_all() > 0, "without a barrier");
    audited(&allocator);
}
