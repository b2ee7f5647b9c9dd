//! The texts: line by line as a kernel's own (data/linux), word for word where the state is known (data/texts), and with
//! the figures that the allocator says otherwise.

mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use support::{Setup, order};
use zonal::{
    Context, Cpuset, Daemon, Event, FrameRange, Gfp, Group, Marks, Mempolicy, NodeId, NodeStat, Oom, Order,
    PageAllocator, Pfn, Platform, Request, Task, Usage, Verdict, ZoneId, ZoneStat,
};
use zonal_testkit::{Class, Machine, Mark, Memory};

const FRAME: Request = Request::order(Order::ZERO);

/// What the embedder knows: every figure is another one.
struct Known;

impl Usage for Known {
    fn zone(&self, zone: ZoneId, stat: ZoneStat) -> u64 {
        10 * u64::from(zone.0 + 1) + stat as u64
    }

    fn node(&self, node: NodeId, stat: NodeStat) -> u64 {
        100 * u64::from(node.0 + 1) + stat as u64
    }
}

/// A platform that keeps what it is told.
#[derive(Default)]
struct Listener {
    cpu: AtomicUsize,
    now_ms: AtomicU64,
    task: Cell<Task>,
    reports: Mutex<Vec<String>>,
}

impl Platform for &'static Listener {
    fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn task(&self) -> Task {
        self.task.get()
    }

    fn comm(&self) -> &str {
        "listener"
    }

    fn usage(&self) -> &dyn Usage {
        &Known
    }

    fn oom(&self, _: &Oom) -> Verdict {
        Verdict::GiveUp
    }

    fn report(&self, report: &dyn Display) {
        self.reports.lock().expect("nobody panics with it").push(report.to_string());
    }
}

impl Listener {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.reports.lock().expect("nobody panics with it"))
    }
}

type Pages = PageAllocator<'static, &'static Listener>;

fn build(machine: &Machine) -> (Pages, &'static Listener) {
    let setup = Setup::of(machine);
    let listener: &'static Listener = Box::leak(Box::default());
    let metadata = setup.lend().expect("the machine is a good one").leak();
    (PageAllocator::new(&setup.config(), listener, metadata).expect("the machine is a good one"), listener)
}

/// The zones of the kernel whose texts are in data/linux: four nodes, two CPUs.
fn as_recorded() -> Machine {
    Machine {
        memory: vec![
            Memory::of(0, 1..3072),
            Memory::of(1, 3072..5120),
            Memory::of(2, 5120..7168),
            Memory::of(3, 7168..9216),
        ],
        reserved: vec![0x10..0x40, 3100..3200],
        distances: (0..16).map(|at| if at % 5 == 0 { 10 } else { 20 }).collect(),
        cpus: vec![0, 1],
        marks: Vec::new(),
        dma_end: 1024,
        dma32_end: 7168,
    }
}

/// A machine of two nodes after a little work, of which nothing is left to chance.
fn small() -> (Pages, &'static Listener) {
    let machine = Machine {
        memory: vec![Memory::of(0, 1..3072), Memory::of(1, 4096..8192)],
        reserved: vec![0x10..0x30, 0x30..0x40],
        distances: vec![10, 20, 20, 10],
        cpus: vec![0, 1],
        marks: vec![Mark { node: 0, class: Class::Dma32, frames: 16 }],
        dma_end: 1024,
        dma32_end: 4096,
    };
    let (pages, listener) = build(&machine);
    let movable = FRAME.gfp(Gfp::HIGHUSER_MOVABLE).expect("the flags go together");
    let alloc = |request: &Request| pages.alloc_raw(request).expect("there is memory");
    let free = |pfn, by| {
        // SAFETY: the runs are this test's, each is freed once, and nobody touches their frames.
        unsafe { pages.free_raw(pfn, by) }.expect("it is held");
    };
    let held: Vec<Pfn> = (0..40).map(|_| alloc(&FRAME)).collect();
    held.iter().step_by(2).for_each(|&pfn| free(pfn, Order::ZERO));
    alloc(&movable.with_order(Order::BLOCK));
    alloc(&movable.node(NodeId(1)));
    listener.cpu.store(1, Ordering::Relaxed);
    free(alloc(&FRAME.with_order(order(3))), order(3));
    alloc(&FRAME.with_order(order(7)));
    (pages, listener)
}

