//! Which nodes a task likes or must have its frames from (Linux: a memory policy), and whose turn it is where it spreads them.
//!
//! A policy is applied above the walks: it says the node to begin with, and the set that confines the walk, if one does. It
//! is not asked where the request names a node itself, nor in an interrupt. It never looks at a zone. What becomes of its
//! nodes when the cpuset moves, [`Follow`] says; of interleaved nodes those count that the cpuset has too, or all of the
//! cpuset's where there are none.
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
    follow: Follow,
    nodes: Published,
    home: Option<NodeId>,
    turn: AtomicU32,
}

/// What becomes of a policy's nodes when the cpuset of who asks moves.
///
/// ```
/// use zonal::{Follow, Mempolicy};
/// let spread = Mempolicy::interleave("1-3".parse()?)?;
/// spread.rebind(&"1-3".parse()?, &"3-5".parse()?)?;      // the cpuset's nodes were 1-3, and are 3-5
/// assert_eq!(spread.nodes().to_string(), "3-5");
/// let fixed = Mempolicy::interleave("1-3".parse()?)?.following(Follow::Static)?;
/// fixed.rebind(&"1-3".parse()?, &"3-5".parse()?)?;
/// assert_eq!(fixed.nodes().to_string(), "1-3");           // of which node 3 counts
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Follow {
    /// Each becomes the one at its place among the new nodes, when [`Mempolicy::rebind`] says that they have changed.
    #[default]
    Remapped,
    /// They stay as they were said, and those count that are allowed (Linux: MPOL_F_STATIC_NODES). A preferred node that is not
    /// allowed is none.
    Static,
    /// They are no nodes but places among those allowed, the first one 0; places behind the last begin anew (Linux:
    /// MPOL_F_RELATIVE_NODES). They follow at once, also for requests under way. Without a cpuset each place is its node.
    Relative,
}

/// A policy's nodes, for who is confined to them.
#[derive(Clone, Copy)]
pub(crate) struct PolicyNodes<'s> {
    said: &'s Published,
    follow: Follow,
}

impl PolicyNodes<'_> {
    /// Whether the node is one of them, where these are `allowed`, if not all are.
    #[inline]
    pub(crate) fn has(self, node: NodeId, allowed: impl FnOnce() -> Option<NodeMask>) -> bool {
        match self.follow {
            Follow::Remapped | Follow::Static => self.said.has(node),
            Follow::Relative => self.load(allowed).has(node),
        }
    }

    /// All of them; read as [`Published::load`].
    pub(crate) fn load(self, allowed: impl FnOnce() -> Option<NodeMask>) -> NodeMask {
        let said = self.said.load();
        match self.follow {
            Follow::Relative if !planted(Mutant::RelativeAsSaid) => {
                allowed().map_or(said, |allowed| said.relative_to(&allowed))
            }
            Follow::Remapped | Follow::Static | Follow::Relative => said,
        }
    }

    /// How often they have been changed.
    pub(crate) fn generation(self) -> u64 {
        self.said.generation()
    }
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
    Before(PolicyNodes<'s>),
    /// It goes nowhere else.
    To(PolicyNodes<'s>),
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

    /// The same with nodes that follow the cpuset otherwise than by [`Follow::Remapped`].
    ///
    /// # Errors
    /// [`MempolicyError::FollowOfNone`] for [`Mempolicy::local`], which has no nodes.
    pub fn following(self, follow: Follow) -> Result<Self, MempolicyError> {
        match self.mode {
            Mode::Local => Err(MempolicyError::FollowOfNone { follow }),
            _ => Ok(Self { follow, ..self }),
        }
    }

    /// Says that the nodes allowed to who asks have changed (Linux: mpol_rebind_policy, which a cpuset's move calls for each
    /// task): a policy whose nodes are [`Follow::Remapped`] has others now, also for requests under way. Between the cpuset's move
    /// and this it goes by those it had, as far as they are allowed. Nothing happens if `to` is empty. Task context; does not wait.
    ///
    /// # Errors
    /// [`MempolicyError::Busy`] where somebody else is saying others; nothing changed then.
    pub fn rebind(&self, from: &NodeMask, to: &NodeMask) -> Result<(), MempolicyError> {
        if self.follow != Follow::Remapped || planted(Mutant::RebindForgotten) {
            return Ok(());
        }
        let moved = |nodes: &Published| nodes.load().remapped(from, to);
        self.nodes.replace(moved).map_err(|Busy| MempolicyError::Busy)
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

    /// Its nodes, or places, as they were said, or have been remapped since.
    pub fn nodes(&self) -> NodeMask {
        steadily(|| self.nodes.generation(), || self.nodes.load()).unwrap_or_default()
    }

    /// The node that a request begins with, if the policy says one; `allowed`: the nodes of who asks, if not all. A node's turn
    /// is used up by this, unless the frame's `index` in its object says whose it is.
    pub(crate) fn start(&self, allowed: impl Fn() -> Option<NodeMask>, index: Option<u64>) -> Option<NodeId> {
        match (self.mode, index) {
            (Mode::Local, _) => None,
            (Mode::Preferred, _) => self.preferred_of(allowed()),
            (Mode::PreferredMany | Mode::Bind, _) => self.home,
            (Mode::Interleave | Mode::Weighted(_), None) => self.turn(&self.spread_over(allowed())),
            (Mode::Interleave | Mode::Weighted(_), Some(index)) => {
                self.place(&self.spread_over(allowed()), index)
            }
        }
    }

    /// The node that is preferred, where these are allowed.
    fn preferred_of(&self, allowed: Option<NodeMask>) -> Option<NodeId> {
        let nodes = self.nodes_among(allowed);
        match (self.follow, allowed) {
            (Follow::Static, Some(allowed)) => nodes.and(&allowed).lowest(),
            _ => nodes.lowest(),
        }
    }

    /// The nodes that take turns, where these are allowed: those of the policy that are, or all of them if there are none.
    fn spread_over(&self, allowed: Option<NodeMask>) -> NodeMask {
        let nodes = self.nodes_among(allowed);
        let Some(allowed) = allowed else { return nodes };
        let both = nodes.and(&allowed);
        if both.is_empty() { allowed } else { both }
    }

    /// Its nodes, where these are allowed.
    fn nodes_among(&self, allowed: Option<NodeMask>) -> NodeMask {
        let nodes = PolicyNodes { said: &self.nodes, follow: self.follow };
        steadily(|| self.nodes.generation(), || nodes.load(|| allowed)).unwrap_or_default()
    }

    /// Whether nodes take turns.
    pub(crate) const fn spreads(&self) -> bool {
        matches!(self.mode, Mode::Interleave | Mode::Weighted(_))
    }

    pub(crate) fn confines(&self) -> Confines<'_> {
        let nodes = PolicyNodes { said: &self.nodes, follow: self.follow };
        match self.mode {
            Mode::PreferredMany => Confines::Before(nodes),
            Mode::Bind => Confines::To(nodes),
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
        Self { mode, follow: Follow::default(), nodes: Published::new(nodes), home: None, turn }
    }
}

impl fmt::Debug for Mempolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mempolicy({:?}, {:?}, {:?}, home {:?})", self.mode, self.follow, self.nodes(), self.home)
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
    /// Such a policy has no nodes that could follow anything.
    FollowOfNone {
        /// How they were to follow.
        follow: Follow,
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
            Self::FollowOfNone { follow } => write!(f, "no nodes that could follow as {follow:?}"),
            Self::Busy => f.write_str("somebody else is changing the policy"),
        }
    }
}

impl core::error::Error for MempolicyError {}
