//! Memory that comes and goes while everybody allocates: added, onlined, offlined, removed, by whole sections.
//!
//! A section's metadata is there from the start and stays (its rows may lie in itself: [`rows`]); what changes is whose its blocks are, an entry at a time. A block
//! of nobody's has an entry that names no zone and no frame: no claim fits it, no free is accepted there, so nobody needs to
//! know. Coming, a block is wholly free and isolated until the zonelists hold its zone; going, it is isolated, emptied, and
//! nobody's again in one exchange that succeeds only on a wholly free block.
//!
//! One plugger at a time, in task context; all others go on. Whatever fails is undone: by an objection of who is told
//! ([`Platform::memory_event`]), an error, a cancellation, or a panic of the platform.

pub(crate) mod error;
pub(crate) mod evacuate;
pub(crate) mod obstacle;
pub(crate) mod offline;
pub(crate) mod online;
pub(crate) mod rows;

use crate::allocator::PageAllocator;
use crate::frame::{FrameRange, NodeId, Pfn, SECTION_FRAMES};
use crate::hotplug::error::HotplugError;
use crate::memory_event::{MemoryEvent, MemoryStep, NodeChange};
use crate::node::MyTurn;
use crate::platform::Platform;
use crate::section::{Owner, PlugWord, Plugged};
use crate::zone::Zone;

impl Plugged {
    const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Adds sections that may be plugged in: they are offline then. Linear in the sections.
    ///
    /// Task context: [`Platform::memory_event`] is called.
    ///
    /// # Errors
    /// A [`HotplugError`]; then nothing changed.
    pub fn add_memory(&self, range: FrameRange) -> Result<(), HotplugError> {
        let steps = [MemoryStep::GoingToBeAdded, MemoryStep::Added];
        self.change(range, (Plugged::Absent, Plugged::Offline), steps, || self.show_rows(range))
    }

    /// Removes sections that are offline. Their metadata stays, for when they come back; what of it is in the sections
    /// ([`crate::Config::own_rows`]) is nobody's when this returns. Linear in the sections.
    ///
    /// Task context: [`Platform::memory_event`] is called; waits for who looks at rows that lie in the sections.
    ///
    /// # Errors
    /// A [`HotplugError`]; then nothing changed.
    pub fn remove_memory(&self, range: FrameRange) -> Result<(), HotplugError> {
        let steps = [MemoryStep::GoingToBeRemoved, MemoryStep::Removed];
        self.change(range, (Plugged::Offline, Plugged::Absent), steps, || self.hide_rows(range))
    }

    fn change(
        &self,
        range: FrameRange,
        (from, to): (Plugged, Plugged),
        [going, done]: [MemoryStep; 2],
        rows: impl FnOnce() -> Result<(), HotplugError>,
    ) -> Result<(), HotplugError> {
        let (_turn, node) = self.begin(range, from)?;
        let event = MemoryEvent { step: going, range, node, zone: None, change: NodeChange::None };
        self.propose(event)?;
        rows()?;
        self.note(range, to);
        self.tell(MemoryEvent { step: done, ..event });
        Ok(())
    }

    /// The caller's turn to plug a range of which every section is in this state, and the range's node.
    fn begin(&self, range: FrameRange, from: Plugged) -> Result<(MyTurn<'_>, NodeId), HotplugError> {
        let (start, end) = (range.start, range.end);
        let unaligned = [start, end].into_iter().find(|pfn| pfn.get() % SECTION_FRAMES != 0);
        if let Some(pfn) = unaligned.or_else(|| (end <= start).then_some(start)) {
            return Err(HotplugError::Unaligned { pfn });
        }
        let turn = self.state.plugging.enter().ok_or(HotplugError::Busy)?;
        let node = self.state.map.hot_node(start).ok_or(HotplugError::NotPluggable { pfn: start })?;
        for pfn in sections(range) {
            let word = self.plug_word(pfn).ok_or(HotplugError::NotPluggable { pfn })?;
            let (found, needed) = (word.get().name(), from.name());
            if word.get() != from {
                return Err(HotplugError::State { pfn, found, needed });
            }
            if self.state.map.hot_node(pfn) != Some(node) {
                return Err(HotplugError::SeveralZones { pfn });
            }
        }
        Ok((turn, node))
    }

    /// The word of the section at `pfn`, if it is one that may be plugged in.
    fn plug_word(&self, pfn: Pfn) -> Option<&'m PlugWord> {
        let map = &self.state.map;
        let section = map.find(pfn)?;
        let is_hot = matches!(map.sections.get(section)?.owner, Owner::Hot(_));
        map.plugged.get(section).filter(|_| is_hot)
    }

    fn note(&self, range: FrameRange, plugged: Plugged) {
        sections(range).filter_map(|pfn| self.plug_word(pfn)).for_each(|word| word.set(plugged));
    }

    /// Tells of something that may be objected to.
    fn propose(&self, event: MemoryEvent) -> Result<(), HotplugError> {
        self.platform.memory_event(&event).map_err(|_| HotplugError::Vetoed { step: event.step })
    }

    /// Tells of something that has happened.
    fn tell(&self, event: MemoryEvent) {
        let _ = self.platform.memory_event(&event);
    }

    /// What the coming or going of so many frames of a zone means for its node.
    fn node_change(&self, zone: &Zone<'_>, frames: u64) -> NodeChange {
        let own = self.state.zones.iter().filter(|other| other.node == zone.node);
        match own.map(Zone::managed).sum::<u64>() {
            0 => NodeChange::First,
            managed if managed == frames => NodeChange::Last,
            _ => NodeChange::None,
        }
    }

    /// Has the zonelists made anew if a zone became populated or empty.
    fn relist_if(&self, lists: Lists) {
        if lists == Lists::Changed {
            self.rebuild_zonelists();
        }
    }
}

/// Whether a zone became populated or empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lists {
    Same,
    Changed,
}

/// The first frames of a range's sections.
fn sections(range: FrameRange) -> impl Iterator<Item = Pfn> {
    (range.start.get()..range.end.get()).step_by(SECTION_FRAMES as usize).map(Pfn::new)
}
