//! Where storms of plugging happen: some memory that is there from the start on each node, and sections behind it.

use std::mem::MaybeUninit;

use anyhow::Result;
use zonal::{
    BLOCK_FRAMES, Config, FrameRange, HotRange, MemoryRange, NodeId, OwnWords, PageAllocator, Pfn, Platform,
    SECTION_FRAMES, Topology, Tuning, metadata_size,
};

use super::super::owners::Owners;
use super::rows::Rows;

/// Blocks of kernel memory and sections behind them that may be plugged in, a node each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub(super) nodes: u16,
    /// Blocks that are there from the start, on each node.
    pub(super) blocks: u64,
    /// Sections that may be plugged in, on each node.
    pub(super) sections: u64,
    /// CPUs of each node.
    pub(super) cpus: u16,
    pub(super) refusals: Refusals,
    pub(super) company: Company,
    pub(super) rows: Rows,
}

/// How refusals, and requests for a kill, are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusals {
    /// Wrong if a run lies there that lay there all along.
    Fair,
    /// Wrong if a run lies there: threads hold so little that there always was one.
    Strict,
}

/// Who is there besides those who ask and the one who plugs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Company {
    /// Nobody: nothing can be reclaimed, for nothing is short.
    Nobody,
    /// Caches that take what they can get, a kswapd for each node, sets that move, and timers.
    All,
}

impl Ground {
    /// Memory that is there from the start.
    fn early(&self) -> Vec<MemoryRange> {
        let range = |node: u16| {
            let start = u64::from(node) * (1 + self.sections) * SECTION_FRAMES;
            MemoryRange::new(start, start + self.blocks * BLOCK_FRAMES, node)
        };
        (0..self.nodes).map(range).collect()
    }

    /// Where sections may be plugged in.
    fn hotplug(&self) -> Vec<HotRange> {
        let behind = |early: &MemoryRange| {
            let start = early.range.start.get() + SECTION_FRAMES;
            HotRange::new(start, start + self.sections * SECTION_FRAMES, early.node.0)
        };
        self.early().iter().map(behind).collect()
    }

    /// The sections that may be plugged in.
    pub(super) fn hot(&self) -> Vec<FrameRange> {
        let sections = |hot: HotRange| {
            let starts = (hot.range.start.get()..hot.range.end.get()).step_by(SECTION_FRAMES as usize);
            starts.map(|start| FrameRange::new(Pfn::new(start), Pfn::new(start + SECTION_FRAMES)))
        };
        self.hotplug().into_iter().flat_map(sections).collect()
    }

    /// Nobody holds anything yet.
    pub(super) fn owners(&self) -> Owners {
        let hot = self.hot().into_iter().map(|range| MemoryRange::new(range.start.get(), range.end.get(), 0));
        Owners::of(&self.early().into_iter().chain(hot).collect::<Vec<_>>())
    }

    /// The node of a frame that there may be.
    pub(super) fn node(&self, pfn: Pfn) -> NodeId {
        NodeId((pfn.get() / SECTION_FRAMES / (1 + self.sections)) as u16)
    }

    /// An allocator of the memory that is there, which lives as long as the program.
    pub(super) fn allocator<P: Platform>(
        &self,
        platform: P,
        own_words: Option<OwnWords>,
    ) -> Result<PageAllocator<'static, P>> {
        let nodes = usize::from(self.nodes);
        let distances: Vec<u8> =
            (0..nodes * nodes).map(|at| if at % (nodes + 1) == 0 { 10 } else { 20 }).collect();
        let cpus: Vec<NodeId> = (0..self.nodes * self.cpus).map(|cpu| NodeId(cpu % self.nodes)).collect();
        let (memory, hotplug) = (self.early(), self.hotplug());
        let topology = Topology { memory: &memory, reserved: &[], nodes, distances: &distances, cpus: &cpus };
        let tuning = Tuning { min_free_kbytes: Some(512 * u64::from(self.nodes)), ..Tuning::default() };
        let config = Config {
            hotplug: &hotplug,
            tuning: Some(tuning),
            dma_end: Pfn::new(0),
            dma32_end: Pfn::new(0),
            own_words,
            own_rows: self.rows.config(),
            ..Config::new(topology)
        };
        let metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?].leak();
        Ok(PageAllocator::new(&config, platform, metadata)?)
    }
}
