//! The words an earlier allocator left: what they say is free, and what nobody owns any more.
//!
//! Nobody else is at work, so everything here is plain stores. Each step leaves words that can be read again: an
//! interrupted recovery is begun anew.

mod plugged;
mod poisoned;

use core::mem::offset_of;

use crate::block::bitmap::{Bitmap, row_and_mask};
use crate::block::entry::{Entry, Snapshot};
use crate::build::frames::{BlockPlan, Frames};
use crate::build::ground::{Arrays, Ground};
use crate::build::rules::cached_cpus;
use crate::build::sections::place_of;
use crate::build::zones::{count_hint_words, new_caches};
use crate::cache::CpuCache;
use crate::cache::word::Slot;
use crate::config::{Checking, Config, Naming};
use crate::error::ConfigError;
use crate::frame::{
    BLOCK_FRAMES, FrameRange, GROUP_FRAMES, GroupIndex, Order, Pfn, ROW_FRAMES, ROWS, SECTION_BLOCKS, ZoneId,
};
use crate::metadata::Carver;
use crate::mutant::{Mutant, planted};
use crate::owner::Names;
use crate::poison::PoisonTable;
use crate::recovery::{Recovery, RecoveryError};
use crate::section::{PlugWord, Plugged, SectionMap, block_in_section};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64};
use crate::tag::Tags;
use crate::zone::Zone;
use crate::zone::count::Transit;

impl<'m> Ground<'m> {
    /// The arrays as they were left, and the frames that were on the move then.
    ///
    /// # Safety
    /// The carver's bytes are initialised, and [`Ground::new_arrays`] built the arrays there after the same steps.
    pub(in crate::build) unsafe fn old_arrays(
        &self,
        config: &Config<'_>,
        carver: &mut Carver<'m>,
    ) -> Result<(Arrays<'m>, u64), ConfigError> {
        let caches = new_caches(config, self.plans, self.listed).count();
        // SAFETY: the caller vouches for the bytes; all of these are atomic integers in an order of the language.
        let (bitmaps, entries, plugged, tags, names, poison, caches) = unsafe {
            (
                carver.survivor::<Bitmap>(self.blocks())?,
                carver.survivor::<Entry>(self.blocks())?,
                carver.survivor::<PlugWord>(self.map.sections.len())?,
                carver.survivor::<AtomicU8>(self.noted(config))?,
                carver.survivor::<AtomicU32>(self.named(config))?,
                carver.survivor::<AtomicU64>(config.poisoned_frames)?,
                carver.survivor::<CpuCache>(caches)?,
            )
        };
        let hints = carver.array(count_hint_words(config, self.plans, self.listed), |_| AtomicU64::new(0))?;
        let transit = offset_of!(Zone<'_>, count) + Transit::OFFSET;
        // SAFETY: as above. The zones that were built there are only looked at as bytes.
        let transits = unsafe { carver.peek::<Zone<'_>>(self.listed.len(), transit) };
        let in_flight: u64 = transits.map(|word| Transit::of_word(word).frames()).sum();
        let by_cpus: u64 = caches.iter().map(|cache| cache.moving.transit().frames()).sum();
        let in_flight = in_flight + by_cpus;
        Ok((Arrays { bitmaps, entries, plugged, tags, names, poison, caches, hints }, in_flight))
    }

    /// Makes the arrays agree with their bits and with who owns what.
    pub(in crate::build) fn survey(
        &mut self,
        config: &Config<'_>,
        arrays: &mut Arrays<'m>,
        owned: &mut dyn FnMut(FrameRange) -> bool,
    ) -> Result<Recovery, RecoveryError> {
        self.find_plugged(arrays)?;
        let mut survivors = Survivors {
            map: self.map,
            plugged: &*arrays.plugged,
            entries: &mut *arrays.entries,
            bitmaps: &mut *arrays.bitmaps,
            tags: (config.checking == Checking::On).then(|| Tags::new(&*arrays.tags)),
            names: (config.naming == Naming::On).then(|| Names::new(arrays.names)),
            poison: PoisonTable::new(arrays.poison),
            found: Recovery::default(),
        };
        survivors.recount(self.frames())?;
        let mut rest = &mut *arrays.caches;
        for (id, zone) in self.listed.iter().enumerate() {
            let (caches, others) = rest.split_at_mut(cached_cpus(config, zone.node).min(rest.len()));
            rest = others;
            let plan = self.plans.get(place_of(zone)).copied().unwrap_or_default();
            let base = self.map.sections.get(plan.range().start).map(|section| section.start);
            survivors.land(ZoneId(id as u16), base.unwrap_or(Pfn::new(0)), caches)?;
        }
        survivors.settle(self.frames(), owned);
        let found = survivors.found;
        let caches = new_caches(config, self.plans, self.listed);
        arrays.caches.iter_mut().zip(caches).for_each(|(cache, new)| *cache = new);
        self.plans.iter_mut().for_each(|plan| plan.free = 0);
        for entry in arrays.entries.iter().map(Entry::load).filter(|entry| entry.managed() > 0) {
            let zone = self.listed.get(usize::from(entry.zone().0));
            if let Some(plan) = zone.and_then(|zone| self.plans.get_mut(place_of(zone))) {
                plan.free += entry.count();
            }
        }
        Ok(found)
    }
}

/// The arrays and what is known of them so far.
struct Survivors<'s, 'm> {
    map: SectionMap<'m>,
    plugged: &'s [PlugWord],
    entries: &'s mut [Entry],
    bitmaps: &'s mut [Bitmap],
    tags: Option<Tags<'s>>,
    names: Option<Names<'m>>,
    poison: PoisonTable<'m>,
    found: Recovery,
}

impl Survivors<'_, '_> {
    /// Counts every block from its rows; gives back what had been taken towards a run that was not completed. Refuses
    /// words that no allocator writes.
    fn recount(&mut self, mut frames: Frames<'_>) -> Result<(), RecoveryError> {
        for at in 0..self.entries.len() {
            let start = self.start(at);
            let plan = self.plan(at, &mut frames);
            let entry = self.entries.get(at).map(Entry::load);
            let Some(entry) = entry.filter(|entry| entry.managed() == plan.frames) else {
                return Err(RecoveryError::Damaged { block: start });
            };
            if plan.frames > 0 {
                self.recount_block(at, entry, &plan).ok_or(RecoveryError::Damaged { block: start })?;
                self.found.managed += plan.frames;
            }
        }
        Ok(())
    }

    /// Which frames of block `at` exist.
    fn plan<'f>(&self, at: usize, frames: &mut Frames<'f>) -> BlockPlan<'f> {
        if self.is_plugged(at) { BlockPlan::plugged() } else { frames.block(self.start(at).get()) }
    }

