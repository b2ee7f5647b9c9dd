//! Replacements of objects that were counted instruction by instruction, judged as requests for a frame are: the longest asks for one.

use crate::storm::steps;

/// Instructions that a replacement may take by itself, and for each object that others queued meanwhile: a frame for its
/// sheet is asked for as any other.
const STEPS_ALONE: u64 = 60_000;
const STEPS_PER_CALL: u64 = 2000;

/// Replacements that were counted step by step.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    /// Instructions of the longest, and objects that others queued meanwhile.
    pub(super) steps: u64,
    pub(super) others: u64,
    /// The first one that took too many, with as many as it may.
    pub(super) too_many: Option<(u64, u64)>,
}

impl Counted {
    /// Notes one: its instructions, and objects that others queued meanwhile.
    pub(super) fn add(&mut self, (steps, others): (u64, u64)) {
        let bound = (STEPS_ALONE + others * STEPS_PER_CALL).min(steps::MOST - 1);
        if steps > bound {
            self.too_many.get_or_insert((steps, bound));
        }
        if steps > self.steps {
            (self.steps, self.others) = (steps, others);
        }
    }

    /// These and those.
    pub(super) fn merge(&mut self, other: Self) {
        self.too_many = self.too_many.or(other.too_many);
        if other.steps > self.steps {
            (self.steps, self.others) = (other.steps, other.others);
        }
    }
}
