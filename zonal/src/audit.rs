//! The audit: recounts everything from the bits and names each disagreement.
//!
//! At quiescence: for every block not taken whole `count = popcount(rows)`; every usable block is hinted; a cached
//! frame is free nowhere else; no word is of a group of a block that is isolated or another zone's; `zone count = sum of counts not isolated`; nothing in flight; in checked mode the notes
//! add up to what is allocated; where owners are named, free frames have none; a poisoned frame
//! is free nowhere, and its group in no word. In motion it may report what is merely under way; it changes nothing.

use core::fmt;

use crate::allocator::PageAllocator;
use crate::block::bitmap::row_and_mask;
use crate::cache::CpuCache;
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{BLOCK_FRAMES, Order, Pfn, ROW_FRAMES, ROWS, ZoneId};
use crate::owner::Owner;
use crate::platform::Platform;
use crate::poison::Poisoned;
use crate::state::State;
use crate::zone::search::Class;
use crate::zone::{Block, Zone};

/// One disagreement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A block's count is not the number of its free bits.
    CountAndBits {
        /// The block's first frame.
        block: Pfn,
        /// What the entry says.
        count: u64,
        /// What the rows say.
        bits: u64,
    },
    /// A block has more free frames than it manages.
    MoreThanManaged {
        /// The block's first frame.
        block: Pfn,
        /// What the rows say.
        bits: u64,
        /// Frames it manages.
        managed: u64,
    },
    /// A block taken towards a longer run was neither committed nor given back.
    Tentative {
        /// The block's first frame.
        block: Pfn,
    },
    /// A block holds usable frames but its hint is clear.
    HintLost {
        /// The block's first frame.
        block: Pfn,
        /// The order the hint speaks of.
        order: Order,
    },
    /// A CPU's credit or tab holds frames but its hint is clear.
    CreditHintLost {
        /// The zone.
        zone: ZoneId,
        /// The cache's place in the zone.
        rank: usize,
    },
    /// A CPU's words are of groups but its hint is clear.
    CpuHintLost {
        /// The zone.
        zone: ZoneId,
        /// The CPU's place among the zone's caches.
        rank: usize,
    },
    /// Cached frames whose bits are free too, or that another word caches too, or that are in no block.
    CachedTwice {
        /// First frame of the group.
        group: Pfn,
        /// The frames in question.
        mask: u32,
    },
    /// A CPU's word is of a group of a block that is isolated, or not the zone's: a free of its frames may be kept there.
    GroupKept {
        /// The zone.
        zone: ZoneId,
        /// The CPU's place among the zone's caches.
        rank: usize,
        /// First frame of the group.
        group: Pfn,
    },
    /// A zone's count is not the sum of its blocks' counts.
    ZoneCount {
        /// The zone.
        zone: ZoneId,
        /// What the zone says.
        count: u64,
        /// What its blocks say.
        blocks: u64,
    },
    /// A zone's reserve is not the sum of its reserved blocks' counts.
    ReserveCount {
        /// The zone.
        zone: ZoneId,
        /// What the zone says.
        reserve: u64,
        /// What its reserved blocks say.
        blocks: u64,
    },
    /// Frames are in the hands of operations that have not returned.
    InFlight {
        /// The zone.
        zone: ZoneId,
        /// How many.
        frames: u64,
    },
    /// A free frame has an owner still.
    OwnerOfFree {
        /// The frame.
        pfn: Pfn,
        /// Who is named.
        owner: Owner,
    },
    /// A poisoned frame that is out is free or cached all the same.
    PoisonedFree {
        /// The frame.
        pfn: Pfn,
    },
    /// Frees of a poisoned frame do not look for it: its block has no flag, or a slot word is of its group.
    PoisonUnheeded {
        /// The frame.
        pfn: Pfn,
    },
    /// The runs noted as allocated (checked mode) are not what is neither free nor cached nor isolated.
    Allocated {
        /// Frames in noted runs.
        noted: u64,
        /// Frames that are not free.
        allocated: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CountAndBits { block, count, bits } => {
                write!(f, "block {block}: count {count}, free bits {bits}")
            }
            Self::MoreThanManaged { block, bits, managed } => {
                write!(f, "block {block}: {bits} free bits, {managed} frames managed")
            }
            Self::Tentative { block } => write!(f, "block {block}: still tentative"),
            Self::HintLost { block, order } => write!(f, "block {block}: no hint for order {order}"),
            Self::CpuHintLost { zone, rank } => {
                write!(f, "zone {}: cache {rank} holds frames, no hint", zone.0)
            }
            Self::CachedTwice { group, mask } => {
                write!(f, "group {group}: frames {mask:#x} cached and free, or twice")
            }
            Self::GroupKept { zone, rank, group } => {
                write!(f, "zone {}: cache {rank} has a word of group {group}, which it must not", zone.0)
            }
            Self::CreditHintLost { zone, rank } => {
                write!(f, "zone {}: credit {rank} holds frames, no hint", zone.0)
            }
            Self::ZoneCount { zone, count, blocks } => {
                write!(f, "zone {}: count {count}, its blocks {blocks}", zone.0)
            }
            Self::ReserveCount { zone, reserve, blocks } => {
                write!(f, "zone {}: reserve {reserve}, its reserved blocks {blocks}", zone.0)
            }
            Self::InFlight { zone, frames } => write!(f, "zone {}: {frames} frames in flight", zone.0),
            Self::OwnerOfFree { pfn, owner } => {
                write!(f, "{pfn:?} is free and belongs to {} still", owner.get())
            }
            Self::PoisonedFree { pfn } => write!(f, "{pfn:?} is poisoned and free"),
            Self::PoisonUnheeded { pfn } => write!(f, "{pfn:?} is poisoned, and its free would not show it"),
            Self::Allocated { noted, allocated } => {
                write!(f, "{noted} frames noted as allocated, {allocated} are not free")
            }
        }
    }
}

