//! What an allocator consists of: CPUs, zones, the section table, zonelists, and notes of each frame where they are asked for.
//!
//! All of it lies in the lent memory. Only the zones' and the notes' words change after construction.

use core::num::NonZeroIsize;

use crate::error::FreeError;
use crate::events::{Event, Events, Numa};
use crate::frame::{NodeId, Order, Pfn};
use crate::node::{Node, Turn};
use crate::owner::{Names, Owner};
use crate::poison::PoisonTable;
use crate::policy::nodemask::NodeMask;
use crate::rate::Rate;
use crate::section::SectionMap;
use crate::section::rows::OwnRowsParts;
use crate::tag::Tags;
use crate::topology::ZoneKind;
use crate::tuning::LiveTuning;
use crate::zone::{Block, Cpu, Mixing, Zone};
use crate::zonelist::Zonelists;

/// The parts.
pub(crate) struct State<'m> {
    pub(crate) cpus: &'m [Cpu<'m>],
    /// The first of them: there is always one.
    pub(crate) boot_cpu: &'m Cpu<'m>,
    pub(crate) zones: &'m [Zone<'m>],
    pub(crate) map: SectionMap<'m>,
    pub(crate) lists: Zonelists<'m>,
    /// Who makes hits.
    pub(crate) hits: Hits,
    pub(crate) notes: Option<Notes<'m>>,
    pub(crate) nodes: &'m [Node],
    /// What sections that may be plugged in need, if they hold their own rows.
    pub(crate) own_rows: Option<OwnRowsParts<'m>>,
    pub(crate) poison: PoisonTable<'m>,
    /// Who poisons a frame, or heals one: one at a time.
    pub(crate) poisoning: Turn,
    /// The first frames above DMA and DMA32.
    pub(crate) limits: [Pfn; 2],
    /// The knobs that marks follow from.
    pub(crate) tuning: LiveTuning,
    /// Who plugs memory: one task at a time.
    pub(crate) plugging: Turn,
    /// Who has the platform kill: one request at a time.
    pub(crate) oom: Turn,
    /// How often failures are reported, and kills.
    pub(crate) failures: Rate,
    pub(crate) kills: Rate,
}

/// Who makes hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hits {
    /// A word's owner, by a restartable sequence: from the thread pointer to the thread's area. Apart, so that one look tells it.
    pub(crate) sequence: Option<NonZeroIsize>,
    /// Else.
    pub(crate) others: Others,
}

/// Who makes hits where restartable sequences do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Others {
    /// Anybody, by a locked instruction.
    Locked,
    /// A word's owner, by an unlocked instruction.
    Pinned,
    /// Nobody.
    Nobody,
}

/// What is noted of frames besides whether they are free: at least one of the two.
pub(crate) struct Notes<'m> {
    /// In checked mode, how they were allocated.
    pub(crate) tags: Option<Tags<'m>>,
    /// To whom, where owners are named.
    pub(crate) names: Option<Names<'m>>,
}

impl<'m> State<'m> {
    /// Whether nothing is noted of frames: they may go through slot words without a look.
    #[inline(always)]
    pub(crate) fn is_bare(&self) -> bool {
        self.notes.is_none()
    }

    /// Whether walks may mix kinds from the first on: as the knob is now.
    #[inline]
    pub(crate) fn mixing(&self) -> Mixing {
        if self.tuning.keeps_apart() { Mixing::Avoided } else { Mixing::Allowed }
    }

    /// Whether CPUs own words.
    pub(crate) fn has_own_words(&self) -> bool {
        self.zones.first().is_some_and(|zone| zone.own_words.is_some())
    }

