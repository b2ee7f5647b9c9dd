//! The daemons as functions: a thread of the embedder calls them when [`Platform::wake`] says so.
//!
//! What is asked of a daemon lies in a word of its node ([`crate::node`]); who runs a daemon sleeps only when
//! [`PageAllocator::has_work`] says no *after* it has made sure that a later wake will be heard.

use crate::access::{Access, Level};
use crate::allocator::PageAllocator;
use crate::cache::hold::Barriers;
use crate::compact::{CompactSummary, Compactor, Outcome, Priority, compact};
use crate::events::Event;
use crate::frame::{BLOCK_FRAMES, NodeId, Order};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::node::{Node, Work};
use crate::platform::{Daemon, Demand, Platform};
use crate::slow::compaction::note;
use crate::slow::{CLUSTER, FIRST_PRIORITY};
use crate::topology::{Kind, ZoneKind};
use crate::zone::{Mixing, Want, Zone};

/// A sleep that is shorter is counted (Linux: HZ / 10).
const SHORT_SLEEP_MS: u64 = 100;

/// Frames that kswapd has freed for the sake of whole blocks in a pass: room for kcompactd to make them (Linux: compact_gap).
const GAP: u64 = 2 * BLOCK_FRAMES;

/// What of a zone is to be at its high mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aim {
    /// What is free.
    Frames,
    /// What is free in whole blocks, where kinds are kept apart: they are what keeps them so.
    Blocks,
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Reclaims for a node until one of the zones that were asked for is at its high mark, or nothing more can be had; then
    /// has kcompactd make the run that was asked for, if it is not there. False if nobody had asked, or another
    /// thread is at it.
    ///
    /// With [`crate::Tuning::defrag_mode`] until that mark is free in whole blocks, or a round was in vain, or room enough was made
    /// (1024 frames): then kcompactd is to make the blocks.
    ///
    /// Task context; blocks as [`Platform::reclaim`] does. A round of reclaim for each that brought frames, and 13 that
    /// brought none, at most.
    pub fn kswapd(&self, node: NodeId) -> bool {
        let Some(words) = self.state.node(node) else { return false };
        let Some((at_work, work)) = AtWork::begin(&self.platform, (words, Daemon::Kswapd, node)) else {
            return false;
        };
        self.state.zones.iter().filter(|zone| zone.node == node).for_each(Zone::review_words);
        self.count_short_sleep(node, words, work);
        self.balance(node, words, work);
        at_work.end();
        true
    }

    /// Makes the longest run that was asked for, by moving frames, in the first of the node's zones where that goes. False
    /// if nobody had asked, or another thread is at it. With [`crate::Tuning::defrag_mode`] it then goes on making whole blocks until
    /// one of the zones has its high mark free in them, or no more are to be made: linear in the node's memory.
    ///
    /// Task context; calls [`Platform::migrate`].
    pub fn kcompactd(&self, node: NodeId) -> bool {
        let Some(words) = self.state.node(node) else { return false };
        let Some((at_work, work)) = AtWork::begin(&self.platform, (words, Daemon::Kcompactd, node)) else {
            return false;
        };
        let cpu = self.cpu();
        cpu.count(Event::CompactDaemonWake, 1);
        let mut summary = CompactSummary::default();
        match self.aim() {
            Aim::Blocks if work.order <= Order::BLOCK => {}
            _ => self.make_asked(node, work, &mut summary),
        }
        if self.aim() == Aim::Blocks {
            self.make_blocks(node, work, &mut summary);
        }
        note(cpu, &summary);
        cpu.count(Event::CompactDaemonMigrateScanned, summary.in_the_way);
        cpu.count(Event::CompactDaemonFreeScanned, summary.goals * BLOCK_FRAMES);
        at_work.end();
        true
    }

    /// Whether work waits for a daemon that is not at it.
    pub fn has_work(&self, daemon: Daemon, node: NodeId) -> bool {
        self.state.node(node).is_some_and(|words| words.job(daemon).is_asked())
    }

    /// Asks a daemon for work by hand, as a request that found no frames does.
    pub fn ask(&self, daemon: Daemon, node: NodeId, order: Order) {
        let work = Work { order, highest: ZoneKind::Movable };
        if self.state.node(node).is_some_and(|words| words.job(daemon).ask(work)) {
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
        let (mut freed, mut aim) = (0u64, self.aim());
        // Up to the boosted high mark if there is one: that is what the boost is for.
        while !self.is_balanced(node, work, aim) {
            if !planted(Mutant::WordsKeptByKswapd) {
                zones().for_each(Zone::note_short);
            }
            let room = if aim == Aim::Blocks { GAP.saturating_sub(freed) } else { 0 };
            let frames =
                zones().map(|zone| missing(zone, work, Aim::Frames)).sum::<u64>().max(room).max(CLUSTER);
            let gfp = Gfp::KERNEL;
            let demand = Demand { node, highest: work.highest, order: work.order, gfp, frames, priority };
            let brought = self.platform.reclaim(&demand);
            freed = freed.saturating_add(brought);
            if (brought == 0 || freed >= GAP) && !planted(Mutant::DefragUnbounded) {
                aim = Aim::Frames;
            }
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
        let balanced = self.is_balanced(node, work, Aim::Frames);
        if freed > 0 || balanced {
            words.note_progress();
        } else {
            words.note_failure();
        }
        if balanced {
            words.note_sleep(self.platform.now_ms());
        }
        // It does not sleep before the node is balanced, or hopeless: nobody may ask again.
        if !balanced && !words.is_hopeless() && !planted(Mutant::SleepsUnbalanced) {
            words.kswapd.ask(work);
        }
        if work.order > Order::ZERO && !zones().any(|zone| zone.may_have_run(work.order)) {
            self.ask(Daemon::Kcompactd, node, work.order);
        }
        if self.aim() == Aim::Blocks && !self.is_balanced(node, work, Aim::Blocks) {
            self.ask(Daemon::Kcompactd, node, Order::BLOCK.max(work.order));
        }
    }

    /// What daemons work for, as the knob is now.
    fn aim(&self) -> Aim {
        match self.state.mixing() {
            Mixing::Avoided if !planted(Mutant::DefragInFrames) => Aim::Blocks,
            _ => Aim::Frames,
        }
    }

    /// Makes a run in the first of the node's zones where that goes.
    fn make_asked(&self, node: NodeId, work: Work, summary: &mut CompactSummary) {
        let zones = self.state.zones.iter().filter(|zone| zone.node == node && zone.kind <= work.highest);
        for zone in zones {
            let want = want_to_make(zone, work);
            let made = compact(&self.state, &self.platform, (zone, want), Priority::Light, summary);
            if let Outcome::Captured(pfn) = made {
                self.free_own(pfn, work.order);
                break;
            }
        }
    }

    /// Makes whole blocks in the node's zones until one of them has its high mark free in such.
    fn make_blocks(&self, node: NodeId, work: Work, summary: &mut CompactSummary) {
        let work = Work { order: Order::BLOCK, ..work };
        for zone in self.zones_of(node, work) {
            let want = want_to_make(zone, work);
            let mut compactor = Compactor::new(&self.state, &self.platform, (zone, want), Priority::Light);
            while !self.is_balanced(node, work, Aim::Blocks)
                && let Outcome::Captured(pfn) = compactor.next_run(summary)
            {
                self.free_own(pfn, Order::BLOCK);
                if planted(Mutant::DefragOneRun) {
                    return;
                }
            }
        }
    }

    /// Counts a kswapd that is called soon after it found its node balanced, by what the node is short of now.
    fn count_short_sleep(&self, node: NodeId, words: &Node, work: Work) {
        if words.has_slept(SHORT_SLEEP_MS, self.platform.now_ms()) {
            return;
        }
        let least = |level| self.zones_of(node, work).map(|zone| short_of(zone, work, level)).min();
        let is_below = |level| least(level).is_some_and(|frames| frames > 0);
        let event = match () {
            () if is_below(Level::Low) => Event::KswapdLowWmarkHitQuickly,
            () if is_below(Level::High) => Event::KswapdHighWmarkHitQuickly,
            () => return,
        };
        self.cpu().count(event, 1);
    }

    /// The node's zones up to the highest that was asked for. One that has no memory now is at its high mark without being
    /// of use to anybody.
    fn zones_of(&self, node: NodeId, work: Work) -> impl Iterator<Item = &'m Zone<'m>> {
        let is_asked = move |zone: &&Zone<'_>| zone.node == node && zone.kind <= work.highest;
        let has_memory = |zone: &&Zone<'_>| zone.managed() > 0 || planted(Mutant::EmptyZoneBalanced);
        self.state.zones.iter().filter(is_asked).filter(has_memory)
    }

    /// Whether one of them is at its high mark, or none of them has memory.
    fn is_balanced(&self, node: NodeId, work: Work, aim: Aim) -> bool {
        self.zones_of(node, work).map(|zone| missing(zone, work, aim)).min().is_none_or(|least| least == 0)
    }
}

/// Frames that the zone is short of its high mark, those in words among the free, or in whole blocks.
fn missing(zone: &Zone<'_>, work: Work, aim: Aim) -> u64 {
    let level = if planted(Mutant::BalanceToLow) { Level::Low } else { Level::High };
    match aim {
        Aim::Frames => short_of(zone, work, level),
        Aim::Blocks => {
            let mark = mark_of(zone, work, level);
            mark.saturating_sub(zone.in_free_blocks(mark))
        }
    }
}

/// Frames that it is short of a mark.
fn short_of(zone: &Zone<'_>, work: Work, level: Level) -> u64 {
    mark_of(zone, work, level).saturating_sub(zone.free() + zone.cached())
}

fn mark_of(zone: &Zone<'_>, work: Work, level: Level) -> u64 {
    zone.marks.floor(Access::at(level), work.highest, Order::ZERO)
}

/// What kcompactd asks of a zone.
fn want_to_make(zone: &Zone<'_>, work: Work) -> Want {
    let floor = zone.marks.floor(Access::at(Level::Low), work.highest, work.order);
    let (mixing, barriers) = (Mixing::Allowed, Barriers::Allowed);
    Want { order: work.order, kind: Kind::Movable, floor, mixing, barriers }
}

/// A daemon at work. Dropped it has ended, and the platform is told of what it has been asked for meanwhile; by a panic of the
/// platform, of what it was asked for before, too: a pass in vain, for kswapd.
struct AtWork<'a, P: Platform> {
    platform: &'a P,
    words: &'a Node,
    daemon: Daemon,
    node: NodeId,
    /// What is not done yet.
    left: Option<Work>,
}

impl<'a, P: Platform> AtWork<'a, P> {
    /// Takes the work, if there is any and nobody else is at it.
    fn begin(platform: &'a P, (words, daemon, node): (&'a Node, Daemon, NodeId)) -> Option<(Self, Work)> {
        let work = words.job(daemon).begin()?;
        Some((Self { platform, words, daemon, node, left: Some(work) }, work))
    }

    /// The work is done.
    fn end(mut self) {
        self.left = None;
    }
}

impl<P: Platform> Drop for AtWork<'_, P> {
    fn drop(&mut self) {
        let job = self.words.job(self.daemon);
        if let Some(work) = self.left.filter(|_| !planted(Mutant::PanicForgetsWork)) {
            let is_kswapd = self.daemon == Daemon::Kswapd;
            if is_kswapd {
                self.words.note_failure();
            }
            if !is_kswapd || !self.words.is_hopeless() {
                job.ask(work); // nobody is told while it is at work
            }
        }
        if job.end() && !planted(Mutant::WorkUntold) {
            self.platform.wake(self.daemon, self.node);
        }
    }
}