/// The sums of an audit over all zones. `free + cached + isolated + allocated + poisoned = managed` by construction of
/// `allocated`; in checked mode the notes confirm it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditSummary {
    /// Number of disagreements reported.
    pub findings: u64,
    /// Frames managed.
    pub managed: u64,
    /// Free frames in blocks, by the bits.
    pub free: u64,
    /// Frames in slot words.
    pub cached: u64,
    /// Free frames in isolated blocks, by the bits.
    pub isolated: u64,
    /// Poisoned frames that are out.
    pub poisoned: u64,
    /// What is left: frames in their owners' hands.
    pub allocated: u64,
    /// Frames on the move.
    pub in_flight: u64,
}

impl<P: Platform> PageAllocator<'_, P> {
    /// Recounts every zone from its bits, reports each disagreement, and returns the sums. Exact at quiescence. Linear in
    /// memory; compares each pair of words that hold frames.
    pub fn audit(&self, report: &mut dyn FnMut(Finding)) -> AuditSummary {
        let mut audit = Audit { state: &self.state, sums: AuditSummary::default(), reserved: 0, report };
        self.state.zones.iter().for_each(|zone| audit.zone(zone));
        let sums = &mut audit.sums;
        sums.allocated = sums.managed.saturating_sub(sums.free + sums.cached + sums.isolated + sums.poisoned);
        let allocated = sums.allocated;
        let noted = self.state.tags().map(|tags| tags.allocated());
        if let Some(noted) = noted.filter(|&noted| noted != allocated) {
            audit.find(Finding::Allocated { noted, allocated });
        }
        audit.sums
    }
}

struct Audit<'r, 'm> {
    state: &'r State<'m>,
    sums: AuditSummary,
    /// Counts of the zone's reserved blocks so far.
    reserved: u64,
    report: &'r mut dyn FnMut(Finding),
}

impl Audit<'_, '_> {
    fn find(&mut self, finding: Finding) {
        self.sums.findings += 1;
        (self.report)(finding);
    }

    fn zone(&mut self, zone: &Zone<'_>) {
        self.reserved = 0;
        let blocks = zone.blocks().map(|block| self.block(zone, block)).sum();
        let (reserve, reserved) = (zone.highatomic.free(), self.reserved);
        if reserve != reserved {
            self.find(Finding::ReserveCount { zone: zone.id, reserve, blocks: reserved });
        }
        let credits: u64 = zone.caches.iter().map(|cache| cache.credit.frames()).sum();
        let count = zone.count.free() + credits;
        if count != blocks {
            self.find(Finding::ZoneCount { zone: zone.id, count, blocks });
        }
        let frames = zone.transit().frames();
        if frames != 0 {
            self.find(Finding::InFlight { zone: zone.id, frames });
        }
        self.sums.managed += zone.managed();
        self.sums.in_flight += frames;
        for (rank, cache) in zone.caches.iter().enumerate() {
            self.cache(zone, rank, cache);
        }
        self.sums.poisoned += zone.poisoned();
        for (pfn, state) in zone.poison.frames(zone.span.get()) {
            if let Some(block) = zone.block_of(pfn).filter(|block| block.entry.load().zone() == zone.id) {
                self.poison(zone, block, (pfn, state));
            }
        }
    }

    /// Checks a block; what it adds to the zone's count.
    fn block(&mut self, zone: &Zone<'_>, block: Block<'_>) -> u64 {
        let (entry, start) = (block.entry.load(), block.start);
        if entry.is_tentative() {
            self.find(Finding::Tentative { block: start });
        }
        if !entry.is_open_to_frees() {
            return 0;
        }
        let (count, bits) = (entry.count(), block.bitmap.popcount());
        let on_tabs: u64 = zone.caches.iter().map(|cache| cache.tab.frames_of(block.index.0)).sum();
        if count + on_tabs != bits {
            self.find(Finding::CountAndBits { block: start, count, bits });
        }
        if bits > entry.managed() {
            self.find(Finding::MoreThanManaged { block: start, bits, managed: entry.managed() });
        }
        for (row, first) in (0..ROWS).map(|row| (row, start.add(row as u64 * ROW_FRAMES))) {
            self.owners(first, block.bitmap.row(row).load());
        }
        if entry.is_isolated() {
            self.sums.isolated += bits;
            return 0;
        }
        if entry.is_reserved() {
            self.sums.free += bits;
            self.reserved += count;
            return 0;
        }
        self.sums.free += bits;
        self.hints(zone, block);
        count
    }

