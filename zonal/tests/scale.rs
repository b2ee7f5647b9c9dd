//! Large machines, many instances, statics, and real threads on stamped frames.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{FakeCpu, Setup, audited, built, order, range};
use zonal::{
    AllocError, Caching, Config, ConfigError, Gfp, MemoryRange, NodeId, OnceAllocator, OneCpu, Order,
    PageAllocator, Pfn, Platform, Request, Topology,
};
use zonal_testkit::{BLOCK, Machine, Seeded};

/// Builds the machine, takes runs of every order near every 7th CPU, frees them, and audits.
fn serves(machine: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    let setup = Setup::of(machine);
    let (mut memory, cpu) = (setup.lend()?, FakeCpu::default());
    let allocator = PageAllocator::new(&setup.config(), &cpu, &mut memory)?;
    assert_eq!(
        audited(&allocator).free,
        machine.memory.iter().map(|m| m.frames.end - m.frames.start).sum::<u64>()
    );
    let mut held = Vec::new();
    for at in (0..machine.cpus.len()).step_by(7) {
        cpu.move_to(at);
        for by in 0..=18 {
            let frames = allocator.alloc(&Request::order(order(by)))?;
            let near = &machine.memory[usize::from(machine.cpus[at])];
            assert!(
                near.frames.contains(&frames.pfn().get()),
                "CPU {at} got {} of another node",
                frames.pfn()
            );
            held.push(frames);
        }
    }
    assert_eq!(audited(&allocator).allocated, held.iter().map(|frames| frames.order().frames()).sum::<u64>());
    for (at, frames) in held.into_iter().enumerate() {
        cpu.move_to(at * 5);
        drop(frames);
    }
    assert_eq!(audited(&allocator).allocated, 0);
    Ok(())
}

#[test]
fn a_tebibyte() -> Result<(), Box<dyn std::error::Error>> {
    serves(&Machine::tebibyte())
}

#[test]
#[ignore = "0.7 GiB of metadata"]
fn sixteen_tebibytes_on_64_nodes_with_1024_cpus() -> Result<(), Box<dyn std::error::Error>> {
    serves(&Machine::sixteen_tebibytes())
}

#[test]
fn metadata_is_a_small_part_of_memory() -> Result<(), ConfigError> {
    let machine = Machine::one_node(1, &[(0, 1 << 28)]);
    let bytes = zonal::metadata_size(&Setup::of(&machine).config())?;
    assert!(bytes as u64 * 20_000 < (1 << 28) * 4096, "{bytes} bytes for a tebibyte: over 0.005 %");
    Ok(())
}

/// Holes in a section cost no more than their ranges' own descriptions.
#[test]
fn a_section_in_pieces_needs_little_more_than_one() -> Result<(), ConfigError> {
    let bytes = |pieces: u64| {
        let ranges: Vec<_> = (0..pieces).map(|at| (2 * at * 100, 2 * at * 100 + 100)).collect();
        let machine = Machine::one_node(1, &ranges);
        let setup = Setup::of(&machine);
        let (allocator, _) = built(&setup);
        assert_eq!(audited(&allocator).free, pieces * 100);
        zonal::metadata_size(&setup.config())
    };
    let (one, many) = (bytes(1)?, bytes(100)?);
    assert!(many < one + 100 * 128, "{one} bytes for a range, {many} for a hundred");
    Ok(())
}

#[test]
fn as_many_nodes_and_cpus_as_can_be_configured() -> Result<(), AllocError> {
    let machine = Machine::equal_nodes(1024, 4, 0, BLOCK);
    let (allocator, cpu) = built(&Setup::of(&machine));
    assert_eq!((allocator.cpus(), allocator.zones().count()), (4096, 1024));
    for at in [0, 1, 2047, 4095, 4096, usize::MAX] {
        cpu.move_to(at);
        let frame = allocator.alloc(&Request::order(Order::ZERO))?;
        assert_eq!(frame.pfn().get() / BLOCK, (at % 4096 / 4) as u64);
    }
    assert_eq!(audited(&allocator).allocated, 0);
    Ok(())
}

#[test]
fn many_instances_keep_to_themselves() -> Result<(), AllocError> {
    let instances: Vec<_> =
        (1..=50).map(|blocks| built(&Setup::of(&Machine::one_node(1, &[(0, blocks * BLOCK)]))).0).collect();
    for allocator in &instances {
        allocator.alloc_raw(&Request::order(order(4)))?;
    }
    for (allocator, blocks) in instances.iter().zip(1..) {
        let summary = audited(allocator);
        assert_eq!((summary.managed, summary.allocated), (blocks * BLOCK, 16));
    }
    Ok(())
}

