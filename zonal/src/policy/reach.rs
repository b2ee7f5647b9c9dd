//! Where a request may have its frames from: the cpuset and the policy of who asks, node by node (linux-facts 2.4).
//!
//! | rung of the ladder | cpuset | policy's nodes |
//! |---|---|---|
//! | fast walk, reclaim, the look before a kill | the set itself | count |
//! | everything else | the set; without `HARDWALL` up to the nearest hard wall, anywhere for a task that ends | count |
//! | the same of a request that does not wait and has part of the reserve (`GFP_ATOMIC`) | none | count, but for its last walk |
//! | with the reserves of a victim, or of who frees memory | none | none |
//! | a request that cannot fail, when nothing helped | the set, then none | count |
//!
//! A policy's nodes cease to count where the cpuset has none of them. A set none of whose nodes has memory stands for the
//! nearest above that has some. Both are decided when the ladder is begun, and again when it is begun again.

use crate::frame::NodeId;
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::policy::cpuset::Cpuset;
use crate::policy::mempolicy::{Mempolicy, PolicyNodes};
use crate::policy::nodemask::NodeMask;
use crate::request::Request;
use crate::urgency::Reserves;

/// Who asks, as far as it restricts where the frames come from. Lent for a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'c> {
    /// The set of tasks that it belongs to; `None`: it may go anywhere.
    pub cpuset: Option<&'c Cpuset<'c>>,
    /// Its policy; `None`: the CPU's node first.
    pub policy: Option<&'c Mempolicy<'c>>,
    /// The frame's place in the object that it is for: an interleaving policy goes by it instead of by turns, so that each
    /// object is spread evenly, whatever order its frames come in.
    pub index: Option<u64>,
    /// The task is ending: no set stops it, but for requests with [`Gfp::HARDWALL`] (Linux: PF_EXITING).
    pub exiting: bool,
}

/// How a cpuset stops a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wall {
    /// Not at all.
    Open,
    /// At the nearest hard wall.
    Soft,
    /// At once.
    Hard,
}

/// Where it may go on one rung.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'s> {
    cpuset: Option<&'s Cpuset<'s>>,
    nodes: Option<PolicyNodes<'s>>,
    wall: Wall,
    exiting: bool,
}

impl<'s> Reach<'s> {
    /// Anywhere.
    pub(crate) const OPEN: Self = Self { cpuset: None, nodes: None, wall: Wall::Open, exiting: false };

    /// Within who asks' set, and to a policy's nodes if it is confined to them.
    pub(crate) const fn of(context: &Context<'s>, nodes: Option<PolicyNodes<'s>>) -> Self {
        Self { cpuset: context.cpuset, nodes, wall: Wall::Hard, exiting: context.exiting }
    }

    #[inline]
    pub(crate) fn allows(self, node: NodeId) -> bool {
        self.is_open() || self.is_within(node)
    }

    #[inline(never)]
    fn is_within(self, node: NodeId) -> bool {
        self.nodes.is_none_or(|nodes| nodes.has(node, || self.mems_allowed()))
            && self.cpuset.is_none_or(|set| self.is_inside(set, node))
    }

    fn is_inside(self, set: &Cpuset<'_>, node: NodeId) -> bool {
        match self.wall {
            Wall::Open => true,
            Wall::Soft => set.allows(node) || set.walled().allows(node),
            Wall::Hard => set.allows(node),
        }
    }

    /// Whether it is restricted at all.
    pub(crate) const fn is_open(self) -> bool {
        self.cpuset.is_none() && self.nodes.is_none()
    }

    /// Whether the task is ending.
    pub(crate) const fn is_exiting(self) -> bool {
        self.exiting
    }

    /// The policy's nodes, where they count.
    pub(crate) fn mask(self) -> Option<NodeMask> {
        self.nodes.map(|nodes| nodes.load(|| self.mems_allowed()))
    }

    /// The set's nodes.
    pub(crate) fn mems_allowed(self) -> Option<NodeMask> {
        self.cpuset.map(Cpuset::effective)
    }

    /// Moves of the set and changes of the policy so far: each only grows, so equal sums mean equal terms.
    pub(crate) fn generation(self) -> u64 {
        let moves = self.cpuset.map_or(0, Cpuset::generation);
        moves.wrapping_add(self.nodes.map_or(0, PolicyNodes::generation))
    }

    /// The same at the beginning of a ladder, where `has_memory` says which nodes have any.
    pub(crate) fn settled(self, request: &Request, has_memory: impl Fn(&NodeMask) -> bool) -> Self {
        let (urgency, gfp) = (request.urgency(), request.gfp);
        let atomic = !urgency.waits && matches!(urgency.reserves, Reserves::High | Reserves::Half);
        let wall = match () {
            () if atomic && !planted(Mutant::AtomicWalled) => Wall::Open,
            () if gfp.contains(Gfp::HARDWALL) && !planted(Mutant::HardwallSoft) => Wall::Hard,
            () if self.exiting => Wall::Open,
            () => Wall::Soft,
        };
        // Of a set that is moved again and again nothing is known: it stays as it is, the generation tells.
        let stands = |set: &&Cpuset<'s>| {
            let nodes = set.effective();
            nodes.is_empty() || has_memory(&nodes)
        };
        let cpuset = self.cpuset.map(|set| set.levels().find(stands).unwrap_or(set));
        let allowed = cpuset.map(Cpuset::effective).filter(|nodes| !nodes.is_empty());
        let counts = |nodes: &PolicyNodes<'_>| {
            allowed.is_none_or(|allowed| !nodes.load(|| Some(allowed)).and(&allowed).is_empty())
                || planted(Mutant::DisjointCounts)
        };
        Self { cpuset, nodes: self.nodes.filter(counts), wall, ..self }
    }

    /// The same, no further than the set itself.
    pub(crate) fn hard(self) -> Self {
        Self { wall: Wall::Hard, ..self }
    }

    /// The same, whatever the set.
    pub(crate) fn unwalled(self) -> Self {
        Self { wall: Wall::Open, ..self }
    }
}
