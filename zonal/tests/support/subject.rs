//! The allocator as the conformance suite sees it: plain numbers in, plain numbers out.
//!
//! Names nothing of the tests around it, so that the program `zonal` judges with the same file.

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use zonal::{
    Caching, Checking, Config, FrameRange, Group, MemoryRange, NodeId, Order, PageAllocator, Pfn, Platform,
    Request, Topology,
};
use zonal_testkit::conformance::{Answer, Build, FrameAllocator, No, Setup, Watch};

/// How the allocator is configured for a machine of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Its memory and its CPUs are divided among so many nodes.
    pub(crate) nodes: u16,
    pub(crate) caching: Caching,
    /// In checks that do not ask for it.
    pub(crate) checking: Checking,
}

impl Geometry {
    /// One node, local caches, unchecked.
    pub(crate) const PLAIN: Self = Self { nodes: 1, caching: Caching::Local, checking: Checking::Off };

    /// What the suite builds its allocators with.
    pub(crate) fn build(self) -> Build {
        Arc::new(move |setup| Ok(Box::new(Subject::new(self, setup)?)))
    }

    /// The ranges of a machine, cut where nodes meet.
    fn memory(self, setup: &Setup) -> Vec<MemoryRange> {
        let end = setup.memory.iter().map(|range| range.end).max().unwrap_or(0);
        let part = (end / u64::from(self.nodes)).max(1);
        let cut = |range: &Range<u64>| {
            let (start, end) = (range.start, range.end);
            let nodes = 0..self.nodes;
            let pieces = nodes.map(move |node| {
                let first = u64::from(node) * part;
                let last = if node + 1 == self.nodes { end } else { end.min(first + part) };
                MemoryRange::new(start.max(first), last, node)
            });
            // A range that is empty as a whole is the allocator's to refuse.
            let whole = (start >= end).then(|| MemoryRange::new(start, end, 0));
            pieces.filter(|piece| piece.range.start < piece.range.end).chain(whole).collect::<Vec<_>>()
        };
        setup.memory.iter().flat_map(cut).collect()
    }
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Each thread is on the CPU it named last.
struct Named;

impl Platform for Named {
    fn cpu(&self) -> usize {
        CPU.get()
    }
}

/// An allocator and the metadata it is built in, which lives as long as the program: a check may leave a thread behind.
struct Subject(PageAllocator<'static, Named>);

impl Subject {
    fn new(geometry: Geometry, setup: &Setup) -> Answer<Self> {
        let (nodes, memory) = (geometry.nodes, geometry.memory(setup));
        let cpus: Vec<NodeId> = (0..setup.cpus).map(|cpu| NodeId(cpu as u16 % nodes)).collect();
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| from == to));
        let distances: Vec<u8> = pairs.map(|same| if same { 10 } else { 20 }).collect();
        let topology = Topology {
            memory: &memory,
            reserved: &[],
            nodes: usize::from(nodes),
            distances: &distances,
            cpus: &cpus,
        };
        let checking = if setup.watch == Watch::Closest { Checking::On } else { geometry.checking };
        let config = Config {
            caching: geometry.caching,
            checking,
            dma_end: Pfn::new(0),
            dma32_end: Pfn::new(0),
            ..Config::new(topology)
        };
        let bytes = zonal::metadata_size(&config).map_err(No::refused)?;
        let metadata = vec![MaybeUninit::uninit(); bytes].leak();
        PageAllocator::new(&config, Named, metadata).map(Self).map_err(No::refused)
    }
}

impl FrameAllocator for Subject {
    fn max_order(&self) -> u32 {
        u32::from(Order::MAX.get())
    }

    fn alloc(&self, order: u32) -> Answer<u64> {
        self.served(&request(order)?)
    }

    fn free(&self, pfn: u64, order: u32) -> Answer<()> {
        // SAFETY: the suite frees what it holds; no frame is touched.
        unsafe { self.0.free_raw(Pfn::new(pfn), named(order)?) }.map_err(No::refused)
    }