    /// How frames were allocated, in checked mode.
    #[inline]
    pub(crate) fn tags(&self) -> Option<&Tags<'m>> {
        self.notes.as_ref()?.tags.as_ref()
    }

    /// To whom, where owners are named.
    pub(crate) fn names(&self) -> Option<&Names<'m>> {
        self.notes.as_ref()?.names.as_ref()
    }

    /// Whom the frame is allocated to, as far as that was said.
    pub(crate) fn owner_of(&self, pfn: Pfn) -> Option<Owner> {
        self.names()?.of(&self.map, pfn)
    }

    /// Forgets whom a run belonged to that is freed.
    #[inline]
    pub(crate) fn forget_owner(&self, pfn: Pfn, order: Order) {
        self.names().into_iter().for_each(|names| names.clear(&self.map, pfn, order));
    }

    /// The frame's zone and block, if the block holds any frame. The way there reads nothing that is written after
    /// construction.
    #[inline]
    pub(crate) fn block(&self, pfn: Pfn) -> Result<(&'m Zone<'m>, Block<'m>), FreeError> {
        self.find(pfn).ok_or(FreeError::Foreign { pfn })
    }

    /// The kind of the zone by address that the frame would belong to.
    pub(crate) fn kernel_kind(&self, pfn: Pfn) -> ZoneKind {
        match self.limits {
            [dma, _] if pfn < dma => ZoneKind::Dma,
            [_, dma32] if pfn < dma32 => ZoneKind::Dma32,
            _ => ZoneKind::Normal,
        }
    }

    /// Whether one of the nodes has memory.
    pub(crate) fn has_memory(&self, nodes: &NodeMask) -> bool {
        self.zones.iter().any(|zone| zone.managed() > 0 && nodes.has(zone.node))
    }

    /// The words of a node.
    pub(crate) fn node(&self, node: NodeId) -> Option<&'m Node> {
        self.nodes.get(usize::from(node.0))
    }

    /// The nodes of a node's fallback list, in order.
    pub(crate) fn node_order(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<'m> {
        let (zones, mut before) = (self.zones, None);
        self.lists.list(node).filter_map(move |zone| {
            let node = zones.get(usize::from(zone.0))?.node;
            (before.replace(node) != Some(node)).then_some(node)
        })
    }

    /// The CPU with this number, taken modulo the number of CPUs.
    #[inline]
    pub(crate) fn cpu(&self, number: usize) -> &'m Cpu<'m> {
        self.cpus.get(number).unwrap_or_else(|| self.wrapped_cpu(number))
    }

    #[cold]
    fn wrapped_cpu(&self, number: usize) -> &'m Cpu<'m> {
        let number = number.checked_rem(self.cpus.len());
        number.and_then(|number| self.cpus.get(number)).unwrap_or(self.boot_cpu)
    }

    /// Frames taken from a zone so far, and where requests found their runs. Reads a few lines a CPU.
    pub(crate) fn taken(&self, zone: &Zone<'_>) -> (u64, Numa) {
        let taken = self.cpus.iter().map(|cpu| cpu.taken(zone));
        taken.fold((0, Numa::default()), |(frames, numa), (more, other)| (frames + more, numa.and(other)))
    }

    /// What has happened so far.
    pub(crate) fn events(&self) -> Events {
        let (mut allocated, mut numa) = ([0; 4], Numa::default());
        for zone in self.zones {
            let (frames, found) = self.taken(zone);
            allocated[zone.kind as usize] += frames;
            numa = numa.and(found);
        }
        let mut counts = [0; Event::ALL.len()];
        for &event in Event::ALL {
            counts[event as usize] = self.cpus.iter().map(|cpu| cpu.events(event)).sum();
        }
        Events { allocated, freed: self.cpus.iter().map(Cpu::freed).sum(), numa, counts }
    }

    #[inline]
    fn find(&self, pfn: Pfn) -> Option<(&'m Zone<'m>, Block<'m>)> {
        let (section, zone) = self.map.locate(pfn)?;
        let zone = self.zones.get(usize::from(zone.0))?;
        let block = zone.block_at(section, pfn)?;
        (block.entry.load().managed() > 0).then_some((zone, block))
    }
}
