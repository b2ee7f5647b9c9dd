//! A cpuset that moves between nodes which all have frames: nobody in it ever fails, wherever the moves fall.

use std::sync::Arc;

use shuttle::thread;

use crate::frame::{NodeId, Order};
use crate::gfp::Gfp;
use crate::models::stage::Plan;
use crate::models::storm::{stage, storm};
use crate::policy::cpuset::Cpuset;
use crate::policy::mempolicy::Mempolicy;
use crate::policy::nodemask::NodeMask;
use crate::policy::reach::Context;
use crate::request::Request;

/// Moves in a run: fewer than a request that may not wait begins anew.
const MOVES: u16 = 8;

/// Nodes in two words, of which the second is nowhere.
fn only(node: u16) -> NodeMask {
    NodeMask::of(NodeId(node % 2)).and_then(|mask| mask.with(NodeId(64 + node % 2))).unwrap_or_default()
}

#[test]
fn shuttle_moves_no_request_fails_because_its_set_moves() {
    storm(40_000, || {
        let stage = stage(&Plan { nodes: 2, ..Plan::blocks(2) });
        let set = Arc::new(Cpuset::root(only(0)).expect("it has nodes"));
        let moved = Arc::clone(&set);
        let mover = thread::spawn(move || {
            for node in 1..=MOVES {
                assert_eq!(moved.set_mems(only(node)), Ok(()));
            }
        });
        // Its nodes count only while the set is there, too.
        let bind = Mempolicy::bind(only(0)).expect("it has nodes");
        for (base, policy) in [
            (Gfp::NOWAIT, None),
            (Gfp::NOWAIT, Some(&bind)),
            (Gfp::KERNEL | Gfp::NORETRY, None),
            (Gfp::KERNEL | Gfp::NORETRY, Some(&bind)),
        ] {
            let context = Context { cpuset: Some(&set), policy, ..Context::default() };
            let request =
                Request::order(Order::ZERO).gfp(base | Gfp::HARDWALL).expect("nothing is forbidden");
            let served = stage.allocator.alloc_raw_in(&context, &request);
            let pfn = served.expect("either node has frames, and one of them is the set's at each moment");
            // SAFETY: the frame was allocated just above, and is nobody's.
            unsafe { stage.allocator.free_raw(pfn, Order::ZERO) }.expect("the owner may free");
        }
        mover.join().expect("the mover ran");
    });
}
