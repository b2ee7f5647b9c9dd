//! Nodes that lack something: CPUs without memory, memory without CPUs, and neither.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use support::{audited, lent};
use zonal::{
    AllocError, Caching, Config, Daemon, Mark, MemoryRange, NodeId, Order, PageAllocator, Pfn, Platform,
    Request, Topology, ZoneKind, metadata_size,
};
use zonal_testkit::BLOCK;

const FULL: NodeId = NodeId(0);
/// Has CPU 1 and no memory.
const HUNGRY: NodeId = NodeId(1);
/// Has memory and no CPU.
const IDLE: NodeId = NodeId(2);
/// Has neither.
const EMPTY: NodeId = NodeId(3);

/// From the hungry node the idle one is the nearest.
const DISTANCES: [u8; 16] = [10, 20, 30, 40, 20, 10, 12, 40, 30, 12, 10, 40, 40, 40, 40, 10];
const CPUS: [NodeId; 2] = [FULL, HUNGRY];
const START: u64 = 1 << 20;
const MEMORY: [MemoryRange; 2] = [
    MemoryRange::new(START, START + 4 * BLOCK, FULL.0),
    MemoryRange::new(START + 4 * BLOCK, START + 8 * BLOCK, IDLE.0),
];

/// Runs where the test says, and writes down who is woken.
#[derive(Default)]
struct Notes {
    cpu: Cell<usize>,
    woken: RefCell<Vec<(Daemon, NodeId)>>,
}

impl Platform for Notes {
    fn cpu(&self) -> usize {
        self.cpu.get()
    }

    fn wake(&self, daemon: Daemon, node: NodeId) {
        self.woken.borrow_mut().push((daemon, node));
    }
}

fn build(caching: Caching, marks: &[Mark]) -> PageAllocator<'static, Notes> {
    let topology = Topology { memory: &MEMORY, reserved: &[], nodes: 4, distances: &DISTANCES, cpus: &CPUS };
    let config = Config { marks, caching, ..Config::new(topology) };
    let metadata = lent(metadata_size(&config).expect("a machine")).leak();
    PageAllocator::new(&config, Notes::default(), metadata).expect("a machine")
}

fn node_of(pfn: Pfn) -> NodeId {
    if pfn.get() < START + 4 * BLOCK { FULL } else { IDLE }
}

fn free(pages: &PageAllocator<'_, Notes>, pfn: Pfn) {
    // SAFETY: allocated by the test, which forgets it.
    assert_eq!(unsafe { pages.free_raw(pfn, Order::ZERO) }, Ok(()));
}

#[test]
fn a_node_without_memory_is_served_by_the_nearest_with() {
    for caching in [Caching::Off, Caching::Local, Caching::All] {
        let pages = build(caching, &[]);
        for (cpu, node, expected) in [
            (0, None, FULL),
            (1, None, IDLE),
            (0, Some(HUNGRY), IDLE),
            (1, Some(FULL), FULL),
            // As far as the other, but without CPUs of its own.
            (1, Some(EMPTY), IDLE),
        ] {
            pages.platform().cpu.set(cpu);
            let request = Request::order(Order::ZERO).nowait();
            let request = node.map_or(request, |node| request.node(node));
            let pfn = pages.alloc_raw(&request).expect("there is room");
            assert_eq!(node_of(pfn), expected, "CPU {cpu}, node {node:?}, {caching:?}");
            free(&pages, pfn);
        }
        let only = Request::order(Order::ZERO).nowait().node(HUNGRY);
        let only = only.this_node();
        assert_eq!(pages.alloc_raw(&only), Err(AllocError::NoZone));
        audited(&pages);
    }
}

/// All of memory is had from either CPU, whoever's it is, each frame once; and it all comes back.
#[test]
fn memory_without_cpus_is_memory() {
    for caching in [Caching::Off, Caching::Local, Caching::All] {
        let pages = build(caching, &[]);
        let mut taken = Vec::new();
        while let Ok(pfn) = pages.alloc_raw(&Request::order(Order::ZERO).nowait()) {
            pages.platform().cpu.set(taken.len() % 2);
            taken.push(pfn);
        }
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len() as u64, 8 * BLOCK, "{caching:?}");
        assert_eq!(taken.len() as u64, 8 * BLOCK, "{caching:?}");
        for (at, pfn) in taken.into_iter().enumerate() {
            pages.platform().cpu.set(at % 3 % 2);
            free(&pages, pfn);
        }
        let sums = audited(&pages);
        assert_eq!((sums.allocated, sums.free + sums.cached), (0, 8 * BLOCK));
    }
}

/// A node without CPUs has its kswapd, and it is woken with the others when all zones are short.
#[test]
fn a_node_without_cpus_has_its_daemon() {
    let marks = [FULL, IDLE].map(|node| Mark { node, zone: ZoneKind::Normal, frames: BLOCK });
    let pages = build(Caching::Local, &marks);
    pages.platform().cpu.set(1);
    let request = Request::order(Order::ZERO).nowait();
    let held: Vec<Pfn> = std::iter::from_fn(|| pages.alloc_raw(&request).ok()).collect();
    assert_eq!(held.len() as u64, 6 * BLOCK, "all but what the marks keep");
    let last = held.iter().position(|&pfn| node_of(pfn) == FULL);
    assert_eq!(last, Some(3 * BLOCK as usize), "the nearest node first");
    for node in [IDLE, FULL] {
        assert!(pages.platform().woken.borrow().contains(&(Daemon::Kswapd, node)), "{node:?}");
        assert!(pages.has_work(Daemon::Kswapd, node), "{node:?}");
    }
    held.into_iter().for_each(|pfn| free(&pages, pfn));
    assert!(pages.kswapd(IDLE));
    assert!(!pages.has_work(Daemon::Kswapd, IDLE), "its zone is above its mark again");
    audited(&pages);
}
