//! The text of `/proc/pagetypeinfo`: free runs by type and order, blocks by type, for each node with memory.

use core::fmt;

use crate::frame::{BLOCK_FRAMES, NodeId, Order};
use crate::report::{ORDERS, Subject};
use crate::zone::figures::Share;

/// Runs that Linux counts at most: it says `>` then.
const MOST: u64 = 100_000;

/// See [`crate::PageAllocator::pagetypeinfo`].
#[derive(Clone, Copy)]
pub(crate) struct Pagetypeinfo<'a>(pub(crate) Subject<'a>);

impl fmt::Display for Pagetypeinfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = self.0.nodes().filter(|&node| self.0.zones_of(node).next().is_some());
        nodes.try_for_each(|node| self.node(f, node))
    }
}

impl Pagetypeinfo<'_> {
    fn node(&self, f: &mut fmt::Formatter<'_>, node: NodeId) -> fmt::Result {
        writeln!(f, "Page block order: {}\nPages per block:  {BLOCK_FRAMES}\n", Order::BLOCK)?;
        write!(f, "{:<43} ", "Free pages count per migrate type at order")?;
        (0..ORDERS).try_for_each(|order| write!(f, "{order:>6} "))?;
        writeln!(f)?;
        for zone in self.0.zones_of(node) {
            for (share, runs) in Share::ALL.iter().zip(zone.free_runs()) {
                let (name, share) = (zone.kind.name(), share.name());
                write!(f, "Node {:>4}, zone {name:>8}, type {share:>12} ", node.0)?;
                runs[..ORDERS].iter().try_for_each(|&runs| {
                    let over = if runs >= MOST { ">" } else { "" };
                    write!(f, "{over}{:>6} ", runs.min(MOST))
                })?;
                writeln!(f)?;
            }
        }
        write!(f, "\n{:<23}", "Number of blocks type ")?;
        Share::ALL.iter().try_for_each(|share| write!(f, "{:>12} ", share.name()))?;
        writeln!(f)?;
        for zone in self.0.zones_of(node) {
            write!(f, "Node {}, zone {:>8} ", node.0, zone.kind.name())?;
            let mut blocks = [0u64; Share::ALL.len()];
            zone.blocks().for_each(|block| blocks[Share::of(block.entry.load()) as usize] += 1);
            blocks.iter().try_for_each(|blocks| write!(f, "{blocks:>12} "))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