    /// Checks that free frames, bits from `first` on, are nobody's.
    fn owners(&mut self, first: Pfn, mut free: u64) {
        while free != 0 && self.state.names().is_some() {
            let pfn = first.add(u64::from(free.trailing_zeros()));
            if let Some(owner) = self.state.owner_of(pfn) {
                self.find(Finding::OwnerOfFree { pfn, owner });
            }
            free &= free - 1;
        }
    }

    fn poison(&mut self, zone: &Zone<'_>, block: Block<'_>, (pfn, state): (Pfn, Poisoned)) {
        let group = zone.group_of(pfn);
        let mut words = zone.caches.iter().flat_map(CpuCache::words);
        let is_cached = words.any(|word| word.load().is_of(group));
        if state == Poisoned::Out && block.is_free(pfn) {
            self.find(Finding::PoisonedFree { pfn });
        }
        if is_cached || !block.entry.load().is_poisoned() {
            self.find(Finding::PoisonUnheeded { pfn });
        }
    }

    fn hints(&mut self, zone: &Zone<'_>, block: Block<'_>) {
        let (entry, index) = (block.entry.load(), block.index.0 as usize);
        if entry.count() == BLOCK_FRAMES {
            if !zone.free_tree().is_set(index) {
                self.find(Finding::HintLost { block: block.start, order: Order::BLOCK });
            }
            return;
        }
        for class in [Class::Frame, Class::Eight, Class::Row] {
            let usable = zone.is_partly_used(block, entry.kind(), class);
            if usable && !zone.tree(entry.kind(), class).is_set(index) {
                self.find(Finding::HintLost { block: block.start, order: class.order() });
            }
        }
    }

    fn cache(&mut self, zone: &Zone<'_>, rank: usize, cache: &CpuCache) {
        let held = |word: &&SlotWord| word.load().mask() != 0;
        if cache.is_owner() && !zone.cpu_hints.is_set(rank) {
            self.find(Finding::CpuHintLost { zone: zone.id, rank });
        }
        if cache.credited() > 0 && !zone.credit_hints.is_set(rank) {
            self.find(Finding::CreditHintLost { zone: zone.id, rank });
        }
        self.kept(zone, rank, cache);
        for slot in cache.words().map(SlotWord::load).filter(|slot| slot.is_owned()) {
            let group = zone.group_start(slot.group());
            let entry = zone.block_of(group).map(|block| block.entry.load());
            if entry.is_none_or(|entry| entry.is_isolated() || entry.zone() != zone.id) {
                self.find(Finding::GroupKept { zone: zone.id, rank, group });
            }
        }
        for (at, word) in cache.words().enumerate().filter(|(_, word)| held(word)) {
            let slot = word.load();
            self.sums.cached += u64::from(slot.mask().count_ones());
            self.owners(zone.group_start(slot.group()), u64::from(slot.mask()));
            let later =
                cache.words().skip(at + 1).chain(zone.caches.iter().skip(rank + 1).flat_map(CpuCache::words));
            let twice = later.filter(held).map(SlotWord::load).filter(|other| other.is_of(slot.group()));
            let twice = twice.fold(free_bits(zone, slot), |mask, other| mask | other.mask()) & slot.mask();
            if twice != 0 {
                self.find(Finding::CachedTwice { group: zone.group_start(slot.group()), mask: twice });
            }
        }
    }

    /// Checks the block that a CPU keeps: an ordinary one, allocated as far as its entry says, and nobody else's.
    fn kept(&mut self, zone: &Zone<'_>, rank: usize, cache: &CpuCache) {
        let slot = cache.block_word().load();
        if slot.mask() == 0 {
            return;
        }
        self.sums.cached += BLOCK_FRAMES;
        let start = zone.group_start(slot.group());
        let entry = zone.block_of(start).map(|block| block.entry.load());
        if entry.is_none_or(|entry| entry.is_kept_out() || entry.zone() != zone.id) {
            self.find(Finding::GroupKept { zone: zone.id, rank, group: start });
        }
        let others = zone.caches.iter().skip(rank + 1).map(|cache| cache.block_word().load());
        let twice = others.filter(|other| other.mask() != 0).any(|other| other.is_of(slot.group()));
        if twice || entry.is_none_or(|entry| !entry.is_whole()) {
            self.find(Finding::CachedTwice { group: start, mask: u32::MAX });
        }
    }
}

/// The bits of the slot's group that are free in its block (all, if there is no such block or it is taken whole).
fn free_bits(zone: &Zone<'_>, slot: Slot) -> u32 {
    let start = zone.group_start(slot.group());
    let Some(block) = zone.block_of(start).filter(|block| block.entry.load().is_open_to_frees()) else {
        return u32::MAX;
    };
    let (row, _) = row_and_mask(start.get() % BLOCK_FRAMES, Order::ZERO);
    (block.bitmap.row(row).load() >> (start.get() % 64)) as u32
}
