//! Cpusets and policies against an oracle that shares no code: where each request is served while memory runs out, sets move
//! and policies change; and which sets and policies are refused.

mod support;

use proptest::prelude::*;
use support::{Leaked, allocator};
use zonal::{
    AllocError, Context, Cpuset, CpusetError, Follow, Gfp, Group, Mempolicy, MempolicyError, NodeId,
    NodeMask, Order, Pfn, Request,
};
use zonal_testkit::policy::{Follow as ModelFollow, Nodes, Policy, TaskModel, TaskSet, Wall, effective};
use zonal_testkit::{BLOCK, Machine, Matrix, zonelist_order};

/// Blocks of a node: so many requests it serves.
const BLOCKS: u64 = 2;
/// Nodes of the machine.
const NODES: u16 = 4;

fn mask(nodes: &Nodes) -> NodeMask {
    let with = |mask: NodeMask, &node: &usize| mask.with(NodeId(node as u16));
    nodes.iter().try_fold(NodeMask::EMPTY, with).expect("nodes of the machine")
}

fn nodes(mask: NodeMask) -> Nodes {
    mask.iter().map(|node| usize::from(node.0)).collect()
}

/// The node of a run.
fn home(pfn: Pfn) -> usize {
    (pfn.get() / (BLOCKS * BLOCK)) as usize
}

fn subset() -> impl Strategy<Value = Nodes> {
    prop::collection::btree_set(0..usize::from(NODES), 0..=usize::from(NODES))
}

fn some_nodes() -> impl Strategy<Value = Nodes> {
    prop::collection::btree_set(0..usize::from(NODES), 1..=usize::from(NODES))
}

fn policy() -> impl Strategy<Value = Policy> {
    let node = || 0..usize::from(NODES);
    let home = || prop::option::of(0..usize::from(NODES));
    prop_oneof![
        Just(Policy::Local),
        node().prop_map(Policy::Preferred),
        (some_nodes(), home()).prop_map(|(nodes, home)| Policy::PreferredMany(nodes, home)),
        (some_nodes(), home()).prop_map(|(nodes, home)| Policy::Bind(nodes, home)),
        some_nodes().prop_map(|nodes| Policy::Spread(nodes, vec![])),
        (some_nodes(), prop::collection::vec(0u8..4, 0..6))
            .prop_map(|(nodes, weights)| Policy::Spread(nodes, weights)),
    ]
}

fn of(policy: &Policy) -> Mempolicy<'_> {
    let at = |node: &usize| NodeId(*node as u16);
    let with_home = |policy: Mempolicy<'static>, home: &Option<usize>| match home {
        Some(node) => policy.home(at(node)).expect("such a policy has one"),
        None => policy,
    };
    match policy {
        Policy::Local => Ok(Mempolicy::local()),
        Policy::Preferred(node) => Mempolicy::preferred(at(node)),
        Policy::PreferredMany(nodes, home) => {
            Mempolicy::preferred_many(mask(nodes)).map(|policy| with_home(policy, home))
        }
        Policy::Bind(nodes, home) => Mempolicy::bind(mask(nodes)).map(|policy| with_home(policy, home)),
        Policy::Spread(nodes, weights) if weights.is_empty() => Mempolicy::interleave(mask(nodes)),
        Policy::Spread(nodes, weights) => Mempolicy::weighted_interleave(mask(nodes), weights),
    }
    .expect("it has nodes")
}

/// Whether the policy is told that the task's set has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rebinds {
    Yes,
    No,
}

/// The policy with nodes that follow so, if it has any.
fn following(policy: Mempolicy<'_>, follow: ModelFollow) -> Mempolicy<'_> {
    let follow = match follow {
        ModelFollow::Remapped => Follow::Remapped,
        ModelFollow::Static => Follow::Static,
        ModelFollow::Relative => Follow::Relative,
    };
    if policy.nodes().is_empty() { policy } else { policy.following(follow).expect("it has nodes") }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { wall: Wall, waits: bool, index: Option<u64> },
    Free(prop::sample::Index),
    Move(prop::sample::Index, Nodes, Rebinds),
    Say(Nodes),
}

fn step() -> impl Strategy<Value = Step> {
    let wall = prop::sample::select(vec![Wall::Hard, Wall::Soft, Wall::Ending, Wall::Atomic]);
    let index = prop::option::weighted(0.2, 0u64..40);
    let rebinds = prop::sample::select(vec![Rebinds::Yes, Rebinds::No]);
    prop_oneof![
        6 => (wall, any::<bool>(), index).prop_map(|(wall, waits, index)| Step::Ask { wall, waits, index }),
        3 => any::<prop::sample::Index>().prop_map(Step::Free),
        2 => (any::<prop::sample::Index>(), subset(), rebinds)
            .prop_map(|(set, nodes, rebinds)| Step::Move(set, nodes, rebinds)),
        1 => some_nodes().prop_map(Step::Say),
    ]
}

fn flags(wall: Wall, waits: bool) -> Gfp {
    let base = if waits { Gfp::KERNEL | Gfp::NORETRY } else { Gfp::NOWAIT };
    match wall {
        Wall::Hard => base | Gfp::HARDWALL,
        Wall::Soft | Wall::Ending => base,
        Wall::Atomic => Gfp::ATOMIC,
    }
}

/// What the two agree about.
struct Play<'a> {
    allocator: &'a Leaked,
    sets: &'a [&'static Cpuset<'static>],
    policy: &'a Mempolicy<'a>,
    task: TaskModel,
    lists: Vec<Vec<usize>>,
    held: Vec<Pfn>,
}

