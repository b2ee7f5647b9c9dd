//! Bulk, exact and contiguous calls of who may not have frames from everywhere: against the oracle of single requests where
//! memory is plenty, and where it is not.

mod support;
#[path = "support/tenants.rs"]
mod tenants;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Leaked, Setup, allocator, audited, order};
use tenants::{Temper, Tenants};
use zonal::{AllocError, Context, Cpuset, Gfp, Group, Mempolicy, NodeMask, Order, Pfn, Request};
use zonal_testkit::policy::{Nodes, Policy, TaskModel, TaskSet, Wall};
use zonal_testkit::{BLOCK, Machine, Matrix, zonelist_order};

/// Nodes of the machine.
const NODES: u16 = 4;
/// Frames of a node.
const FRAMES: u64 = 4 * BLOCK;

fn mask(nodes: &Nodes) -> NodeMask {
    let list: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    some(&list.join(","))
}

fn some(list: &str) -> NodeMask {
    list.parse().expect("a list")
}

fn node(pfn: Pfn) -> usize {
    (pfn.get() / FRAMES) as usize
}

fn machine() -> Machine {
    Machine::equal_nodes(NODES, 1, 0, FRAMES)
}

/// A request that waits for nothing and stays in its set.
fn request() -> Request {
    Request::order(Order::ZERO).gfp(Gfp::NOWAIT | Gfp::HARDWALL | Gfp::NOWARN).expect("nothing is forbidden")
}

/// The frames of a bulk call, by node; what it took is free again.
fn bulk(allocator: &Leaked, context: &Context<'_>, frames: u64) -> Result<BTreeMap<usize, u64>, AllocError> {
    let mut groups = [Group::EMPTY; 200];
    let filled = allocator.alloc_bulk_in(context, &request(), frames, &mut groups)?;
    let mut counts = BTreeMap::new();
    let all = groups[..filled].iter().flat_map(|group| group.iter());
    all.for_each(|pfn| *counts.entry(node(pfn)).or_default() += 1);
    // SAFETY: the call above gave these, and nobody touches the frames.
    assert_eq!(unsafe { allocator.free_bulk(&groups[..filled]) }, Ok(()));
    Ok(counts)
}

fn some_nodes() -> impl Strategy<Value = Nodes> {
    prop::collection::btree_set(0..usize::from(NODES), 1..=usize::from(NODES))
}

fn policy() -> impl Strategy<Value = Policy> {
    let home = || prop::option::of(0..usize::from(NODES));
    let weights = prop::collection::vec(0u8..6, 0..6);
    prop_oneof![
        1 => Just(Policy::Local),
        1 => (some_nodes(), home()).prop_map(|(nodes, home)| Policy::PreferredMany(nodes, home)),
        1 => (some_nodes(), home()).prop_map(|(nodes, home)| Policy::Bind(nodes, home)),
        3 => (some_nodes(), weights).prop_map(|(nodes, weights)| Policy::Spread(nodes, weights)),
    ]
}

fn of(policy: &Policy) -> Mempolicy<'_> {
    let home = |policy: Mempolicy<'static>, home: &Option<usize>| match home {
        Some(node) => policy.home(zonal::NodeId(*node as u16)).expect("such a policy has one"),
        None => policy,
    };
    match policy {
        Policy::Local | Policy::Preferred(_) => Ok(Mempolicy::local()),
        Policy::PreferredMany(nodes, at) => Mempolicy::preferred_many(mask(nodes)).map(|it| home(it, at)),
        Policy::Bind(nodes, at) => Mempolicy::bind(mask(nodes)).map(|it| home(it, at)),
        Policy::Spread(nodes, weights) => Mempolicy::weighted_interleave(mask(nodes), weights),
    }
    .expect("it has nodes")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// As many single requests, one by one, would begin at the same nodes; also in between.
    #[test]
    fn a_bulk_call_is_as_many_single_requests(
        own in prop::option::of(some_nodes()),
        policy in policy(),
        calls in prop::collection::vec((1u64..300, prop::option::weighted(0.2, 0u64..40)), 1..12),
    ) {
        let (allocator, _) = allocator(&machine());
        let set = own.as_ref().map(|own| Cpuset::root(mask(own)).expect("it has nodes"));
        let sets = own.map(|own| TaskSet { own, is_wall: true }).into_iter().collect();
        let mut task = TaskModel::new(0, sets, policy.clone());
        let policy = of(&policy);
        let lists = zonelist_order(&Matrix::full(usize::from(NODES), |_, _| 20));
        for (frames, index) in calls {
            let context =
                Context { cpuset: set.as_ref(), policy: Some(&policy), index, ..Context::default() };
            let mut expected = BTreeMap::new();
            for at in 0..frames {
                let tried = task.tries(&lists, Wall::Hard, index.map(|index| index + at));
                *expected.entry(tried[0]).or_default() += 1;
            }
            prop_assert_eq!(bulk(&allocator, &context, frames), Ok(expected), "{:?} {:?}", task, index);
        }
    }
}

