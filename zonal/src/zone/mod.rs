//! A zone: one node's blocks of one placement, their hints, what CPUs cache of them, and the count behind its mark.
//!
//! This file says what a zone is and how its frames are numbered; [`search`] finds a block, [`take`], [`whole`] and [`runs`]
//! take frames out of blocks, [`vacate`] also those in use, [`land`] puts frames back, [`cached`] deals with slot words, [`batch`] fills several at once, [`kept`] with whole blocks, [`drain`] empties them,
//! [`aging`] with those that nobody uses, [`credit`] with the count, [`tab`] with frees along a block, [`moving`] says what is on the move, [`highatomic`] with blocks kept back, [`marks`] says what must be left, [`short`] what is
//! different near that, [`poisoned`] takes bad frames out, [`cpu`] is who asks, [`home`] its way to its words.
//!
//! Invariant at quiescence, with nothing on tabs: `count + credits = sum of the counts of the zone's blocks that are neither isolated nor
//! reserved`, and `count + credits + reserve + cached + isolated + allocated + poisoned = managed`.

pub(crate) mod aging;
pub(crate) mod batch;
pub(crate) mod cached;
pub(crate) mod count;
pub(crate) mod cpu;
pub(crate) mod credit;
pub(crate) mod drain;
pub(crate) mod figures;
pub(crate) mod giving_up;
pub(crate) mod highatomic;
pub(crate) mod home;
pub(crate) mod kept;
pub(crate) mod land;
pub(crate) mod marks;
pub(crate) mod moving;
pub(crate) mod poisoned;
pub(crate) mod runs;
pub(crate) mod search;
pub(crate) mod short;
pub(crate) mod span;
pub(crate) mod tab;
pub(crate) mod take;
pub(crate) mod vacate;
pub(crate) mod whole;

use core::ops::Range;

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::cache::CpuCache;
use crate::cache::hold::Barriers;
use crate::frame::{
    BLOCK_FRAMES, BlockIndex, FrameRange, GROUP_FRAMES, GroupIndex, NodeId, Order, Pfn, SECTION_BLOCKS,
    SECTION_FRAMES, ZoneId,
};
use crate::hint::HintTree;
use crate::node::Node;
use crate::own_words::OwnWords;
use crate::poison::PoisonTable;
use crate::request::Request;
use crate::section::{Owner, Section, block_in_section};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::{Kind, ZoneKind};
use crate::zone::count::ZoneCount;
pub(crate) use crate::zone::cpu::Cpu;
use crate::zone::giving_up::Words;
use crate::zone::highatomic::Highatomic;
use crate::zone::marks::ZoneMarks;
use crate::zone::search::Class;
use crate::zone::span::Span;

/// Trees of a zone: three classes for each of three kinds, one for wholly free blocks, one for reserved ones.
pub(crate) const TREES: usize = 11;

/// A populated zone.
pub(crate) struct Zone<'m> {
    pub(crate) id: ZoneId,
    pub(crate) node: NodeId,
    pub(crate) kind: ZoneKind,
    /// First frame of the first section: what groups are numbered from.
    pub(crate) base: Pfn,
    /// All frames that may become the zone's, and what lies between.
    pub(crate) reach: FrameRange,
    /// From its first block to its last of those that were there from the start.
    pub(crate) boot: FrameRange,
    /// The same with blocks before and behind of which all frames are reserved.
    pub(crate) named: FrameRange,
    /// From its first block now to its last, with those.
    pub(crate) span: Span,
    /// What a request that would have its frames here first does at first: a Normal zone above a DMA32 zone that can help
    /// out keeps kinds apart.
    pub(crate) mixing: Mixing,
    /// Frames that were there from the start.
    pub(crate) early: u64,
    /// Frames that memory ranges name, and those of them that are managed. Relaxed: figures.
    pub(crate) present: AtomicU64,
    pub(crate) managed: AtomicU64,
    pub(crate) marks: ZoneMarks,
    /// Its node's daemons.
    pub(crate) daemons: Option<&'m Node>,
    /// Above its floor by this much, a claim that is given back cannot make another request fail (see `take_block`).
    pub(crate) slack: u64,
    /// Dense index of the first section.
    pub(crate) first_section: usize,
    /// Sections between the zone's first and last; some may hold none of its blocks.
    pub(crate) sections: &'m [Section<'m>],
    pub(crate) entries: &'m [Entry],
    /// Those of its first sections, as far as they are lent one after the other: where CPUs look at once that have a stretch.
    pub(crate) bitmaps: &'m [Bitmap],
    pub(crate) count: ZoneCount,
    pub(crate) highatomic: Highatomic,
    /// All zones' poisoned frames.
    pub(crate) poison: PoisonTable<'m>,
    pub(crate) trees: [HintTree<'m>; TREES],
    pub(crate) caches: &'m [CpuCache],
    /// How CPUs own words, if they do.
    pub(crate) own_words: Option<OwnWords>,
    /// Whose their words are now, where CPUs own words.
    pub(crate) words: Words,
    /// Rank of the first CPU that has lines here; the others follow.
    pub(crate) first_rank: u32,
    /// CPUs (by rank) whose words may hold frames.
    pub(crate) cpu_hints: HintTree<'m>,
    /// CPUs (by rank) whose credits may hold frames.
    pub(crate) credit_hints: HintTree<'m>,
    /// How many closings of the caches are in force, and which was the last (see [`cached`]).
    pub(crate) gate: AtomicU64,
    /// The block behind the one that a compaction tried last: the next one begins there. Relaxed: any value will do.
    pub(crate) tried: AtomicU64,
}

