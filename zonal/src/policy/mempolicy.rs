//! Which nodes a task likes or must have its frames from (Linux: a memory policy), and whose turn it is where it spreads them.
//!
//! A policy is applied above the walks: it says the node to begin with, and the set that confines the walk, if one does. It
//! is not asked where the request names a node itself, nor in an interrupt. It never looks at a zone. What becomes of its
//! nodes when the cpuset moves, [`Follow`] says; of interleaved nodes those count that the cpuset has too, or all of the
//! cpuset's where there are none. Whose turn it is, is in
//! [`crate::policy::turns`].

use core::fmt;

use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::policy::nodemask::{NODES, NodeMask};
use crate::policy::published::{Busy, Published, steadily};
use crate::policy::turns::{Turn, Turns};

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
    mode: Mode,
    follow: Follow,
    nodes: Published,
    home: Option<NodeId>,
    turns: Turns<'w>,
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
enum Mode {
    Local,
    Preferred,
    PreferredMany,
    Bind,
    Interleave,
    /// By weights.
    Weighted,
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
        let policy = Self::on(Mode::Weighted, &nodes)?;
        Ok(Self { turns: Turns::new(weights), ..policy })
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
            (Mode::Interleave | Mode::Weighted, index) => {
                let nodes = self.spread_over(allowed());
                self.turn(&nodes, index, 1).map(|turn| turn.node)
            }
        }
    }

    /// How many of so many frames each node has before others, if nodes take turns; else as [`Mempolicy::start`].
    pub(crate) fn shares(
        &self,
        allowed: Option<NodeMask>,
        index: Option<u64>,
        frames: u64,
    ) -> Option<impl Iterator<Item = (NodeId, u64)> + use<'_, 'w>> {
        let nodes = self.spreads().then(|| self.spread_over(allowed))?;
        let first = self.turn(&nodes, index, frames)?;
        Some(self.turns.shares(first, nodes, frames))
    }

    /// The first of the turns of so many frames, the first of which has this index, if that counts instead.
    fn turn(&self, nodes: &NodeMask, index: Option<u64>, frames: u64) -> Option<Turn> {
        match index {
            None => self.turns.take(nodes, frames),
            Some(index) => self.turns.place(nodes, index),
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
        matches!(self.mode, Mode::Interleave | Mode::Weighted)
    }

    pub(crate) fn confines(&self) -> Confines<'_> {
        let nodes = PolicyNodes { said: &self.nodes, follow: self.follow };
        match self.mode {
            Mode::PreferredMany => Confines::Before(nodes),
            Mode::Bind => Confines::To(nodes),
            Mode::Local | Mode::Preferred | Mode::Interleave | Mode::Weighted => Confines::Nothing,
        }
    }

    fn on(mode: Mode, nodes: &NodeMask) -> Result<Self, MempolicyError> {
        if nodes.is_empty() { Err(MempolicyError::NoNodes) } else { Ok(Self::of(mode, nodes)) }
    }

    fn of(mode: Mode, nodes: &NodeMask) -> Self {
        Self {
            mode,
            follow: Follow::default(),
            nodes: Published::new(nodes),
            home: None,
            turns: Turns::new(&[]),
        }
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
