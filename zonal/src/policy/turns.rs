//! Whose turn it is where frames are spread over nodes.
//!
//! | bits of the word | field | changed by |
//! |---|---|---|
//! | 0..=15 | the node whose turn it was last | [`Turns::take`] |
//! | 16..=23 | frames that it still has in this turn (weighted) | the same |
//!
//! Invariant: over any stretch of turns on an unchanged set each node's share of the frames is its weight's, but for the two
//! turns that the stretch cuts; many at once are as many one by one. All accesses are relaxed: the word orders nothing, each
//! exchange alone counts.

use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::policy::nodemask::{NODES, NodeMask};
use crate::sync::{AtomicU32, Ordering};

const NODE: u32 = 0xffff;
const LEFT_SHIFT: u32 = 16;

/// The word, and how long each node's turns are.
pub(crate) struct Turns<'w> {
    weights: &'w [u8],
    word: AtomicU32,
}

/// A node's turn, and how many frames it has in it from here on.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) node: NodeId,
    left: u64,
}

impl<'w> Turns<'w> {
    /// Turns of as many frames as `weights[node]` says, 1 where it says 0 or nothing. The lowest node is first.
    pub(crate) fn new(weights: &'w [u8]) -> Self {
        // The lowest node comes after the last there can be.
        Self { weights, word: AtomicU32::new(NODES as u32 - 1) }
    }

    /// Uses up turns for so many frames, at least one; the first of them. `None` if there is no node.
    pub(crate) fn take(&self, nodes: &NodeMask, frames: u64) -> Option<Turn> {
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let last = Turn { node: NodeId((now & NODE) as u16), left: u64::from(now >> LEFT_SHIFT) };
            let turn = self.open(last, nodes)?;
            if planted(Mutant::TurnStuck) {
                return Some(turn);
            }
            let Turn { node, left } = self.after(turn, nodes, frames);
            let next = (left as u32) << LEFT_SHIFT | u32::from(node.0);
            // Each retry is a turn that another request has taken.
            match self.word.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(turn),
                Err(seen) => now = seen,
            }
        }
    }

    /// The turn of the frame with this index, as if the first one had the first turn.
    pub(crate) fn place(&self, nodes: &NodeMask, index: u64) -> Option<Turn> {
        let mut rest = index.checked_rem(self.round(nodes))?;
        nodes.iter().find_map(|node| {
            let weight = self.weight(node);
            let left = weight.checked_sub(rest).filter(|&left| left > 0);
            rest = rest.saturating_sub(weight);
            left.map(|left| Turn { node, left })
        })
    }

    /// How many frames each node has of so many from this turn on, in the order of their turns; a node may come twice.
    pub(crate) fn shares(
        &self,
        first: Turn,
        nodes: NodeMask,
        frames: u64,
    ) -> impl Iterator<Item = (NodeId, u64)> + use<'_, 'w> {
        let begun = frames.min(first.left);
        let (rest, round) = (frames - begun, self.round(&nodes).max(1));
        let (rounds, mut more) = (rest / round, rest % round);
        let mut node = first.node;
        let later = (0..nodes.count()).filter_map(move |_| {
            node = nodes.after(node)?;
            let part = more.min(self.weight(node));
            more -= part;
            Some((node, rounds * self.weight(node) + part))
        });
        core::iter::once((first.node, begun)).chain(later).filter(|&(_, share)| share > 0)
    }

    /// The turn itself, or the next one if it is over or its node has gone.
    fn open(&self, turn: Turn, nodes: &NodeMask) -> Option<Turn> {
        if turn.left > 0 && nodes.has(turn.node) {
            return Some(turn);
        }
        let node = nodes.after(turn.node)?;
        Some(Turn { node, left: self.weight(node) })
    }

    /// What is left behind so many frames.
    fn after(&self, turn: Turn, nodes: &NodeMask, frames: u64) -> Turn {
        if frames <= turn.left {
            return Turn { left: turn.left - frames, ..turn };
        }
        // Behind this turn it is as behind it after each whole round.
        let (mut more, mut turn) =
            ((frames - turn.left) % self.round(nodes).max(1), Turn { left: 0, ..turn });
        while more > 0 {
            let Some(next) = self.open(turn, nodes) else { break };
            let used = more.min(next.left);
            turn = Turn { left: next.left - used, ..next };
            more -= used;
        }
        turn
    }

    /// Frames until it is the same node's turn again.
    fn round(&self, nodes: &NodeMask) -> u64 {
        nodes.iter().map(|node| self.weight(node)).sum()
    }

    fn weight(&self, node: NodeId) -> u64 {
        u64::from(self.weights.get(usize::from(node.0)).copied().unwrap_or(1).max(1))
    }
}
