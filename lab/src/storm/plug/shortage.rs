//! Frames that are short: kswapds, and caches that give back much, little, late, or nothing.

use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Duration;

use zonal::{Daemon, Demand, NodeId};

use super::super::violation::Violation;
use super::rows::reading;
use super::world::World;

impl World {
    /// This thread is the node's kswapd until `is_over`.
    pub(super) fn be_kswapd(&'static self, node: NodeId, is_over: impl Fn() -> bool) {
        self.kswapds[usize::from(node.0)].get_or_init(thread::current);
        let Some(allocator) = self.allocator() else { return };
        while !is_over() {
            while reading(|| allocator.has_work(Daemon::Kswapd, node)) && !is_over() {
                self.inside(|| allocator.kswapd(node));
            }
            // A wake since then is kept for this thread: it does not sleep at all.
            thread::park();
        }
    }

    /// Wakes the kswapds for their end.
    pub(super) fn wake_all(&self) {
        self.kswapds.iter().filter_map(OnceLock::get).for_each(Thread::unpark);
    }

    /// Frees what the dice say of a node's cache: as much as is wanted, less, nothing, or late; how many frames of it help.
    pub(super) fn shrink(&self, demand: &Demand) -> u64 {
        let wanted = match fastrand::u8(..16) {
            0..=4 => 0,
            5..=7 => demand.frames.div_ceil(4),
            8..=9 => {
                thread::sleep(Duration::from_micros(fastrand::u64(..300)));
                demand.frames
            }
            _ => demand.frames + fastrand::u64(..32),
        };
        let Some(allocator) = self.allocator() else { return 0 };
        let kind = |zone| allocator.zones().find(|info| info.id == zone).map(|info| info.kind);
        let mut freed = 0;
        while freed < wanted {
            let Some(run) = self.caches.take(demand.node) else { break };
            let given = self.give(run.house);
            self.caches.vacate(run.house);
            match given {
                Ok(_) if kind(run.zone).is_some_and(|kind| kind <= demand.highest) => freed += run.frames,
                Ok(_) => {}
                Err(violation) => {
                    self.broke(violation);
                    break;
                }
            }
        }
        freed
    }

    /// Frees everything in the caches.
    pub(super) fn clear_caches(&self) -> Result<(), Violation> {
        let nodes = (0..self.ground.nodes).map(NodeId);
        nodes.flat_map(|node| std::iter::from_fn(move || self.caches.take(node))).try_for_each(|run| {
            self.give(run.house)?;
            self.caches.vacate(run.house);
            Ok(())
        })
    }
}
