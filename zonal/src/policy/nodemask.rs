//! Sets of nodes: plain data, read and written as Linux does, `0-3,7`.
//!
//! Never an atomic: what changes while others read it is [`crate::policy::published`]. Invariant: a text that is read and
//! written again is the shortest list of the same nodes, so `text.parse() == mask` and `mask.to_string() == text`.

use core::fmt;
use core::str::FromStr;

use crate::frame::NodeId;

/// Nodes that a mask can hold, as many as a topology.
pub(crate) const NODES: usize = 1024;
/// Nodes in a word.
pub(crate) const WORD_NODES: usize = 64;
/// Words of a mask.
pub(crate) const WORDS: usize = NODES / WORD_NODES;

/// A set of nodes 0 to 1023.
///
/// ```
/// use zonal::{NodeId, NodeMask};
/// let mask: NodeMask = "0-2,7".parse()?;
/// assert!(mask.has(NodeId(2)) && !mask.has(NodeId(3)));
/// assert_eq!(mask.and(&"2-9".parse()?).to_string(), "2,7");
/// # Ok::<(), zonal::NodeMaskError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeMask {
    words: [u64; WORDS],
}

impl NodeMask {
    /// No node.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// This node alone.
    ///
    /// # Errors
    /// [`NodeMaskError::TooHigh`] for one that no mask can hold.
    pub const fn of(node: NodeId) -> Result<Self, NodeMaskError> {
        Self::EMPTY.with(node)
    }

    /// Nodes 0 to `nodes - 1`.
    ///
    /// # Errors
    /// [`NodeMaskError::TooHigh`] for more than a mask can hold.
    pub const fn first(nodes: usize) -> Result<Self, NodeMaskError> {
        if nodes > NODES {
            return Err(NodeMaskError::TooHigh { node: nodes as u64 - 1 });
        }
        let mut mask = Self::EMPTY;
        let mut word = 0;
        while word < nodes.div_ceil(WORD_NODES) {
            let rest = nodes - word * WORD_NODES;
            mask.words[word] = if rest >= WORD_NODES { u64::MAX } else { (1 << rest) - 1 };
            word += 1;
        }
        Ok(mask)
    }

    /// The same nodes and this one.
    ///
    /// # Errors
    /// [`NodeMaskError::TooHigh`] for one that no mask can hold.
    pub const fn with(mut self, node: NodeId) -> Result<Self, NodeMaskError> {
        let node = node.0 as usize;
        if node >= NODES {
            return Err(NodeMaskError::TooHigh { node: node as u64 });
        }
        self.words[node / WORD_NODES] |= 1 << (node % WORD_NODES);
        Ok(self)
    }

    /// Whether the node is in it.
    #[inline]
    pub const fn has(&self, node: NodeId) -> bool {
        let node = node.0 as usize;
        node < NODES && self.words[node / WORD_NODES] >> (node % WORD_NODES) & 1 == 1
    }

    /// Whether it has no node.
    pub const fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// How many nodes it has.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The nodes in both.
    pub fn and(&self, other: &Self) -> Self {
        Self { words: core::array::from_fn(|at| self.words[at] & other.words[at]) }
    }

    /// The nodes in this one that are not in the other.
    pub fn without(&self, other: &Self) -> Self {
        Self { words: core::array::from_fn(|at| self.words[at] & !other.words[at]) }
    }

    /// The nodes, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.words.into_iter().enumerate().flat_map(|(at, mut rest)| {
            core::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(NodeId((at * WORD_NODES) as u16 + bit as u16))
            })
        })
    }

    /// The lowest node.
    pub fn lowest(&self) -> Option<NodeId> {
        self.iter().next()
    }

    /// The first node above this one, else the lowest (Linux: next_node_in).
    pub(crate) fn after(&self, node: NodeId) -> Option<NodeId> {
        self.iter().find(|&next| next > node).or_else(|| self.lowest())
    }

    /// The nodes of `allowed` at the places that this mask names, where node 0 stands for the first place and those behind the
    /// last begin anew (Linux: mpol_relative_nodemask).
    pub(crate) fn relative_to(&self, allowed: &Self) -> Self {
        let count = allowed.count();
        let places = self.iter().filter_map(|node| usize::from(node.0).checked_rem(count));
        let places = Self::of_all(places.map(|place| NodeId(place as u16)));
        let there = (0..).map(NodeId).zip(allowed.iter()).filter(|&(place, _)| places.has(place));
        Self::of_all(there.map(|(_, node)| node))
    }

    /// The same nodes when `from` has become `to`: one of `from` is the one at its place in `to`, where places behind the last
    /// begin anew; others stay (Linux: nodes_remap).
    pub(crate) fn remapped(&self, from: &Self, to: &Self) -> Self {
        let moved = |node: NodeId| {
            let place = from.iter().position(|other| other == node)?.checked_rem(to.count())?;
            to.iter().nth(place)
        };
        Self::of_all(self.iter().map(|node| moved(node).unwrap_or(node)))
    }

    /// These nodes, all of which a mask can hold.
    fn of_all(nodes: impl Iterator<Item = NodeId>) -> Self {
        nodes.fold(Self::EMPTY, |mask, node| mask.with(node).unwrap_or(mask))
    }

    /// Words from the first to the last with a node.
    pub(crate) const fn used(&self) -> usize {
        let mut used = WORDS;
        while used > 0 && self.words[used - 1] == 0 {
            used -= 1;
        }
        used
    }

    pub(crate) const fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    pub(crate) const fn from_words(words: [u64; WORDS]) -> Self {
        Self { words }
    }
}

