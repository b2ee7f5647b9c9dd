//! How far down a request may take a zone: which mark it leaves, and which part of that.
//!
//! Source: linux-facts 2.5 (ALLOC_ flags), whose names the flags have.

use bitflags::bitflags;

use crate::frame::Order;
use crate::gfp::Gfp;
use crate::platform::Task;

/// The mark that a request leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// On the slow path.
    Min,
    /// On the fast path.
    Low,
    /// The last look before somebody is killed.
    High,
}

bitflags! {
    /// What makes the mark lower.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Reserves: u8 {
        /// No mark at all.
        const NO_WATERMARKS = 1 << 0;
        /// Half of what is left: for a task that is being killed.
        const OOM = 1 << 1;
        /// With MIN_RESERVE a quarter off what is left: for a request that cannot wait.
        const NON_BLOCK = 1 << 2;
        /// Half of the mark.
        const MIN_RESERVE = 1 << 3;
        /// The blocks kept for long atomic requests may be used.
        const HIGHATOMIC = 1 << 4;
    }
}

/// Mark and reserves together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) level: Level,
    pub(crate) reserves: Reserves,
}

impl Access {
    /// Of every request's first walk.
    pub(crate) const FAST: Self = Self::at(Level::Low);

    /// The whole mark.
    pub(crate) const fn at(level: Level) -> Self {
        Self { level, reserves: Reserves::empty() }
    }

    /// What a request's class may have on the slow path.
    pub(crate) fn of_class(gfp: Gfp, order: Order, task: Task) -> Self {
        let mut reserves = Reserves::empty();
        reserves.set(Reserves::MIN_RESERVE, gfp.contains(Gfp::HIGH));
        if gfp.contains(Gfp::DIRECT_RECLAIM) {
            reserves.set(Reserves::MIN_RESERVE, gfp.contains(Gfp::HIGH) || task.realtime && !task.interrupt);
        } else if !gfp.contains(Gfp::NOMEMALLOC) {
            reserves.insert(Reserves::NON_BLOCK);
            reserves.set(Reserves::HIGHATOMIC, order > Order::ZERO && gfp.contains(Gfp::HIGH));
        }
        Self { level: Level::Min, reserves }
    }

    /// The same with the reserves that belong to who asks: for reclaim itself all, for a victim half.
    pub(crate) fn with_reserves(self, gfp: Gfp, task: Task) -> Self {
        if gfp.contains(Gfp::NOMEMALLOC) {
            return self;
        }
        if gfp.contains(Gfp::MEMALLOC) || task.memalloc && !task.interrupt {
            return self.with(Reserves::NO_WATERMARKS);
        }
        if task.oom_victim && !task.interrupt { self.with(Reserves::OOM) } else { self }
    }

    /// The same with more reserves.
    pub(crate) fn with(self, reserves: Reserves) -> Self {
        Self { reserves: self.reserves | reserves, ..self }
    }

    /// What is left of `mark`: half for MIN_RESERVE, then three quarters for NON_BLOCK too, then half for OOM.
    pub(crate) const fn share_of(self, mark: u64) -> u64 {
        let mut left = mark;
        if self.reserves.contains(Reserves::NO_WATERMARKS) {
            return 0;
        }
        if self.reserves.contains(Reserves::MIN_RESERVE) {
            left -= left / 2;
            if self.reserves.contains(Reserves::NON_BLOCK) {
                left -= left / 4;
            }
        }
        if self.reserves.contains(Reserves::OOM) {
            left -= left / 2;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_its_share_of_the_mark() {
        let left = |reserves| Access { level: Level::Min, reserves }.share_of(4096);
        assert_eq!(left(Reserves::empty()), 4096);
        assert_eq!(left(Reserves::NON_BLOCK), 4096, "not waiting alone gives nothing");
        assert_eq!(left(Reserves::MIN_RESERVE), 2048, "HIGH: 1/2");
        assert_eq!(left(Reserves::MIN_RESERVE | Reserves::NON_BLOCK), 1536, "ATOMIC: 3/8");
        assert_eq!(left(Reserves::OOM), 2048, "a victim: 1/2");
        assert_eq!(left(Reserves::OOM | Reserves::MIN_RESERVE), 1024, "a victim with HIGH: 1/4");
        let all = Reserves::OOM | Reserves::MIN_RESERVE | Reserves::NON_BLOCK;
        assert_eq!(left(all), 768, "a victim with ATOMIC: 3/16");
        assert_eq!(left(Reserves::NO_WATERMARKS | Reserves::OOM), 0);
    }

    #[test]
    fn odd_marks_are_rounded_up() {
        let left = |reserves, mark| Access { level: Level::Min, reserves }.share_of(mark);
        assert_eq!(left(Reserves::MIN_RESERVE, 5), 3);
        assert_eq!(left(Reserves::MIN_RESERVE | Reserves::NON_BLOCK, 11), 5);
        assert_eq!(left(Reserves::OOM, 1), 1);
    }
}