static GLOBAL: OnceAllocator<OneCpu> = OnceAllocator::new();

#[test]
fn an_allocator_is_a_static() -> Result<(), Box<dyn std::error::Error>> {
    assert!(GLOBAL.get().is_none());
    let memory = [MemoryRange::new(0, 4 * BLOCK, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let config = Config::new(topology);
    let allocator = GLOBAL.init(&config, OneCpu, support::lent(zonal::metadata_size(&config)?).leak())?;
    let frames = allocator.alloc(&Request::order(order(3)).gfp(Gfp::KERNEL)?)?;
    assert_eq!(audited(GLOBAL.get().ok_or("it was set above")?).allocated, 8);
    drop(frames);
    Ok(())
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Each thread is on a CPU of its own.
struct ThreadCpu;

impl Platform for ThreadCpu {
    fn cpu(&self) -> usize {
        CPU.get()
    }
}

/// Who holds each frame, 0: nobody.
struct Stamps(Vec<AtomicU64>);

impl Stamps {
    fn new(frames: u64) -> Self {
        Self((0..frames).map(|_| AtomicU64::new(0)).collect())
    }

    fn swap(&self, pfn: Pfn, by: Order, from: u64, to: u64) {
        for frame in 0..by.frames() {
            let pfn = pfn.add(frame);
            let found = self.0[pfn.get() as usize].swap(to, Ordering::Relaxed); // Relaxed: the allocator must order it
            assert_eq!(found, from, "{pfn} was stamped by somebody else");
        }
    }
}

/// How threads churn.
#[derive(Clone, Copy)]
struct Churn {
    threads: u64,
    smallest: u8,
    largest: u8,
    /// Runs a thread holds about at once.
    runs: u64,
}

/// What one thread does until told to stop: random orders taken and freed, every frame stamped while it is held.
fn churn(
    allocator: &PageAllocator<'_, ThreadCpu>,
    stamps: &Stamps,
    thread: u64,
    how: Churn,
    stop: &AtomicBool,
) -> u64 {
    CPU.set(thread as usize);
    let mut numbers = Seeded::new(thread);
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    let mut operations = 0;
    let spread = u64::from(how.largest - how.smallest) + 1;
    while !stop.load(Ordering::Relaxed) {
        operations += 1;
        if numbers.below(how.runs * 2) >= held.len() as u64 {
            // Small orders often: the lesser of two numbers.
            let by = order(how.smallest + numbers.below(spread).min(numbers.below(spread)) as u8);
            let gfp = if numbers.below(2) == 0 { Gfp::KERNEL } else { Gfp::HIGHUSER_MOVABLE };
            let request = Request::order(by).gfp(gfp).expect("the flags are good ones");
            if let Ok(pfn) = allocator.alloc_raw(&request) {
                stamps.swap(pfn, by, 0, thread);
                held.push((pfn, by));
                continue;
            }
        }
        if !held.is_empty() {
            let (pfn, by) = held.swap_remove(numbers.below(held.len() as u64) as usize);
            give_back(allocator, stamps, thread, pfn, by, numbers.below(4) == 0);
        }
    }
    held.into_iter().for_each(|(pfn, by)| give_back(allocator, stamps, thread, pfn, by, false));
    operations
}

fn give_back(
    allocator: &PageAllocator<'_, ThreadCpu>,
    stamps: &Stamps,
    thread: u64,
    pfn: Pfn,
    by: Order,
    in_parts: bool,
) {
    stamps.swap(pfn, by, thread, 0);
    let to = if in_parts { order(by.get() / 2) } else { by };
    // SAFETY: this thread took the run and holds it until here; no frame is touched.
    unsafe {
        if to < by {
            assert_eq!(allocator.split_raw(pfn, by, to), Ok(()));
        }
        for part in 0..1 << (by.get() - to.get()) {
            assert_eq!(allocator.free_raw(pfn.add(part << to.get()), to), Ok(()));
        }
    }
}

/// Threads churn, this one drains, closes and isolates; at the end nothing is missing.
fn storm(setup: &Setup, how: Churn) {
    let frames = setup.memory.iter().map(|memory| memory.range.end.get()).max().unwrap_or(0);
    let mut memory = setup.lend().expect("the machine is a good one");
    let allocator =
        PageAllocator::new(&setup.config(), ThreadCpu, &mut memory).expect("the machine is a good one");
    let (stamps, stop) = (Stamps::new(frames), AtomicBool::new(false));
    let operations: u64 = std::thread::scope(|scope| {
        let (allocator, stamps, stop) = (&allocator, &stamps, &stop);
        let start = |thread| scope.spawn(move || churn(allocator, stamps, thread, how, stop));
        let workers: Vec<_> = (1..=how.threads).map(start).collect();
        disturb(allocator, frames);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("a thread found a frame stamped")).sum()
    });
    assert!(operations > 1000, "only {operations} operations in {STORM:?}");
    let summary = audited(&allocator);
    assert_eq!((summary.free + summary.cached, summary.in_flight), (summary.managed, 0), "{summary:?}");
    stamps.0.iter().for_each(|stamp| assert_eq!(stamp.load(Ordering::Relaxed), 0));
}

fn disturb(allocator: &PageAllocator<'_, ThreadCpu>, frames: u64) {
    let end = Instant::now() + STORM;
    let mut numbers = Seeded::new(99);
    while Instant::now() < end {
        let zone = zonal::ZoneId(numbers.below(allocator.zones().count() as u64) as u16);
        let start = numbers.below(frames / BLOCK) * BLOCK;
        let block = range(start, start + BLOCK);
        match numbers.below(4) {
            0 => drop(allocator.drain_cpu(numbers.below(8) as usize)),
            1 => drop(allocator.drain_range(block)),
            2 => {
                allocator.close_caches(zone);
                allocator.reopen_caches(zone);
            }
            _ => {
                if allocator.isolate(block).is_ok() {
                    assert!(allocator.unisolate(block).is_ok(), "what was isolated could not be unisolated");
                }
            }
        }
        std::thread::sleep(Duration::from_micros(numbers.below(200)));
    }
}

const STORM: Duration = Duration::from_millis(700);
const SMALL: Churn = Churn { threads: 2, smallest: 0, largest: 5, runs: 60 };
const LARGE: Churn = Churn { threads: 4, smallest: 0, largest: 11, runs: 20 };

#[test]
fn threads_on_a_full_machine_never_share_a_frame() {
    let setup = Setup::of(&Machine::one_node(4, &[(0, 2 * BLOCK)]));
    storm(&setup, SMALL);
    storm(&setup.caching(Caching::Off), Churn { threads: 3, runs: 200, ..SMALL });
}

#[test]
fn threads_with_large_orders_never_share_a_frame() {
    storm(&Setup::of(&Machine::one_node(5, &[(0, 16 * BLOCK + 100)])), LARGE);
    storm(
        &Setup::of(&Machine::one_node(2, &[(0, 64 * BLOCK)])).checked(),
        Churn { threads: 2, largest: 12, ..LARGE },
    );
}

#[test]
fn threads_at_orders_7_and_8_never_share_a_block() {
    let setup = Setup::of(&Machine::one_node(4, &[(0, 3 * BLOCK)]));
    storm(&setup, Churn { threads: 3, smallest: 7, largest: 8, runs: 4 });
    storm(&setup.caching(Caching::Off), Churn { threads: 3, smallest: 6, largest: 9, runs: 2 });
}

#[test]
fn threads_on_two_nodes_never_share_a_frame() {
    let machine = Machine::two_nodes();
    storm(&Setup::of(&machine).caching(Caching::All), Churn { threads: 3, largest: 9, ..SMALL });
    storm(&Setup::of(&machine).checked(), Churn { threads: 4, largest: 8, ..SMALL });
}

/// Three threads that hold up to `runs` runs each, on a machine with room for them and all that is in flight.
fn never_refused(blocks: u64, by: Order, runs: usize) {
    let setup = Setup::of(&Machine::one_node(4, &[(0, blocks * BLOCK)]));
    let mut memory = setup.lend().expect("the machine is a good one");
    let allocator =
        PageAllocator::new(&setup.config(), ThreadCpu, &mut memory).expect("the machine is a good one");
    let (end, request) = (Instant::now() + STORM, Request::order(by));
    std::thread::scope(|scope| {
        for thread in 1..4 {
            let (allocator, request) = (&allocator, &request);
            scope.spawn(move || {
                CPU.set(thread);
                let mut numbers = Seeded::new(thread as u64);
                while Instant::now() < end {
                    let taken: Result<Vec<_>, _> = (0..runs).map(|_| allocator.alloc(request)).collect();
                    let mut held =
                        taken.expect("frames were free, and nobody may be refused because others are busy");
                    while !held.is_empty() {
                        drop(held.swap_remove(numbers.below(held.len() as u64) as usize));
                    }
                }
            });
        }
        while Instant::now() < end {
            allocator.drain_all();
        }
    });
    assert_eq!(audited(&allocator).allocated, 0);
}

#[test]
fn threads_are_never_refused_because_others_are_busy() {
    never_refused(1, Order::ZERO, 120);
    never_refused(4, Order::BLOCK, 1);
    never_refused(16, order(3), 8);
}
