//! The ladder's one rung for nolock requests: walks over all zones down to the min mark, and nobody is told.
//!
//! The same last walk as everybody's, so it fails only where that does; begun anew where lists or sets have changed under it.

use crate::access::{Access, AllocFlags, Level};
use crate::error::AllocError;
use crate::frame::Pfn;
use crate::mutant::{Mutant, planted};
use crate::platform::{Climb, Platform};
use crate::slow::Ladder;
use crate::slow::cookie::Cookie;
use crate::slow::walk::Walk;

/// What such a request leaves: the whole min mark, whoever asks, and the blocks kept for atomic requests.
pub(crate) fn access() -> Access {
    match () {
        () if planted(Mutant::NolockToLow) => Access::at(Level::Low),
        () if planted(Mutant::NolockUrgent) => Access::at(Level::Min).with(AllocFlags::RESERVES),
        () => Access::at(Level::Min),
    }
}

/// Serves a nolock request that its first zone did not.
#[cold]
pub(crate) fn alloc<P: Platform>(walk: Walk<'_, '_>, platform: &P) -> Result<Pfn, AllocError> {
    if let Some(node) = walk.request.node.filter(|&node| !walk.state.lists.has_node(node)) {
        return Err(AllocError::NoSuchNode { node });
    }
    let (asked, leaves) = (walk.reach, access());
    let mut ladder = Ladder {
        walk,
        asked,
        platform,
        class: leaves,
        reserve: leaves,
        freely: false,
        waits: false,
        recursive: false,
        cookie: Cookie::of(walk.state, asked),
        climb: Climb::default(),
    };
    let outcome = ladder.alloc(Ladder::go_straight);
    platform.climbed(&ladder.climb);
    outcome
}

impl<P: Platform> Ladder<'_, '_, P> {
    /// The last walk, where a glance does not say that it would be in vain.
    fn go_straight(&mut self) -> Result<Pfn, AllocError> {
        if planted(Mutant::NolockGivesUp) {
            return Err(AllocError::NoZone);
        }
        match self.walk.glance(self.reserve) {
            Some(error) => Err(error),
            None => self.last_walk(),
        }
    }
}
