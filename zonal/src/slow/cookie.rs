//! What a request remembers of the state of the world when it began, to be compared where it would fail, give up or have somebody
//! killed: a change means that what it has found says little, and it begins anew.
//!
//! Sampled at the (re)start of the ladder, before the first walk, and compared after the last. Never waits: a change is a
//! step that somebody else has completed.

use crate::state::State;
use crate::zonelist::word::Stamp;

/// Times a request begins anew at most. Its last walk goes over all zones, so the answer is good then, too.
pub(crate) const RESTARTS: u32 = 16;

/// What was so when the request began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cookie {
    lists: Stamp,
}

impl Cookie {
    /// As it is now.
    pub(crate) fn of(state: &State<'_>) -> Self {
        Self { lists: state.lists.stamp() }
    }

    /// Whether something has changed since, as far as the walks made in between can tell.
    pub(crate) fn is_stale(self, state: &State<'_>) -> bool {
        state.lists.have_moved(self.lists)
    }
}
