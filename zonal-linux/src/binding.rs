//! Which of a machine's nodes are real ones here, and memory bound to them.
//!
//! A described node is the online node of the same place in ascending order: [`crate::Machine::this`] numbers them so.
//! Nothing is bound in part: either every node with memory has one here, or all placement is the kernel's.

use std::ffi::c_void;
use std::path::Path;

use rustix::io::Errno;
use zonal::NodeId;

use crate::machine::sysfs;

/// Bits in the mask that `mbind` is given: as many as the allocator has nodes.
const MASK_BITS: usize = 1024;

/// Whether a pool's memory is bound to nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Binding {
    /// Every range is bound to the node here that its own stands for.
    Bound {
        /// The number here of each node, in the machine's order.
        nodes: Vec<usize>,
    },
    /// Nothing is bound: this machine does not have all the nodes, or only one at all.
    Unbound {
        /// Nodes with memory in the description.
        described: usize,
        /// Nodes with memory here.
        here: usize,
    },
}

impl Binding {
    /// What can be done for ranges in these nodes.
    pub(crate) fn of(nodes: impl Iterator<Item = NodeId>) -> Self {
        let root = Path::new(sysfs::DEVICES).join("node");
        let online = sysfs::list(&root.join("online")).unwrap_or_default();
        let with_memory = sysfs::list(&root.join("has_memory")).unwrap_or_default();
        Self::between(nodes, online, &with_memory)
    }

    fn between(described: impl Iterator<Item = NodeId>, online: Vec<usize>, with_memory: &[usize]) -> Self {
        let mut described: Vec<NodeId> = described.collect();
        described.sort_unstable();
        described.dedup();
        let is_here = |node: &NodeId| {
            online
                .get(usize::from(node.0))
                .is_some_and(|number| *number < MASK_BITS && with_memory.contains(number))
        };
        if with_memory.len() > 1 && described.iter().all(is_here) {
            return Self::Bound { nodes: online };
        }
        Self::Unbound { described: described.len(), here: with_memory.len() }
    }

    /// The node here to bind a described node's memory to.
    pub(crate) fn node_here(&self, node: NodeId) -> Option<usize> {
        match self {
            Self::Bound { nodes } => nodes.get(usize::from(node.0)).copied(),
            Self::Unbound { .. } => None,
        }
    }
}

/// Lets the pages of `start..start + len` come only from node `node` of this machine.
///
/// # Safety
/// The bytes are a mapping of the caller's.
pub(crate) unsafe fn bind(start: *mut c_void, len: usize, node: usize) -> Result<(), Errno> {
    let mut mask = [0u64; MASK_BITS / 64];
    *mask.get_mut(node / 64).ok_or(Errno::INVAL)? |= 1 << (node % 64);
    // The kernel reads one bit less than it is told.
    let bits = MASK_BITS as libc::c_ulong + 1;
    // SAFETY: the mask has the bits announced and outlives the call; policy for a mapping of the caller's changes where
    // its pages come from, not what they hold.
    let status = unsafe {
        libc::syscall(libc::SYS_mbind, start, len, libc::MPOL_BIND, mask.as_ptr(), bits, 0 as libc::c_uint)
    };
    if status == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn nodes(numbers: &[u16]) -> impl Iterator<Item = NodeId> {
        numbers.iter().copied().map(NodeId)
    }

    #[test]
    fn all_nodes_or_none() {
        let both = Binding::between(nodes(&[1, 0, 1]), vec![0, 4], &[0, 4]);
        assert_eq!(both, Binding::Bound { nodes: vec![0, 4] });
        assert_eq!(both.node_here(NodeId(1)), Some(4));
        let more = Binding::between(nodes(&[0, 1, 2]), vec![0, 4], &[0, 4]);
        assert_eq!(more, Binding::Unbound { described: 3, here: 2 });
        let memoryless = Binding::between(nodes(&[0, 1]), vec![0, 1, 2], &[0, 2]);
        assert_eq!(memoryless, Binding::Unbound { described: 2, here: 2 });
        assert_eq!(Binding::between(nodes(&[0]), vec![0], &[0]), Binding::Unbound { described: 1, here: 1 });
        assert_eq!(more.node_here(NodeId(0)), None);
    }

    #[test]
    fn the_kernel_binds_to_a_node_there_is_and_to_no_other() {
        let Some(&here) =
            sysfs::list(Path::new("/sys/devices/system/node/has_memory")).unwrap_or_default().first()
        else {
            return;
        };
        let mapping = Mapping::zeroed(1 << 20).unwrap();
        // SAFETY: the mapping is the test's own.
        unsafe {
            bind(mapping.start().as_ptr().cast(), mapping.len(), here).unwrap();
            mapping.start().as_ptr().write(1);
            assert_eq!(bind(mapping.start().as_ptr().cast(), mapping.len(), 1023), Err(Errno::INVAL));
            assert_eq!(bind(mapping.start().as_ptr().cast(), mapping.len(), 1024), Err(Errno::INVAL));
        }
    }
}
