//! What a storm has met with: one that meets nothing proves nothing.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts for people. Relaxed: nobody decides by them.
#[derive(Default)]
pub(super) struct Met {
    pub(super) refused: AtomicU64,
    /// Refusals after which the oracle found a run, which others had freed since.
    pub(super) late: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) unmoved: AtomicU64,
    /// Rounds of reclaim by requests and kswapds.
    pub(super) reclaims: AtomicU64,
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, late, kills, moved, unmoved, reclaims } = self;
        let [refused, late, kills, moved, unmoved, reclaims] =
            [refused, late, kills, moved, unmoved, reclaims].map(|count| count.load(Relaxed));
        writeln!(
            f,
            "{refused} requests were refused, {late} of them shortly before others freed what they wanted; {reclaims} rounds of reclaim, {kills} asked for a kill; {moved} runs were moved, {unmoved} could not be"
        )
    }
}