#[test]
fn a_bulk_call_takes_what_its_nodes_have_and_no_more() {
    let (allocator, _) = allocator(&machine());
    let root = Cpuset::root(some("0-2")).expect("nodes");
    let set = Cpuset::inside(&root, some("1-2")).expect("within");
    let [bind, near, spread] = [
        Mempolicy::bind(some("2-3")),
        Mempolicy::preferred_many(some("2-3")),
        Mempolicy::interleave(some("1,3")),
    ]
    .map(|policy| policy.expect("nodes"));
    let ask =
        |cpuset, policy, frames| bulk(&allocator, &Context { cpuset, policy, ..Context::default() }, frames);
    let all = u64::from(NODES) * FRAMES;
    let counts = |nodes: &[usize]| Ok(nodes.iter().map(|&node| (node, FRAMES)).collect());
    // 200 groups are 6400 frames.
    assert_eq!(ask(Some(&set), None, all), counts(&[1, 2]));
    assert_eq!(ask(Some(&set), Some(&bind), all), counts(&[2]));
    assert_eq!(ask(Some(&set), Some(&near), all), counts(&[1, 2]), "first of node 2, then what there is");
    assert_eq!(ask(None, Some(&bind), 2 * FRAMES), counts(&[2, 3]));
    assert_eq!(ask(None, Some(&near), 2 * FRAMES), counts(&[2, 3]));
    assert_eq!(ask(None, Some(&spread), 2 * FRAMES), counts(&[1, 3]));
    assert_eq!(ask(Some(&set), Some(&spread), 2 * FRAMES), counts(&[1, 2]), "what node 1 lacks");
    let mut one = [Group::EMPTY; 1];
    let context = Context { cpuset: Some(&set), ..Context::default() };
    let node = request().node(zonal::NodeId(3)).this_node();
    assert_eq!(allocator.alloc_bulk_in(&context, &node, 1, &mut one), Err(AllocError::NoZone));
    assert_eq!(
        allocator.alloc_bulk_in(&context, &request(), 0, &mut one),
        Err(AllocError::BadCount { frames: 0 })
    );
    assert_eq!(audited(&allocator).allocated, 0);
}

#[test]
fn an_exact_run_is_of_an_allowed_node_and_is_one_turn() {
    let (allocator, _) = allocator(&machine());
    let set = Cpuset::root(some("1-2")).expect("nodes");
    let spread = Mempolicy::interleave(some("0-3")).expect("nodes");
    let context = Context { cpuset: Some(&set), policy: Some(&spread), ..Context::default() };
    let mut runs = Vec::new();
    for turn in 0..4 {
        let pfn = allocator.alloc_exact_in(&context, &request(), 700).expect("two blocks are free there");
        assert_eq!(node(pfn), 1 + turn % 2, "whose turn it is");
        runs.push(pfn);
    }
    let outcome = allocator.alloc_exact_in(&context, &request(), 2000);
    assert!(matches!(outcome, Err(AllocError::NoMemory { .. } | AllocError::NoRun { .. })), "{outcome:?}");
    assert_eq!(allocator.alloc_exact_in(&context, &request(), 0), Err(AllocError::BadCount { frames: 0 }));
    for pfn in runs {
        // SAFETY: allocated above, and nobody touches the frames.
        assert_eq!(unsafe { allocator.free_exact(pfn, 700) }, Ok(()));
    }
    assert_eq!(audited(&allocator).allocated, 0);
}

#[test]
fn a_run_is_made_where_it_may_be_had() {
    let (allocator, tenants) = Tenants::housed(&Setup::of(&machine()));
    let all: Vec<Pfn> = (0..u64::from(NODES) * FRAMES)
        .map(|_| tenants.enter(Order::ZERO, Temper::Movable).expect("as many are free"))
        .collect();
    all.iter().filter(|pfn| pfn.get() % 4 > 0).for_each(|&pfn| assert!(tenants.leave(pfn)));
    let set = Cpuset::root(some("2-3")).expect("nodes");
    let bind = Mempolicy::bind(some("1,3")).expect("nodes");
    let disjoint = Mempolicy::bind(some("0")).expect("a node");
    let request = Request::order(order(9)).gfp(Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::NOWARN).expect("allowed");
    let run = |cpuset, policy| {
        let context = Context { cpuset, policy, ..Context::default() };
        let pfn = allocator
            .alloc_contig_in(&context, &request.nowait())
            .expect("three quarters of each block are free");
        tenants.house(pfn, order(9), Temper::Pinned);
        node(pfn)
    };
    assert_eq!(run(Some(&set), None), 2, "the first that is allowed");
    assert_eq!(run(Some(&set), Some(&bind)), 3);
    assert_eq!(run(Some(&set), Some(&disjoint)), 2, "a policy of none of the set's nodes does not count");
    assert_eq!(run(None, Some(&bind)), 1);
    assert_eq!(run(None, None), 0);
    tenants.check();
}
