//! A cpuset that moves between nodes which all have frames: nobody in it ever fails, wherever the moves fall. And one that stays
//! where it is while what is above it moves: nobody in it who says so ever leaves it.

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use shuttle::thread;

use crate::frame::{BLOCK_FRAMES, NodeId, Order};
use crate::gfp::Gfp;
use crate::models::stage::Plan;
use crate::models::storm::{stage, storm};
use crate::policy::cpuset::Cpuset;
use crate::policy::mempolicy::Mempolicy;
use crate::policy::nodemask::NodeMask;
use crate::policy::reach::Context;
use crate::request::Request;

/// Moves in a run. A request begins anew sixteen times at least before it fails, and each time it looks along the nodes twice or
/// more, and finds neither to be the set's only if that moves between its looks: seventeen times two moves are more than these.
const MOVES: u16 = 24;

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

/// A set of a node that runs out of frames, in one that gains and loses another node: who says HARDWALL fails rather than leave
/// the set; who does not leaves it for nodes of the other one only.
#[test]
fn shuttle_moves_nobody_gets_past_a_hard_wall() {
    storm(4000, || {
        let stage = stage(&Plan { nodes: 2, managed: BLOCK_FRAMES - 2..2 * BLOCK_FRAMES, ..Plan::blocks(2) });
        let (near, both) = (only(0), only(0).with(NodeId(1)).expect("a node"));
        let root: &'static Cpuset<'static> = Box::leak(Box::new(Cpuset::root(both).expect("it has nodes")));
        let set = Cpuset::inside(root, near).expect("within");
        let mover = thread::spawn(move || {
            for _ in 0..MOVES / 2 {
                assert_eq!(root.set_mems(near), Ok(()));
                assert_eq!(root.set_mems(both), Ok(()));
            }
            assert_eq!(root.set_mems(near), Ok(()));
        });
        let far = stage.range().start.add(BLOCK_FRAMES);
        let mut held = Vec::new();
        let mut ask = |gfp| {
            let context = Context { cpuset: Some(&set), ..Context::default() };
            let request = Request::order(Order::ZERO).gfp(gfp).expect("nothing is forbidden");
            let served = stage.allocator.alloc_raw_in(&context, &request).ok();
            held.extend(served);
            served
        };
        for base in [Gfp::NOWAIT, Gfp::KERNEL | Gfp::NORETRY] {
            // The set's node has two frames; what is had beyond it is of the other one.
            for _ in 0..3 {
                let served = ask(base | Gfp::HARDWALL);
                assert!(served.is_none_or(|pfn| pfn < far), "{served:?} is behind the wall");
            }
            let _ = ask(base);
        }
        mover.join().expect("the mover ran");
        let served = ask(Gfp::NOWAIT);
        assert!(served.is_none_or(|pfn| pfn < far), "{served:?} is of no node of either set");
        for pfn in held {
            // SAFETY: the frame was allocated above, and is nobody's.
            unsafe { stage.allocator.free_raw(pfn, Order::ZERO) }.expect("the owner may free");
        }
        stage.assert_at_rest(0);
    });
}
