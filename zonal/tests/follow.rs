//! What becomes of a policy's nodes when its cpuset moves: the examples that Linux gives.

mod support;

use support::allocator;
use zonal::{Context, Cpuset, Follow, Mempolicy, MempolicyError, NodeId, NodeMask, Order, Pfn, Request};
use zonal_testkit::{BLOCK, Machine};

/// The nodes that a policy spreads frames over, in a cpuset of these.
fn spread_over(policy: &Mempolicy<'_>, mems: &str) -> String {
    let (allocator, _) = allocator(&Machine::equal_nodes(10, 1, 0, 4 * BLOCK));
    let set = Cpuset::root(mems.parse().expect("a list")).expect("some nodes");
    let context = Context { cpuset: Some(&set), policy: Some(policy), ..Context::default() };
    let request = Request::order(Order::BLOCK).nowait();
    let served = (0..set.mems().count()).map(|_| allocator.alloc_raw_in(&context, &request));
    let node = |pfn: Pfn| NodeId((pfn.get() / (4 * BLOCK)) as u16);
    let with = |mask: NodeMask, pfn| mask.with(node(pfn)).expect("a node of the machine");
    served.map(|pfn| pfn.expect("much is free")).fold(NodeMask::EMPTY, with).to_string()
}

/// The examples that Linux gives (numa_memory_policy.rst; set_mempolicy(2)).
#[test]
fn nodes_follow_a_cpuset_as_linux_says() {
    let some = |list: &str| list.parse::<NodeMask>().expect("a list");
    let spread = |list: &str, follow| {
        Mempolicy::interleave(some(list)).and_then(|policy| policy.following(follow)).expect("it has nodes")
    };
    let remapped = spread("1-3", Follow::Remapped);
    assert_eq!(remapped.rebind(&some("1-3"), &some("3-5")), Ok(()));
    assert_eq!(spread_over(&remapped, "3-5"), "3-5");
    let fixed = spread("1-3", Follow::Static);
    assert_eq!(fixed.rebind(&some("1-3"), &some("3-5")), Ok(()));
    assert_eq!(spread_over(&fixed, "3-5"), "3", "only node 3 is allowed");
    assert_eq!(spread_over(&fixed, "1-3"), "1-3");
    let relative = spread("2-5", Follow::Relative);
    assert_eq!(spread_over(&relative, "3-7"), "3,5-7");
    assert_eq!(spread_over(&relative, "0,2-3,5"), "0,2-3,5");
    // What was remapped does not find back; what is relative does.
    let lost = spread("1,3,5", Follow::Remapped);
    assert_eq!(lost.rebind(&some("0-6"), &some("7-9")), Ok(()));
    assert_eq!(lost.rebind(&some("7-9"), &some("0-6")), Ok(()));
    assert_eq!(lost.nodes(), some("0-2"));
    let relative = spread("0,2,4", Follow::Relative);
    assert_eq!(spread_over(&relative, "1,3,5,7,9"), "1,5,9", "the first, the third and the fifth");
}

#[test]
fn a_preferred_node_follows_too() {
    let (allocator, _) = allocator(&Machine::equal_nodes(4, 1, 0, 4 * BLOCK));
    let set = Cpuset::root("1-3".parse().expect("a list")).expect("nodes");
    let first = |node, follow| {
        let policy = Mempolicy::preferred(NodeId(node)).and_then(|policy| policy.following(follow));
        let policy = policy.expect("it has a node");
        let context = Context { cpuset: Some(&set), policy: Some(&policy), ..Context::default() };
        allocator
            .alloc_raw_in(&context, &Request::order(Order::BLOCK).nowait())
            .map(|pfn| pfn.get() / (4 * BLOCK))
    };
    assert_eq!(first(3, Follow::Static), Ok(3));
    assert_eq!(first(0, Follow::Static), Ok(1), "node 0 is not allowed, and near to it is node 1");
    assert_eq!(first(0, Follow::Relative), Ok(1), "the first that is allowed");
    assert_eq!(first(4, Follow::Relative), Ok(2), "the second, once round");
    let local = Mempolicy::local().following(Follow::Static);
    assert_eq!(local.err(), Some(MempolicyError::FollowOfNone { follow: Follow::Static }));
}
