//! A zone's figures at one moment, and the watermark test of them.

use super::grant::{Grant, Level};
use crate::machine::Class;

/// What is known of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ZoneNow {
    /// Frames nobody holds, those in CPU caches and kept blocks too; not those on the move.
    pub free: u64,
    /// Of these, frames in blocks kept for long requests that do not wait.
    pub highatomic: u64,
    /// Min, low and high mark.
    pub marks: [u64; 3],
    /// What is added to each of them for now.
    pub boost: u64,
    /// What requests that may use each kind of zone leave besides, lowest kind first.
    pub reserve: [u64; 4],
    /// The order of the longest free run outside kept blocks, if a frame is free there.
    pub longest: Option<u8>,
    /// The order of the longest free run in kept blocks, if a frame is free there.
    pub longest_highatomic: Option<u8>,
}

impl ZoneNow {
    /// How many frames must be free for a run of this order, as the test says: more than this plus the run's others.
    pub fn floor(&self, grant: Grant, highest: Class, order: u8) -> u64 {
        let mark = match grant.level {
            Level::Min => self.marks[0],
            Level::Low => self.marks[1],
            Level::High => self.marks[2],
        };
        // A single frame for a HIGH request at the min mark: the boost does not count.
        let unboosted = order == 0 && grant.min_reserve && grant.level == Level::Min;
        let mut left = if unboosted { mark } else { mark + self.boost };
        if grant.min_reserve {
            left -= left / 2;
            if grant.non_block {
                left -= left / 4;
            }
        }
        if grant.victim {
            left -= left / 2;
        }
        left + self.reserve[highest as usize]
    }

    /// Whether the test lets a request have a run of this order.
    pub fn admits(&self, grant: Grant, highest: Class, order: u8) -> bool {
        let any_reserve = grant.min_reserve || grant.non_block || grant.victim || grant.highatomic;
        let kept = if any_reserve { 0 } else { self.highatomic };
        let unusable = (1u64 << order) - 1 + kept;
        let enough = self.free > unusable && self.free - unusable > self.floor(grant, highest, order);
        self.has_run(grant, order) && (enough || grant.no_watermarks)
    }

    /// Whether there is a run of this order where the request may look.
    fn has_run(&self, grant: Grant, order: u8) -> bool {
        let long_enough = |longest: Option<u8>| longest.is_some_and(|longest| longest >= order);
        // Single frames are left for those that do not wait, too: their failure is worse than a later one's.
        let kept = grant.highatomic || grant.victim || grant.non_block;
        long_enough(self.longest) || (kept && long_enough(self.longest_highatomic))
    }
}
