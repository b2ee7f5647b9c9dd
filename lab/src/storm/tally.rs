//! What one context counted, and what all of them add up to.

use std::time::Duration;

use super::call::Call;
use super::violation::Violation;

/// Exact, but for `longest`, which includes the time in which the thread did not run.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    /// Calls of the allocator.
    pub(super) requests: u64,
    /// Refusals that broke a promise, of who may wait.
    pub(super) failed_blocking: u64,
    /// The same of who may not.
    pub(super) failed_atomic: u64,
    /// Those of both that came at a standstill.
    pub(super) premature: u64,
    /// Kills that came too soon.
    pub(super) false_oom: u64,
    /// Frames that nobody holds and nobody can get.
    pub(super) lost: u64,
    /// Frames held that were handed out again, and frees of held runs that were refused.
    pub(super) double: u64,
    /// Handlers that ran inside a call of the allocator.
    pub(super) interruptions: u64,
    /// Of them in each call.
    pub(super) landed: [u64; Call::ALL.len()],
    /// Instructions of the longest request that was single-stepped.
    pub(super) max_steps: u64,
    /// Calls that others completed meanwhile.
    pub(super) others: u64,
    /// The longest call.
    pub(super) longest: Duration,
    /// The first promise broken.
    pub(super) first: Option<Violation>,
}

impl Tally {
    /// Notes a handler that ran in a call.
    pub(super) fn interrupted(&mut self, call: Call) {
        self.interruptions += 1;
        self.landed[call as usize] += 1;
    }

    /// In which calls handlers ran, and how often.
    pub(super) fn interrupted_calls(&self) -> impl Iterator<Item = (Call, u64)> {
        Call::ALL.into_iter().zip(self.landed).filter(|&(_, times)| times > 0)
    }

    /// Notes a broken promise where it counts.
    pub(super) fn broke(&mut self, violation: Violation) {
        match violation {
            Violation::Refused { class, .. } => *self.refusals(class.may_block()) += 1,
            Violation::RefusedStill { class, .. } => {
                *self.refusals(class.may_block()) += 1;
                self.premature += 1;
            }
            Violation::RefusedAdmitted { wish, .. }
            | Violation::RefusedInSet { wish, .. }
            | Violation::GaveUp { wish, .. } => {
                *self.refusals(wish.waits()) += 1;
                self.premature += 1;
            }
            Violation::KilledSoon { .. }
            | Violation::KilledInSet { .. }
            | Violation::KilledNeedlessly { .. } => self.false_oom += 1,
            Violation::Lost { allocated, held } => self.lost = allocated - held,
            Violation::FreeAndHeld { .. }
            | Violation::Twice { .. }
            | Violation::Changed { .. }
            | Violation::Nowhere { .. }
            | Violation::Unplugged { .. }
            | Violation::OutAndHeld { .. }
            | Violation::FreeRefused { .. }
            | Violation::FreeAccepted { .. } => self.double += 1,
            _ => {}
        }
        self.first = self.first.or(Some(violation));
    }

    fn refusals(&mut self, may_block: bool) -> &mut u64 {
        if may_block { &mut self.failed_blocking } else { &mut self.failed_atomic }
    }

    /// Adds what another context counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed_blocking += other.failed_blocking;
        self.failed_atomic += other.failed_atomic;
        self.premature += other.premature;
        self.false_oom += other.false_oom;
        self.lost += other.lost;
        self.double += other.double;
        self.interruptions += other.interruptions;
        self.landed.iter_mut().zip(other.landed).for_each(|(sum, landed)| *sum += landed);
        if other.max_steps > self.max_steps {
            (self.max_steps, self.others) = (other.max_steps, other.others);
        }
        self.longest = self.longest.max(other.longest);
        self.first = self.first.or(other.first);
    }
}
