//! The daemons as functions: a thread of the embedder calls them when [`Platform::wake`] says so.
//!
//! What is asked of a daemon lies in a word of its node ([`crate::node`]); who runs a daemon sleeps only when
//! [`PageAllocator::has_work`] says no *after* it has made sure that a later wake will be heard.

use crate::access::{Access, Level};
use crate::allocator::PageAllocator;
use crate::cache::hold::Barriers;
use crate::compact::{CompactSummary, Outcome, Priority, compact};
use crate::events::Event;
use crate::frame::{BLOCK_FRAMES, NodeId, Order};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::node::{Job, Node, Work};
use crate::platform::{Daemon, Demand, Platform};
use crate::slow::compaction::note;
use crate::slow::{CLUSTER, FIRST_PRIORITY};
use crate::topology::{Kind, ZoneKind};
use crate::zone::{Mixing, Want, Zone};

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Reclaims for a node until one of the zones that were asked for is at its high mark, or nothing more can be had; then
    /// has kcompactd make the run that was asked for, if it is not there. False if nobody had asked, or another
    /// thread is at it.
    ///
    /// Task context; blocks as [`Platform::reclaim`] does. A round of reclaim for each that brought frames, and 13 that
    /// brought none, at most.
    pub fn kswapd(&self, node: NodeId) -> bool {
        let Some(words) = self.state.node(node) else { return false };
        let Some(work) = words.kswapd.begin() else { return false };
        self.state.zones.iter().filter(|zone| zone.node == node).for_each(Zone::review_words);
        self.balance(node, words, work);
        self.end(Daemon::Kswapd, node, &words.kswapd);
        true
    }

    /// Makes the longest run that was asked for, by moving frames, in the first of the node's zones where that goes. False
    /// if nobody had asked, or another thread is at it.
    ///
    /// Task context; calls [`Platform::migrate`].
    pub fn kcompactd(&self, node: NodeId) -> bool {
        let Some(words) = self.state.node(node) else { return false };
        let Some(work) = words.kcompactd.begin() else { return false };
        let cpu = self.cpu();
        cpu.count(Event::CompactDaemonWake, 1);
        let mut summary = CompactSummary::default();
        let zones = self.state.zones.iter().filter(|zone| zone.node == node && zone.kind <= work.highest);
        for zone in zones {
            let floor = zone.marks.floor(Access::at(Level::Low), work.highest, work.order);
            let want = Want {
                order: work.order,
                kind: Kind::Movable,
                floor,
                mixing: Mixing::Allowed,
                barriers: Barriers::Allowed,
            };
            let made = compact(&self.state, &self.platform, (zone, want), Priority::Light, &mut summary);
            if let Outcome::Captured(pfn) = made {
                self.free_own(pfn, work.order);
                break;
            }
        }
        note(cpu, &summary);
        cpu.count(Event::CompactDaemonMigrateScanned, summary.in_the_way);
        cpu.count(Event::CompactDaemonFreeScanned, summary.goals * BLOCK_FRAMES);
        self.end(Daemon::Kcompactd, node, &words.kcompactd);
        true
    }

    /// A daemon has done its work: tells the platform if it has been asked for more.
    fn end(&self, daemon: Daemon, node: NodeId, job: &Job) {
        if job.end() && !planted(Mutant::WorkUntold) {
            self.platform.wake(daemon, node);
        }
    }

    /// Whether work waits for a daemon that is not at it.
    pub fn has_work(&self, daemon: Daemon, node: NodeId) -> bool {
        self.state.node(node).is_some_and(|words| match daemon {
            Daemon::Kswapd => words.kswapd.is_asked(),
            Daemon::Kcompactd => words.kcompactd.is_asked(),
        })
    }

    /// Asks a daemon for work by hand, as a request that found no frames does.
    pub fn ask(&self, daemon: Daemon, node: NodeId, order: Order) {
        let work = Work { order, highest: ZoneKind::Movable };
        let asked = self.state.node(node).is_some_and(|words| match daemon {
            Daemon::Kswapd => words.kswapd.ask(work),
            Daemon::Kcompactd => words.kcompactd.ask(work),
        });
        if asked {
            self.platform.wake(daemon, node);
        }
    }

    /// One pass of kswapd.
    fn balance(&self, node: NodeId, words: &Node, work: Work) {
        let zones = || self.zones_of(node, work);
        let mut boosts = [0; ZoneKind::ALL.len()];
        zones().for_each(|zone| boosts[zone.kind as usize] = zone.marks.boost());
        self.cpu().count(Event::Pageoutrun, 1);
        let mut priority = FIRST_PRIORITY;
        let mut freed = 0u64;
        // Up to the boosted high mark if there is one: that is what the boost is for.
        while !self.is_balanced(node, work) {
            zones().for_each(Zone::note_short);
            let frames = zones().map(|zone| missing(zone, work)).sum::<u64>().max(CLUSTER);
            let gfp = Gfp::KERNEL;
            let demand = Demand { node, highest: work.highest, order: work.order, gfp, frames, priority };
            let brought = self.platform.reclaim(&demand);
            freed = freed.saturating_add(brought);
            match (brought, priority.checked_sub(1)) {
                (0, None) => break,
                (0, Some(harder)) => priority = harder,
                _ => {}
            }
        }
        // What it saw at the beginning has been made up for; what has come since waits for the next pass.
        zones().for_each(|zone| match boosts[zone.kind as usize] {
            0 => {}
            _ if planted(Mutant::BoostForgotten) => zone.marks.take_boost(zone.marks.boost()),
            boost => zone.marks.take_boost(boost),
        });
        let balanced = self.is_balanced(node, work);
        if freed > 0 || balanced {
            words.note_progress();
        } else {
            words.note_failure();
        }
        // It does not sleep before the node is balanced, or hopeless: nobody may ask again.
        if !balanced && !words.is_hopeless() && !planted(Mutant::SleepsUnbalanced) {
            words.kswapd.ask(work);
        }
        if work.order > Order::ZERO && !zones().any(|zone| zone.may_have_run(work.order)) {
            self.ask(Daemon::Kcompactd, node, work.order);
        }
    }

    /// The node's zones up to the highest that was asked for. One that has no memory now is at its high mark without being
    /// of use to anybody.
    fn zones_of(&self, node: NodeId, work: Work) -> impl Iterator<Item = &'m Zone<'m>> {
        let is_asked = move |zone: &&Zone<'_>| zone.node == node && zone.kind <= work.highest;
        let has_memory = |zone: &&Zone<'_>| zone.managed() > 0 || planted(Mutant::EmptyZoneBalanced);
        self.state.zones.iter().filter(is_asked).filter(has_memory)
    }

    /// Whether one of them is at its high mark, or none of them has memory.
    fn is_balanced(&self, node: NodeId, work: Work) -> bool {
        self.zones_of(node, work).map(|zone| missing(zone, work)).min().is_none_or(|least| least == 0)
    }
}

/// Frames that the zone is short of its high mark, those in words among the free.
fn missing(zone: &Zone<'_>, work: Work) -> u64 {
    let level = if planted(Mutant::BalanceToLow) { Level::Low } else { Level::High };
    let high = zone.marks.floor(Access::at(level), work.highest, Order::ZERO);
    high.saturating_sub(zone.free() + zone.cached())
}
