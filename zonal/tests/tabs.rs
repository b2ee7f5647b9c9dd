//! Frames on a CPU's tab: freed along a block, whose count is raised for all of them later. They are as free as others. One thread plays
//! all CPUs, as pinned ones, which x86-64 alone has ([`zonal::OwnWords::pinned`]).

#![cfg(target_arch = "x86_64")]

mod support;

use support::{FakeCpu, Leaked, Setup, audited, range};
use zonal::{FreeError, Order, Pfn, Poisoned, Request};
use zonal_testkit::{BLOCK, Machine};

const BLOCKS: u64 = 64;
const ROW: u64 = 64;

/// A node of two CPUs; blocks of it that are held frame by frame.
fn build(blocks: u64) -> (Leaked, &'static FakeCpu, Vec<Pfn>) {
    let cpu = FakeCpu::leaked();
    let machine = Machine::one_node(2, &[(0, BLOCKS * BLOCK)]);
    let allocator = Setup::of(&machine).owned(|_| true).build(cpu).expect("a good machine");
    let mut held = Vec::new();
    // One more, of which a frame goes into each word, so that those have no room.
    for at in 0..=blocks {
        let block = allocator.alloc_raw(&Request::order(Order::BLOCK)).expect("nothing is taken");
        // SAFETY: it was allocated just now.
        unsafe { allocator.split_raw(block, Order::BLOCK, Order::ZERO) }.expect("it is whole");
        match at {
            0 => (0..8).for_each(|row| give(&allocator, block.add(row * ROW))),
            _ => held.push(block),
        }
    }
    held.sort();
    (allocator, cpu, held)
}

fn give(allocator: &Leaked, pfn: Pfn) {
    // SAFETY: the tests free what they hold, once.
    unsafe { allocator.free_raw(pfn, Order::ZERO) }.expect("it is held");
}

/// Frees a frame of each row of a block but the last `left`.
fn give_along(allocator: &Leaked, block: Pfn, left: u64) {
    (0..8 - left).for_each(|row| give(allocator, block.add(row * ROW)));
}

fn free(allocator: &Leaked) -> u64 {
    allocator.zones().map(|zone| zone.free + zone.cached).sum()
}

#[test]
fn what_is_on_a_tab_counts_as_free() {
    let (allocator, _, blocks) = build(3);
    let before = free(&allocator);
    for (at, &block) in (1..).zip(&blocks) {
        give_along(&allocator, block, 2);
        assert_eq!(free(&allocator), before + at * 6);
        audited(&allocator);
    }
    allocator.drain_all();
    assert_eq!(free(&allocator), before + 18);
    audited(&allocator);
}

#[test]
fn what_another_cpu_has_on_its_tab_is_had_before_a_request_fails() {
    let (allocator, cpu, blocks) = build(2);
    blocks.iter().for_each(|&block| give_along(&allocator, block, 0));
    let there = free(&allocator);
    cpu.move_to(1);
    let request = Request::order(Order::ZERO);
    let taken = (0..).take_while(|_| allocator.alloc_raw(&request).is_ok()).count() as u64;
    // What is in words is had with kswapd's help only, where CPUs are pinned.
    let (free, cached) = allocator.zones().fold((0, 0), |sum, zone| (sum.0 + zone.free, sum.1 + zone.cached));
    assert_eq!((free, taken + cached), (0, there));
    audited(&allocator);
}

#[test]
fn a_block_freed_frame_by_frame_is_whole_again() {
    let (allocator, _, blocks) = build(2);
    // Every other frame along the blocks, then the others: each of those completes a pair at most, every fourth a run of 8.
    for step in [0, 1] {
        for &block in &blocks {
            (step..BLOCK).step_by(2).for_each(|at| give(&allocator, block.add(at)));
            audited(&allocator);
        }
    }
    allocator.drain_all();
    let whole = (0..BLOCKS - 1).filter(|_| allocator.alloc_raw(&Request::order(Order::BLOCK)).is_ok());
    assert_eq!(whole.count() as u64, BLOCKS - 1);
}

