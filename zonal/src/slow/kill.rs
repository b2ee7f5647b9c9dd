//! Memory has run out: one request at a time has the platform kill.

use crate::access::{Access, AllocFlags, Level};
use crate::events::Event;
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::{Oom, Platform, Step, Verdict};
use crate::report::failure::{self, Asked};
use crate::slow::{COSTLY, Ladder, Rung};
use crate::topology::ZoneKind;
use crate::urgency::Effort;

impl<P: Platform> Ladder<'_, '_, P> {
    /// Memory has run out: one request at a time looks once more, and has the platform kill.
    pub(super) fn out_of_memory(&mut self) -> Rung {
        let Some(turn) = self.walk.state.oom.enter() else {
            self.climb.pauses += 1;
            self.platform.pause(); // somebody else is at it: that is progress
            return if planted(Mutant::TurnIsFailure) { Rung::Nothing } else { Rung::Progress };
        };
        let kills = self.climb.kills;
        let rung = self.kill();
        let _late = planted(Mutant::ToldInTurn).then_some(turn);
        // Told when it is others' turn again: who reads the report may ask for memory.
        if self.climb.kills > kills {
            failure::out_of_memory(
                self.walk.state,
                self.platform,
                Asked::by(self.walk.request, self.walk.reach),
            );
        }
        rung
    }

    fn kill(&mut self) -> Rung {
        // What a kill in parallel has freed. Then, since frames in flight must not cost a life, down to the mark.
        if !planted(Mutant::KillUnlooked) {
            if let Some(pfn) = self.slow_walk(self.hard(), Access::at(Level::High)) {
                return Rung::Got(pfn);
            }
            if let Ok(pfn) = self.last_walk() {
                return Rung::Got(pfn);
            }
        }
        if planted(Mutant::KillForgotten) || self.is_in_vain() || self.platform.task().oom_victim {
            return Rung::Nothing;
        }
        let request = self.walk.request;
        if !request.gfp.contains(Gfp::FS) && !planted(Mutant::KillsInVain) {
            // It cannot help itself. Others can, and kill if need be; where there is nothing for them either it fails (Linux
            // has it wait for ever).
            if !self.walk.possible().any(|zone| self.platform.reclaimable(zone.id) > 0) {
                return Rung::Nothing;
            }
            self.climb.pauses += 1;
            self.platform.pause();
            return Rung::Progress;
        }
        if self.is_outdated() {
            return Rung::Nothing; // it begins anew, with all rounds before it
        }
        if self.injects(Step::Kill) {
            return Rung::Nothing;
        }
        let oom =
            Oom { order: request.order, gfp: request.gfp, highest: request.highest, node: self.walk.node() };
        self.climb.kills += 1;
        match self.platform.oom(&oom) {
            Verdict::Killed => {
                self.walk.cpu.count(Event::OomKill, 1);
                // Who cannot fail does not wait until the victim is gone: nobody else is killed for it meanwhile.
                let urgent = self.urgency().never_fails && !planted(Mutant::NofailKillsOn);
                let below_all = urgent.then(|| self.at_last(AllocFlags::NO_WATERMARKS)).flatten();
                below_all.map_or(Rung::Progress, Rung::Got)
            }
            Verdict::GiveUp => Rung::Nothing,
        }
    }

    /// Whether killing would not bring what it needs: a long run, a node's frames, those of the lowest zones.
    fn is_in_vain(&self) -> bool {
        let request = self.walk.request;
        let in_vain = request.order > COSTLY
            || request.urgency().effort == Effort::Hard
            || request.gfp.contains(Gfp::THISNODE)
            || request.highest < ZoneKind::Normal;
        in_vain && !planted(Mutant::KillsInVain)
    }
}