    /// Whether block `at` is of a section that has been plugged in.
    fn is_plugged(&self, at: usize) -> bool {
        self.plugged.get(at / SECTION_BLOCKS).is_some_and(|word| word.get() == Plugged::Online)
    }

    fn recount_block(&mut self, at: usize, entry: Snapshot, plan: &BlockPlan<'_>) -> Option<()> {
        let zone = if self.is_plugged(at) {
            entry.zone()
        } else {
            self.map.zone_of(at / SECTION_BLOCKS, at % SECTION_BLOCKS)
        };
        let (place, bitmap) = (self.entries.get_mut(at)?, self.bitmaps.get_mut(at)?);
        let is_full_block = plan.frames == BLOCK_FRAMES;
        if entry.zone() != zone || (!entry.is_open_to_frees() && !is_full_block) {
            return None;
        }
        if entry.is_open_to_frees() {
            let stray = (0..ROWS).any(|row| bitmap.row(row).load() & !plan.rows[row % ROWS] != 0);
            let free = bitmap.popcount();
            if stray || entry.count() > free {
                return None;
            }
            self.found.claimed += free - entry.count();
            let count = if planted(Mutant::RecoveryTrustsCount) { entry.count() } else { free };
            *place = Entry::with_free(zone, entry.kind(), plan.frames, count);
            return Some(());
        }
        // Rows of a block taken whole are all set, unless a split was under way.
        *bitmap = Bitmap::new(|_| u64::MAX);
        if entry.is_tentative() {
            self.found.tentative += BLOCK_FRAMES;
            *place = Entry::new(zone, entry.kind(), BLOCK_FRAMES);
        } else {
            *place = Entry::whole(zone, entry.kind());
        }
        Some(())
    }

    /// Lands what the words of a zone's CPUs hold, and empties them.
    fn land(&mut self, zone: ZoneId, base: Pfn, caches: &mut [CpuCache]) -> Result<(), RecoveryError> {
        for slot in caches.iter().flat_map(CpuCache::words).map(|word| word.load()) {
            if slot.is_owned() && slot.mask() != 0 && !planted(Mutant::RecoveryForgetsWords) {
                self.land_group(zone, base, slot.group(), slot.mask())?;
            }
        }
        for slot in caches.iter().map(|cache| cache.block_word().load()) {
            if slot.is_owned() && slot.mask() != 0 && !planted(Mutant::RecoveryForgetsWords) {
                self.land_block(zone, base, slot)?;
            }
        }
        Ok(())
    }

