//! The text of `/proc/vmstat`, as far as its names are the allocator's or of a kind that [`crate::Usage`] has.
//!
//! What the allocator does not do at all (CMA, ballooning, unaccepted memory, skipping while scanning) has happened 0
//! times. `nr_memmap_*` are not known here and left out, as are the names of other parts of a kernel.

use core::fmt;

use crate::events::Event;
use crate::report::{Subject, ZONES, in_free_blocks, zone_name};
use crate::usage::{NodeStat, ZoneStat};

/// See [`crate::PageAllocator::vmstat`].
#[derive(Clone, Copy)]
pub(crate) struct Vmstat<'a>(pub(crate) Subject<'a>);

impl fmt::Display for Vmstat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.0.state.events();
        writeln!(f, "nr_free_pages {}", self.0.sum(|info| info.free + info.free_highatomic))?;
        let free_blocks: u64 = self.0.zones().map(|zone| in_free_blocks(&zone.free_runs())).sum();
        writeln!(f, "nr_free_pages_blocks {free_blocks}")?;
        for &stat in ZoneStat::ALL {
            let sum: u64 = self.0.zones().map(|zone| self.0.usage.zone(zone.id, stat)).sum();
            writeln!(f, "{} {sum}", stat.name())?;
        }
        nothing(f, &["nr_free_cma", "nr_unaccepted"])?;
        events.numa.lines().iter().try_for_each(|(name, figure)| writeln!(f, "{name} {figure}"))?;
        for &stat in NodeStat::ALL {
            let sum: u64 = self.0.nodes().map(|node| self.0.usage.node(node, stat)).sum();
            writeln!(f, "{} {sum}", stat.name())?;
        }
        each_zone(f, "pgalloc", |at| events.allocated.get(at).copied().unwrap_or(0))?;
        let stalls = Event::ALLOCSTALLS;
        each_zone(f, "allocstall", |at| stalls.get(at).map_or(0, |&event| events.count(event)))?;
        each_zone(f, "pgskip", |_| 0)?;
        writeln!(f, "pgfree {}", events.freed)?;
        nothing(f, &["pgreuse"])?;
        let others = Event::ALL.iter().filter(|event| !stalls.contains(event));
        for &event in others {
            writeln!(f, "{} {}", event.name(), events.count(event))?;
        }
        nothing(
            f,
            &["cma_alloc_success", "cma_alloc_fail", "htlb_buddy_alloc_success", "htlb_buddy_alloc_fail"],
        )?;
        nothing(f, &["balloon_inflate", "balloon_deflate", "balloon_migrate"])
    }
}

/// Names of what never happens here.
fn nothing(f: &mut fmt::Formatter<'_>, names: &[&str]) -> fmt::Result {
    names.iter().try_for_each(|name| writeln!(f, "{name} 0"))
}

/// A name's line for each zone.
fn each_zone(f: &mut fmt::Formatter<'_>, name: &str, figure: impl Fn(usize) -> u64) -> fmt::Result {
    ZONES.iter().enumerate().try_for_each(|(at, &kind)| {
        write!(f, "{name}_")?;
        zone_name(kind).chars().try_for_each(|letter| write!(f, "{}", letter.to_ascii_lowercase()))?;
        writeln!(f, " {}", figure(at))
    })
}
