//! Having the zonelists rebuilt: what a change of zones calls for, and the log of it.

use crate::allocator::PageAllocator;
use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::platform::{Platform, RebuildStep};
use crate::report::fallback_order::FallbackOrder;
use crate::zonelist::populated;

impl<P: Platform> PageAllocator<'_, P> {
    /// Rebuilds all nodes' zonelists from the zones as they are, while others allocate: they neither wait nor miss a zone. When
    /// this returns, lists are published that show whatever the caller did before.
    ///
    /// Task context: one rebuild at a time is made, and this waits for it ([`Platform::pause`]) or makes it; not from
    /// [`Platform::rebuild_step`]. About nodes x zones stores. Whoever made one tells [`Platform::report`] of each node's order when it
    /// is others' turn again, so the sink may take any lock that callers of this hold.
    pub fn rebuild_zonelists(&self) {
        let populated = populated(self.state.zones);
        let step = |step| {
            if step == RebuildStep::Published {
                self.rehome();
            }
            self.platform.rebuild_step(step);
            if planted(Mutant::LogInside) && step == RebuildStep::Published {
                self.tell_orders();
            }
        };
        if self.state.lists.rebuild(populated, step, || self.platform.pause()) && !planted(Mutant::LogInside)
        {
            self.tell_orders();
        }
    }

    /// Has each CPU start where its node's list starts now.
    fn rehome(&self) {
        for cpu in self.state.cpus {
            cpu.rehome(|kind| Some(self.state.lists.first(cpu.node, kind)));
        }
    }

    /// Linux's lines about the published lists, one report a node. Outside every turn.
    fn tell_orders(&self) {
        let nodes = (0..self.state.lists.nodes() as u16).map(NodeId);
        nodes.for_each(|node| self.platform.report(&FallbackOrder { state: &self.state, node }));
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use core::mem::MaybeUninit;
    use std::vec;

    use super::*;
    use crate::build::metadata_size;
    use crate::config::Config;
    use crate::error::AllocError;
    use crate::frame::{BLOCK_FRAMES, Order};
    use crate::gfp::Gfp;
    use crate::platform::OneCpu;
    use crate::request::Request;
    use crate::topology::{MemoryRange, Topology};

    #[test]
    fn a_zone_that_no_list_names_is_found_before_a_failure() {
        let memory = [0, 1].map(|node: u16| {
            let start = u64::from(node) * BLOCK_FRAMES;
            MemoryRange::new(start, start + BLOCK_FRAMES, node)
        });
        let distances = [10, 20, 20, 10];
        let topology =
            Topology { memory: &memory, reserved: &[], nodes: 2, distances: &distances, cpus: &[NodeId(0)] };
        let config = Config::new(topology);
        let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config).expect("a good machine")];
        let allocator = PageAllocator::new(&config, OneCpu, &mut metadata).expect("a good machine");
        let lists = &allocator.state.lists;
        let nobody = || unreachable!("nobody else rebuilds");
        assert!(lists.rebuild(|zone| zone.0 == 0, |_| {}, nobody));
        let request =
            Request::order(Order::ZERO).gfp(Gfp::ATOMIC | Gfp::THISNODE).expect("good flags").node(NodeId(1));
        assert_eq!(lists.list(NodeId(1)).count(), 1);
        assert!(allocator.alloc_raw(&request).is_ok());
        // Of the other node's zone all is served, too, where no list names any.
        assert!(lists.rebuild(|_| false, |_| {}, nobody));
        let request = Request::order(Order::ZERO).gfp(Gfp::ATOMIC).expect("good flags");
        let served = (0..2 * BLOCK_FRAMES).map_while(|_| allocator.alloc_raw(&request).ok()).count() as u64;
        assert_eq!(served, 2 * BLOCK_FRAMES - 1);
        assert!(matches!(allocator.alloc_raw(&request), Err(AllocError::NoMemory { free: 0, .. })));
    }
}
