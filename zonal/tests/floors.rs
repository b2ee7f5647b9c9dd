//! Every class of request down to its exact floor, on a quiet machine: each answer is judged by the testkit's reading of
//! Linux's contract, before anything else happens.

use std::cell::Cell;
use std::mem::MaybeUninit;

use zonal::{
    Config, Gfp, MemoryRange, NodeId, Order, PageAllocator, Pfn, Platform, Request, Task, Topology, Tuning,
    ZoneInfo, metadata_size,
};
use zonal_testkit::Seeded;
use zonal_testkit::contract::{Asker, ZoneNow, admitting};

/// Whoever asks on whichever CPU the test says. Nobody reclaims, and nobody can be killed.
#[derive(Default)]
struct Quiet {
    cpu: Cell<usize>,
    task: Cell<Task>,
}

impl Platform for Quiet {
    fn cpu(&self) -> usize {
        self.cpu.get()
    }

    fn task(&self) -> Task {
        self.task.get()
    }
}

/// Where DMA32 ends and Normal begins.
const DMA32_END: u64 = 6 * 512;
/// Where Normal ends and Movable begins.
const NORMAL_END: u64 = 14 * 512;
const END: u64 = 18 * 512;
const MEMORY: [MemoryRange; 2] =
    [MemoryRange::new(0, NORMAL_END, 0), MemoryRange::new(NORMAL_END, END, 0).movable()];
const CPUS: [NodeId; 2] = [NodeId(0); 2];

/// A class of requests: flags, who asks, and how many frames it leaves in DMA32 and Normal.
///
/// Their marks are 642 and 857, shares of 1500 frames by 3072 and 4096; besides, DMA32 leaves 16 to its own requests.
const CLASSES: [(Gfp, Task, u64); 14] = {
    const TASK: Task = Task { memalloc: false, oom_victim: false, realtime: false, interrupt: false };
    const VICTIM: Task = Task { oom_victim: true, ..TASK };
    const RECLAIMER: Task = Task { memalloc: true, ..TASK };
    const HIGH: Gfp = Gfp::KERNEL.union(Gfp::HIGH);
    const WHOLE: u64 = 642 + 16 + 857;
    const HALF: u64 = 321 + 16 + 429;
    [
        (Gfp::KERNEL, TASK, WHOLE),
        (Gfp::NOWAIT, TASK, WHOLE),
        (HIGH, TASK, HALF),
        (Gfp::KERNEL, Task { realtime: true, ..TASK }, HALF),
        (Gfp::NOWAIT, Task { realtime: true, ..TASK }, WHOLE),
        (Gfp::ATOMIC.union(Gfp::NOMEMALLOC), VICTIM, HALF),
        (Gfp::ATOMIC, TASK, 241 + 16 + 322),
        (Gfp::ATOMIC, Task { interrupt: true, ..RECLAIMER }, 241 + 16 + 322),
        (Gfp::KERNEL, VICTIM, HALF),
        (HIGH, VICTIM, 161 + 16 + 215),
        (Gfp::ATOMIC, VICTIM, 121 + 16 + 161),
        (Gfp::KERNEL.union(Gfp::NOMEMALLOC), RECLAIMER, WHOLE),
        (Gfp::KERNEL, RECLAIMER, 0),
        (Gfp::KERNEL.union(Gfp::MEMALLOC), TASK, 0),
    ]
};

/// The flags that choose a zone and a kind.
const PLACES: [Gfp; 4] = [Gfp::empty(), Gfp::DMA32, Gfp::RECLAIMABLE, Gfp::MOVABLE.union(Gfp::HIGHMEM)];

fn asker(task: Task) -> Asker {
    Asker {
        memalloc: task.memalloc,
        victim: task.oom_victim,
        realtime: task.realtime,
        interrupt: task.interrupt,
    }
}

struct Scene<'a> {
    allocator: PageAllocator<'a, &'a Quiet>,
    platform: &'a Quiet,
    held: Vec<(Pfn, Order)>,
    /// Whether each frame is held.
    taken: Vec<bool>,
}

