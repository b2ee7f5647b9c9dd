//! Onlining: which zone a range goes to, and its blocks' way there.
//!
//! | step | left behind if it is the last one |
//! |---|---|
//! | the platform is asked | nothing |
//! | rows filled, then entries: the zone's, wholly free, isolated | blocks that nobody claims; a recovery finds them and ends their isolation |
//! | managed, present and span | the same |
//! | zonelists, if the zone was empty | the same |
//! | isolation ends, block by block | some blocks isolated |
//! | marks | the marks of before |

use crate::allocator::PageAllocator;
use crate::frame::{BLOCK_FRAMES, FrameRange, NodeId, Pfn, ROWS};
use crate::hotplug::error::HotplugError;
use crate::hotplug::{Lists, sections};
use crate::memory_event::{MemoryEvent, MemoryStep};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::section::Plugged;
use crate::sync::Ordering;
use crate::topology::ZoneKind;
use crate::zone::{Block, Zone};

/// Which zone memory goes to (Linux: online_kernel, online_movable, online).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnlineType {
    /// DMA, DMA32 or Normal, by address: for everybody, and may never go again.
    Kernel,
    /// Movable: only for what can be moved, so that it can go again.
    Movable,
    /// Movable if the range lies in the Movable zone's span and not in the other's, else by address (Linux: contig-zones).
    #[default]
    ContigZones,
    /// Movable as long as there is little of it, else by address.
    AutoMovable(AutoMovable),
}

/// How much Movable memory there may be (Linux: memory_hotplug.auto_movable_ratio and auto_movable_numa_aware).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AutoMovable {
    /// Movable frames for each hundred frames that are there from the start and not Movable.
    pub ratio: u32,
    /// Whether that holds for the range's node, too.
    pub numa_aware: bool,
}

impl Default for AutoMovable {
    fn default() -> Self {
        Self { ratio: 301, numa_aware: true }
    }
}

/// Blocks on their way into a zone: nobody's again when it is dropped, unless they stay.
struct Coming<'a, 'm, P: Platform> {
    allocator: &'a PageAllocator<'m, P>,
    zone: &'m Zone<'m>,
    /// Those that have been plugged in.
    range: FrameRange,
    /// What everybody is told then.
    cancel: Option<MemoryEvent>,
}

impl<P: Platform> Coming<'_, '_, P> {
    fn stay(mut self) {
        self.range = FrameRange::new(self.range.end, self.range.end);
        self.cancel = None;
    }
}

impl<P: Platform> Drop for Coming<'_, '_, P> {
    /// The lists may name the zone though it is empty again: they are made anew when it next changes.
    fn drop(&mut self) {
        let (allocator, range) = (self.allocator, self.range);
        let Some(cancel) = self.cancel else { return };
        if range.frames() > 0 && allocator.unplug(self.zone, range).is_err() {
            // Somebody has ended the isolation of some, which may be in use by now: all of them stay.
            let _ = allocator.unisolate(range); // whole blocks, all of them there
            allocator.retune();
            return allocator.tell(MemoryEvent { step: MemoryStep::Online, ..cancel });
        }
        if range.frames() > 0 {
            allocator.note(range, Plugged::Offline);
            let _ = self.zone.shrink(range, allocator.usable(range));
        }
        allocator.tell(cancel);
    }
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Gives the frames of sections that are offline to a zone; they can be allocated when this returns. The number of
    /// frames. About 3 atomic operations a block.
    ///
    /// Task context: [`Platform::memory_event`] is called; may wait ([`Platform::pause`]) for a rebuild of the zonelists.
    ///
    /// # Errors
    /// A [`HotplugError`]; then nothing changed.
    pub fn online_memory(&self, range: FrameRange, to: OnlineType) -> Result<u64, HotplugError> {
        let (_turn, node) = self.begin(range, Plugged::Offline)?;
        if let Some((pfn, _)) = self.state.poison.frames(range).next() {
            return Err(HotplugError::Poisoned { pfn });
        }
        let zone = self.zone_for(range, node, to)?;
        let change = self.node_change(zone, 0);
        let event = MemoryEvent { step: MemoryStep::GoingOnline, range, node, zone: Some(zone.id), change };
        let cancel = Some(MemoryEvent { step: MemoryStep::CancelOnline, ..event });
        let mut coming =
            Coming { allocator: self, zone, range: FrameRange::new(range.end, range.end), cancel };
        self.propose(event)?;
        coming.range = range;
        zone.blocks_of(range).for_each(|block| {
            (0..ROWS).for_each(|row| block.bitmap.row(row).fill());
            self.plug(zone, block);
        });
        self.note(range, Plugged::Online);
        let frames = self.usable(range);
        let lists = zone.grow(range, frames);
        self.relist_if(lists);
        self.unisolate(range)?;
        coming.stay();
        self.retune();
        self.tell(MemoryEvent { step: MemoryStep::Online, ..event });
        Ok(frames)
    }

