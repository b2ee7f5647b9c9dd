//! A tiny machine for models: one node mostly, one Normal zone of one or two blocks, two or three CPUs, perhaps a section that may be
//! plugged into that zone or into the Movable one, and for each frame something that only its owner touches.

use core::mem::MaybeUninit;
use core::ops::Range;
use std::boxed::Box;
use std::vec::Vec;

use crate::allocator::PageAllocator;
use crate::build::metadata_size;
use crate::cache::hold::Barriers;
use crate::config::{Caching, Config};
use crate::frame::{BLOCK_FRAMES, FrameRange, NodeId, Order, Pfn, SECTION_FRAMES};
use crate::hotplug::online::OnlineType;
use crate::own_rows::OwnRows;
use crate::platform::Platform;
use crate::topology::{HotRange, Kind, MemoryRange, Topology};
use crate::zone::{Mixing, Want, Zone};

/// First frame of the machine: the first of the Normal zone, and of a section.
const START: u64 = 0x10_0000;

/// What a stage is built from.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Blocks, from 1 on.
    pub(super) blocks: u64,
    /// Frames that are managed, by their place in the machine; the others are reserved.
    pub(super) managed: Range<u64>,
    /// Nodes, of as many blocks each.
    pub(super) nodes: usize,
    /// Number of CPUs, all of the first node.
    pub(super) cpus: usize,
    pub(super) caching: Caching,
    /// Sections behind the blocks that may be plugged in.
    pub(super) hot: u64,
    /// How they hold their own rows, if they do.
    pub(super) own_rows: Option<OwnRows>,
}

impl Plan {
    /// So many blocks, all frames managed, no slot words.
    pub(super) fn blocks(blocks: u64) -> Self {
        let managed = 0..blocks * BLOCK_FRAMES;
        Self { blocks, managed, nodes: 1, cpus: 2, caching: Caching::Off, hot: 0, own_rows: None }
    }

    /// One block of which only these frames are managed.
    pub(super) fn frames(managed: Range<u64>) -> Self {
        Self { managed, ..Self::blocks(1) }
    }

    /// With slot words.
    pub(super) fn cached(self) -> Self {
        Self { caching: Caching::Local, ..self }
    }

    /// With a section that may be plugged in.
    pub(super) fn hot(self) -> Self {
        Self { hot: 1, ..self }
    }
}

/// A run asked of a zone that may be emptied.
pub(super) const fn want(order: Order, kind: Kind) -> Want {
    Want { order, kind, floor: 0, mixing: Mixing::Allowed, barriers: Barriers::Allowed }
}

/// The memory lent to an allocator, given back last.
struct Loan(*mut [MaybeUninit<u8>]);

impl Loan {
    /// A loan, and the one reference to it.
    fn new(bytes: usize) -> (Self, &'static mut [MaybeUninit<u8>]) {
        let memory = Box::into_raw(Box::new_uninit_slice(bytes));
        // SAFETY: the memory lives until the loan is dropped, and nobody makes another reference before.
        (Self(memory), unsafe { &mut *memory })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: (1) the pointer came from `Box::into_raw`; (2) the allocator that borrows the memory is a field
        // before this one in the one struct that holds both, so it was dropped first and all threads are done.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// SAFETY: a loan is only a pointer that its drop frees; any thread may do that.
unsafe impl Send for Loan {}
// SAFETY: a shared loan can do nothing.
unsafe impl Sync for Loan {}

/// An allocator and what its frames hold.
pub(super) struct Stage<P, C> {
    pub(super) allocator: PageAllocator<'static, P>,
    _loan: Loan,
    /// The memory that is there from the start, and what may be plugged in.
    range: FrameRange,
    hot: FrameRange,
    contents: Vec<C>,
}

impl<P: Platform + Default, C> Stage<P, C> {
    /// Builds the machine; `content` makes what a frame holds.
    pub(super) fn new(plan: &Plan, content: impl Fn() -> C) -> Self {
        let end = START + plan.blocks * BLOCK_FRAMES;
        let share = plan.blocks / plan.nodes as u64 * BLOCK_FRAMES;
        let part =
            |node: u64| MemoryRange::new(START + node * share, START + (node + 1) * share, node as u16);
        let memory: Vec<_> = (0..plan.nodes as u64).map(part).collect();
        let between = |at: usize| if at % (plan.nodes + 1) == 0 { 10 } else { 20 };
        let distances: Vec<u8> = (0..plan.nodes * plan.nodes).map(between).collect();
        let range = |start: u64, end: u64| FrameRange::new(Pfn::new(start), Pfn::new(end));
        let reserved = [range(START, START + plan.managed.start), range(START + plan.managed.end, end)];
        let cpus = [NodeId(0); 4];
        let topology = Topology {
            memory: &memory,
            reserved: &reserved,
            nodes: plan.nodes,
            distances: &distances,
            cpus: &cpus[..plan.cpus],
        };
        let first = START + SECTION_FRAMES * plan.blocks.div_ceil(SECTION_FRAMES / BLOCK_FRAMES);
        let hot = range(first, first + plan.hot * SECTION_FRAMES);
        let hotplug = [HotRange { range: hot, node: NodeId(0) }];
        let hotplug = &hotplug[..usize::from(plan.hot > 0)];
        let Plan { caching, own_rows, .. } = *plan;
        let config = Config { caching, hotplug, own_rows, poisoned_frames: 2, ..Config::new(topology) };
        let (loan, memory) = Loan::new(metadata_size(&config).expect("the plan is sound"));
        let allocator = PageAllocator::new(&config, P::default(), memory).expect("the plan is sound");
        let contents = (START..hot.end.get()).map(|_| content()).collect();
        Self { allocator, _loan: loan, range: range(START, end), hot, contents }
    }

    /// The zone of the memory that is there from the start; the first, where there are several nodes.
    pub(super) fn zone(&self) -> &'static Zone<'static> {
        &self.allocator.state.zones[0]
    }

    /// The memory that is there from the start.
    pub(super) fn range(&self) -> FrameRange {
        self.range
    }

    /// What may be plugged in.
    pub(super) fn hot(&self) -> FrameRange {
        self.hot
    }

    /// Plugs it in.
    pub(super) fn plug(&self, to: OnlineType) {
        self.allocator.online_memory(self.hot, to).expect("it is offline");
    }

    /// What the frames of a run hold.
    pub(super) fn contents(&self, pfn: Pfn, order: Order) -> &[C] {
        let first = (pfn.get() - START) as usize;
        &self.contents[first..first + order.frames() as usize]
    }

    /// At rest every recount agrees, nothing is in flight, and so many frames are allocated.
    pub(super) fn assert_at_rest(&self, allocated: u64) {
        let mut findings = Vec::new();
        let sums = self.allocator.audit(&mut |finding| findings.push(std::format!("{finding}")));
        assert!(findings.is_empty(), "the audit found: {findings:?}");
        assert_eq!((sums.allocated, sums.in_flight), (allocated, 0), "{sums:?}");
    }
}
