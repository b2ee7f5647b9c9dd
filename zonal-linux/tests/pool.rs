//! Real frames: written, read back, never shared; and a shortfall that is an error.

use std::collections::HashSet;
use std::sync::mpsc;
use std::thread;

use zonal::{Checking, Gfp, NodeId, Order, Pfn, Request};
use zonal_linux::{
    Binding, CpuSource, Machine, MemoryError, Pages, Pool, PoolError, Role, Simulation, acting_as, play_cpu,
};

const WORDS: usize = 512;

/// Writes a stamp into every word of a frame, or reads them back.
fn stamp(pool: &Pool, pfn: Pfn, stamp: u64) {
    let words = pool.address(pfn).expect("mapped").cast::<u64>();
    for at in 0..WORDS {
        // SAFETY: the frame's 512 words are mapped, and allocated to the caller.
        unsafe { words.add(at).write(stamp ^ at as u64) };
    }
}

fn holds(pool: &Pool, pfn: Pfn, stamp: u64) -> bool {
    let words = pool.address(pfn).expect("mapped").cast::<u64>();
    // SAFETY: as in `stamp`.
    (0..WORDS).all(|at| unsafe { words.add(at).read() } == stamp ^ at as u64)
}

fn audit_is_clean(pool: &Pool) {
    let mut findings = Vec::new();
    let summary = pool.allocator().audit(&mut |finding| findings.push(finding.to_string()));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((summary.allocated, summary.in_flight), (0, 0));
}

#[test]
fn every_frame_holds_what_was_written() {
    let machine = Machine::from_toml(
        "node = [{ cpus = 2, ranges = [{ start = '5 MiB', end = '9 MiB' }, { start = '9 MiB', size = 81920 }] },
                 { cpus = 2, ranges = [{ start = '4 GiB', size = '3 MiB', movable = true }] }]",
    )
    .unwrap();
    let pool = Pool::build(&machine, Pages::Lazy).unwrap();
    let request = Request::order(Order::ZERO).gfp(Gfp::HIGHUSER_MOVABLE).unwrap();
    let mut frames = Vec::new();
    while let Ok(pfn) = pool.allocator().alloc_raw(&request) {
        stamp(&pool, pfn, pfn.get());
        frames.push(pfn);
    }
    assert_eq!(frames.len() as u64, machine.bytes() / 4096);
    for &pfn in &frames {
        assert!(holds(&pool, pfn, pfn.get()), "{pfn}");
        // SAFETY: allocated above, freed once.
        unsafe { pool.allocator().free_raw(pfn, Order::ZERO) }.unwrap();
    }
    audit_is_clean(&pool);
    let absent = [0, (5 << 8) - 1, (9 << 8) + 20, (4 << 18) + (3 << 8), u64::MAX];
    assert!(absent.iter().all(|&pfn| pool.address(Pfn::new(pfn)).is_none()));
}

#[test]
fn a_run_is_one_piece_and_a_block_could_be_a_huge_page() {
    let pool = Pool::build(&Machine::uniform(1, 64 << 20, 2).unwrap(), Pages::Lazy).unwrap();
    let run = pool.allocator().alloc(&Request::order(Order::new(11).unwrap())).unwrap();
    let first = pool.address(run.pfn()).unwrap().as_ptr();
    assert_eq!(first.addr() % (2 << 20), 0);
    for frame in 0..run.order().frames() {
        let address = pool.address(run.pfn().add(frame)).unwrap().as_ptr();
        assert_eq!(address, first.wrapping_add(frame as usize * 4096));
    }
    drop(run);
    audit_is_clean(&pool);
}

#[test]
fn zeroed_frames_are_zero() {
    let pool = Pool::build(&Machine::uniform(1, 4 << 20, 1).unwrap(), Pages::Lazy).unwrap();
    let whole = Request::order(Order::new(10).unwrap());
    let run = pool.allocator().alloc(&whole).unwrap();
    (0..1024).for_each(|frame| stamp(&pool, run.pfn().add(frame), 7));
    drop(run);
    let zeroed = Request::order(Order::new(3).unwrap()).gfp(Gfp::KERNEL | Gfp::ZERO).unwrap();
    let run = pool.allocator().alloc(&zeroed).unwrap();
    for frame in 0..8 {
        let words = pool.address(run.pfn().add(frame)).unwrap().cast::<u64>();
        // SAFETY: the frame is allocated to this test and mapped.
        assert!((0..WORDS).all(|at| unsafe { words.add(at).read() } == 0));
    }
}

#[test]
fn threads_never_hold_the_same_frame() {
    let pool = Pool::build(&Machine::uniform(2, 8 << 20, 2).unwrap(), Pages::Lazy).unwrap();
    thread::scope(|scope| {
        for thread in 1..=3u64 {
            let pool = &pool;
            scope.spawn(move || {
                let request = Request::order(Order::ZERO).node(NodeId((thread % 2) as u16));
                for round in 0..40 {
                    let mark = thread << 32 | round;
                    let held: Vec<_> =
                        (0..500).filter_map(|_| pool.allocator().alloc_raw(&request).ok()).collect();
                    held.iter().for_each(|&pfn| stamp(pool, pfn, mark));
                    for &pfn in &held {
                        assert!(holds(pool, pfn, mark), "{pfn} was written by another thread");
                        // SAFETY: allocated in this round, freed once.
                        unsafe { pool.allocator().free_raw(pfn, Order::ZERO) }.unwrap();
                    }
                }
            });
        }
    });
    audit_is_clean(&pool);
}

