//! The machine a recording is replayed on, and which of its nodes stands for which recorded frames.
//!
//! The default has two nodes, each of at least twice the recording's peak, with Linux's zones and marks of 0: every
//! request that was served there can be served here. Invariant: a `fitting` setting holds the recorded demand even if
//! all of it asks for one node.

use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use zonal::{FrameRange, MemoryRange, NodeId, Order, Pfn, SECTION_FRAMES};
use zonal_linux::Machine;

use crate::plan::Plan;

/// Where the default machine's second node may begin: above DMA32, so that it is Normal throughout.
const DMA32_END: u64 = (4 << 30) / zonal::FRAME_SIZE;

/// A machine and how the recording's frames map to its nodes.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The machine.
    pub(crate) machine: Machine,
    /// Whether it was made to hold the recording.
    pub(crate) origin: Origin,
    nodes: Vec<(FrameRange, NodeId)>,
}

/// Where a machine comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Made for the recording: no request may be refused.
    Fitting,
    /// Described by the user: it may be too small.
    Given,
}

impl Setting {
    /// Two nodes, large enough. Frames in the lower half of the recorded machine are node 0's.
    pub(crate) fn fitting(plan: &Plan) -> Result<Self> {
        let run = plan.largest_order().frames();
        let frames = (2 * plan.counts.peak_frames + 2 * run).next_multiple_of(SECTION_FRAMES);
        let second = frames.max(DMA32_END).next_multiple_of(Order::MAX.frames());
        let memory = vec![MemoryRange::new(0, frames, 0), MemoryRange::new(second, second + frames, 1)];
        let cpus = thread::available_parallelism().map_or(2, NonZero::get).max(2);
        let machine = Machine::new(memory, vec![NodeId(0), NodeId(1)])
            .and_then(|machine| machine.with_cpus(cpus))
            .with_context(|| {
                format!("no machine holds twice the peak of {} frames", plan.counts.peak_frames)
            })?;
        let end = plan.recorded_end();
        let middle = Pfn::new(end.get() / 2);
        let low = (FrameRange::new(Pfn::new(0), middle), NodeId(0));
        let high = (FrameRange::new(middle, end), NodeId(1));
        Ok(Self { machine, origin: Origin::Fitting, nodes: vec![low, high] })
    }

    /// The machine of a description. Recorded frames it has are its node's; for others the CPU's node is as good as any.
    pub(crate) fn given(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let machine = Machine::from_toml(&text).with_context(|| path.display().to_string())?;
        let mut nodes: Vec<_> = machine.memory().iter().map(|memory| (memory.range, memory.node)).collect();
        nodes.sort_unstable_by_key(|&(range, _)| range.start);
        Ok(Self { machine, origin: Origin::Given, nodes })
    }

    /// The node that stands for a recorded frame.
    pub(crate) fn node(&self, recorded: Pfn) -> Option<NodeId> {
        let after = self.nodes.partition_point(|&(range, _)| range.start <= recorded);
        let &(range, node) = self.nodes[..after].last()?;
        range.contains(recorded).then_some(node)
    }
}
