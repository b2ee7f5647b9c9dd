//! A pool that grows and shrinks while it is used, by sections of 128 MiB.
//!
//! The steps are the allocator's ([`zonal::PageAllocator::online_memory`] and its like), and memory comes and goes where those
//! tell the platform of it; here two of them each are one, and undone where the second fails. What is kept of a section
//! is lent from the start: for its rows to lie in itself ([`zonal::OwnRows`]) a pool would have to know who is in a call, and each
//! hit would have to write that down. Invariant: what is online is memory of this process, bound as the rest of the pool; what is not takes addresses only.

use zonal::{
    FRAME_SIZE, FrameRange, HotRange, HotplugError, NodeId, Obstacle, Offlined, OnlineType, Pfn,
    SECTION_FRAMES, ZoneKind,
};

use crate::pool::Pool;
use crate::refusal::{self, PlugError};

/// A section that may be plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pluggable {
    /// Its frames.
    pub range: FrameRange,
    /// The node they would belong to.
    pub node: NodeId,
    /// The zone they do belong to now, if they are online.
    pub zone: Option<ZoneKind>,
}

/// How far a pool grew or shrank.
#[derive(Debug)]
#[must_use = "it may not be as much as was asked for"]
pub struct Resized {
    /// Bytes that came or went.
    pub bytes: u64,
    /// Why it was no more, if it was less than asked for.
    pub stopped: Option<PlugError>,
}

impl Pool {
    /// What may be plugged in, section by section in the order in which it is described, as it is found.
    pub fn pluggable(&self) -> impl Iterator<Item = Pluggable> + '_ {
        self.hotplug.iter().flat_map(|hot| sections(*hot)).map(|(range, node)| {
            let zone = self.allocator().zone_of(range.start);
            let kind = zone.and_then(|id| self.allocator().zones().find(|zone| zone.id == id));
            Pluggable { range, node, zone: kind.map(|zone| zone.kind) }
        })
    }

    /// Makes sections memory of the process, of the pool's [`crate::Pages`] and bound to their node, and gives their frames to
    /// a zone; the number of frames. They read as zero; frames that were used since do not ([`zonal::Gfp::ZERO`] does).
    ///
    /// Task context; one at a time.
    ///
    /// # Errors
    /// A [`PlugError`] with the system's reason or the allocator's; then everything is as it was.
    pub fn online(&self, range: FrameRange, to: OnlineType) -> Result<u64, PlugError> {
        refusal::take();
        self.allocator().add_memory(range).map_err(PlugError::Hotplug)?;
        self.allocator().online_memory(range, to).map_err(|error| {
            let error = refusal::explain(error);
            let _ = self.allocator().remove_memory(range); // the first error is the one to know
            error
        })
    }

    /// Takes sections, all of one zone, from it and gives their memory back to the system. Runs in use are moved elsewhere
    /// first by those who own them ([`Pool::movers`]); each that is not is reported to `report`.
    ///
    /// Task context; one at a time. As long as [`crate::PoolPlan::cancelled_by`] says so, nothing goes that is used.
    ///
    /// # Errors
    /// A [`PlugError`]; then everything is as it was, but for what has been moved.
    pub fn offline(
        &self,
        range: FrameRange,
        report: &mut dyn FnMut(&Obstacle),
    ) -> Result<Offlined, PlugError> {
        refusal::take();
        let back = self.online_type(range.start);
        let allocator = self.allocator();
        let done = allocator.offline_memory(range, report).map_err(PlugError::Hotplug)?;
        let removed = match refusal::take() {
            Some(kept) => Err(kept),
            None => allocator.remove_memory(range).map_err(PlugError::Hotplug),
        };
        match removed {
            Ok(()) => Ok(done),
            Err(error) => {
                let _ = allocator.online_memory(range, back); // the first error is the one to know
                Err(error)
            }
        }
    }

    /// Onlines sections of the node, in the order in which they are described, until at least `bytes` have come or one
    /// cannot.
    pub fn grow(&self, node: NodeId, bytes: u64, to: OnlineType) -> Resized {
        let absent: Vec<Pluggable> =
            self.pluggable().filter(|section| section.node == node && section.zone.is_none()).collect();
        let mut resized = Resized { bytes: 0, stopped: None };
        for section in absent {
            if resized.bytes >= bytes {
                return resized;
            }
            match self.online(section.range, to) {
                Ok(frames) => resized.bytes += frames * FRAME_SIZE,
                Err(error) => return Resized { stopped: Some(error), ..resized },
            }
        }
        resized.or_exhausted(node, bytes)
    }

    /// Takes sections of the node offline, the highest first, until at least `bytes` have gone; those that cannot be emptied
    /// are passed over. What stays in the way is told by [`Pool::offline`].
    pub fn shrink(&self, node: NodeId, bytes: u64) -> Resized {
        let mut online: Vec<Pluggable> =
            self.pluggable().filter(|section| section.node == node && section.zone.is_some()).collect();
        online.sort_unstable_by_key(|section| section.range.start);
        let mut resized = Resized { bytes: 0, stopped: None };
        for section in online.into_iter().rev() {
            if resized.bytes >= bytes {
                break;
            }
            match self.offline(section.range, &mut |_| {}) {
                Ok(done) => resized.bytes += done.frames * FRAME_SIZE,
                Err(error) => resized.stopped = Some(error),
            }
            if let Some(PlugError::Hotplug(HotplugError::Cancelled)) = resized.stopped {
                return resized;
            }
        }
        if resized.bytes >= bytes {
            resized.stopped = None; // what was passed over does not matter
        }
        resized.or_exhausted(node, bytes)
    }

    /// How a section that is online would come back to the zone that it is in.
    fn online_type(&self, start: Pfn) -> OnlineType {
        match self.pluggable().find(|section| section.range.start == start).and_then(|section| section.zone) {
            Some(ZoneKind::Movable) => OnlineType::Movable,
            _ => OnlineType::Kernel,
        }
    }
}

impl Resized {
    fn or_exhausted(self, node: NodeId, wanted: u64) -> Self {
        let stopped = match self.stopped {
            None if self.bytes < wanted => Some(PlugError::Exhausted { node }),
            stopped => stopped,
        };
        Self { stopped, ..self }
    }
}

/// A range's sections.
fn sections(hot: HotRange) -> impl Iterator<Item = (FrameRange, NodeId)> {
    let starts = (hot.range.start.get()..hot.range.end.get()).step_by(SECTION_FRAMES as usize).map(Pfn::new);
    starts.map(move |start| (FrameRange::new(start, start.add(SECTION_FRAMES)), hot.node))
}
