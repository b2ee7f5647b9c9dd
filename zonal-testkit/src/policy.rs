//! Where a task's requests may go and in which order, written the slow way from Linux's rules.
//!
//! Every set is a `BTreeSet` of nodes, every order a list of nodes; a request goes along its lists, pass after pass, and takes
//! the first node with something left. Nothing here is atomic, and nothing knows of zones: each node has one, Normal.
//!
//! Invariant: no pass names a node twice.

use std::collections::BTreeSet;

/// Nodes.
pub type Nodes = BTreeSet<usize>;

/// A set of tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskSet {
    /// What was said of it; a set below another may have none.
    pub own: Nodes,
    /// Whether requests from below stop here.
    pub is_wall: bool,
}

/// What a task says of where its frames should come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Its CPU's node first.
    Local,
    /// This node first.
    Preferred(usize),
    /// These first, with the node to begin with.
    PreferredMany(Nodes, Option<usize>),
    /// Only these, with the node to begin with.
    Bind(Nodes, Option<usize>),
    /// Each of these in turn, as often in a row as `weights` says (1 where it says 0 or nothing).
    Spread(Nodes, Vec<u8>),
}

/// What becomes of a policy's nodes when the task's set moves (set_mempolicy(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    /// One by one to the same places of the new nodes, when that is said.
    Remapped,
    /// Nothing (MPOL_F_STATIC_NODES).
    Static,
    /// They are places among the task's nodes, counted round (MPOL_F_RELATIVE_NODES).
    Relative,
}

/// Whether a request stays in its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wall {
    /// Always.
    Hard,
    /// It may look beyond, up to the next wall.
    Soft,
    /// It may look everywhere: its task is ending.
    Ending,
    /// It may look everywhere, and forgets the policy at last: it is atomic.
    Atomic,
}

impl Policy {
    /// The same of other nodes; the node to begin with stays.
    fn with(&self, other: impl Fn(usize) -> usize) -> Self {
        let all = |nodes: &Nodes| nodes.iter().map(|&node| other(node)).collect();
        match self {
            Self::Local => Self::Local,
            Self::Preferred(node) => Self::Preferred(other(*node)),
            Self::PreferredMany(nodes, home) => Self::PreferredMany(all(nodes), *home),
            Self::Bind(nodes, home) => Self::Bind(all(nodes), *home),
            Self::Spread(nodes, weights) => Self::Spread(all(nodes), weights.clone()),
        }
    }
}

/// The effective nodes of the last of a chain of sets, root first: what a set shares with what is effective above it, or all
/// of that.
pub fn effective(chain: &[TaskSet]) -> Nodes {
    let mut nodes = chain[0].own.clone();
    for set in &chain[1..] {
        let shared: Nodes = set.own.intersection(&nodes).copied().collect();
        if !shared.is_empty() {
            nodes = shared;
        }
    }
    nodes
}

/// A task: its sets, its policy, and whose turn it was last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskModel {
    /// The node of its CPU.
    pub local: usize,
    /// Root first; none: it may go anywhere.
    pub sets: Vec<TaskSet>,
    /// Its policy.
    pub policy: Policy,
    /// What becomes of its nodes.
    pub follow: Follow,
    /// The nodes that have had their turns, in order.
    turns: Vec<usize>,
}

impl TaskModel {
    /// A task that has not asked yet.
    pub fn new(local: usize, sets: Vec<TaskSet>, policy: Policy) -> Self {
        Self { local, sets, policy, follow: Follow::Remapped, turns: Vec::new() }
    }

    /// The same with nodes of the policy that follow so.
    pub fn following(self, follow: Follow) -> Self {
        Self { follow, ..self }
    }

    /// The task's nodes were `from`, and are `to`.
    pub fn rebind(&mut self, from: &Nodes, to: &Nodes) {
        let to: Vec<usize> = to.iter().copied().collect();
        let moved = |node: usize| match from.iter().position(|&other| other == node) {
            Some(place) if !to.is_empty() => to[place % to.len()],
            _ => node,
        };
        if self.follow == Follow::Remapped {
            self.policy = self.policy.with(moved);
        }
    }

    /// The nodes that its next request tries, in order; a node may come again. `lists` are the nodes' zonelists; `index` is the
    /// frame's place in its object, if spreading goes by that.
    pub fn tries(&mut self, lists: &[Vec<usize>], wall: Wall, index: Option<u64>) -> Vec<usize> {
        let everywhere: Nodes = (0..lists.len()).collect();
        let own = if self.sets.is_empty() { everywhere.clone() } else { effective(&self.sets) };
        let hard = self.sets.iter().rposition(|set| set.is_wall).unwrap_or(0);
        let walled = if self.sets.is_empty() { everywhere.clone() } else { effective(&self.sets[..=hard]) };
        let policy = self.policy_within(&own);
        let start = self.start(&policy, &own, index);
        let shares = |nodes: &Nodes| !nodes.is_disjoint(&own);
        // What each request may use after the first pass, which is within the own set always.
        let (beyond, forgets) = match wall {
            Wall::Hard => (own.clone(), false),
            Wall::Soft => (&own | &walled, false),
            Wall::Ending => (everywhere.clone(), false),
            Wall::Atomic => (everywhere.clone(), true),
        };
        let mut passes = Vec::new();
        let mut ask = |mask: &Nodes| {
            passes.push(&own & mask);
            passes.push(&beyond & mask);
            if forgets {
                passes.push(everywhere.clone());
            }
        };
        match &policy {
            Policy::Bind(nodes, _) if shares(nodes) => ask(nodes),
            Policy::PreferredMany(nodes, _) => {
                ask(if shares(nodes) { nodes } else { &everywhere });
                ask(&everywhere);
            }
            _ => ask(&everywhere),
        }
        let list = &lists[start];
        passes.iter().flat_map(|pass| list.iter().copied().filter(|node| pass.contains(node))).collect()
    }

