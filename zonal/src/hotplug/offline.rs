//! Offlining: a range is isolated, emptied, and made nobody's block by block; or handed back as it was.
//!
//! | step | left behind if it is the last one |
//! |---|---|
//! | blocks isolated, words of their groups emptied | isolated blocks; what is freed there stays there |
//! | the platform is asked | the same |
//! | used runs moved elsewhere; words of their groups emptied again | the same, emptier |
//! | entries: nobody's, from wholly free and isolated, in one exchange each | some blocks nobody's |
//! | managed, present and span; zonelists, if the zone is empty now; marks | the figures of before |

use crate::allocator::PageAllocator;
use crate::error::IsolateError;
use crate::frame::{BLOCK_FRAMES, FrameRange, Pfn};
use crate::hotplug::error::HotplugError;
use crate::hotplug::evacuate::{Evacuation, Offlined};
use crate::hotplug::obstacle::Obstacle;
use crate::hotplug::{Lists, sections};
use crate::memory_event::{MemoryEvent, MemoryStep};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::section::Plugged;
use crate::sync::Ordering;
use crate::zone::Zone;

/// Times an isolation is tried while others hold claims on the zone's frames.
const TRIES: u32 = 64;

/// Blocks that have been isolated: handed out again when it is dropped, unless they have gone.
struct Withheld<'a, 'm, P: Platform> {
    allocator: &'a PageAllocator<'m, P>,
    range: FrameRange,
    /// What everybody is told then.
    cancel: Option<MemoryEvent>,
}

impl<P: Platform> Drop for Withheld<'_, '_, P> {
    fn drop(&mut self) {
        if self.range.frames() > 0 && !planted(Mutant::VetoKeepsIsolated) {
            let _ = self.allocator.unisolate(self.range); // whole blocks, all of them there
        }
        self.cancel.into_iter().for_each(|event| self.allocator.tell(event));
    }
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Takes the frames of online sections, all of one zone, from it: none of them is handed out any more, those in use are
    /// moved elsewhere by the platform, and when this returns they are nobody's. Where something stays in the way, each such
    /// run is reported to `report`, and the range is handed out again.
    ///
    /// A section that is free: about 2 atomic operations a block, and a look at every slot word of the zone.
    ///
    /// Task context: the platform is called ([`Platform::memory_event`], [`Platform::migrate_run`], [`Platform::pause`],
    /// [`Platform::cancelled`]); asks for frames to move to, as a request that may wait.
    ///
    /// # Errors
    /// A [`HotplugError`]; then everything is as it was, but for what has been moved.
    pub fn offline_memory(
        &self,
        range: FrameRange,
        report: &mut dyn FnMut(&Obstacle),
    ) -> Result<Offlined, HotplugError> {
        let (_turn, node) = self.begin(range, Plugged::Online)?;
        let zone = self.zone_now(range)?;
        let mut withheld = self.withhold(range)?;
        let frames = self.usable(range);
        let change = self.node_change(zone, frames);
        let event = MemoryEvent { step: MemoryStep::GoingOffline, range, node, zone: Some(zone.id), change };
        withheld.cancel = Some(MemoryEvent { step: MemoryStep::CancelOffline, ..event });
        self.propose(event)?;
        let done = Evacuation::new(self, zone, (range, frames)).empty(report)?;
        self.unplug(zone, range)?;
        withheld.range = FrameRange::new(range.end, range.end);
        withheld.cancel = None;
        drop(withheld);
        self.note(range, Plugged::Offline);
        self.relist_if(zone.shrink(range, frames));
        self.retune();
        self.tell(MemoryEvent { step: MemoryStep::Offline, ..event });
        Ok(done)
    }

    /// The zone that all sections of the range belong to.
    fn zone_now(&self, range: FrameRange) -> Result<&'m Zone<'m>, HotplugError> {
        let zone = |pfn| self.state.block(pfn).map(|(zone, _)| zone);
        let first = zone(range.start).map_err(|_| HotplugError::NotPluggable { pfn: range.start })?;
        match sections(range).find(|&pfn| zone(pfn).map(|zone| zone.id) != Ok(first.id)) {
            Some(pfn) => Err(HotplugError::SeveralZones { pfn }),
            None => Ok(first),
        }
    }

    /// Isolates the range, again and again while others hold claims that keep it from being.
    fn withhold(&self, range: FrameRange) -> Result<Withheld<'_, 'm, P>, HotplugError> {
        let mut tries = 0;
        loop {
            match self.isolate(range) {
                Ok(_) => return Ok(Withheld { allocator: self, range, cancel: None }),
                Err(IsolateError::Busy { .. }) if tries < TRIES => {
                    tries += 1;
                    self.platform.pause();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes the blocks of a range nobody's. If one of them is not isolated any more, all are the zone's again.
    pub(in crate::hotplug) fn unplug(&self, zone: &Zone<'_>, range: FrameRange) -> Result<(), HotplugError> {
        for block in zone.blocks_of(range) {
            if !block.entry.unplug(zone.id, zone.poisoned_in(block)) {
                let gone = FrameRange::new(range.start, block.start);
                // Their rows are as they were, all free.
                zone.blocks_of(gone).for_each(|block| self.plug(zone, block));
                return Err(HotplugError::Unisolated { pfn: block.start });
            }
        }
        Ok(())
    }
}

impl Zone<'_> {
    /// Blocks of these frames have gone from the zone, so many of which could be handed out; whether it is empty now.
    pub(in crate::hotplug) fn shrink(&self, range: FrameRange, usable: u64) -> Lists {
        self.span.set(self.span_without(range, usable));
        self.present.fetch_sub(range.frames(), Ordering::Relaxed);
        match self.managed.fetch_sub(usable, Ordering::Relaxed) == usable {
            true => Lists::Changed,
            false => Lists::Same,
        }
    }

    /// The span as it is when these frames have gone. Looks as far as the next block that stays.
    fn span_without(&self, range: FrameRange, usable: u64) -> FrameRange {
        let span = self.span.get();
        if self.managed() == usable {
            return self.named;
        }
        let is_own = |start| self.block_of(start).is_some_and(|block| block.entry.load().zone() == self.id);
        let stays = |start: Pfn| self.named.contains(start) || is_own(start);
        let (mut start, mut end) = (span.start, span.end);
        if range.start <= start {
            start = range.end;
            while start < end && !stays(start) {
                start = start.add(BLOCK_FRAMES);
            }
        }
        if range.end >= end {
            end = range.start;
            while start < end && !stays(Pfn::new(end.get() - BLOCK_FRAMES)) {
                end = Pfn::new(end.get() - BLOCK_FRAMES);
            }
        }
        FrameRange::new(start, end)
    }
}
