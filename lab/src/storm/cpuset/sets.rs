//! The sets and policies of a round, and what is known of where a set's tasks may be served at each moment.
//!
//! One thread moves them. Before each move it notes for every set, by the naive rule, what was effective and what will be: so
//! between two readings of a set's note that are at most one move apart, its tasks may be served where either reading says, and
//! nowhere else. Invariant: `effective at any moment of a call <= nodes noted before it and after it`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::Result;
use fastrand::Rng;
use zonal::{Cpuset, Mempolicy, NodeId, NodeMask};
use zonal_testkit::policy::{Nodes, TaskSet, effective};

/// Nodes of the machine.
pub(super) const NODES: u16 = 4;
/// For each set the one above; the first is the root.
const ABOVE: [usize; SETS] = [0, 0, 1, 0];
pub(super) const SETS: usize = 4;
pub(super) const POLICIES: usize = 5;
/// Turns of nodes for the policy that weighs them.
const WEIGHTS: [u8; NODES as usize] = [3, 1, 0, 2];

/// Who the tasks are with, and what they like.
pub(super) struct Sets<'c> {
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
    /// Whether a node is one where a call may have been served that began at this note and ended at the other. `None`: so
    /// many moves lay between that nobody knows.
    pub(super) fn allowed(self, after: Self, node: NodeId) -> Option<bool> {
        let nodes = self.0 | self.0 >> 8 | after.0 | after.0 >> 8;
        ((after.0 >> 16) - (self.0 >> 16) <= 1).then_some(nodes >> node.0 & 1 == 1)
    }
}

/// Makes the sets and does something with them.
pub(super) fn on<R>(body: impl FnOnce(&Sets<'_>) -> R) -> Result<R> {
    let all = NodeMask::first(NODES.into())?;
    let root = Cpuset::root(all)?;
    let first = Cpuset::inside(&root, all)?;
    let below = Cpuset::inside(&first, all)?;
    let walled = Cpuset::inside(&root, all)?.hardwalled();
    let policies = [
        Mempolicy::bind(all)?,
        Mempolicy::bind(all)?.home(NodeId(1))?,
        Mempolicy::preferred_many(all)?,
        Mempolicy::interleave(all)?,
        Mempolicy::weighted_interleave(all, &WEIGHTS)?,
    ];
    let everywhere = (1 << NODES) - 1;
    Ok(body(&Sets {
        sets: [&root, &first, &below, &walled],
        policies,
        notes: std::array::from_fn(|_| AtomicU64::new(everywhere << 8 | everywhere)),
        moves: AtomicU64::new(0),
    }))
}

impl Sets<'_> {
    pub(super) fn note(&self, set: usize) -> Note {
        Note(self.notes[set].load(SeqCst))
    }

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
        Self { sets, own: std::array::from_fn(|_| (0..usize::from(NODES)).collect()), dice }
    }

    /// Moves every set once and changes every policy.
    pub(super) fn step(&mut self) -> Result<()> {
        for (set, above) in ABOVE.into_iter().enumerate() {
            // Each where the one above is now; sometimes to nowhere of its own.
            let above = self.effective(above, &self.own);
            let above = if set == 0 { (0..usize::from(NODES)).collect() } else { above };
            let may_be_empty = set != 0 && self.dice.u8(..8) == 0;
            let to = if may_be_empty { Nodes::new() } else { self.some_of(&above) };
            self.move_set(set, to)?;
        }
        for policy in &self.sets.policies {
            let all = (0..usize::from(NODES)).collect();
            policy.set_nodes(mask(&self.some_of(&all))?)?;
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