#[test]
fn prefaulted_and_transparent_huge_pages() {
    for pages in [Pages::Prefault, Pages::TransparentHuge] {
        let pool = Pool::build(&Machine::uniform(1, 8 << 20, 1).unwrap(), pages).unwrap();
        let run = pool.allocator().alloc(&Request::order(Order::BLOCK)).unwrap();
        stamp(&pool, run.pfn(), 1);
        assert!(holds(&pool, run.pfn(), 1));
    }
}

#[test]
fn an_empty_huge_page_pool_is_an_error() {
    // 256 GiB of 2 MiB pages are more than any test machine sets aside.
    let machine = Machine::uniform(1, 256 << 30, 1).unwrap();
    let error = Pool::build(&machine, Pages::HugeTlb).expect_err("refused");
    assert!(matches!(error, PoolError::Memory(MemoryError::Refused { .. })), "{error}");
    assert!(error.to_string().contains("huge pages"), "{error}");
    let ragged = Machine::from_toml("node = [{ memory = '3 MiB', cpus = 1 }]").unwrap();
    let error = Pool::build(&ragged, Pages::HugeTlb).expect_err("refused");
    assert!(matches!(error, PoolError::Memory(MemoryError::NotBlocks { .. })), "{error}");
}

#[test]
fn huge_pages_where_the_administrator_set_some_aside() {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free = free.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    if free < 2 {
        eprintln!("skipped: {free} free huge pages, 2 needed");
        return;
    }
    let pool = Pool::build(&Machine::uniform(1, 4 << 20, 1).unwrap(), Pages::HugeTlb).unwrap();
    let run = pool.allocator().alloc(&Request::order(Order::new(10).unwrap())).unwrap();
    (0..1024).for_each(|frame| stamp(&pool, run.pfn().add(frame), frame));
    assert!((0..1024).all(|frame| holds(&pool, run.pfn().add(frame), frame)));
}

#[test]
fn more_than_there_is_can_be_described_but_not_taken() {
    let machine = Machine::uniform(1, 1 << 40, 1).unwrap();
    for pages in [Pages::Prefault, Pages::TransparentHuge] {
        let error = Pool::build(&machine, pages).expect_err("refused");
        assert!(
            matches!(error, PoolError::Memory(MemoryError::Short { asked, .. }) if asked == 1 << 40),
            "{error}"
        );
    }
    let pool = Pool::build(&machine, Pages::Lazy).unwrap();
    let frame = pool.allocator().alloc(&Request::order(Order::ZERO)).unwrap();
    stamp(&pool, frame.pfn(), 3);
    drop(frame);
    let petabytes = Machine::uniform(16, 250 << 40, 1).unwrap();
    let error = Pool::build(&petabytes, Pages::Lazy).expect_err("refused");
    assert!(error.to_string().contains("no address space"), "{error}");
}

#[test]
fn an_overlap_is_refused() {
    let machine =
        "node = [{ cpus = 1, ranges = [{ start = 0, size = 8192 }, { start = 4096, size = 8192 }] }]";
    let error = Pool::build(&Machine::from_toml(machine).unwrap(), Pages::Lazy).expect_err("refused");
    assert!(matches!(error, PoolError::Config(zonal::ConfigError::Overlap { .. })), "{error}");
}

#[test]
fn nodes_that_are_not_here_are_left_unbound() {
    let pool = Pool::build(&Machine::uniform(1024, 2 << 20, 1).unwrap(), Pages::Lazy).unwrap();
    assert!(matches!(pool.binding(), Binding::Unbound { described: 1024, .. }), "{:?}", pool.binding());
}

#[test]
fn a_simulation_of_sixteen_tebibytes_plays_every_cpu() {
    let machine = Machine::from_toml(include_str!("../machines/sixty-four-nodes.toml")).unwrap();
    let simulation = Simulation::build(&machine, CpuSource::Played).unwrap();
    assert!(simulation.metadata_bytes() < 1 << 30);
    let mut seen = HashSet::new();
    for cpu in 0..1024 {
        play_cpu(cpu);
        let pfn = simulation.allocator().alloc_raw(&Request::order(Order::ZERO)).unwrap();
        let node = simulation.allocator().zone_of(pfn).map(|zone| usize::from(zone.0));
        assert_eq!(node, Some(cpu / 16), "cpu {cpu}: {pfn}");
        assert!(seen.insert(pfn), "{pfn} twice");
    }
    let zeroed = Request::order(Order::ZERO).gfp(Gfp::KERNEL | Gfp::ZERO).unwrap();
    assert!(matches!(simulation.allocator().alloc_raw(&zeroed), Err(zonal::AllocError::CannotZero { .. })));
}

#[test]
fn a_request_that_may_sleep_in_a_signal_handler_is_told_of() {
    let machine = Machine::uniform(1, 8 << 20, 1).unwrap().with_checking(Checking::On);
    let (told, heard) = mpsc::sync_channel(8);
    let tell = move |report: &dyn std::fmt::Display| told.try_send(report.to_string()).unwrap_or_default();
    let pool = Pool::plan(&machine).on_report(tell).build().unwrap();
    let (sleeps, wakes) = (Request::order(Order::ZERO), Request::order(Order::ZERO).atomic());
    let ask = |request| drop(pool.allocator().alloc(request).unwrap());
    ask(&sleeps);
    acting_as(Role::Interrupt, || ask(&wakes));
    assert!(heard.try_recv().is_err(), "each in its place");
    acting_as(Role::Interrupt, || ask(&sleeps));
    let text = "invalid wait context: order 0, 0xcc0(GFP_KERNEL): direct reclaim may sleep; hardirq context allows spinlocks";
    assert_eq!(heard.try_recv().as_deref(), Ok(text));
    assert!(heard.try_recv().is_err(), "once");
}
