//! Upkeep: emptying slot words, closing them, and isolating blocks. All of it from any CPU, without its owner.

use crate::allocator::PageAllocator;
use crate::block::entry::Raise;
use crate::cache::CpuCache;
use crate::cache::hold::Barriers;
use crate::error::{ConfigError, IsolateError};
use crate::frame::{BLOCK_FRAMES, FrameRange, MAX_FRAMES, Pfn, ZoneId};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::sync::store_load_barrier;
use crate::watermark::{Levels, Marks, Tuning, Watermarks};
use crate::zone::drain::Drained;
use crate::zone::{Block, Zone};

/// Times a block's count may change under an isolation before it reports that the block is busy.
const TRIES: usize = 64;

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Whether CPUs own slot words ([`crate::Config::own_words`]).
    pub fn owns_words(&self) -> bool {
        self.state.zones.iter().flat_map(|zone| zone.caches).any(CpuCache::is_owned)
    }

    /// Lands what one CPU caches; the number of frames. The CPU is neither asked nor delayed. Reads 19 words a zone; for each that
    /// holds frames one step takes them, whatever others do meanwhile, and five more locked ones land them.
    pub fn drain_cpu(&self, cpu: usize) -> u64 {
        let Some(cpu) = self.state.cpus.get(cpu) else { return 0 };
        let caches = self.state.zones.iter().filter_map(|zone| Some((zone, zone.cache_of(cpu)?)));
        caches.map(|(zone, cache)| zone.drain_cache(cache, Barriers::Allowed)).sum()
    }

    /// Lands what all CPUs cache of a zone; the number of frames.
    pub fn drain_zone(&self, zone: ZoneId) -> u64 {
        self.zone(zone).map_or(0, |zone| zone.drain(Barriers::Allowed))
    }

    /// Lands the groups that all CPUs cache of these frames, and makes the words forget them; the number of frames.
    pub fn drain_range(&self, range: FrameRange) -> u64 {
        self.zones_in(range).map(|zone| zone.drain_range(range).frames).sum()
    }

    fn zones_in(&self, range: FrameRange) -> impl Iterator<Item = &Zone<'m>> {
        self.state.zones.iter().filter(move |zone| zone.reach.intersect(range).frames() > 0)
    }

    /// Lands what all CPUs cache; the number of frames.
    pub fn drain_all(&self) -> u64 {
        self.state.zones.iter().map(|zone| zone.drain(Barriers::Allowed)).sum()
    }

    /// A pass over what all CPUs cache, to be made about once a second, by whoever (linux-facts 3.7); the number of frames that
    /// landed. What a CPU has not touched since the last pass lands: of its own node's zones a word a kind, of other nodes'
    /// everything, after three such passes. Linear in the (CPU, zone) pairs that have slot words; of a pair it reads 19 words, and
    /// lands each at most.
    ///
    /// Words that CPUs own ([`crate::Config::own_words`]) are given up here where a zone nears its marks, and given back where
    /// it has recovered. Task context.
    pub fn age_caches(&self) -> u64 {
        self.state.zones.iter().for_each(Zone::review_words);
        let cpus = self.state.cpus.iter();
        let caches = cpus.flat_map(|cpu| self.state.zones.iter().map(move |zone| (cpu, zone)));
        caches.filter_map(|(cpu, zone)| Some(zone.age(cpu, zone.cache_of(cpu)?))).sum()
    }

    /// Lands what all CPUs cache of a zone and lets nothing be cached until [`PageAllocator::reopen_caches`] has been
    /// called as often; the number of frames. One swap a word.
    pub fn close_caches(&self, zone: ZoneId) -> u64 {
        self.zone(zone).map_or(0, Zone::close_caches)
    }

    /// Ends one closing; false if none was in force.
    pub fn reopen_caches(&self, zone: ZoneId) -> bool {
        self.zone(zone).is_some_and(Zone::reopen_caches)
    }

    /// Gives every zone the marks that Linux computes from these knobs (linux-facts 2.6), in place of whatever it had.
    /// Requests meanwhile see some of the old figures and some of the new. Linear in the zones.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the knob and its value; nothing changed then.
    pub fn set_tuning(&self, tuning: Tuning) -> Result<(), ConfigError> {
        tuning.check()?;
        self.state.tuning.set(tuning);
        self.each_level(tuning, |zone, levels| zone.marks.set(levels));
        Ok(())
    }

    /// Makes the marks anew that follow from the knobs: zones have changed.
    pub(crate) fn retune(&self) {
        if let Some(tuning) = self.state.tuning.get().filter(|_| !planted(Mutant::MarksStay)) {
            self.each_level(tuning, |zone, levels| zone.marks.follow(levels));
        }
    }

    /// What the knobs make of each zone.
    fn each_level(&self, tuning: Tuning, then: impl Fn(&Zone<'_>, Levels)) {
        let managed = |node: usize| {
            let mut frames = [0; 4];
            // Zones are numbered by node.
            let first = self.state.zones.partition_point(|zone| usize::from(zone.node.0) < node);
            let zones = self.state.zones.iter().skip(first);
            let own = zones.take_while(|zone| usize::from(zone.node.0) == node);
            own.for_each(|zone| frames[zone.kind as usize] = zone.managed());
            frames
        };
        let watermarks = Watermarks::new(tuning, (0..self.state.nodes.len()).map(managed));
        for zone in self.state.zones {
            then(zone, watermarks.levels(zone.kind, managed(usize::from(zone.node.0)), None));
        }
        self.state.lists.bump();
    }

    /// Gives a zone these marks (none above what any zone holds); what it holds back for other zones stays. False if there is no such zone.
    pub fn set_marks(&self, zone: ZoneId, marks: Marks) -> bool {
        let most = |frames: u64| frames.min(MAX_FRAMES); // so sums with a mark fit
        let Marks { min, low, high, promo } = marks;
        let marks = Marks { min: most(min), low: most(low), high: most(high), promo: most(promo) };
        self.zone(zone).is_some_and(|zone| {
            zone.marks.give(Levels {
                marks,
                protection: zone.marks.reserves(),
                most_boost: zone.marks.most_boost(),
            });
            self.state.lists.bump();
            true
        })
    }

    /// Isolates the blocks of a range: their free frames leave the zone's count and are not allocated, what is freed
    /// there stays there. Frames in slot words of closed or drained caches land there too. Returns the number of free
    /// frames isolated (cached ones come on top as they land). Where CPUs own their words ([`crate::OwnWords`]): task context, and a
    /// barrier for each of those whose words nobody holds.
    ///
    /// # Errors
    /// An [`IsolateError`]; then nothing stays isolated. One is [`IsolateError::Undrained`], where a barrier is refused, whatever the
    /// CPU caches.
    pub fn isolate(&self, range: FrameRange) -> Result<u64, IsolateError> {
        block_starts(range).map(drop)?; // it is made of blocks
        let mut frames = 0;
        for section in range.by_section() {
            match self.isolate_section(section) {
                Ok(isolated) => frames += isolated,
                Err(error) => {
                    let _ = self.unisolate(FrameRange::new(range.start, section.start));
                    return Err(error);
                }
            }
        }
        // Between what has been said of the blocks and the looks at the words; partner: the look at the entry after installs.
        store_load_barrier();
        let own = |zone: &&Zone<'_>| zone.blocks_of(range).any(|block| block.entry.load().zone() == zone.id);
        let drain = |zone: &Zone<'_>| {
            let drained = zone.drain_flagged(range);
            // What owners freed who had not seen the count of now: they have passed a barrier since, and have seen it by now.
            zone.collect_credits();
            drained
        };
        let drained = self.zones_in(range).filter(own).map(drain);
        match drained.fold(Drained::default(), Drained::and).refused {
            Some(cpu) => {
                let _ = self.unisolate(range);
                Err(IsolateError::Undrained { cpu })
            }
            None => Ok(frames),
        }
    }

    /// Isolates blocks of one section: the wholly free ones together, the others one by one.
    fn isolate_section(&self, range: FrameRange) -> Result<u64, IsolateError> {
        let together = self.isolate_free(range);
        let mut frames = u64::from(together.count_ones()) * BLOCK_FRAMES;
        if frames == range.frames() {
            return Ok(frames);
        }
        for (at, start) in (0u32..).zip(block_starts(range)?) {
            if together >> at & 1 == 1 {
                continue;
            }
            match self.isolate_block(start) {
                Ok(isolated) => frames += isolated,
                Err(error) => {
                    let done = (0u32..).zip(block_starts(range)?);
                    done.filter(|&(other, _)| other < at || together >> other & 1 == 1).for_each(
                        |(_, start)| {
                            let _ = self.unisolate(FrameRange::new(start, start.add(BLOCK_FRAMES)));
                        },
                    );
                    return Err(error);
                }
            }
        }
        Ok(frames)
    }

    /// Isolates the wholly free blocks of a section that are of one zone, for one claim on the zone's count: a bit for each.
    /// None if there are few, or others hold claims on their frames.
    fn isolate_free(&self, range: FrameRange) -> u64 {
        let Ok((zone, _)) = self.state.block(range.start) else { return 0 };
        let at = |block: &Block<'_>| (block.start.get() - range.start.get()) / BLOCK_FRAMES;
        let free = zone.blocks_of(range).fold(0u64, |free, block| {
            let entry = block.entry.load();
            free | u64::from(entry.zone() == zone.id && entry.is_free_block()) << at(&block)
        });
        if free.count_ones() < 2 {
            return 0;
        }
        isolate_for(zone, u64::from(free.count_ones()) * BLOCK_FRAMES, || {
            let flagged = zone.blocks_of(range).fold(0u64, |flagged, block| {
                let flag = free >> at(&block) & 1 == 1 && block.entry.isolate(zone.id, BLOCK_FRAMES).is_ok();
                flagged | u64::from(flag) << at(&block)
            });
            (flagged, u64::from(flagged.count_ones()) * BLOCK_FRAMES)
        })
        .unwrap_or(0)
    }

    /// Ends the isolation of the blocks of a range; blocks that are not isolated are left alone. Returns the number
    /// of free frames that can be allocated again.
    ///
    /// # Errors
    /// [`IsolateError::NotBlocks`] if the range is not made of whole managed blocks; then nothing changed.
    pub fn unisolate(&self, range: FrameRange) -> Result<u64, IsolateError> {
        block_starts(range)?.try_for_each(|start| self.managed_block(start).map(|_| ()))?;
        let frames = range.by_section().map(|section| self.unisolate_section(section)).sum();
        self.state.lists.bump();
        Ok(frames)
    }

    /// Ends the isolation of blocks of one section, each zone counted once where its blocks follow each other.
    fn unisolate_section(&self, range: FrameRange) -> u64 {
        let starts = (range.start.get()..range.end.get()).step_by(BLOCK_FRAMES as usize);
        // Those that have gone offline since are left out.
        let mut blocks = starts.filter_map(|start| self.managed_block(Pfn::new(start)).ok()).peekable();
        let mut all = 0;
        while let Some(&(zone, _)) = blocks.peek() {
            // On the move until they are counted: another isolation of the blocks takes them from the count meanwhile, and
            // finds only others'.
            zone.count.enter(range.frames());
            let mut frames = 0;
            while let Some((_, block)) = blocks.next_if(|(other, _)| other.id == zone.id) {
                if let Raise::Done(after) = block.entry.unisolate(zone.id) {
                    zone.refresh_hints(block, after);
                    frames += after.count();
                }
            }
            if frames > 0 {
                zone.count.raise(frames);
            }
            zone.count.leave(range.frames());
            all += frames;
        }
        all
    }

    /// Isolates a block; the number of frames free in it.
    fn isolate_block(&self, pfn: Pfn) -> Result<u64, IsolateError> {
        let (zone, block) = self.managed_block(pfn)?;
        for _ in 0..TRIES {
            let entry = block.entry.load();
            if entry.is_isolated() {
                return Err(IsolateError::AlreadyIsolated { pfn });
            }
            if entry.is_reserved() && !planted(Mutant::ReservedNotIsolated) {
                zone.release_block(block, entry, entry.kind());
                continue;
            }
            match isolate_at(zone, block, entry.count()) {
                Flagged::Yes => return Ok(entry.count()),
                Flagged::CountChanged => {}
                Flagged::ZoneShort if zone.credits() > 0 => {} // filled since they were collected
                Flagged::ZoneShort => break,
            }
        }
        Err(IsolateError::Busy { pfn, in_flight: zone.transit().frames() })
    }

    fn managed_block(&self, pfn: Pfn) -> Result<(&'m Zone<'m>, Block<'m>), IsolateError> {
        self.state.block(pfn).map_err(|_| IsolateError::NotBlocks { pfn })
    }

    fn zone(&self, id: ZoneId) -> Option<&'m Zone<'m>> {
        self.state.zones.get(usize::from(id.0))
    }
}

