//! Published sets of nodes and what is made of them: who fails by what it read sees that it was changing.

use crate::frame::NodeId;
use crate::models::explore::{bounded, exhaustively, race};
use crate::policy::cpuset::Cpuset;
use crate::policy::nodemask::NodeMask;
use crate::policy::published::{Busy, Published};
use crate::sync::load_barrier;

/// Nodes of two words.
const LOW: NodeId = NodeId(0);
const HIGH: NodeId = NodeId(64);

fn mask(nodes: &[NodeId]) -> NodeMask {
    nodes.iter().try_fold(NodeMask::EMPTY, |mask, &node| mask.with(node)).unwrap_or_default()
}

/// What is read between two equal generations is one set, also where the buffer is written again meanwhile.
#[test]
fn loom_policy_a_set_read_in_one_generation_is_whole() {
    exhaustively(|| {
        let sets = [mask(&[LOW]), mask(&[HIGH]), mask(&[NodeId(1), NodeId(65)])];
        race(
            Published::new(&sets[0]),
            move |published| {
                let before = published.generation();
                let seen = published.load();
                load_barrier();
                let is_sure = published.generation() == before;
                assert!(!is_sure || sets.contains(&seen), "{seen:?} never was");
            },
            move |published| {
                for set in &sets[1..] {
                    assert_eq!(published.publish(set), Ok(()));
                }
            },
        );
    });
}

/// A set that moves from one node to another and back is never without a node. Who finds neither sees that it has moved.
#[test]
fn loom_policy_a_move_is_not_seen_as_no_node_at_all() {
    exhaustively(|| {
        race(
            Published::new(&mask(&[LOW])),
            |published| {
                let before = published.generation();
                let found = published.has(LOW) || published.has(HIGH);
                load_barrier();
                assert!(found || published.generation() != before, "the last walk missed both");
            },
            |published| {
                assert_eq!(published.publish(&mask(&[HIGH])), Ok(()));
                assert_eq!(published.publish(&mask(&[LOW])), Ok(()));
            },
        );
    });
}

/// Two publish: one after the other, or one is refused; what counts then is one of theirs, whole.
#[test]
fn loom_policy_writers_do_not_mix() {
    exhaustively(|| {
        let theirs = [mask(&[LOW, HIGH]), mask(&[NodeId(1), NodeId(65)])];
        let (published, one, other) = race(
            Published::new(&mask(&[LOW])),
            move |published| published.publish(&theirs[0]),
            move |published| published.publish(&theirs[1]),
        );
        let done = [one, other].iter().filter(|outcome| **outcome != Err(Busy)).count() as u64;
        assert!(done > 0, "each was refused for the other");
        assert_eq!(published.generation(), done);
        assert!(theirs.contains(&published.load()));
    });
}

/// A parent that gets another node, and its child that moves there: nobody finds the child on a node that it never had, as one
/// would who saw the parent before and the child after.
#[test]
fn loom_policy_a_child_is_not_seen_displaced_while_both_move() {
    bounded(3, || {
        let root = Cpuset::root(mask(&[NodeId(0), NodeId(1)])).expect("two nodes");
        let root: &'static Cpuset<'static> = std::boxed::Box::leak(std::boxed::Box::new(root));
        race(
            Cpuset::inside(root, mask(&[NodeId(0)])).expect("one of the two"),
            |child| assert!(!child.allows(NodeId(1)), "it was displaced to what the root had before"),
            |child| {
                assert_eq!(root.set_mems(mask(&[NodeId(0), NodeId(1), NodeId(2)])), Ok(()));
                assert_eq!(child.set_mems(mask(&[NodeId(2)])), Ok(()));
            },
        );
    });
}