impl Play<'_> {
    fn left(&self, node: usize) -> u64 {
        BLOCKS - self.held.iter().filter(|&&pfn| home(pfn) == node).count() as u64
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Ask { wall, waits, index } => self.ask(*wall, *waits, *index)?,
            Step::Free(which) if !self.held.is_empty() => {
                let pfn = self.held.swap_remove(which.index(self.held.len()));
                // SAFETY: the run is held, and nobody touches the frames.
                prop_assert_eq!(unsafe { self.allocator.free_raw(pfn, Order::BLOCK) }, Ok(()));
            }
            Step::Move(which, to, rebinds) if !self.sets.is_empty() => {
                let before = effective(&self.task.sets);
                self.move_set(which.index(self.sets.len()), to)?;
                if *rebinds == Rebinds::Yes {
                    let now = effective(&self.task.sets);
                    prop_assert_eq!(self.policy.rebind(&mask(&before), &mask(&now)), Ok(()));
                    self.task.rebind(&before, &now);
                }
            }
            Step::Say(to) => self.say(to)?,
            Step::Free(_) | Step::Move(..) => {}
        }
        for (at, set) in self.sets.iter().enumerate() {
            prop_assert_eq!(nodes(set.effective()), effective(&self.task.sets[..=at]));
        }
        Ok(())
    }

    fn ask(&mut self, wall: Wall, waits: bool, index: Option<u64>) -> Result<(), TestCaseError> {
        let context = Context {
            cpuset: self.sets.last().copied(),
            policy: Some(self.policy),
            index,
            exiting: wall == Wall::Ending,
        };
        let request = Request::order(Order::BLOCK).gfp(flags(wall, waits)).expect("nothing is forbidden");
        let tried = self.task.tries(&self.lists, wall, index);
        let expected = tried.iter().copied().find(|&node| self.left(node) > 0);
        let served = self.allocator.alloc_raw_in(&context, &request);
        prop_assert_eq!(served.ok().map(home), expected, "{:?} {:?} {:?}", self.task, wall, served);
        self.held.extend(served);
        Ok(())
    }

    fn move_set(&mut self, at: usize, to: &Nodes) -> Result<(), TestCaseError> {
        let above = if at > 0 { Some(effective(&self.task.sets[..at])) } else { None };
        let outside = above.as_ref().and_then(|above| to.difference(above).next().copied());
        let expected = match (outside, above) {
            (Some(node), _) => Err(CpusetError::Outside { node: NodeId(node as u16) }),
            (None, None) if to.is_empty() => Err(CpusetError::NoNodes),
            _ => Ok(()),
        };
        prop_assert_eq!(self.sets[at].set_mems(mask(to)), expected);
        if expected.is_ok() {
            self.task.sets[at].own.clone_from(to);
        }
        Ok(())
    }

    fn say(&mut self, to: &Nodes) -> Result<(), TestCaseError> {
        match &mut self.task.policy {
            Policy::Local => return Ok(()),
            Policy::Preferred(node) => {
                *node = *to.first().expect("there is one");
                prop_assert_eq!(self.policy.set_nodes(mask(&Nodes::from([*node]))), Ok(()));
                return Ok(());
            }
            Policy::PreferredMany(nodes, _) | Policy::Bind(nodes, _) | Policy::Spread(nodes, _) => {
                nodes.clone_from(to);
            }
        }
        prop_assert_eq!(self.policy.set_nodes(mask(to)), Ok(()));
        Ok(())
    }
}