impl fmt::Display for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = nodes.next() {
            let mut last = first;
            while let Some(next) = nodes.next_if(|next| next.0 == last.0 + 1) {
                last = next;
            }
            write!(f, "{comma}{}", first.0)?;
            if last != first {
                write!(f, "-{}", last.0)?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes {{{self}}}")
    }
}

impl FromStr for NodeMask {
    type Err = NodeMaskError;

    /// Reads nodes and ranges between commas, in any order; an empty text is the empty mask. Space around it is ignored.
    fn from_str(text: &str) -> Result<Self, NodeMaskError> {
        let list = text.trim();
        let mut mask = Self::EMPTY;
        if list.is_empty() {
            return Ok(mask);
        }
        let mut at = text.len() - text.trim_start().len();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, at)?, number(last, at + part.len() - last.len())?);
            if first > last {
                return Err(NodeMaskError::Backwards { first, last });
            }
            if last >= NODES as u64 {
                return Err(NodeMaskError::TooHigh { node: last });
            }
            for node in first..=last {
                mask = mask.with(NodeId(node as u16))?;
            }
            at += part.len() + 1;
        }
        Ok(mask)
    }
}

/// A node's number, which begins at byte `at` of the text.
fn number(digits: &str, at: usize) -> Result<u64, NodeMaskError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NodeMaskError::NoNumber { at });
    }
    // One that no u64 holds is too high all the more.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// What is wrong with a set of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NodeMaskError {
    /// The node's number is above 1023.
    TooHigh {
        /// The number.
        node: u64,
    },
    /// A range ends before it begins.
    Backwards {
        /// Its first node.
        first: u64,
        /// Its last node.
        last: u64,
    },
    /// No number stands where one must.
    NoNumber {
        /// The byte of the text.
        at: usize,
    },
}

impl fmt::Display for NodeMaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooHigh { node } => write!(f, "node {node} is above {}", NODES - 1),
            Self::Backwards { first, last } => write!(f, "the range {first}-{last} ends before it begins"),
            Self::NoNumber { at } => write!(f, "byte {at} is not the beginning of a node's number"),
        }
    }
}

impl core::error::Error for NodeMaskError {}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use std::collections::BTreeSet;
    use std::format;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn mask(text: &str) -> NodeMask {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn texts_are_read_and_written_as_linux_does() {
        for (text, shortest) in [
            ("0-3,7", "0-3,7"),
            ("", ""),
            ("7,0,1,2,3,3", "0-3,7"),
            ("5-5", "5"),
            (" 0,1\n", "0-1"),
            ("62-66,1023", "62-66,1023"),
            ("0-1023", "0-1023"),
        ] {
            assert_eq!(mask(text).to_string(), shortest, "{text:?}");
        }
        assert_eq!(format!("{:?}", mask("1-2")), "nodes {1-2}");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, error) in [
            ("1024", NodeMaskError::TooHigh { node: 1024 }),
            ("1-99999999999999999999", NodeMaskError::TooHigh { node: u64::MAX }),
            ("3-1", NodeMaskError::Backwards { first: 3, last: 1 }),
            ("1,,2", NodeMaskError::NoNumber { at: 2 }),
            ("1,", NodeMaskError::NoNumber { at: 2 }),
            (" 0-x", NodeMaskError::NoNumber { at: 3 }),
            ("0-1-2", NodeMaskError::NoNumber { at: 2 }),
            ("+1", NodeMaskError::NoNumber { at: 0 }),
            ("0-3:1/2", NodeMaskError::NoNumber { at: 2 }),
        ] {
            assert_eq!(text.parse::<NodeMask>(), Err(error), "{text:?}");
        }
        assert_eq!(NodeMask::first(1025), Err(NodeMaskError::TooHigh { node: 1024 }));
        assert_eq!(NodeMask::of(NodeId(1024)), Err(NodeMaskError::TooHigh { node: 1024 }));
    }

    proptest! {
        #[test]
        fn a_mask_is_a_set(a in prop::collection::btree_set(0u16..1024, 0..40), b in prop::collection::btree_set(0u16..1024, 0..40), from in 0u16..1024, first in 0usize..=1024) {
            let build = |nodes: &BTreeSet<u16>| nodes.iter().try_fold(NodeMask::EMPTY, |mask, &node| mask.with(NodeId(node)));
            let (left, right) = (build(&a).unwrap_or_default(), build(&b).unwrap_or_default());
            let nodes = |mask: NodeMask| mask.iter().map(|node| node.0).collect::<BTreeSet<_>>();
            prop_assert_eq!(nodes(left), a.clone());
            prop_assert_eq!(nodes(left.and(&right)), &a & &b);
            prop_assert_eq!(nodes(left.without(&right)), &a - &b);
            prop_assert_eq!((left.count(), left.is_empty()), (a.len(), a.is_empty()));
            prop_assert_eq!(left.has(NodeId(from)), a.contains(&from));
            let next = a.range(from + 1..).chain(a.iter()).next().copied();
            prop_assert_eq!(left.after(NodeId(from)).map(|node| node.0), next);
            prop_assert_eq!(mask(&left.to_string()), left);
            prop_assert_eq!(left.used(), a.last().map_or(0, |last| usize::from(*last) / WORD_NODES + 1));
            prop_assert_eq!(NodeMask::first(first).map(nodes), Ok((0..first as u16).collect()));
        }
    }
}