#[test]
fn a_run_whose_frames_are_on_a_tab_is_found() {
    let (allocator, cpu, blocks) = build(1);
    let block = blocks[0];
    give_along(&allocator, block, 0);
    // What completes the run comes from another CPU.
    cpu.move_to(1);
    (1..ROW).for_each(|at| give(&allocator, block.add(5 * ROW + at)));
    allocator.drain_cpu(1);
    let row = Request::order(Order::new(6).expect("an order")).nowait();
    let mut rows = (0..BLOCKS * BLOCK).map_while(|_| allocator.alloc_raw(&row).ok());
    assert!(rows.any(|pfn| pfn == block.add(5 * ROW)), "the row is free");
    audited(&allocator);
}

#[test]
fn a_frame_on_another_cpus_tab_is_had_at_its_place() {
    let (allocator, cpu, blocks) = build(1);
    let block = blocks[0];
    (0..48).for_each(|at| give(&allocator, block.add(at * 10)));
    cpu.move_to(1);
    for at in 0..48 {
        assert_eq!(allocator.alloc_at(&Request::order(Order::ZERO), block.add(at * 10)), Ok(()), "{at}");
    }
    audited(&allocator);
}

#[test]
fn an_idle_pass_leaves_nothing_on_a_tab() {
    let (allocator, cpu, blocks) = build(1);
    (0..BLOCK).filter(|at| at % 8 != 7).for_each(|at| give(&allocator, blocks[0].add(at)));
    (0..BLOCK).filter(|at| at % 8 == 7).for_each(|at| give(&allocator, blocks[0].add(at)));
    cpu.move_to(1);
    (0..9).for_each(|_| {
        allocator.age_caches();
    });
    let free = |block: &zonal::BlockInfo| u64::from(block.free) == BLOCK;
    assert!(allocator.blocks(zonal::ZoneId(0)).any(|block| block.start == blocks[0] && free(&block)));
    audited(&allocator);
}

#[test]
fn a_frame_on_a_tab_is_not_freed_twice() {
    let (allocator, _, blocks) = build(1);
    give_along(&allocator, blocks[0], 0);
    for row in 0..8 {
        let pfn = blocks[0].add(row * ROW);
        // SAFETY: refused.
        let again = unsafe { allocator.free_raw(pfn, Order::ZERO) };
        assert_eq!(again, Err(FreeError::DoubleFree { pfn, order: Order::ZERO }));
    }
    audited(&allocator);
}

#[test]
fn a_block_is_isolated_with_what_is_on_a_tab() {
    let (allocator, _, blocks) = build(2);
    give_along(&allocator, blocks[0], 2);
    let there = free(&allocator);
    let own = range(blocks[0].get(), blocks[0].get() + BLOCK);
    assert_eq!(allocator.isolate(own), Ok(6));
    assert_eq!(free(&allocator), there - 6);
    // Its frames go to the block, those of the next to the tab.
    give(&allocator, blocks[0].add(6 * ROW));
    give_along(&allocator, blocks[1], 0);
    audited(&allocator);
    assert_eq!(free(&allocator), there - 6 + 8);
    assert_eq!(allocator.unisolate(own), Ok(7));
    assert_eq!(free(&allocator), there + 9);
    audited(&allocator);
}

#[test]
fn a_frame_on_a_tab_is_poisoned_at_once() {
    let (allocator, _, blocks) = build(1);
    give_along(&allocator, blocks[0], 1);
    let there = free(&allocator);
    for row in [2, 5] {
        assert_eq!(allocator.poison(blocks[0].add(row * ROW)), Ok(Poisoned::Out));
    }
    // Frees of that block go past the tab.
    give(&allocator, blocks[0].add(7 * ROW));
    assert_eq!(free(&allocator), there - 2 + 1);
    audited(&allocator);
}