/// Sets one below the other as wished, which live as long as the program.
fn sets(wishes: &[(Nodes, bool)]) -> (Vec<&'static Cpuset<'static>>, Vec<TaskSet>) {
    let (mut sets, mut model): (Vec<&'static Cpuset<'static>>, Vec<TaskSet>) = (vec![], vec![]);
    for (wish, is_wall) in wishes {
        let (own, set) = match sets.last() {
            None => {
                let own = if wish.is_empty() { (0..usize::from(NODES)).collect() } else { wish.clone() };
                let set = Cpuset::root(mask(&own));
                (own, set)
            }
            Some(&parent) => {
                let own = wish & &effective(&model);
                let set = Cpuset::inside(parent, mask(&own));
                (own, set)
            }
        };
        let set = set.expect("it is within the one above");
        model.push(TaskSet { own, is_wall: *is_wall || sets.is_empty() });
        sets.push(Box::leak(Box::new(if *is_wall { set.hardwalled() } else { set })));
    }
    (sets, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_served_where_the_oracle_says(
        local in 0..NODES,
        wishes in prop::collection::vec((subset(), any::<bool>()), 0..4),
        policy in policy(),
        follow in prop::sample::select(vec![ModelFollow::Remapped, ModelFollow::Static, ModelFollow::Relative]),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (allocator, cpu) = allocator(&Machine::equal_nodes(NODES, 1, 0, BLOCKS * BLOCK));
        cpu.move_to(usize::from(local));
        let (sets, model) = sets(&wishes);
        let mut play = Play {
            allocator: &allocator,
            sets: &sets,
            policy: &following(of(&policy), follow),
            task: TaskModel::new(usize::from(local), model, policy.clone()).following(follow),
            lists: zonelist_order(&Matrix::full(usize::from(NODES), |_, _| 20)),
            held: Vec::new(),
        };
        steps.iter().try_for_each(|step| play.play(step))?;
    }
}

#[test]
fn a_context_without_restrictions_is_none() {
    let (allocator, _) = allocator(&Machine::equal_nodes(2, 1, 0, BLOCK));
    let request = Request::order(Order::BLOCK).nowait();
    let local = Mempolicy::local();
    for context in [Context::default(), Context { policy: Some(&local), ..Context::default() }] {
        let frames = allocator.alloc_in(&context, &request).expect("two blocks are free");
        assert_eq!((frames.pfn(), frames.order()), (Pfn::new(0), Order::BLOCK));
    }
}

#[test]
fn a_request_that_names_a_node_goes_by_the_cpuset_alone() {
    let (allocator, _) = allocator(&Machine::equal_nodes(3, 1, 0, BLOCK));
    let bind = Mempolicy::bind("0".parse().expect("a list")).expect("a node");
    let set = Cpuset::root("0-1".parse().expect("a list")).expect("two nodes");
    let context = Context { cpuset: Some(&set), policy: Some(&bind), ..Context::default() };
    let request = Request::order(Order::BLOCK).nowait();
    let near = allocator.alloc_in(&context, &request.node(NodeId(1))).expect("the policy does not count");
    assert_eq!(near.pfn(), Pfn::new(BLOCK));
    let this_node = request.node(NodeId(2)).this_node();
    assert_eq!(allocator.alloc_raw_in(&context, &this_node), Err(AllocError::NoZone));
    let nowhere = request.node(NodeId(3));
    assert_eq!(allocator.alloc_raw_in(&context, &nowhere), Err(AllocError::NoSuchNode { node: NodeId(3) }));
}

#[test]
fn runs_of_the_node_whose_turn_it_was_are_counted_there() {
    let (allocator, _) = allocator(&Machine::equal_nodes(3, 1, 0, 2 * BLOCK));
    let request = Request::order(Order::BLOCK).nowait();
    // What is had by another policy, or without one, is none of these.
    assert!(allocator.alloc_raw(&request.node(NodeId(2)).this_node()).is_ok());
    let spread = Mempolicy::interleave("0-2".parse().expect("a list")).expect("nodes");
    let bind = Mempolicy::bind("0".parse().expect("a list")).expect("a node");
    let ask =
        |policy| allocator.alloc_raw_in(&Context { policy: Some(policy), ..Context::default() }, &request);
    let counts = || allocator.zones().map(|zone| allocator.numa(zone.id).interleave).collect::<Vec<_>>();
    let served: Vec<usize> = (0..5).filter_map(|_| ask(&spread).ok()).map(home).collect();
    assert_eq!((served, counts()), (vec![0, 1, 2, 0, 1], vec![2, 2, 1]));
    assert!(ask(&bind).is_err() && ask(&spread).is_err(), "nothing is left");
    assert_eq!(counts(), [2, 2, 1]);
    assert_eq!(allocator.events().numa.interleave, 5);
}

/// Of a bulk call each frame that is had where it is a node's turn, as if it were asked for alone; no other.
#[test]
fn frames_of_a_bulk_call_are_counted_where_it_was_a_nodes_turn() {
    let (allocator, _) = allocator(&Machine::equal_nodes(3, 1, 0, 2 * BLOCK));
    let spread = Mempolicy::weighted_interleave("0-2".parse().expect("a list"), &[2, 1, 1]).expect("nodes");
    let context = Context { policy: Some(&spread), ..Context::default() };
    let request = Request::order(Order::ZERO).nowait();
    let mut groups = vec![Group::EMPTY; 200];
    let mut bulk = |frames| allocator.alloc_bulk_in(&context, &request, frames, &mut groups).is_ok();
    let counts = || allocator.zones().map(|zone| allocator.numa(zone.id).interleave).collect::<Vec<_>>();
    assert!(bulk(400));
    assert_eq!(counts(), [200, 100, 100]);
    // The first node has less than its share of this; what is missing there is had elsewhere.
    assert!(bulk(2000));
    let free: u64 = allocator.zones().map(|zone| zone.free).sum();
    assert_eq!((counts(), free), (vec![2 * BLOCK, 600, 600], 3 * 2 * BLOCK - 2400));
}

#[test]
fn a_policy_that_binds_leaves_lower_zones_alone() {
    let machine = Machine { dma32_end: BLOCK, ..Machine::equal_nodes(2, 1, 0, 2 * BLOCK) };
    let (allocator, _) = allocator(&machine);
    let far = Mempolicy::bind("1".parse().expect("a list")).expect("a node");
    let context = Context { policy: Some(&far), ..Context::default() };
    let request = Request::order(Order::BLOCK).nowait();
    let low = request.zones_up_to(zonal::ZoneKind::Dma32);
    assert_eq!(allocator.alloc_raw_in(&context, &low), Ok(Pfn::new(0)));
    assert_eq!(allocator.alloc_raw_in(&context, &request), Ok(Pfn::new(2 * BLOCK)));
}

#[test]
fn a_policy_of_movable_nodes_binds_only_what_may_have_those() {
    let mut machine = Machine::equal_nodes(2, 1, 0, BLOCK);
    machine.memory[1] = machine.memory[1].clone().movable();
    let (allocator, _) = allocator(&machine);
    let far = Mempolicy::bind("1".parse().expect("a list")).expect("a node");
    let context = Context { policy: Some(&far), ..Context::default() };
    let fixed = Request::order(Order::GROUP).nowait();
    let movable = fixed.movable().zones_up_to(zonal::ZoneKind::Movable);
    assert_eq!(allocator.alloc_raw_in(&context, &fixed).map(home_of_one_block), Ok(0));
    assert_eq!(allocator.alloc_raw_in(&context, &movable).map(home_of_one_block), Ok(1));
}

fn home_of_one_block(pfn: Pfn) -> u64 {
    pfn.get() / BLOCK
}

#[test]
fn sets_and_policies_that_cannot_be_are_refused_by_name() {
    let some = |list: &str| list.parse::<NodeMask>().expect("a list");
    let root = Cpuset::root(some("0-2")).expect("three nodes");
    assert_eq!(Cpuset::root(NodeMask::EMPTY).err(), Some(CpusetError::NoNodes));
    let outside = Err(CpusetError::Outside { node: NodeId(3) });
    assert_eq!(Cpuset::inside(&root, some("2-5")).map(|_| ()), outside);
    let child = Cpuset::inside(&root, some("1-2")).expect("within");
    assert_eq!(child.set_mems(some("0,3")), outside);
    assert_eq!(root.set_mems(NodeMask::EMPTY), Err(CpusetError::NoNodes));
    assert_eq!(child.set_mems(NodeMask::EMPTY), Ok(()));
    assert_eq!(child.effective(), some("0-2"), "its parent's");
    assert_eq!(CpusetError::Outside { node: NodeId(3) }.to_string(), "node 3 is none of the set above");
    assert_eq!(Mempolicy::bind(NodeMask::EMPTY).err(), Some(MempolicyError::NoNodes));
    assert_eq!(
        Mempolicy::preferred(NodeId(4096)).err(),
        Some(MempolicyError::NoSuchNode { node: NodeId(4096) })
    );
    let home = Mempolicy::interleave(some("0")).map(|policy| policy.home(NodeId(1)).map(|_| ()));
    assert_eq!(home.ok(), Some(Err(MempolicyError::HomeOfNone { node: NodeId(1) })));
}

#[test]
fn sets_are_at_most_sixteen_levels_deep() {
    let all: NodeMask = "0".parse().expect("a list");
    let mut set: &'static Cpuset<'static> = Box::leak(Box::new(Cpuset::root(all).expect("a node")));
    for _ in 1..16 {
        set = Box::leak(Box::new(Cpuset::inside(set, all).expect("not too deep")));
    }
    assert_eq!(Cpuset::inside(set, all).err(), Some(CpusetError::TooDeep { levels: 16 }));
    assert!(set.allows(NodeId(0)) && !set.allows(NodeId(1)));
}
