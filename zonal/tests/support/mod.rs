//! What the tests share: allocators built from the testkit's machines, and a platform whose CPU the test chooses.
//!
//! Translates the testkit's plain numbers into the crate's types, here and nowhere else.

#![allow(dead_code, reason = "each test program uses a part of this module")]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use zonal::{
    AuditSummary, Caching, Checking, Config, ConfigError, FrameRange, HotRange, Mark, MemoryRange, Naming,
    NodeId, Order, OwnRows, OwnWords, PageAllocator, Pfn, Platform, Topology, ZoneKind,
};
use zonal_testkit::{Class, Machine};

/// A platform on the CPU that the test names, whose frames can be reached only if the test says so.
#[derive(Debug, Default)]
pub(crate) struct FakeCpu {
    cpu: AtomicUsize,
    reachable: AtomicBool,
}

impl FakeCpu {
    /// A platform that lives as long as the program, on CPU 0, reaching no frame.
    pub(crate) fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    /// From now on the code runs on this CPU.
    pub(crate) fn move_to(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// From now on zeroing succeeds.
    pub(crate) fn reach_frames(&self) {
        self.reachable.store(true, Ordering::Relaxed);
    }
}

impl Platform for FakeCpu {
    fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Relaxed)
    }

    fn zero(&self, _first: Pfn, _frames: u64) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }
}

/// Frames that can be poisoned at a time.
pub(crate) const POISONED: usize = 8;

/// An allocator whose metadata lives as long as the program.
pub(crate) type Leaked = PageAllocator<'static, &'static FakeCpu>;

/// What a [`Config`] borrows from, owned.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) memory: Vec<MemoryRange>,
    pub(crate) reserved: Vec<FrameRange>,
    pub(crate) nodes: usize,
    pub(crate) distances: Vec<u8>,
    pub(crate) cpus: Vec<NodeId>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) caching: Caching,
    pub(crate) own_words: Option<OwnWords>,
    pub(crate) own_rows: Option<OwnRows>,
    pub(crate) checking: Checking,
    pub(crate) naming: Naming,
    pub(crate) dma_end: u64,
    pub(crate) dma32_end: u64,
    pub(crate) hotplug: Vec<HotRange>,
}

impl Setup {
    /// The machine with local caches, unchecked.
    pub(crate) fn of(machine: &Machine) -> Self {
        let memory = |m: &zonal_testkit::Memory| {
            let range = MemoryRange::new(m.frames.start, m.frames.end, m.node);
            if m.class == Some(Class::Movable) { range.movable() } else { range }
        };
        let mark = |m: &zonal_testkit::Mark| Mark {
            node: NodeId(m.node),
            zone: zone_kind(m.class),
            frames: m.frames,
        };
        Self {
            memory: machine.memory.iter().map(memory).collect(),
            reserved: machine.reserved.iter().map(|r| range(r.start, r.end)).collect(),
            nodes: machine.nodes(),
            distances: machine.distances.clone(),
            cpus: machine.cpus.iter().map(|&node| NodeId(node)).collect(),
            marks: machine.marks.iter().map(mark).collect(),
            caching: Caching::Local,
            own_words: None,
            own_rows: None,
            checking: Checking::Off,
            naming: Naming::Off,
            dma_end: machine.dma_end,
            dma32_end: machine.dma32_end,
            hotplug: Vec::new(),
        }
    }

    /// The same with sections that may be plugged in.
    pub(crate) fn hotplug(self, hotplug: &[HotRange]) -> Self {
        Self { hotplug: hotplug.to_vec(), ..self }
    }

    /// The same with slot words that their CPUs own, whose barriers `barrier` passes.
    pub(crate) fn owned(self, barrier: fn(usize) -> bool) -> Self {
        // SAFETY: a test that asks for this plays all CPUs on one thread, so that nobody is ever in another call: nobody leaves
        // a CPU during a call, and every barrier is passed at once.
        let own_words = unsafe { OwnWords::pinned(self.cpus.len(), barrier) };
        Self { own_words, ..self }
    }

    /// The same with these caches.
    pub(crate) fn caching(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    /// The same with each free checked.
    pub(crate) fn checked(self) -> Self {
        Self { checking: Checking::On, ..self }
    }

    /// The same with owners named.
    pub(crate) fn named(self) -> Self {
        Self { naming: Naming::On, ..self }
    }

    pub(crate) fn config(&self) -> Config<'_> {
        let topology = Topology {
            memory: &self.memory,
            reserved: &self.reserved,
            nodes: self.nodes,
            distances: &self.distances,
            cpus: &self.cpus,
        };
        Config {
            hotplug: &self.hotplug,
            marks: &self.marks,
            caching: self.caching,
            own_words: self.own_words,
            own_rows: self.own_rows,
            checking: self.checking,
            naming: self.naming,
            poisoned_frames: POISONED,
            dma_end: Pfn::new(self.dma_end),
            dma32_end: Pfn::new(self.dma32_end),
            ..Config::new(topology)
        }
    }

    /// Metadata memory of the size needed.
    pub(crate) fn lend(&self) -> Result<Vec<MaybeUninit<u8>>, ConfigError> {
        Ok(lent(zonal::metadata_size(&self.config())?))
    }

    /// An allocator in leaked memory.
    pub(crate) fn build(&self, cpu: &'static FakeCpu) -> Result<Leaked, ConfigError> {
        PageAllocator::new(&self.config(), cpu, self.lend()?.leak())
    }
}

/// An allocator for the machine with local caches, and its platform.
pub(crate) fn allocator(machine: &Machine) -> (Leaked, &'static FakeCpu) {
    built(&Setup::of(machine))
}

/// The allocator of a setup that must be right, and its platform.
pub(crate) fn built(setup: &Setup) -> (Leaked, &'static FakeCpu) {
    let cpu = FakeCpu::leaked();
    (setup.build(cpu).expect("the machine is a good one"), cpu)
}

/// So many bytes to lend.
pub(crate) fn lent(bytes: usize) -> Vec<MaybeUninit<u8>> {
    let mut memory = Vec::with_capacity(bytes);
    // SAFETY: the capacity was just asked for, and elements of this type are valid whatever their bytes.
    unsafe { memory.set_len(bytes) };
    memory
}

/// Audits, panics with every finding there is, and returns the summary.
pub(crate) fn audited<P: Platform>(allocator: &PageAllocator<'_, P>) -> AuditSummary {
    let mut findings = Vec::new();
    let summary = allocator.audit(&mut |finding| findings.push(finding.to_string()));
    assert!(findings.is_empty(), "the audit disagrees: {findings:#?}");
    assert_eq!(summary.findings, 0, "findings are counted that were not reported");
    let parts = summary.free + summary.cached + summary.allocated + summary.isolated + summary.in_flight;
    let parts = parts + summary.poisoned;
    assert_eq!(summary.managed, parts, "the parts are not the whole: {summary:?}");
    summary
}

pub(crate) fn range(start: u64, end: u64) -> FrameRange {
    FrameRange::new(Pfn::new(start), Pfn::new(end))
}

pub(crate) fn order(order: u8) -> Order {
    Order::new(order).expect("orders in tests are at most 18")
}

pub(crate) fn zone_kind(class: Class) -> ZoneKind {
    match class {
        Class::Dma => ZoneKind::Dma,
        Class::Dma32 => ZoneKind::Dma32,
        Class::Normal => ZoneKind::Normal,
        Class::Movable => ZoneKind::Movable,
    }
}