    fn misuse(&self, pfn: u64, order: u32) -> Answer<()> {
        // SAFETY: no frame is touched, so that a free nobody may make harms the suite's own allocator at most.
        unsafe { self.0.free_raw(Pfn::new(pfn), named(order)?) }.map_err(No::refused)
    }

    fn on_cpu(&self, cpu: usize) -> Answer<()> {
        CPU.set(cpu);
        Ok(())
    }

    fn alloc_at(&self, order: u32, pfn: u64) -> Answer<()> {
        self.0.alloc_at(&request(order)?, Pfn::new(pfn)).map_err(No::refused)
    }

    fn alloc_below(&self, order: u32, limit: u64) -> Answer<u64> {
        self.served(&request(order)?.below(Pfn::new(limit)))
    }

    fn alloc_aligned(&self, order: u32, align: u32) -> Answer<u64> {
        self.served(&request(order)?.aligned(named(align)?))
    }

    fn alloc_count(&self, frames: u64) -> Answer<u64> {
        self.0.alloc_exact(&request(0)?, frames).map(Pfn::get).map_err(No::refused)
    }

    fn free_count(&self, pfn: u64, frames: u64) -> Answer<()> {
        // SAFETY: as for `free`.
        unsafe { self.0.free_exact(Pfn::new(pfn), frames) }.map_err(No::refused)
    }

    fn alloc_bulk(&self, frames: u64) -> Answer<Vec<u64>> {
        let mut groups = [Group::EMPTY; 16];
        let filled = self.0.alloc_bulk(&request(0)?, frames, &mut groups).map_err(No::refused)?;
        Ok(groups[..filled].iter().flat_map(|group| group.iter()).map(Pfn::get).collect())
    }

    fn free_bulk(&self, frames: &[u64]) -> Answer<()> {
        let by_group = frames.chunk_by(|one, next| one / zonal::GROUP_FRAMES == next / zonal::GROUP_FRAMES);
        let group = |frames: &[u64]| {
            let base = frames.first().map_or(0, |first| first / zonal::GROUP_FRAMES * zonal::GROUP_FRAMES);
            let mask = frames.iter().fold(0, |mask, frame| mask | 1 << (frame - base));
            Group { base: Pfn::new(base), mask }
        };
        let groups: Vec<Group> = by_group.map(group).collect();
        // SAFETY: as for `free`.
        unsafe { self.0.free_bulk(&groups) }.map_err(No::refused)
    }

    fn split(&self, pfn: u64, from: u32, to: u32) -> Answer<()> {
        // SAFETY: the suite splits what it holds; no frame is touched.
        unsafe { self.0.split_raw(Pfn::new(pfn), named(from)?, named(to)?) }.map_err(No::refused)
    }

    fn free_frames(&self) -> Answer<u64> {
        Ok(self.0.zones().map(|zone| zone.free + zone.cached).sum())
    }

    fn drain(&self) -> Answer<u64> {
        Ok(self.0.drain_all())
    }

    fn isolate(&self, range: Range<u64>) -> Answer<()> {
        self.0.isolate(frames(range)).map(drop).map_err(No::refused)
    }

    fn unisolate(&self, range: Range<u64>) -> Answer<()> {
        self.0.unisolate(frames(range)).map(drop).map_err(No::refused)
    }

    fn audit(&self) -> Answer<()> {
        let mut first = None;
        self.0.audit(&mut |finding| first = first.take().or_else(|| Some(finding.to_string())));
        first.map_or(Ok(()), |finding: String| Err(No::refused(finding)))
    }
}

impl Subject {
    fn served(&self, request: &Request) -> Answer<u64> {
        self.0.alloc_raw(request).map(Pfn::get).map_err(No::refused)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes {}, caching {:?}, checking {:?}", self.nodes, self.caching, self.checking)
    }
}

fn request(order: u32) -> Answer<Request> {
    Ok(Request::order(named(order)?))
}

fn named(order: u32) -> Answer<Order> {
    let order = u8::try_from(order).ok().and_then(Order::new);
    order.ok_or_else(|| No::refused("no such order"))
}

fn frames(range: Range<u64>) -> FrameRange {
    FrameRange::new(Pfn::new(range.start), Pfn::new(range.end))
}
