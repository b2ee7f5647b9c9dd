//! Sets of tasks and policies that move, and what is known of where a set's tasks may be served at each moment.
//!
//! One thread moves them. Before each move it notes for every set, by the naive rule, what was effective and what will be: so
//! between two readings of a set's note that are at most one move apart, its tasks may be served where either reading says, and
//! nowhere else. Invariant: `effective at any moment of a call <= nodes noted before it and after it`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::Result;
use fastrand::Rng;
use zonal::{Context, Cpuset, Mempolicy, NodeId, NodeMask};
use zonal_testkit::policy::{Nodes, TaskSet, effective};

/// For each set the one above; the first is the root.
const ABOVE: [usize; SETS] = [0, 0, 1, 0];
pub(super) const SETS: usize = 4;
pub(super) const POLICIES: usize = 5;
/// Turns of nodes for the policy that weighs them.
const WEIGHTS: [u8; 4] = [3, 1, 0, 2];

/// Who the tasks are with, and what they like.
pub(super) struct Sets<'c> {
    nodes: u16,
    pub(super) sets: [&'c Cpuset<'c>; SETS],
    pub(super) policies: [Mempolicy<'static>; POLICIES],
    /// Bits 0..=7: nodes effective before the last move; 8..=15: after it; above: moves. SeqCst: a reading before a call and
    /// one after it stand around what the call reads of the sets.
    notes: [AtomicU64; SETS],
    /// Moves of sets and changes of policies.
    moves: AtomicU64,
}

/// What is known of a set at a moment.
#[derive(Clone, Copy)]
pub(super) struct Note(u64);

impl Note {
    /// The set's nodes, when nothing moves.
    fn now(self) -> u64 {
        self.0 >> 8 & 0xff
    }

    /// Whether a node is one where a call may have been served that began at this note and ended at the other. `None`: so
    /// many moves lay between that nobody knows.
    pub(super) fn allowed(self, after: Self, node: NodeId) -> Option<bool> {
        let nodes = self.0 | self.0 >> 8 | after.0 | after.0 >> 8;
        ((after.0 >> 16) - (self.0 >> 16) <= 1).then_some(nodes >> node.0 & 1 == 1)
    }
}

/// Makes sets on a machine of so many nodes, four at most, and does something with them.
pub(super) fn on<R>(nodes: u16, body: impl FnOnce(&Sets<'_>) -> R) -> Result<R> {
    let all = NodeMask::first(nodes.into())?;
    let root = Cpuset::root(all)?;
    let first = Cpuset::inside(&root, all)?;
    let below = Cpuset::inside(&first, all)?;
    let walled = Cpuset::inside(&root, all)?.hardwalled();
    Ok(body(&Sets::new(nodes, [&root, &first, &below, &walled])?))
}

/// The same sets, as long as the program lives.
pub(super) fn forever(nodes: u16) -> Result<&'static Sets<'static>> {
    let leaked = |set| -> &'static Cpuset<'static> { Box::leak(Box::new(set)) };
    let all = NodeMask::first(nodes.into())?;
    let root = leaked(Cpuset::root(all)?);
    let first = leaked(Cpuset::inside(root, all)?);
    let below = leaked(Cpuset::inside(first, all)?);
    let walled = leaked(Cpuset::inside(root, all)?.hardwalled());
    Ok(Box::leak(Box::new(Sets::new(nodes, [root, first, below, walled])?)))
}

impl<'c> Sets<'c> {
    fn new(nodes: u16, sets: [&'c Cpuset<'c>; SETS]) -> Result<Self> {
        let all = NodeMask::first(nodes.into())?;
        let weights = WEIGHTS.get(..nodes.into()).unwrap_or(&WEIGHTS);
        let policies = [
            Mempolicy::bind(all)?,
            Mempolicy::bind(all)?.home(NodeId(1))?,
            Mempolicy::preferred_many(all)?,
            Mempolicy::interleave(all)?,
            Mempolicy::weighted_interleave(all, weights)?,
        ];
        let everywhere = (1 << nodes) - 1;
        Ok(Self {
            nodes,
            sets,
            policies,
            notes: std::array::from_fn(|_| AtomicU64::new(everywhere << 8 | everywhere)),
            moves: AtomicU64::new(0),
        })
    }
}

/// Who asks: within which set, by which policy, for which place of an object. Numbers of none: no set, no policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whence {
    pub(super) set: usize,
    pub(super) policy: usize,
    pub(super) index: Option<u64>,
}

impl Whence {
    /// Anywhere.
    pub(super) const ANYWHERE: Self = Self { set: SETS, policy: POLICIES, index: None };

    /// Anybody.
    pub(super) fn any(dice: &mut Rng) -> Self {
        let (set, policy) = (dice.usize(..=SETS), dice.usize(..POLICIES + 2));
        Self { set, policy, index: if dice.bool() { Some(dice.u64(..)) } else { None } }
    }
}

impl<'c> Sets<'c> {
    /// What is known of a set now; nothing of one that is none.
    pub(super) fn note(&self, set: usize) -> Option<Note> {
        self.notes.get(set).map(|note| Note(note.load(SeqCst)))
    }