/// What a request asks of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Want {
    pub(crate) order: Order,
    pub(crate) kind: Kind,
    /// Frames that must be free afterwards.
    pub(crate) floor: u64,
    /// Whether other kinds' blocks that are in use may serve it (not with Linux's ALLOC_NOFRAGMENT).
    pub(crate) mixing: Mixing,
    /// Whether frames that other CPUs have in words of their own are worth a barrier.
    pub(crate) barriers: Barriers,
}

/// Whether kinds may come to lie in one block: the larger is the stricter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mixing {
    Allowed,
    Avoided,
}

impl Want {
    /// What the request asks of a zone of which it must leave `floor` frames.
    pub(crate) const fn of(request: &Request, floor: u64) -> Self {
        let (mixing, barriers) = (Mixing::Allowed, Barriers::Forbidden);
        Self { order: request.order, kind: request.kind, floor, mixing, barriers }
    }

    pub(crate) const fn frames(self) -> u64 {
        self.order.frames()
    }
}

/// A block of a zone: its number and its words.
#[derive(Clone, Copy)]
pub(crate) struct Block<'z> {
    pub(crate) index: BlockIndex,
    pub(crate) start: Pfn,
    pub(crate) entry: &'z Entry,
    pub(crate) bitmap: &'z Bitmap,
}

impl<'m> Zone<'m> {
    /// Frames that memory ranges name.
    pub(crate) fn present(&self) -> u64 {
        self.present.load(Ordering::Relaxed)
    }

    /// Frames that are managed: 0 in a zone that is empty now.
    #[inline]
    pub(crate) fn managed(&self) -> u64 {
        self.managed.load(Ordering::Relaxed)
    }

