//! The text that follows every report of a failure: what each node and zone has, and its free runs.
//!
//! Swap, huge page pools and poisoned frames are not the allocator's: the lines Linux has about the first two are left
//! out, as in a kernel without them. `local_pcp` is what the CPU it runs on caches.

use core::fmt;

use crate::frame::{NodeId, Order};
use crate::node::Node;
use crate::policy::nodemask::NodeMask;
use crate::report::{ORDERS, Subject, frames, kbytes, protection};
use crate::topology::ZoneKind;
use crate::usage::{NodeStat, ZoneStat};
use crate::zone::figures::Share;
use crate::zone::{Cpu, Zone};

/// What a report says of memory: of zones up to `highest` and of these nodes only.
#[derive(Clone, Copy)]
pub(crate) struct MemInfo<'a> {
    pub(crate) subject: Subject<'a>,
    pub(crate) cpu: &'a Cpu<'a>,
    pub(crate) highest: ZoneKind,
    /// All, if none are named.
    pub(crate) nodes: Option<NodeMask>,
}

impl fmt::Display for MemInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Mem-Info:")?;
        self.all(f)?;
        let zones = || self.subject.zones().filter(|zone| zone.kind <= self.highest && self.shows(zone.node));
        let mut nodes = self.subject.nodes().filter(|&node| zones().any(|zone| zone.node == node));
        nodes.try_for_each(|node| self.node(f, node))?;
        zones().try_for_each(|zone| self.zone(f, zone))?;
        zones().try_for_each(|zone| runs(f, zone))?;
        writeln!(f, "{} total pagecache pages", self.total(NodeStat::FilePages))?;
        writeln!(f, "{} pages RAM", self.subject.sum(|info| info.present))?;
        writeln!(f, "0 pages HighMem/MovableOnly")?;
        writeln!(f, "{} pages reserved", self.subject.sum(|info| info.present.saturating_sub(info.managed)))?;
        writeln!(f, "0 pages cma reserved")?;
        writeln!(f, "{} pages hwpoisoned", self.subject.sum(|info| info.poisoned))
    }
}