    /// What the allocator is told of who asks.
    pub(super) fn context(&self, whence: Whence) -> Context<'_> {
        Context {
            cpuset: self.sets.get(whence.set).copied(),
            policy: self.policies.get(whence.policy),
            index: whence.index,
            exiting: false,
        }
    }

    /// Whether the node is one that a request from there may have frames of whatever its flags, as long as nothing moves.
    pub(super) fn surely_allows(&self, whence: Whence, node: NodeId) -> bool {
        let set = self.note(whence.set).map_or(u64::MAX, Note::now);
        let policy = self.policies.get(whence.policy).map(Mempolicy::nodes);
        let policy = policy.map_or(u64::MAX, |nodes| nodes.iter().map(|node| 1 << node.0).sum());
        // A policy does not count where the set has none of its nodes.
        let both = if set & policy == 0 { set } else { set & policy };
        both >> node.0 & 1 == 1
    }

    fn all(&self) -> Nodes {
        (0..usize::from(self.nodes)).collect()
    }

    /// Moves of sets and changes of policies so far.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(SeqCst)
    }
}

/// Who moves the sets.
pub(super) struct Mover<'s, 'c> {
    sets: &'s Sets<'c>,
    /// What was said of each.
    own: [Nodes; SETS],
    dice: Rng,
}

impl<'s, 'c> Mover<'s, 'c> {
    pub(super) fn new(sets: &'s Sets<'c>, dice: Rng) -> Self {
        Self { sets, own: std::array::from_fn(|_| sets.all()), dice }
    }

    /// Moves every set once and changes every policy.
    pub(super) fn step(&mut self) -> Result<()> {
        for (set, above) in ABOVE.into_iter().enumerate() {
            // Each where the one above is now; sometimes to nowhere of its own.
            let above = self.effective(above, &self.own);
            let above = if set == 0 { self.sets.all() } else { above };
            let may_be_empty = set != 0 && self.dice.u8(..8) == 0;
            let to = if may_be_empty { Nodes::new() } else { self.some_of(&above) };
            self.move_set(set, to)?;
        }
        for policy in &self.sets.policies {
            policy.set_nodes(mask(&self.some_of(&self.sets.all()))?)?;
            self.sets.moves.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    fn move_set(&mut self, set: usize, to: Nodes) -> Result<()> {
        let before = self.own.clone();
        self.own[set] = to;
        for other in 0..SETS {
            let (was, will) = (self.effective(other, &before), self.effective(other, &self.own));
            let moves = (self.sets.notes[other].load(SeqCst) >> 16) + 1;
            self.sets.notes[other].store(moves << 16 | bits(&will) << 8 | bits(&was), SeqCst);
        }
        self.sets.moves.fetch_add(1, SeqCst);
        Ok(self.sets.sets[set].set_mems(mask(&self.own[set])?)?)
    }

    /// By the naive rule.
    fn effective(&self, set: usize, own: &[Nodes; SETS]) -> Nodes {
        let mut chain = vec![set];
        while let Some(&last) = chain.last().filter(|&&last| last != 0) {
            chain.push(ABOVE[last]);
        }
        let sets = chain.iter().rev().map(|&set| TaskSet { own: own[set].clone(), is_wall: false });
        effective(&sets.collect::<Vec<_>>())
    }

    /// Half of the time a single one: then policy and set are often somewhere else.
    fn some_of(&mut self, nodes: &Nodes) -> Nodes {
        let narrow = self.dice.bool();
        let some: Nodes = nodes.iter().copied().filter(|_| !narrow && self.dice.bool()).collect();
        let one = nodes.iter().copied().nth(self.dice.usize(..nodes.len().max(1)));
        if some.is_empty() { one.into_iter().collect() } else { some }
    }
}

fn mask(nodes: &Nodes) -> Result<NodeMask> {
    Ok(nodes.iter().try_fold(NodeMask::EMPTY, |mask, &node| mask.with(NodeId(node as u16)))?)
}

fn bits(nodes: &Nodes) -> u64 {
    nodes.iter().map(|node| 1 << node).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_surely_allowed_is_what_set_and_policy_share() {
        on(2, |sets| {
            let mut mover = Mover::new(sets, Rng::with_seed(1));
            let allowed = |set, policy| {
                let whence = Whence { set, policy, index: None };
                [0, 1].map(|node| sets.surely_allows(whence, NodeId(node)))
            };
            assert_eq!(allowed(SETS, POLICIES), [true, true]);
            mover.move_set(1, Nodes::from([1])).unwrap();
            assert_eq!(allowed(1, POLICIES), [false, true]);
            assert_eq!(allowed(2, POLICIES), [false, true], "it is below");
            for (policy, node) in [(0, 0), (1, 1)] {
                sets.policies[policy].set_nodes(mask(&Nodes::from([node])).unwrap()).unwrap();
            }
            assert_eq!(allowed(0, 0), [true, false]);
            assert_eq!(allowed(1, 1), [false, true]);
            assert_eq!(allowed(1, 0), [false, true], "they share no node: the policy does not count");
        })
        .unwrap();
    }
}