/// Digits stand for nothing but the room they take.
fn columns(text: impl Display) -> Vec<String> {
    text.to_string().split('\n').map(|line| line.replace(|c: char| c.is_ascii_digit(), " ")).collect()
}

/// Each number is a `#`, and each gap a blank.
fn words(text: impl Display) -> Vec<String> {
    let words = |line: &str| {
        let mut said = String::new();
        for c in line.chars() {
            let c = if c.is_ascii_digit() { '#' } else { c };
            if !(matches!(c, '#' | ' ') && said.trim_start().ends_with(c)) {
                said.push(c);
            }
        }
        said
    };
    text.to_string().split('\n').map(words).collect()
}

#[test]
fn lines_have_the_form_of_a_kernels() {
    let (pages, _) = build(&as_recorded());
    assert_eq!(columns(pages.buddyinfo()), columns(include_str!("data/linux/buddyinfo.txt")));
    assert_eq!(columns(pages.pagetypeinfo()), columns(include_str!("data/linux/pagetypeinfo.txt")));
    // Lines that the recorded kernel (6.12) did not have yet; its columns of pagesets were narrower.
    let newer = ["nr_free_pages_blocks", "high_min", "high_max", "reserved_highatomic", "free_highatomic"];
    let ours = words(pages.zoneinfo());
    let ours: Vec<_> = ours.iter().filter(|line| !newer.iter().any(|new| line.contains(new))).collect();
    let theirs = words(include_str!("data/linux/zoneinfo.txt"));
    assert_eq!(ours, theirs.iter().collect::<Vec<_>>());
    let columns_of = ["count", "high", "batch", "high_min", "high_max"].map(|name| format!("{name}:"));
    let pagesets = pages.zoneinfo().to_string();
    for name in columns_of {
        assert!(pagesets.contains(&format!("\n              {name:<9} ")), "{name}");
    }
}

#[test]
fn names_of_vmstat_are_a_kernels_in_its_order() {
    let (pages, _) = build(&as_recorded());
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let newer = ["nr_free_pages_blocks", "cma_alloc_success", "cma_alloc_fail"];
    let theirs = names(include_str!("data/linux/vmstat.txt"));
    let mut rest = theirs.iter();
    let text = pages.vmstat().to_string();
    for name in names(&text).iter().filter(|name| !newer.contains(&name.as_str())) {
        assert!(rest.any(|known| known == name), "{name} is not in Linux's vmstat, or not there");
    }
    assert!(text.lines().all(|line| line.split(' ').count() == 2), "{text}");
    let distinct: BTreeSet<_> = names(&text).into_iter().collect();
    assert_eq!(distinct.len(), text.lines().count(), "a name stands twice");
    for event in Event::ALL {
        assert!(distinct.contains(event.name()), "{}", event.name());
    }
}

/// Compares with what was read and found right once.
#[track_caller]
fn is_as_known(name: &str, text: impl Display, known: &str) {
    let text = text.to_string();
    if text != known {
        let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&place, &text).expect("the directory is the test's");
        let line = text.lines().zip(known.lines()).position(|(one, other)| one != other);
        panic!("{name} differs, first in line {line:?} (from 0); what it is now: {}", place.display());
    }
}

#[test]
fn texts_of_a_known_state_are_known() {
    let (pages, _) = small();
    is_as_known("buddyinfo.txt", pages.buddyinfo(), include_str!("data/texts/buddyinfo.txt"));
    is_as_known("pagetypeinfo.txt", pages.pagetypeinfo(), include_str!("data/texts/pagetypeinfo.txt"));
    is_as_known("zoneinfo.txt", pages.zoneinfo(), include_str!("data/texts/zoneinfo.txt"));
    is_as_known("vmstat.txt", pages.vmstat(), include_str!("data/texts/vmstat.txt"));
}

/// The sum of `count << order` over the orders of each line.
fn frames_of_runs(text: &str) -> Vec<u64> {
    let frames = |line: &str| {
        let counts = line.split_whitespace().rev().take(11).map(|count| count.parse().unwrap_or(0));
        counts.zip((0..11).rev()).map(|(count, order): (u64, u32)| count << order).sum()
    };
    text.lines().map(frames).collect()
}