impl Scene<'_> {
    /// A request of a class, judged. Whether it was served.
    fn ask(&mut self, gfp: Gfp, task: Task, order: Order) -> bool {
        self.platform.task.set(task);
        let mut zones: Vec<ZoneInfo> =
            self.allocator.zones().filter(|zone| zone.kind <= gfp.highest_zone()).collect();
        zones.reverse(); // highest first
        let now: Vec<ZoneNow> = zones.iter().map(|zone| self.now(zone, order)).collect();
        let admitting = admitting(&now, gfp.bits(), order.get(), asker(task));
        let request = Request::order(order).gfp(gfp).unwrap_or_else(|error| panic!("{error}"));
        let served = self.allocator.alloc_raw(&request);
        assert_eq!(served.is_ok(), admitting.is_some(), "{gfp} {task:?} {order:?} {served:?} {now:#?}");
        let Ok(pfn) = served else { return false };
        self.held.push((pfn, order));
        let run = self.run(pfn, order);
        assert!(!run.is_empty() && !run.contains(&true), "{pfn:?} is held");
        run.fill(true);
        true
    }

    /// A zone's figures, and whether the frames held leave it a run of this order.
    fn now(&self, zone: &ZoneInfo, order: Order) -> ZoneNow {
        let frames = zone.span.start.get() as usize..zone.span.end.get() as usize;
        let run = |start: usize| self.taken.get(start..start + order.frames() as usize);
        let is_free = |start: usize| run(start).is_some_and(|run| !run.contains(&true));
        let has_run = frames.step_by(1 << order.get()).any(is_free);
        ZoneNow {
            free: zone.free + zone.cached + zone.free_highatomic,
            highatomic: zone.free_highatomic,
            marks: [zone.marks.min, zone.marks.low, zone.marks.high],
            boost: zone.boost,
            reserve: zone.protection,
            longest: has_run.then_some(order.get()),
            longest_highatomic: None,
        }
    }

    /// Whether the frames are held, each of them.
    fn run(&mut self, pfn: Pfn, order: Order) -> &mut [bool] {
        let start = pfn.get() as usize;
        self.taken.get_mut(start..start + order.frames() as usize).unwrap_or(&mut [])
    }

    fn free(&mut self, at: usize) {
        let (pfn, order) = self.held.swap_remove(at);
        self.run(pfn, order).fill(false);
        // SAFETY: the run was held, and is not any more.
        assert_eq!(unsafe { self.allocator.free_raw(pfn, order) }, Ok(()));
    }
}

/// 36 MiB in DMA32, Normal and Movable, two CPUs. No boost: a hit on a word that was filled before it would not see it.
fn with_scene(test: impl FnOnce(&mut Scene<'_>)) {
    let topology = Topology { memory: &MEMORY, reserved: &[], nodes: 1, distances: &[10], cpus: &CPUS };
    let tuning = Tuning { min_free_kbytes: Some(4 * 1500), watermark_boost_factor: 0, ..Tuning::default() };
    let config = Config {
        tuning: Some(tuning),
        dma_end: Pfn::new(0),
        dma32_end: Pfn::new(DMA32_END),
        ..Config::new(topology)
    };
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config).unwrap_or(0)];
    let platform = Quiet::default();
    let allocator =
        PageAllocator::new(&config, &platform, &mut metadata).unwrap_or_else(|error| panic!("{error}"));
    let mut scene =
        Scene { allocator, platform: &platform, held: Vec::new(), taken: vec![false; END as usize] };
    test(&mut scene);
}

#[test]
fn each_class_leaves_its_floor_to_the_frame() {
    for (gfp, task, floor) in CLASSES {
        with_scene(|scene| {
            for cpu in [0, 1].into_iter().cycle() {
                scene.platform.cpu.set(cpu);
                if !scene.ask(gfp, task, Order::ZERO) {
                    break;
                }
            }
            assert_eq!(NORMAL_END - scene.held.len() as u64, floor, "{gfp} {task:?}");
        });
    }
}

/// What one CPU's words hold is anybody's down to the floor, and nobody's below: a hit takes no look at the marks.
#[test]
fn frames_in_words_are_no_way_below_the_floor() {
    let kinds = [Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE].map(|kind| Gfp::KERNEL | kind);
    with_scene(|scene| {
        let task = Task::default();
        scene.platform.cpu.set(1);
        assert!(kinds.into_iter().all(|gfp| scene.ask(gfp, task, Order::ZERO)));
        let cached: u64 = scene.allocator.zones().map(|zone| zone.cached).sum();
        assert!(cached >= 3 * 31, "{cached} frames in words");
        scene.platform.cpu.set(0);
        while scene.ask(Gfp::KERNEL, task, Order::ZERO) {}
        scene.platform.cpu.set(1);
        assert!(!kinds.into_iter().any(|gfp| scene.ask(gfp, task, Order::ZERO)));
    });
}

#[test]
fn classes_orders_and_zones_in_any_order() {
    let mut outcomes = [[0; 2]; CLASSES.len()];
    for seed in 0..8 {
        with_scene(|scene| {
            let mut dice = Seeded::new(seed);
            let mut draw = |limit: usize| dice.below(limit as u64) as usize;
            for step in 0..4000 {
                scene.platform.cpu.set(draw(CPUS.len()));
                // Full and empty by turns.
                let asks = if step % 1000 < 700 { 9 } else { 4 };
                if draw(10) < asks || scene.held.is_empty() {
                    let class = draw(CLASSES.len());
                    let (gfp, task, _) = CLASSES[class];
                    let order = Order::new([0, 0, 1, 3, 5, 6][draw(6)]).unwrap_or(Order::ZERO);
                    let served = scene.ask(gfp | PLACES[draw(PLACES.len())], task, order);
                    outcomes[class][usize::from(served)] += 1;
                } else {
                    let at = draw(scene.held.len());
                    scene.free(at);
                }
            }
        });
    }
    assert!(outcomes.as_flattened().iter().all(|&times| times > 20), "{outcomes:?}");
}
