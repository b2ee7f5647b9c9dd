//! Which nodes a task likes or must have its frames from (Linux: a memory policy), and whose turn it is where it spreads them.
//!
//! A policy is applied above the walks: it says the node to begin with, and the set that confines the walk, if one does. It
//! is not asked where the request names a node itself, nor in an interrupt. It never looks at a zone. Its set stays as it was
//! said when a cpuset moves (Linux: MPOL_F_STATIC_NODES); of interleaved nodes those count that the cpuset has too, or all of
//! the cpuset's where there are none.
//!
//! | bits of the turn | field | changed by |
//! |---|---|---|
//! | 0..=15 | the node whose turn it was last | [`Mempolicy::turn`] |
//! | 16..=23 | frames that it still has in this turn (weighted) | the same |
//!
//! Invariant: over any stretch of turns on an unchanged set each node's share of the frames is its weight's, but for the two
//! turns that the stretch cuts. All accesses of the turn are relaxed: it orders nothing, each exchange alone counts.

use core::fmt;

use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::policy::nodemask::{NODES, NodeMask};
use crate::policy::published::{Busy, Published, steadily};
use crate::sync::{AtomicU32, Ordering};

const NODE: u32 = 0xffff;
const LEFT_SHIFT: u32 = 16;

/// A task's policy. One may be shared by tasks, which then take turns.
///
/// ```
/// use zonal::{Mempolicy, NodeId};
/// let near = Mempolicy::bind("0-1".parse()?)?.home(NodeId(1))?;
/// let spread = Mempolicy::weighted_interleave("0-2".parse()?, &[3, 1, 1])?;
/// near.set_nodes("1".parse()?)?;                        // live
/// # let _ = spread; Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mempolicy<'w> {
    mode: Mode<'w>,
    nodes: Published,
    home: Option<NodeId>,
    turn: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
enum Mode<'w> {
    Local,
    Preferred,
    PreferredMany,
    Bind,
    Interleave,
    /// With each node's weight.
    Weighted(&'w [u8]),
}