#[test]
fn figures_are_those_that_the_allocator_says() {
    let (pages, _) = small();
    let mut groups = [Group::EMPTY; 16];
    pages.alloc_bulk(&FRAME, 400, &mut groups).expect("there is memory");
    let isolated = pages.blocks(ZoneId(2)).last().expect("the zone has blocks");
    pages.isolate(FrameRange::new(isolated.start, isolated.start.add(512))).expect("it is there");
    let zones: Vec<_> = pages.zones().collect();
    let free = |zone: &zonal::ZoneInfo| zone.free + zone.free_highatomic + zone.isolated;
    let by_runs = frames_of_runs(&pages.buddyinfo().to_string());
    assert_eq!(by_runs, zones.iter().map(free).collect::<Vec<_>>());
    let by_type = pages.pagetypeinfo().to_string();
    let by_type: u64 = by_type.lines().filter(|line| line.contains(", type")).flat_map(frames_of_runs).sum();
    assert_eq!(by_type, zones.iter().map(free).sum::<u64>());
    let vmstat = pages.vmstat().to_string();
    let said = |name: &str| -> u64 {
        let line = vmstat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|figure| figure.parse().ok()).expect("the name stands there")
    };
    let free: u64 = zones.iter().map(|zone| zone.free).sum();
    let events = pages.events();
    assert_eq!(said("nr_free_pages"), free);
    assert_eq!(
        ["dma", "dma32", "normal", "movable"].map(|zone| said(&format!("pgalloc_{zone}"))),
        events.allocated
    );
    assert_eq!((said("pgfree"), said("numa_other")), (events.freed, events.numa.other));
    assert_eq!(said("nr_shmem"), 100 + 200 + 2 * NodeStat::Shmem as u64);
}

/// A machine of 16 frames, of which none is left.
fn exhausted(dma_end: u64) -> (Pages, &'static Listener) {
    let machine = Machine {
        memory: vec![Memory::of(0, 0..16), Memory::of(1, 1024..1040)],
        reserved: vec![0..1, 1..2],
        distances: vec![10, 20, 20, 10],
        cpus: vec![0, 1],
        marks: Vec::new(),
        dma_end,
        dma32_end: dma_end,
    };
    let (pages, listener) = build(&machine);
    let atomic = FRAME.gfp(Gfp::ATOMIC | Gfp::NOWARN).expect("the flags go together");
    while pages.alloc_raw(&atomic).is_ok() {}
    assert_eq!(listener.heard(), [""; 0], "who says so fails in silence");
    (pages, listener)
}

#[test]
fn a_failure_is_told_at_a_limited_rate() {
    let (pages, listener) = exhausted(0);
    let atomic = FRAME.gfp(Gfp::ATOMIC).expect("the flags go together").with_order(order(2));
    assert!(pages.alloc_raw(&atomic).is_err());
    let heard = listener.heard();
    is_as_known("failure.txt", heard.concat(), include_str!("data/texts/failure.txt"));
    for (now, told) in [(0, 0), (9_999, 0), (10_000, 1), (10_001, 0), (25_000, 1)] {
        listener.now_ms.store(now, Ordering::Relaxed);
        assert!(pages.alloc_raw(&atomic).is_err());
        assert_eq!(listener.heard().len(), told, "at {now} ms");
    }
}

#[test]
fn a_request_for_dma_memory_is_silent_where_there_is_none() {
    let dma = FRAME.gfp(Gfp::DMA | Gfp::ATOMIC).expect("the flags go together");
    for (dma_end, told) in [(0, 0), (512, 1)] {
        let (pages, listener) = exhausted(dma_end);
        assert!(pages.alloc_raw(&dma).is_err());
        assert_eq!(listener.heard().len(), told);
    }
}

#[test]
fn that_memory_has_run_out_is_told_before_the_failure() {
    let (pages, listener) = exhausted(0);
    assert!(pages.alloc_raw(&FRAME).is_err());
    let heard = listener.heard();
    assert_eq!(heard.len(), 2);
    is_as_known("oom.txt", &heard[0], include_str!("data/texts/oom.txt"));
    assert!(heard[1].starts_with("listener: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), "));
}