/// The first frames of a range's blocks.
fn block_starts(range: FrameRange) -> Result<impl Iterator<Item = Pfn>, IsolateError> {
    let unaligned = [range.start, range.end].into_iter().find(|pfn| pfn.get() % BLOCK_FRAMES != 0);
    if let Some(pfn) = unaligned {
        return Err(IsolateError::NotBlocks { pfn });
    }
    Ok((range.start.get()..range.end.get()).step_by(BLOCK_FRAMES as usize).map(Pfn::new))
}

/// What flagging a block came to.
enum Flagged {
    Yes,
    /// The block's count is another now.
    CountChanged,
    /// The zone's count cannot spare the block's: others hold claims on its frames.
    ZoneShort,
}

/// Debits the zone's count by the block's, then flags the block if its count is still that; else the debit goes back.
/// Between the two the frames are on the move.
fn isolate_at(zone: &Zone<'_>, block: Block<'_>, count: u64) -> Flagged {
    let flag = || block.entry.isolate(zone.id, count).is_ok();
    if planted(Mutant::IsolateNoDebit) {
        return if flag() { Flagged::Yes } else { Flagged::CountChanged };
    }
    let flagged =
        isolate_for(zone, count, || if flag() { (Flagged::Yes, count) } else { (Flagged::CountChanged, 0) });
    flagged.unwrap_or(Flagged::ZoneShort)
}

/// Debits the zone's count by `frames`, then flags blocks by `flag`, which says what came of it and how many of the frames
/// were theirs; the others go back. `None` if the count cannot spare them. Between the two the frames are on the move.
fn isolate_for<T>(zone: &Zone<'_>, frames: u64, flag: impl FnOnce() -> (T, u64)) -> Option<T> {
    zone.collect_credits();
    zone.count.enter(frames);
    let flagged = zone.count.claim(frames, frames, 0).ok().map(|_| {
        let (outcome, used) = flag();
        if used < frames {
            zone.count.raise(frames - used);
        }
        outcome
    });
    // Credits filled meanwhile by frees that saw the count above the mark. (Those of owners: see `isolate`.)
    zone.collect_credits();
    zone.count.leave(frames);
    flagged
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests;