/// What a policy's nodes do to a request.
#[derive(Clone, Copy)]
pub(crate) enum Confines<'s> {
    /// They say no more than where to begin.
    Nothing,
    /// It goes nowhere else at first, and does not reclaim for that.
    Before(&'s Published),
    /// It goes nowhere else.
    To(&'s Published),
}

impl<'w> Mempolicy<'w> {
    /// The CPU's node first, as without a policy.
    pub fn local() -> Self {
        Self::of(Mode::Local, &NodeMask::EMPTY)
    }

    /// This node first.
    ///
    /// # Errors
    /// [`MempolicyError::NoSuchNode`] for one that no mask can hold.
    pub fn preferred(node: NodeId) -> Result<Self, MempolicyError> {
        let nodes = NodeMask::of(node).map_err(|_| MempolicyError::NoSuchNode { node })?;
        Ok(Self::of(Mode::Preferred, &nodes))
    }

    /// These nodes first, without reclaim; then any.
    ///
    /// # Errors
    /// [`MempolicyError::NoNodes`] for none.
    pub fn preferred_many(nodes: NodeMask) -> Result<Self, MempolicyError> {
        Self::on(Mode::PreferredMany, &nodes)
    }

    /// These nodes only, but for requests that must have lower zones than most memory is in, and where the cpuset has none of
    /// them.
    ///
    /// # Errors
    /// [`MempolicyError::NoNodes`] for none.
    pub fn bind(nodes: NodeMask) -> Result<Self, MempolicyError> {
        Self::on(Mode::Bind, &nodes)
    }

    /// Each of these nodes first in turn.
    ///
    /// # Errors
    /// [`MempolicyError::NoNodes`] for none.
    pub fn interleave(nodes: NodeMask) -> Result<Self, MempolicyError> {
        Self::on(Mode::Interleave, &nodes)
    }

    /// The same, each node `weights[node]` times in a row; 1 where the table says 0 or nothing.
    ///
    /// # Errors
    /// [`MempolicyError::NoNodes`] for none.
    pub fn weighted_interleave(nodes: NodeMask, weights: &'w [u8]) -> Result<Self, MempolicyError> {
        Self::on(Mode::Weighted(weights), &nodes)
    }

    /// The same, with the node to begin with and to be near to.
    ///
    /// # Errors
    /// [`MempolicyError::HomeOfNone`] for a policy that says by itself where to begin: all but [`Mempolicy::bind`] and
    /// [`Mempolicy::preferred_many`].
    pub fn home(self, node: NodeId) -> Result<Self, MempolicyError> {
        match self.mode {
            Mode::Bind | Mode::PreferredMany => Ok(Self { home: Some(node), ..self }),
            _ => Err(MempolicyError::HomeOfNone { node }),
        }
    }

    /// Says other nodes, also to requests under way. Task context; does not wait.
    ///
    /// # Errors
    /// [`MempolicyError::NoNodes`] for none, [`MempolicyError::Busy`] where somebody else is saying others; nothing changed
    /// then.
    pub fn set_nodes(&self, nodes: NodeMask) -> Result<(), MempolicyError> {
        if nodes.is_empty() {
            return Err(MempolicyError::NoNodes);
        }
        self.nodes.publish(&nodes).map_err(|Busy| MempolicyError::Busy)
    }

    /// Its nodes.
    pub fn nodes(&self) -> NodeMask {
        steadily(|| self.nodes.generation(), || self.nodes.load()).unwrap_or_default()
    }

    /// The node that a request begins with, if the policy says one: `among` says which of a set count. A node's turn is used
    /// up by this, unless the frame's `index` in its object says whose it is.
    pub(crate) fn start(&self, among: impl Fn(NodeMask) -> NodeMask, index: Option<u64>) -> Option<NodeId> {
        match (self.mode, index) {
            (Mode::Local, _) => None,
            (Mode::Preferred, _) => self.nodes().lowest(),
            (Mode::PreferredMany | Mode::Bind, _) => self.home,
            (Mode::Interleave | Mode::Weighted(_), None) => self.turn(&among(self.nodes())),
            (Mode::Interleave | Mode::Weighted(_), Some(index)) => self.place(&among(self.nodes()), index),
        }
    }

    /// Whether nodes take turns.
    pub(crate) const fn spreads(&self) -> bool {
        matches!(self.mode, Mode::Interleave | Mode::Weighted(_))
    }

    pub(crate) fn confines(&self) -> Confines<'_> {
        match self.mode {
            Mode::PreferredMany => Confines::Before(&self.nodes),
            Mode::Bind => Confines::To(&self.nodes),
            Mode::Local | Mode::Preferred | Mode::Interleave | Mode::Weighted(_) => Confines::Nothing,
        }
    }

    /// The node whose turn it is.
    fn turn(&self, nodes: &NodeMask) -> Option<NodeId> {
        let mut now = self.turn.load(Ordering::Relaxed);
        loop {
            let (mut node, mut left) = (NodeId((now & NODE) as u16), now >> LEFT_SHIFT);
            if left == 0 || !nodes.has(node) {
                node = nodes.after(node)?;
                left = u32::from(self.weight(node));
            }
            let next = (left - 1) << LEFT_SHIFT | u32::from(node.0);
            if planted(Mutant::TurnStuck) {
                return Some(node);
            }
            // Each retry is a turn that another request has taken.
            match self.turn.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(node),
                Err(seen) => now = seen,
            }
        }
    }

    /// The node of the frame with this index.
    fn place(&self, nodes: &NodeMask, index: u64) -> Option<NodeId> {
        let round: u64 = nodes.iter().map(|node| u64::from(self.weight(node))).sum();
        let mut rest = index.checked_rem(round)?;
        nodes.iter().find(|&node| {
            let weight = u64::from(self.weight(node));
            let is_here = rest < weight;
            rest = rest.saturating_sub(weight);
            is_here
        })
    }

    fn weight(&self, node: NodeId) -> u8 {
        let Mode::Weighted(weights) = self.mode else { return 1 };
        weights.get(usize::from(node.0)).copied().unwrap_or(1).max(1)
    }

    fn on(mode: Mode<'w>, nodes: &NodeMask) -> Result<Self, MempolicyError> {
        if nodes.is_empty() { Err(MempolicyError::NoNodes) } else { Ok(Self::of(mode, nodes)) }
    }

    fn of(mode: Mode<'w>, nodes: &NodeMask) -> Self {
        // The lowest node comes after the last there can be.
        let turn = AtomicU32::new(NODES as u32 - 1);
        Self { mode, nodes: Published::new(nodes), home: None, turn }
    }
}

impl fmt::Debug for Mempolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mempolicy({:?}, {:?}, home {:?})", self.mode, self.nodes(), self.home)
    }
}

/// Why a policy was not made or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MempolicyError {
    /// It would have no node.
    NoNodes,
    /// No mask can hold the node.
    NoSuchNode {
        /// The node.
        node: NodeId,
    },
    /// Such a policy has no home.
    HomeOfNone {
        /// The node said.
        node: NodeId,
    },
    /// Somebody else is changing it.
    Busy,
}

impl fmt::Display for MempolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoNodes => f.write_str("a policy without a node"),
            Self::NoSuchNode { node } => write!(f, "node {} is above {}", node.0, NODES - 1),
            Self::HomeOfNone { node } => {
                write!(f, "home node {}: only policies that bind, or prefer several nodes, have one", node.0)
            }
            Self::Busy => f.write_str("somebody else is changing the policy"),
        }
    }
}

impl core::error::Error for MempolicyError {}