#[test]
fn flags_are_told_by_their_names() {
    let names = |gfp: Gfp| {
        let (pages, listener) = exhausted(0);
        assert!(pages.alloc_raw(&FRAME.gfp(gfp).expect("the flags go together")).is_err());
        let heard = listener.heard().pop().unwrap_or_default();
        let mode = heard.split_once("mode:").and_then(|(_, rest)| rest.split_once(", nodemask"));
        mode.map(|(mode, _)| mode.to_owned()).unwrap_or_default()
    };
    assert_eq!(names(Gfp::empty()), "0x0()");
    assert_eq!(names(Gfp::ATOMIC | Gfp::COMP | Gfp::ZERO), "0x40920(GFP_ATOMIC|__GFP_ZERO|__GFP_COMP)");
    assert_eq!(names(Gfp::ATOMIC), "0x820(GFP_ATOMIC)");
    assert_eq!(names(Gfp::HIGHUSER_MOVABLE | Gfp::COMP | Gfp::NORETRY), {
        let bits = (Gfp::HIGHUSER_MOVABLE | Gfp::COMP | Gfp::NORETRY).bits();
        format!("{bits:#x}(GFP_HIGHUSER_MOVABLE|__GFP_NORETRY|__GFP_COMP)")
    });
    assert_eq!(
        names(Gfp::ATOMIC | Gfp::DMA32 | Gfp::NOMEMALLOC),
        "0x80824(GFP_ATOMIC|GFP_DMA32|__GFP_NOMEMALLOC)"
    );
}

/// The nodes of which a report has zones.
fn nodes_shown(report: &str) -> Vec<&str> {
    report
        .lines()
        .filter_map(|line| line.strip_prefix("Node ")?.split_once(" Normal free:"))
        .map(|(node, _)| node)
        .collect()
}

#[test]
fn a_report_shows_the_nodes_that_the_request_was_confined_to() {
    let (pages, listener) = exhausted(0);
    let set = Cpuset::root("1".parse().expect("a node")).expect("it has one");
    let bind = Mempolicy::bind("0".parse().expect("a node")).expect("it has one");
    let within = Context { cpuset: Some(&set), ..Context::default() };
    let ending = Context { exiting: true, ..within };
    let bound = Context { policy: Some(&bind), ..Context::default() };
    let (ordinary, victim) = (Task::default(), Task { oom_victim: true, ..Task::default() });
    let once = Gfp::KERNEL | Gfp::NORETRY;
    let cases: [(_, _, _, &[&str]); 7] = [
        (within, once, ordinary, &["1"]),
        (bound, once, ordinary, &["0"]),
        (Context::default(), once, ordinary, &["0", "1"]),
        // These would have got frames of any node.
        (within, Gfp::ATOMIC, ordinary, &["0", "1"]),
        (within, once, victim, &["0", "1"]),
        (ending, once, ordinary, &["0", "1"]),
        (within, once | Gfp::NOMEMALLOC, victim, &["1"]),
    ];
    for (at, (context, gfp, task, nodes)) in (1..).zip(cases) {
        listener.now_ms.store(at * 10_000, Ordering::Relaxed);
        listener.task.set(task);
        assert!(pages.alloc_raw_in(&context, &FRAME.gfp(gfp).expect("the flags go together")).is_err());
        let heard = listener.heard();
        assert_eq!(nodes_shown(&heard.concat()), nodes, "{gfp} {task:?}");
    }
    // Who has somebody killed shows its nodes, and only zones that it may use.
    listener.task.set(ordinary);
    assert!(pages.alloc_raw_in(&within, &FRAME).is_err());
    let heard = listener.heard();
    assert_eq!(nodes_shown(&heard[0]), ["1"]);
    assert_eq!(heard[0].lines().filter(|line| line.starts_with("Node ")).count(), 3);
}

#[test]
fn a_node_that_nothing_can_be_had_of_is_told() {
    let (pages, listener) = exhausted(0);
    assert!(pages.set_marks(ZoneId(0), Marks::at(10)));
    assert!(pages.zoneinfo().to_string().contains("node_unreclaimable:  0"));
    for _ in 0..16 {
        pages.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
        assert!(pages.kswapd(NodeId(0)));
    }
    assert!(pages.alloc_raw(&FRAME.gfp(Gfp::ATOMIC).expect("the flags go together")).is_err());
    let heard = listener.heard().concat();
    let told = |line: &str| line.rsplit_once("all_unreclaimable? ").map(|(_, told)| told.to_owned());
    assert_eq!(heard.lines().filter_map(told).collect::<Vec<_>>(), ["yes", "no"]);
    let figures: Vec<_> = pages
        .zoneinfo()
        .to_string()
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("node_unreclaimable:")?.trim().to_owned()))
        .collect();
    assert_eq!(figures, ["1", "0"]);
}