    /// The policy as it is for a task that may use these nodes.
    fn policy_within(&self, own: &Nodes) -> Policy {
        let places: Vec<usize> = own.iter().copied().collect();
        match (self.follow, &self.policy) {
            (Follow::Relative, policy) if !self.sets.is_empty() => {
                policy.with(|place| places[place % places.len()])
            }
            (Follow::Static, Policy::Preferred(node)) if !own.contains(node) => Policy::Local,
            (_, policy) => policy.clone(),
        }
    }

    fn start(&mut self, policy: &Policy, own: &Nodes, index: Option<u64>) -> usize {
        match policy {
            Policy::Local => self.local,
            Policy::Preferred(node) => *node,
            Policy::PreferredMany(_, home) | Policy::Bind(_, home) => home.unwrap_or(self.local),
            Policy::Spread(nodes, weights) => {
                let shared = nodes & own;
                let nodes = if shared.is_empty() { own.clone() } else { shared };
                let weight = |node: usize| match weights.get(node) {
                    None | Some(0) => 1,
                    Some(weight) => usize::from(*weight),
                };
                // Every node as often as it weighs: one round.
                let round: Vec<usize> = nodes.iter().flat_map(|&node| vec![node; weight(node)]).collect();
                if let Some(index) = index {
                    return round[(index % round.len() as u64) as usize];
                }
                let last = self.turns.last().copied();
                let in_a_row = self.turns.iter().rev().take_while(|node| Some(**node) == last).count();
                let next = match last {
                    Some(last) if nodes.contains(&last) && in_a_row % weight(last) != 0 => last,
                    Some(last) => nodes.range(last + 1..).chain(&nodes).copied().next().unwrap_or(last),
                    None => round[0],
                };
                self.turns.push(next);
                next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(nodes: &[usize]) -> Nodes {
        nodes.iter().copied().collect()
    }

    fn chain(sets: &[(&[usize], bool)]) -> Vec<TaskSet> {
        sets.iter().map(|&(own, is_wall)| TaskSet { own: nodes(own), is_wall }).collect()
    }

    fn lists() -> Vec<Vec<usize>> {
        vec![vec![0, 1, 2, 3], vec![1, 2, 3, 0], vec![2, 3, 0, 1], vec![3, 0, 1, 2]]
    }

    #[test]
    fn a_set_has_what_it_shares_with_its_parent_or_all_of_that() {
        let sets = |own: &'static [usize]| chain(&[(&[0, 1, 2], true), (&[1, 2], false), (own, false)]);
        assert_eq!(effective(&sets(&[2, 3])), nodes(&[2]));
        assert_eq!(effective(&sets(&[0])), nodes(&[1, 2]));
        assert_eq!(effective(&sets(&[])), nodes(&[1, 2]));
    }

    #[test]
    fn a_soft_request_stops_at_the_wall() {
        let sets = chain(&[(&[0, 1, 2, 3], true), (&[1, 2], true), (&[2], false)]);
        let mut task = TaskModel::new(0, sets, Policy::Local);
        assert_eq!(task.tries(&lists(), Wall::Hard, None), [2, 2]);
        assert_eq!(task.tries(&lists(), Wall::Soft, None), [2, 1, 2]);
        assert_eq!(task.tries(&lists(), Wall::Ending, None), [2, 0, 1, 2, 3]);
        let mut bound = TaskModel { policy: Policy::Bind(nodes(&[2, 3]), Some(3)), ..task };
        assert_eq!(bound.tries(&lists(), Wall::Soft, None), [2, 2]);
        assert_eq!(bound.tries(&lists(), Wall::Atomic, None), [2, 3, 2, 3, 0, 1, 2]);
        bound.policy = Policy::Bind(nodes(&[0]), None);
        assert_eq!(bound.tries(&lists(), Wall::Hard, None), [2, 2], "the policy has nothing of the set");
    }

    #[test]
    fn spreading_goes_round_by_weight() {
        let mut task = TaskModel::new(0, vec![], Policy::Spread(nodes(&[0, 2, 3]), vec![2, 9, 0, 1]));
        let mut first = |index| task.tries(&lists(), Wall::Hard, index)[0];
        assert_eq!([first(None), first(None), first(None), first(None), first(None)], [0, 0, 2, 3, 0]);
        assert_eq!([first(Some(1)), first(Some(2)), first(Some(7))], [0, 2, 3]);
    }
}