    /// Lands a block that a word keeps: its rows are those of a free one, as long as it is taken whole.
    fn land_block(&mut self, zone: ZoneId, base: Pfn, slot: Slot) -> Result<(), RecoveryError> {
        let start = base.add(u64::from(slot.group().0) * GROUP_FRAMES);
        let is_block = slot.mask() == 1 && start.is_aligned(Order::BLOCK);
        let landed = self.at(start).filter(|_| is_block).and_then(|at| {
            let entry = self.entries.get_mut(at)?;
            let now = entry.load();
            if now.zone() != zone {
                return None;
            }
            if now.is_whole() {
                *entry = Entry::new(zone, now.kind(), BLOCK_FRAMES);
                self.found.cached += BLOCK_FRAMES;
            } else {
                self.found.twice += BLOCK_FRAMES;
            }
            Some(())
        });
        landed.ok_or(RecoveryError::Damaged { block: start })
    }

    fn land_group(
        &mut self,
        zone: ZoneId,
        base: Pfn,
        group: GroupIndex,
        mask: u32,
    ) -> Result<(), RecoveryError> {
        let start = base.add(u64::from(group.0) * GROUP_FRAMES);
        let landed = self.at(start).and_then(|at| {
            let (entry, bitmap) = (self.entries.get_mut(at)?, self.bitmaps.get_mut(at)?);
            let now = entry.load();
            let (row, _) = row_and_mask(start.get() % BLOCK_FRAMES, Order::ZERO);
            let bits = u64::from(mask) << (start.get() % ROW_FRAMES);
            let fresh = u64::from((bits & !bitmap.row(row).load()).count_ones());
            if now.zone() != zone || !now.is_open_to_frees() || now.count() + fresh > now.managed() {
                return None;
            }
            bitmap.row(row).put(bits);
            *entry = Entry::with_free(zone, now.kind(), now.managed(), now.count() + fresh);
            self.found.cached += fresh;
            self.found.twice += u64::from(mask.count_ones()) - fresh;
            Some(())
        });
        landed.ok_or(RecoveryError::Damaged { block: start })
    }

    /// Asks about everything that is not free, and frees what nobody owns. In checked mode the notes follow.
    fn settle(&mut self, mut frames: Frames<'_>, owned: &mut dyn FnMut(FrameRange) -> bool) {
        let mut settled = Pfn::new(0);
        for at in 0..self.entries.len() {
            let start = self.start(at);
            let plan = self.plan(at, &mut frames);
            let has_poison = self.has_poison(start);
            for (row, first) in (0..ROWS).map(|row| (row, start.add(row as u64 * ROW_FRAMES))) {
                let free = self.free_in(at, row);
                self.forget(first, free);
                let out = if has_poison { self.out_of_row(first) } else { 0 };
                let mut taken = plan.rows[row % ROWS] & !(free | out);
                while taken != 0 {
                    let pfn = first.add(u64::from(taken.trailing_zeros()));
                    taken &= taken - 1;
                    if pfn >= settled {
                        settled = self.settle_run(self.run_at(pfn), owned);
                    }
                }
            }
        }
        self.withdraw_poisoned();
        self.found.free = self.entries.iter().map(|entry| entry.load().count()).sum();
    }

    /// Keeps a run or frees it; its end.
    fn settle_run(&mut self, run: FrameRange, owned: &mut dyn FnMut(FrameRange) -> bool) -> Pfn {
        if owned(run) {
            self.keep(run);
        } else {
            self.disown(run);
        }
        run.end
    }

    /// The free bits of a row of block `at`; none if the block is taken whole.
    fn free_in(&self, at: usize, row: usize) -> u64 {
        let whole = self.entries.get(at).is_none_or(|entry| entry.load().is_whole());
        self.bitmaps.get(at).filter(|_| !whole).map_or(0, |bitmap| bitmap.row(row).load())
    }

    /// Takes back the notes of the frames of a row whose bits are set.
    fn forget(&self, first: Pfn, mut bits: u64) {
        while bits != 0 {
            let pfn = first.add(u64::from(bits.trailing_zeros()));
            self.tags.iter().for_each(|tags| tags.forget(&self.map, pfn));
            self.names.iter().for_each(|names| names.clear(&self.map, pfn, Order::ZERO));
            bits &= bits - 1;
        }
    }

