//! Kinds kept apart as long as that goes ([`crate::Tuning::defrag_mode`]): when a request that began so goes over to mixing.
//!
//! One that may wait does after reclaim and compaction, before it looks whether to begin anew and before anybody is killed; every
//! other one in its last walk, so that it does not fail while memory is free above its mark. From then on kinds are mixed until it
//! begins anew. While it keeps them apart a round whose frames were of no use to it counts as one in vain: after sixteen it mixes,
//! however much reclaim brings, and has all its rounds before a kill with what that brings then.
//!
//! A place that a request asks for, a block kept for atomic requests and a hit have no part in this.

use crate::compact::{CompactSummary, Outcome, Priority, compact};
use crate::error::AllocError;
use crate::frame::{Order, Pfn, ROWS};
use crate::mutant::{Mutant, planted};
use crate::platform::{Platform, Step};
use crate::slow::Ladder;
use crate::slow::walk::Walk;
use crate::topology::Kind;
use crate::zone::{Mixing, Want, Zone};

impl<'s, 'm, P: Platform> Ladder<'s, 'm, P> {
    /// Whether it may mix kinds when it begins.
    pub(super) fn mixing_at_first(&self) -> Mixing {
        match self.waits && planted(Mutant::DefragMixesSoon) {
            true => Mixing::Allowed,
            false => self.walk.state.mixing(),
        }
    }

    pub(super) fn keeps_apart(&self) -> bool {
        self.walk.mixing == Mixing::Avoided
    }

    /// From now on it mixes kinds: a walk that does.
    pub(super) fn mix(&mut self) -> Option<Pfn> {
        self.walk.mixing = Mixing::Allowed;
        self.slow_walk(self.freely(), self.reserve)
    }

    /// The walk before a failure or a kill: it may mix kinds, if one that does not was in vain.
    pub(super) fn last_walk(&mut self) -> Result<Pfn, AllocError> {
        if self.injects(Step::LastWalk) {
            return Err(self.freely().refusal(self.reserve, 0));
        }
        if self.keeps_apart() {
            if let Some(pfn) = self.slow_walk(self.freely(), self.reserve) {
                return Ok(pfn);
            }
            if !planted(Mutant::DefragRefuses) {
                self.walk.mixing = Mixing::Allowed;
            }
        }
        let (outcome, walks) = self.freely().last(self.reserve);
        self.climb.walks += walks;
        self.keep_block(outcome.ok(), self.reserve);
        outcome
    }

    /// Makes the run in the zone by moving frames. One of another kind than those that can be moved is made out of a whole block
    /// that it has to itself, where kinds are kept apart.
    pub(super) fn compact_in(
        &mut self,
        (zone, want): (&'m Zone<'m>, Want),
        priority: Priority,
        summary: &mut CompactSummary,
    ) -> Outcome {
        let apart = self.keeps_apart() && !planted(Mutant::DefragBreaksBlocks);
        if !apart || want.kind == Kind::Movable || want.order >= Order::BLOCK {
            return compact(self.walk.state, self.platform, (zone, want), priority, summary);
        }
        let whole = Want { order: Order::BLOCK, ..want };
        let outcome = compact(self.walk.state, self.platform, (zone, whole), priority, summary);
        let Outcome::Captured(start) = outcome else { return outcome };
        if let Ok((zone, block)) = self.walk.state.block(start) {
            block.split();
            // It is this request's alone: nobody refuses that.
            let _ = (0..ROWS).try_for_each(|row| zone.land(None, block, row, u64::MAX));
        }
        let walk = Walk { reach: self.walk.reach.hard(), ..self.walk };
        self.slow_walk(walk, self.access_to_compact()).map_or(Outcome::Partial, Outcome::Captured)
    }
}
