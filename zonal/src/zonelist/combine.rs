//! Something that one task at a time does for all that want it done.
//!
//! Whoever wants it takes a ticket. Whose turn it is reads the tickets that have been given, does it, and says up to which
//! ticket it has been done; then once more for those who came meanwhile. The others wait until their ticket is done, and take
//! the turn themselves if nobody has it: so a holder that gives up half-way (a panic of the platform) loses nobody's request.
//! Invariant: `done <= asked`, and what a ticket's owner did before he took it is in what `done` says is done.

use crate::mutant::{Mutant, planted};
use crate::node::Turn;
use crate::sync::{AtomicU64, Ordering};

/// Rounds of one turn: the holder's own, and one for whoever came meanwhile.
const ROUNDS: u32 = 2;

/// The turn, and the tickets.
pub(crate) struct Combiner {
    turn: Turn,
    asked: AtomicU64,
    done: AtomicU64,
}

impl Combiner {
    pub(crate) fn new() -> Self {
        Self { turn: Turn::new(), asked: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    /// Has `act` done from its beginning to its end at least once after this call began, here or by another caller, for
    /// whom this one `wait`s. Whether it was done here. Task context; not from `act`.
    pub(crate) fn run(&self, mut act: impl FnMut(), mut wait: impl FnMut()) -> bool {
        // AcqRel: what the caller has done is before what the holder does; partner: the load in `serve`.
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut acted = false;
        // Acquire: what was done; partner: the store in `serve`.
        while self.done.load(Ordering::Acquire) < mine {
            match self.turn.enter() {
                Some(_turn) => acted |= self.serve(&mut act),
                None => wait(),
            }
        }
        acted
    }

    /// Whether it is somebody's turn: a hint.
    pub(crate) fn is_taken(&self) -> bool {
        self.turn.is_taken()
    }

    /// A turn; whether anything was left to do.
    fn serve(&self, act: &mut impl FnMut()) -> bool {
        for round in 0..ROUNDS {
            let asked = self.asked.load(Ordering::Acquire); // Acquire: partner: `run`
            if self.done.load(Ordering::Relaxed) == asked {
                // Relaxed: only whose turn it is writes it, and the turn orders that
                return round > 0;
            }
            act();
            let seen =
                if planted(Mutant::RequestBehindLost) { self.asked.load(Ordering::Acquire) } else { asked };
            self.done.store(seen, Ordering::Release); // Release: partner: `run`
        }
        true
    }
}