    /// The run that starts at a taken frame: in checked mode as it was allocated, else a whole block or a frame.
    fn run_at(&self, pfn: Pfn) -> FrameRange {
        let noted = self.tags.as_ref().and_then(|tags| tags.order(&self.map, pfn));
        let noted = noted.filter(|&order| pfn.is_aligned(order) && self.is_run_taken(pfn, order));
        let is_block = self.tags.is_none() && self.is_whole(pfn) && pfn.is_aligned(Order::BLOCK);
        let order = noted.unwrap_or(if is_block { Order::BLOCK } else { Order::ZERO });
        FrameRange::new(pfn, pfn.add(order.frames()))
    }

    fn is_run_taken(&self, pfn: Pfn, order: Order) -> bool {
        if order < Order::BLOCK {
            return (0..order.frames()).all(|frame| self.is_taken(pfn.add(frame)));
        }
        let mut blocks = (0..order.frames()).step_by(BLOCK_FRAMES as usize).map(|frame| pfn.add(frame));
        blocks.all(|block| {
            self.is_whole(block) || (0..BLOCK_FRAMES).all(|frame| self.is_taken(block.add(frame)))
        })
    }

    fn keep(&mut self, run: FrameRange) {
        let order = Order::new(run.frames().ilog2() as u8).unwrap_or(Order::ZERO);
        if order < Order::BLOCK {
            self.open(run.start); // a split was under way
        }
        if let Some(tags) = &self.tags {
            tags.set(&self.map, run.start, order);
            (1..run.frames()).for_each(|frame| tags.forget(&self.map, run.start.add(frame)));
        }
    }

    fn disown(&mut self, run: FrameRange) {
        self.found.disowned += run.frames();
        let mut next = Some(run.start);
        while let Some(pfn) = next.filter(|&pfn| pfn < run.end) {
            let is_block = pfn.is_aligned(Order::BLOCK) && run.end.get() - pfn.get() >= BLOCK_FRAMES;
            next = Some(pfn.add(if is_block { BLOCK_FRAMES } else { 1 }));
            if is_block && self.is_whole(pfn) {
                self.put_whole(pfn);
            } else {
                self.open(pfn);
                let part = if is_block { BLOCK_FRAMES } else { 1 };
                (0..part).for_each(|frame| self.put(pfn.add(frame)));
            }
        }
        (0..run.frames()).for_each(|frame| self.forget(run.start.add(frame), 1));
    }

    /// Makes the frames of a block that is taken whole single ones.
    fn open(&mut self, pfn: Pfn) {
        let Some(at) = self.at(pfn) else { return };
        let (Some(entry), Some(bitmap)) = (self.entries.get_mut(at), self.bitmaps.get_mut(at)) else {
            return;
        };
        let now = entry.load();
        if now.is_whole() {
            *bitmap = Bitmap::new(|_| 0);
            *entry = Entry::with_free(now.zone(), now.kind(), BLOCK_FRAMES, 0);
        }
    }

    fn put_whole(&mut self, pfn: Pfn) {
        if let Some(entry) = self.at(pfn).and_then(|at| self.entries.get_mut(at)) {
            let now = entry.load();
            *entry = Entry::new(now.zone(), now.kind(), BLOCK_FRAMES);
        }
    }

    fn put(&mut self, pfn: Pfn) {
        let Some(at) = self.at(pfn) else { return };
        let (Some(entry), Some(bitmap)) = (self.entries.get_mut(at), self.bitmaps.get_mut(at)) else {
            return;
        };
        let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        if bitmap.row(row).put(mask) & mask == 0 {
            let now = entry.load();
            *entry = Entry::with_free(now.zone(), now.kind(), now.managed(), now.count() + 1);
        }
    }

    fn is_whole(&self, pfn: Pfn) -> bool {
        self.at(pfn).and_then(|at| self.entries.get(at)).is_some_and(|entry| entry.load().is_whole())
    }

    /// Whether a frame that exists is in no row.
    fn is_taken(&self, pfn: Pfn) -> bool {
        let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        let bitmap = self.at(pfn).and_then(|at| self.bitmaps.get(at));
        bitmap.is_some_and(|bitmap| self.is_whole(pfn) || bitmap.row(row).load() & mask == 0)
    }

    /// The place of the frame's block in the arrays.
    fn at(&self, pfn: Pfn) -> Option<usize> {
        Some(self.map.find(pfn)? * SECTION_BLOCKS + block_in_section(pfn))
    }

    fn start(&self, at: usize) -> Pfn {
        let section = self.map.sections.get(at / SECTION_BLOCKS).map_or(Pfn::new(0), |section| section.start);
        section.add((at % SECTION_BLOCKS) as u64 * BLOCK_FRAMES)
    }
}

#[cfg(test)]
mod tests;