    /// Makes a block of nobody's the zone's, all its frames free but those that hold rows.
    pub(in crate::hotplug) fn plug(&self, zone: &Zone<'_>, block: Block<'_>) {
        let held = self.held_by_rows(block.start);
        if held > 0 && !planted(Mutant::RowsHandedOut) {
            let _ = block.bitmap.row(0).take_exact((1 << held) - 1); // as the rows are full
        }
        // It is nobody's, and only the plugger changes that.
        let _ =
            block.entry.plug(zone.id, BLOCK_FRAMES - if planted(Mutant::RowsHandedOut) { 0 } else { held });
    }

    /// The zone that a range of one node would go to.
    fn zone_for(
        &self,
        range: FrameRange,
        node: NodeId,
        to: OnlineType,
    ) -> Result<&'m Zone<'m>, HotplugError> {
        let missing = HotplugError::NotPluggable { pfn: range.start };
        let of = |kind| self.zone_of_kind(node, kind);
        let kernel = self.kernel_zone(range.start, node).ok_or(missing)?;
        let other =
            sections(range).find(|&pfn| self.kernel_zone(pfn, node).map(|zone| zone.id) != Some(kernel.id));
        let movable = of(ZoneKind::Movable).ok_or(missing)?;
        let is_movable = match to {
            OnlineType::Kernel => false,
            OnlineType::Movable => true,
            OnlineType::ContigZones => {
                let meets = |zone: &Zone<'_>| zone.span.get().intersect(range).frames() > 0;
                meets(movable) && !meets(kernel)
            }
            OnlineType::AutoMovable(policy) => {
                let all = self.state.zones.iter();
                let near = self.state.zones.iter().filter(|zone| zone.node == node);
                policy.allows(range.frames(), all)
                    && (!policy.numa_aware || policy.allows(range.frames(), near))
            }
        };
        match other {
            Some(pfn) if !is_movable => Err(HotplugError::SeveralZones { pfn }),
            _ if is_movable => Ok(movable),
            _ => Ok(kernel),
        }
    }

    fn zone_of_kind(&self, node: NodeId, kind: ZoneKind) -> Option<&'m Zone<'m>> {
        self.state.zones.iter().find(|zone| zone.node == node && zone.kind == kind)
    }

    /// The zone by address: the highest one below Movable that reaches the frame.
    fn kernel_zone(&self, pfn: Pfn, node: NodeId) -> Option<&'m Zone<'m>> {
        let kind = self.state.kernel_kind(pfn);
        self.zone_of_kind(node, kind)
    }
}

impl AutoMovable {
    /// Whether so many frames more may be Movable in these zones together.
    fn allows<'z, 'm: 'z>(self, frames: u64, zones: impl Iterator<Item = &'z Zone<'m>>) -> bool {
        let (kernel, movable) = zones.fold((0u64, frames), |(kernel, movable), zone| match zone.kind {
            ZoneKind::Movable => (kernel, movable + zone.present()),
            _ => (kernel + zone.early, movable),
        });
        u128::from(movable) * 100 <= u128::from(self.ratio) * u128::from(kernel)
    }
}

impl<'m> Zone<'m> {
    /// Blocks of these frames come to the zone, so many of which can be handed out; whether it was empty.
    fn grow(&self, range: FrameRange, usable: u64) -> Lists {
        self.span.set(self.span.get().hull(range));
        self.present.fetch_add(range.frames(), Ordering::Relaxed);
        match self.managed.fetch_add(usable, Ordering::Relaxed) {
            0 => Lists::Changed,
            _ => Lists::Same,
        }
    }
}
