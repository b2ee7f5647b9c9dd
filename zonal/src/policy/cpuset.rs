//! Which nodes a group of tasks may have its frames from: sets within sets, moved while the tasks allocate.
//!
//! A set's *own* nodes are what was said of it. Its *effective* ones are those that its parent's effective ones hold too, or
//! the parent's where there are none (Linux, cgroup v2): a parent that is moved away takes its children along, and a task is
//! never without a node. Readers go up to the root each time, so a move is one store, whoever is below.
//!
//! Never holds a reference downwards, never waits. Invariant: `effective(set)` is empty for nobody and is contained in
//! `effective(parent)`; a frame comes from a node that the set and each one above allowed at some moment of the call.

use core::fmt;

use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::policy::nodemask::NodeMask;
use crate::policy::published::{Busy, Published, steadily};

/// Sets between a root and the deepest one, both counted.
const LEVELS: usize = 16;

/// A set of tasks that may have frames of some nodes only (Linux: a cpuset's `mems`).
///
/// ```
/// use zonal::{Cpuset, NodeId, NodeMask};
/// let machine = Cpuset::root("0-3".parse()?)?;
/// let jobs = Cpuset::inside(&machine, "2-3".parse()?)?;
/// assert_eq!(jobs.effective().to_string(), "2-3");
/// machine.set_mems("0-2".parse()?)?;                    // live: whoever allocates now goes by it
/// assert_eq!(jobs.effective().to_string(), "2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cpuset<'p> {
    parent: Option<&'p Cpuset<'p>>,
    mems: Published,
    wall: Wall,
}

/// What stops a request without [`crate::Gfp::HARDWALL`] that looks beyond its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wall {
    /// Nothing: it goes on to the set above.
    Soft,
    /// This set.
    Hard,
}

impl<'p> Cpuset<'p> {
    /// A set of its own, mostly all the machine's nodes.
    ///
    /// # Errors
    /// [`CpusetError::NoNodes`] for none.
    pub fn root(mems: NodeMask) -> Result<Self, CpusetError> {
        if mems.is_empty() {
            return Err(CpusetError::NoNodes);
        }
        Ok(Self { parent: None, mems: Published::new(&mems), wall: Wall::Hard })
    }

    /// A set within another one. Without nodes of its own it has those of `parent`.
    ///
    /// # Errors
    /// [`CpusetError::Outside`] for a node that `parent` may not use now, [`CpusetError::TooDeep`] for a seventeenth level.
    pub fn inside(parent: &'p Cpuset<'p>, mems: NodeMask) -> Result<Self, CpusetError> {
        if parent.levels().count() >= LEVELS {
            return Err(CpusetError::TooDeep { levels: LEVELS });
        }
        is_within(&mems, parent)?;
        Ok(Self { parent: Some(parent), mems: Published::new(&mems), wall: Wall::Soft })
    }

    /// The same set as a hard wall: requests of tasks in it or below that look beyond their own set stay within this one. (A
    /// root always is one.)
    #[must_use]
    pub fn hardwalled(self) -> Self {
        Self { wall: Wall::Hard, ..self }
    }

    /// Moves the set to other nodes: requests go there at once, also those under way. What tasks hold stays where it is. Task
    /// context; does not wait.
    ///
    /// # Errors
    /// [`CpusetError::Outside`], [`CpusetError::NoNodes`] for a root, or [`CpusetError::Busy`] where somebody else is moving
    /// it; nothing changed then.
    pub fn set_mems(&self, mems: NodeMask) -> Result<(), CpusetError> {
        match self.parent {
            Some(parent) => is_within(&mems, parent)?,
            None if mems.is_empty() => return Err(CpusetError::NoNodes),
            None => {}
        }
        self.mems.publish(&mems).map_err(|Busy| CpusetError::Busy)
    }

    /// The nodes that were said of it. (While it is moved twice those of two moves may be mixed.)
    pub fn mems(&self) -> NodeMask {
        self.mems.load()
    }

    /// The nodes that its tasks may use. Empty only while the sets were moved again and again during the call: then nothing
    /// can be said of them.
    pub fn effective(&self) -> NodeMask {
        steadily(|| self.generation(), || self.look()).unwrap_or_default()
    }

    /// Whether its tasks may use the node.
    #[inline]
    pub fn allows(&self, node: NodeId) -> bool {
        // What the set and all above name is effective. What it does not name may be if they have no node in common.
        self.levels().all(|set| set.mems.has(node)) || self.effective().has(node)
    }

    /// Moves so far, of it and all above. Each only grows, so equal sums mean equal terms.
    pub(crate) fn generation(&self) -> u64 {
        self.levels().fold(0, |sum, set| sum.wrapping_add(set.mems.generation()))
    }

    /// The nearest hard wall: itself, or above.
    pub(crate) fn walled(&self) -> &Self {
        if planted(Mutant::WallIgnored) {
            return self.levels().last().unwrap_or(self);
        }
        self.levels().find(|set| set.wall == Wall::Hard).unwrap_or(self)
    }

    /// Itself and all above, up to the root.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |set| set.parent)
    }

    /// The effective nodes, of moves that may be mixed.
    fn look(&self) -> NodeMask {
        let mut above = [None; LEVELS];
        above.iter_mut().zip(self.levels()).for_each(|(place, set)| *place = Some(set));
        let mut down = above.iter().rev().flatten().map(|set: &&Self| set.mems.load());
        let root = down.next().unwrap_or_default();
        down.fold(root, |parent, own| {
            let both = parent.and(&own);
            if both.is_empty() { parent } else { both }
        })
    }
}

fn is_within(mems: &NodeMask, parent: &Cpuset<'_>) -> Result<(), CpusetError> {
    let outside = mems.without(&parent.effective()).lowest();
    outside.map_or(Ok(()), |node| Err(CpusetError::Outside { node }))
}

impl fmt::Debug for Cpuset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, effective) = (self.mems(), self.effective());
        write!(f, "Cpuset({own:?}, effective {effective}, {:?} wall)", self.wall)
    }
}

/// Why a set of tasks was not made or moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CpusetError {
    /// The set above may not use the node.
    Outside {
        /// The lowest such node.
        node: NodeId,
    },
    /// A root would have no node.
    NoNodes,
    /// There would be more sets one within the other.
    TooDeep {
        /// How many there can be.
        levels: usize,
    },
    /// Somebody else is moving the set.
    Busy,
}

impl fmt::Display for CpusetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Outside { node } => write!(f, "node {} is none of the set above", node.0),
            Self::NoNodes => f.write_str("a root without a node"),
            Self::TooDeep { levels } => write!(f, "more than {levels} sets one within the other"),
            Self::Busy => f.write_str("somebody else is moving the set"),
        }
    }
}

impl core::error::Error for CpusetError {}
