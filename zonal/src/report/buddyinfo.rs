//! The text of `/proc/buddyinfo`: free runs by order, a line for each populated zone.

use core::fmt;

use crate::report::{ORDERS, Subject};

/// See [`crate::PageAllocator::buddyinfo`].
#[derive(Clone, Copy)]
pub(crate) struct Buddyinfo<'a>(pub(crate) Subject<'a>);

impl fmt::Display for Buddyinfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.zones().try_for_each(|zone| {
            write!(f, "Node {}, zone {:>8} ", zone.node.0, zone.kind.name())?;
            let runs = zone.free_runs();
            (0..ORDERS).try_for_each(|order| {
                let count: u64 = runs.iter().map(|of_type| of_type[order]).sum();
                write!(f, "{count:>6} ")
            })?;
            writeln!(f)
        })
    }
}