    /// The block with this number, if the number is in the zone's span.
    #[inline]
    pub(crate) fn block(&self, index: BlockIndex) -> Option<Block<'m>> {
        let at = index.0 as usize;
        let section = self.sections.get(at / SECTION_BLOCKS)?;
        Some(Block {
            index,
            start: section.start.add((at % SECTION_BLOCKS) as u64 * BLOCK_FRAMES),
            entry: self.entries.get(at)?,
            bitmap: &section.rows.get()[at % SECTION_BLOCKS],
        })
    }

    /// The block that holds the frame; `section` is the dense index of its section.
    #[inline]
    pub(crate) fn block_at(&self, section: usize, pfn: Pfn) -> Option<Block<'m>> {
        let section = section.checked_sub(self.first_section)?;
        self.block(BlockIndex((section * SECTION_BLOCKS + block_in_section(pfn)) as u32))
    }

    /// The block that holds the frame, found from the zone alone: at once where the zone has no holes, else by
    /// bisection.
    pub(crate) fn block_of(&self, pfn: Pfn) -> Option<Block<'m>> {
        let start = pfn.get() / SECTION_FRAMES * SECTION_FRAMES;
        let guess = (pfn.get().checked_sub(self.base.get())? / SECTION_FRAMES) as usize;
        let section = match self.sections.get(guess) {
            Some(section) if section.start.get() == start => guess,
            _ => self.sections.binary_search_by_key(&start, |section| section.start.get()).ok()?,
        };
        self.block(BlockIndex((section * SECTION_BLOCKS + block_in_section(pfn)) as u32))
    }

    /// Blocks of this zone, by number; blocks of other zones between them are left out.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'m>> + '_ {
        (0..self.entries.len())
            .filter_map(|at| self.block(BlockIndex(at as u32)))
            .filter(|block| block.entry.load().zone() == self.id)
    }

    /// The blocks that these frames make up, whosever they are. Looked for once a section: the rest is a walk along words.
    pub(crate) fn blocks_of(&self, range: FrameRange) -> impl Iterator<Item = Block<'m>> + '_ {
        range.by_section().flat_map(|part| {
            let first = self.block_of(part.start).map_or(usize::MAX, |block| block.index.0 as usize);
            let inside = first..first.saturating_add((part.frames() / BLOCK_FRAMES) as usize);
            let entries = self.entries.get(inside.clone()).unwrap_or_default();
            let section = self.sections.get(inside.start / SECTION_BLOCKS);
            let bitmaps = section.map_or(&[][..], |section| section.rows.get());
            let bitmaps = bitmaps.get(inside.start % SECTION_BLOCKS..).unwrap_or_default();
            entries.iter().zip(bitmaps).enumerate().map(move |(at, (entry, bitmap))| Block {
                index: BlockIndex((first + at) as u32),
                start: part.start.add(at as u64 * BLOCK_FRAMES),
                entry,
                bitmap,
            })
        })
    }

    /// The groups that hold these frames.
    pub(crate) fn groups_of(&self, range: FrameRange) -> Range<u32> {
        let frames = range.intersect(self.reach);
        let first = frames.start.get().saturating_sub(self.base.get()) / GROUP_FRAMES;
        let end = frames.end.get().saturating_sub(self.base.get()).div_ceil(GROUP_FRAMES);
        if frames.frames() == 0 { 0..0 } else { first as u32..end as u32 }
    }

    /// The group that holds the frame.
    #[inline]
    pub(crate) fn group_of(&self, pfn: Pfn) -> GroupIndex {
        GroupIndex((pfn.get().wrapping_sub(self.base.get()) / GROUP_FRAMES) as u32)
    }

    /// The first frame of the group.
    #[inline]
    pub(crate) fn group_start(&self, group: GroupIndex) -> Pfn {
        self.base.add(u64::from(group.0) * GROUP_FRAMES)
    }

    /// The frames whose numbers lead to their blocks at once, if they are the zone's for good: those from the start, where no
    /// section is missing below their end, and no block between belongs to another zone or may come to.
    pub(crate) fn stretch(&self) -> Option<FrameRange> {
        let span = self.boot;
        let last = span.end.get().checked_sub(1)?.checked_sub(self.base.get())? / SECTION_FRAMES;
        let sections = self.sections.get(..=last as usize)?;
        let is_dense = sections.last()?.start.get() == self.base.get() + last * SECTION_FRAMES;
        (is_dense && (0..).zip(sections).all(|(at, section)| self.is_own(span, at, section))).then_some(span)
    }

    /// Whether the blocks of a section that lie in the span are the zone's, if they hold any frame.
    fn is_own(&self, span: FrameRange, at: usize, section: &Section<'_>) -> bool {
        let inside = (at * SECTION_BLOCKS..(at + 1) * SECTION_BLOCKS)
            .filter_map(|at| self.block(BlockIndex(at as u32)))
            .filter(|block| span.contains(block.start));
        match section.owner {
            Owner::Zone(zone) => zone == self.id,
            Owner::Hot(_) => inside.count() == 0,
            Owner::Mixed(_) => inside
                .map(|block| block.entry.load())
                .all(|entry| entry.managed() == 0 || entry.zone() == self.id),
        }
    }

    /// The frame that is `first` of the group.
    #[inline]
    pub(crate) fn frame(&self, (group, first): (GroupIndex, u32)) -> Pfn {
        self.group_start(group).add(u64::from(first))
    }

    /// Whether its node's kswapd is at work.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.daemons.is_some_and(|daemons| daemons.kswapd.is_running())
    }

    /// The CPU's lines for this zone, if it has any.
    #[inline]
    pub(crate) fn cache_of(&self, cpu: &Cpu<'_>) -> Option<&'m CpuCache> {
        self.caches.get(self.place_of(cpu))
    }

    /// The CPU's place among the zone's caches; out of range if it has none here.
    #[inline]
    pub(crate) fn place_of(&self, cpu: &Cpu<'_>) -> usize {
        cpu.rank.wrapping_sub(self.first_rank) as usize
    }

    #[inline]
    pub(crate) fn tree(&self, kind: Kind, class: Class) -> &HintTree<'m> {
        &self.trees[kind as usize * 3 + class as usize]
    }

    /// The tree of wholly free blocks, of whatever kind.
    #[inline]
    pub(crate) fn free_tree(&self) -> &HintTree<'m> {
        &self.trees[TREES - 2]
    }
}
