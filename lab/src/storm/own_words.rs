//! Storm `own-words`: each CPU owns its slot words, and changes them without a locked instruction while others drain, close and
//! isolate them, and timer handlers interrupt it in the middle of a sequence. Threads run on the CPUs that they run on.

use anyhow::Result;
use zonal_linux::{Machine, MachineError, WordKind};

use super::engine::{self, Run};
use super::hand::Hand;
use super::words::Sense;
use super::{Finding, Storm, Threads};

/// A node of 64 blocks (no room for blocks kept for atomic requests) and as many CPUs as this machine lets the process have, four at most.
pub(super) struct OwnWords;

impl Storm for OwnWords {
    fn name(&self) -> &'static str {
        "own-words"
    }

    fn about(&self) -> &'static str {
        "words that their CPUs own, changed without a lock while others drain and close them"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["WordsUnheld", "EvictionDropsFrame"]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Owned, "it is about words that their CPUs own")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        engine::rage(self, run)
    }
}

impl Threads for OwnWords {
    fn machine(&self) -> Result<Machine, MachineError> {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(4));
        Machine::uniform(1, 128 << 20, cpus)
    }

    fn handlers(&self) -> usize {
        1
    }

    fn steps(&self) -> usize {
        20_000
    }

    fn step(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 0, 1, 3, 5, 9]);
        match hand.dice.u8(..64) {
            0..=27 => hand.take_and_hold(class, order),
            28 | 29 => hand.drain_one(),
            30 => hand.while_closed(|_| {}),
            31 => hand.keep_up(),
            _ => hand.give_one(),
        }
    }

    /// A run, taken and freed in the middle of whatever was interrupted.
    fn interrupt(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 3, 9]);
        if let Some(run) = hand.take(class, order) {
            hand.give(run);
        }
    }
}
