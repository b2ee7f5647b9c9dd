//! Linux's line about a node's list: which nodes it visits, in order. It is read while it is written out.

use core::fmt;

use crate::frame::NodeId;
use crate::state::State;

/// The line of one node.
pub(crate) struct FallbackOrder<'a> {
    pub(crate) state: &'a State<'a>,
    pub(crate) node: NodeId,
}

impl fmt::Display for FallbackOrder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fallback order for Node {}:", self.node.0)?;
        self.state.node_order(self.node).try_for_each(|node| write!(f, " {}", node.0))
    }
}