impl MemInfo<'_> {
    fn shows(&self, node: NodeId) -> bool {
        self.nodes.is_none_or(|nodes| nodes.has(node))
    }

    fn total(&self, stat: NodeStat) -> u64 {
        self.subject.nodes().map(|node| self.subject.usage.node(node, stat)).sum()
    }

    /// The block of lines about all nodes, in pages.
    fn all(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use NodeStat as N;
        let total = |stat| self.total(stat);
        let bounce: u64 =
            self.subject.zones().map(|zone| self.subject.usage.zone(zone.id, ZoneStat::Bounce)).sum();
        let [anon, idle_anon, taken_anon] = [N::ActiveAnon, N::InactiveAnon, N::IsolatedAnon].map(total);
        writeln!(f, "active_anon:{anon} inactive_anon:{idle_anon} isolated_anon:{taken_anon}")?;
        let [file, idle_file, taken_file] = [N::ActiveFile, N::InactiveFile, N::IsolatedFile].map(total);
        writeln!(f, " active_file:{file} inactive_file:{idle_file} isolated_file:{taken_file}")?;
        let [unevictable, dirty, writeback] = [N::Unevictable, N::Dirty, N::Writeback].map(total);
        writeln!(f, " unevictable:{unevictable} dirty:{dirty} writeback:{writeback}")?;
        let [slab, fixed_slab] = [N::SlabReclaimable, N::SlabUnreclaimable].map(total);
        writeln!(f, " slab_reclaimable:{slab} slab_unreclaimable:{fixed_slab}")?;
        let [mapped, shmem, tables] = [N::Mapped, N::Shmem, N::PageTablePages].map(total);
        writeln!(f, " mapped:{mapped} shmem:{shmem} pagetables:{tables}")?;
        writeln!(f, " sec_pagetables:{} bounce:{bounce}", total(N::SecPageTablePages))?;
        writeln!(f, " kernel_misc_reclaimable:{}", total(N::KernelMiscReclaimable))?;
        let free = self.subject.sum(|info| info.free + info.free_highatomic);
        let shown = self.subject.zones().filter(|zone| self.shows(zone.node));
        let cached: u64 = shown.map(|zone| zone.info().cached).sum();
        writeln!(f, " free:{free} free_pcp:{cached} free_cma:0")
    }

    /// A node's line, in kB.
    fn node(&self, f: &mut fmt::Formatter<'_>, node: NodeId) -> fmt::Result {
        use NodeStat as N;
        let figures = [
            ("active_anon", N::ActiveAnon),
            ("inactive_anon", N::InactiveAnon),
            ("active_file", N::ActiveFile),
            ("inactive_file", N::InactiveFile),
            ("unevictable", N::Unevictable),
            ("isolated(anon)", N::IsolatedAnon),
            ("isolated(file)", N::IsolatedFile),
            ("mapped", N::Mapped),
            ("dirty", N::Dirty),
            ("writeback", N::Writeback),
            ("shmem", N::Shmem),
            ("shmem_thp", N::ShmemHugepages),
            ("shmem_pmdmapped", N::ShmemPmdmapped),
            ("anon_thp", N::AnonTransparentHugepages),
            ("writeback_tmp", N::WritebackTemp),
            ("kernel_stack", N::KernelStack),
            ("pagetables", N::PageTablePages),
            ("sec_pagetables", N::SecPageTablePages),
        ];
        write!(f, "Node {}", node.0)?;
        for (name, stat) in figures {
            // The kernel's stacks are counted in kB, the rest in pages.
            let figure = self.subject.usage.node(node, stat);
            let figure = if stat == N::KernelStack { figure } else { kbytes(figure) };
            write!(f, " {name}:{figure}kB")?;
        }
        let hopeless = self.subject.state.node(node).is_some_and(Node::is_hopeless);
        writeln!(f, " all_unreclaimable? {}", if hopeless { "yes" } else { "no" })
    }

    /// A zone's two lines, in kB.
    fn zone(&self, f: &mut fmt::Formatter<'_>, zone: &Zone<'_>) -> fmt::Result {
        let (info, usage) = (zone.info(), |stat| kbytes(self.subject.usage.zone(zone.id, stat)));
        write!(f, "Node {} {}", zone.node.0, zone.kind.name())?;
        let marks = info.marks;
        let own = [
            ("free", info.free + info.free_highatomic),
            ("boost", info.boost),
            ("min", marks.min + info.boost),
            ("low", marks.low + info.boost),
            ("high", marks.high + info.boost),
        ];
        own.iter().try_for_each(|(name, frames)| write!(f, " {name}:{}kB", kbytes(*frames)))?;
        write!(f, " reserved_highatomic:{}KB", kbytes(info.reserved_highatomic))?;
        let used = [
            ("active_anon", ZoneStat::ActiveAnon),
            ("inactive_anon", ZoneStat::InactiveAnon),
            ("active_file", ZoneStat::ActiveFile),
            ("inactive_file", ZoneStat::InactiveFile),
            ("unevictable", ZoneStat::Unevictable),
            ("writepending", ZoneStat::WritePending),
        ];
        used.iter().try_for_each(|&(name, stat)| write!(f, " {name}:{}kB", usage(stat)))?;
        write!(f, " present:{}kB managed:{}kB", kbytes(info.present), kbytes(info.managed))?;
        write!(f, " mlocked:{}kB bounce:{}kB", usage(ZoneStat::Mlock), usage(ZoneStat::Bounce))?;
        let local = zone.cache_of(self.cpu).map_or(0, |cache| cache.frames());
        writeln!(f, " free_pcp:{}kB local_pcp:{}kB free_cma:0kB", kbytes(info.cached), kbytes(local))?;
        write!(f, "lowmem_reserve[]:")?;
        protection(Some(&info)).iter().try_for_each(|frames| write!(f, " {frames}"))?;
        writeln!(f)
    }
}

/// A zone's free runs, with the letters of the types that have some.
fn runs(f: &mut fmt::Formatter<'_>, zone: &Zone<'_>) -> fmt::Result {
    let runs = zone.free_runs();
    write!(f, "Node {} {}: ", zone.node.0, zone.kind.name())?;
    let mut total = 0;
    for order in (0..ORDERS as u8).map(Order::from_raw) {
        let of_order = runs.map(|of_type| of_type[usize::from(order.get())]);
        let count = of_order.iter().sum();
        total += frames((&count, order.get()));
        write!(f, "{count}*{}kB ", kbytes(order.frames()))?;
        if count > 0 {
            write!(f, "(")?;
            let present = Share::ALL.iter().zip(of_order).filter(|(_, count)| *count > 0);
            present.into_iter().try_for_each(|(share, _)| write!(f, "{}", share.letter()))?;
            write!(f, ") ")?;
        }
    }
    writeln!(f, "= {}kB", kbytes(total))
}
