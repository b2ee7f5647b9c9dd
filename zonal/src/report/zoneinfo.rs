//! The text of `/proc/zoneinfo`: every zone's figures, those of its words for each CPU, and its node's.
//!
//! Where Linux prints a CPU's page lists, the CPU's slot words for the zone stand: `count` frames are in them, they hold
//! at most `high` (as `high_min` and `high_max`), and a refill or an eviction moves at most a group, `batch`. A CPU
//! without words for the zone prints what Linux prints of lists that keep nothing: high 0, batch 1. No counter drifts, so
//! the threshold is 0.

use core::fmt;

use crate::cache::WORDS;
use crate::frame::{GROUP_FRAMES, NodeId};
use crate::node::Node;
use crate::report::{Subject, ZONES, in_free_blocks, protection, zone_name};
use crate::usage::{NodeStat, ZoneStat};
use crate::watermark::Marks;
use crate::zone::Zone;
use crate::zone::figures::ZoneInfo;

/// See [`crate::PageAllocator::zoneinfo`].
#[derive(Clone, Copy)]
pub(crate) struct Zoneinfo<'a>(pub(crate) Subject<'a>);

impl fmt::Display for Zoneinfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.nodes().try_for_each(|node| {
            let mut first = true;
            ZONES.iter().try_for_each(|&kind| {
                writeln!(f, "Node {}, zone {:>8}", node.0, zone_name(kind))?;
                let is_it = |zone: &&Zone<'_>| zone.node == node && Some(zone.kind) == kind;
                let zone = self.0.state.zones.iter().find(is_it);
                let Some(zone) = zone.filter(|zone| zone.managed() > 0) else {
                    return head(f, zone.map(Zone::info).as_ref());
                };
                if core::mem::take(&mut first) {
                    self.node(f, node)?;
                }
                self.zone(f, zone)
            })
        })
    }
}

impl Zoneinfo<'_> {
    fn node(&self, f: &mut fmt::Formatter<'_>, node: NodeId) -> fmt::Result {
        writeln!(f, "  per-node stats")?;
        let figure = |&stat: &NodeStat| (stat.name(), self.0.usage.node(node, stat));
        NodeStat::ALL.iter().map(figure).try_for_each(|figure| line(f, figure))
    }

    fn zone(&self, f: &mut fmt::Formatter<'_>, zone: &Zone<'_>) -> fmt::Result {
        let info = zone.info();
        head(f, Some(&info))?;
        line(f, ("nr_free_pages", info.free + info.free_highatomic))?;
        line(f, ("nr_free_pages_blocks", in_free_blocks(&zone.free_runs())))?;
        let figure = |&stat: &ZoneStat| (stat.name(), self.0.usage.zone(zone.id, stat));
        ZoneStat::ALL.iter().map(figure).try_for_each(|figure| line(f, figure))?;
        line(f, ("nr_free_cma", 0))?;
        line(f, ("nr_unaccepted", 0))?;
        self.0.state.taken(zone).1.lines().iter().try_for_each(|&figure| line(f, figure))?;
        writeln!(f, "  pagesets")?;
        for (number, cpu) in self.0.state.cpus.iter().enumerate() {
            let (count, high, batch) = match zone.cache_of(cpu) {
                Some(cache) => (cache.frames(), WORDS as u64 * GROUP_FRAMES + zone.most_kept(), GROUP_FRAMES),
                None => (0, 0, 1),
            };
            writeln!(f, "    cpu: {number}")?;
            writeln!(f, "              count:    {count}")?;
            writeln!(f, "              high:     {high}")?;
            writeln!(f, "              batch:    {batch}")?;
            writeln!(f, "              high_min: {high}")?;
            writeln!(f, "              high_max: {high}")?;
            writeln!(f, "  vm stats threshold: 0")?;
        }
        let hopeless = zone.daemons.is_some_and(Node::is_hopeless);
        writeln!(f, "  node_unreclaimable:  {}", u8::from(hopeless))?;
        writeln!(f, "  start_pfn:           {}", zone.span.get().start.get())?;
        writeln!(f, "  reserved_highatomic: {}", info.reserved_highatomic)?;
        writeln!(f, "  free_highatomic:     {}", info.free_highatomic)
    }
}

/// What is said of an unpopulated zone too.
fn head(f: &mut fmt::Formatter<'_>, info: Option<&ZoneInfo>) -> fmt::Result {
    let figure = |figure: fn(&ZoneInfo) -> u64| info.map_or(0, figure);
    let marks = info.map_or(Marks::default(), |info| info.marks);
    let boost = figure(|info| info.boost);
    writeln!(f, "  pages free     {}", figure(|info| info.free + info.free_highatomic))?;
    let figures = [
        ("boost", boost),
        ("min", marks.min + boost),
        ("low", marks.low + boost),
        ("high", marks.high + boost),
        ("promo", marks.promo + boost),
        ("spanned", figure(|info| info.span.frames())),
        ("present", figure(|info| info.present)),
        ("managed", figure(|info| info.managed)),
        ("cma", 0),
    ];
    figures.iter().try_for_each(|(name, figure)| writeln!(f, "        {name:<8} {figure}"))?;
    let [first, rest @ ..] = protection(info);
    write!(f, "        protection: ({first}")?;
    rest.iter().try_for_each(|frames| write!(f, ", {frames}"))?;
    writeln!(f, ")")
}

fn line(f: &mut fmt::Formatter<'_>, (name, figure): (&str, u64)) -> fmt::Result {
    writeln!(f, "      {name:<12} {figure}")
}
