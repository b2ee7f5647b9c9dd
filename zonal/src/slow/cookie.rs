//! What a request remembers of the state of the world when it began, to be compared where it would fail, give up or have somebody
//! killed: a change means that what it has found says little, and it begins anew.
//!
//! Sampled at the (re)start of the ladder, before the first walk, and compared after the last. Never waits: a change is a
//! step that somebody else has completed.

use crate::policy::reach::Reach;
use crate::state::State;
use crate::sync::load_barrier;
use crate::zonelist::word::Stamp;

/// Times a request begins anew at most. Its last walk goes over all zones, so the answer is good then, too.
pub(crate) const RESTARTS: u32 = 16;

/// What was so when the request began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cookie {
    lists: Stamp,
    /// Moves of the cpuset of who asks and all above, and changes of the policy.
    moves: u64,
}

impl Cookie {
    /// As it is now.
    pub(crate) fn of(state: &State<'_>, asked: Reach<'_>) -> Self {
        Self { moves: asked.generation(), lists: state.lists.stamp() }
    }

    /// The same, with the lists as they are now.
    pub(crate) fn of_lists_now(self, state: &State<'_>) -> Self {
        Self { lists: state.lists.stamp(), ..self }
    }

    /// Whether where it may go has changed since. (Unlike lists: what a set did not allow, no last walk has seen. So who may
    /// wait begins anew as often as that happens.)
    pub(crate) fn have_sets_moved(self, asked: Reach<'_>) -> bool {
        load_barrier(); // what was looked at stays before the second reading
        asked.generation() != self.moves
    }

    /// Whether something about the lists has changed since, as far as the walks made in between can tell.
    pub(crate) fn is_stale(self, state: &State<'_>) -> bool {
        state.lists.have_moved(self.lists)
    }
}
