//! How far down a request may take a zone: which mark it leaves, and which part of that.
//!
//! Source: linux-facts 2.5 (ALLOC_ flags), whose names the flags have.

use bitflags::bitflags;

use crate::frame::Order;
use crate::mutant::{Mutant, planted};
use crate::platform::Task;
use crate::urgency::{Reserves, Urgency};

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
    pub(crate) struct AllocFlags: u8 {
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

        /// Those that make the frames kept for atomic requests count as free.
        const RESERVES = Self::OOM.bits() | Self::NON_BLOCK.bits() | Self::MIN_RESERVE.bits()
            | Self::HIGHATOMIC.bits();
    }
}

/// Mark and flags together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) level: Level,
    pub(crate) flags: AllocFlags,
}

impl Access {
    /// The whole mark.
    pub(crate) const fn at(level: Level) -> Self {
        Self { level, flags: AllocFlags::empty() }
    }

    /// What a request's class may have on the slow path.
    pub(crate) fn of_class(urgency: Urgency, order: Order, task: Task) -> Self {
        let mut flags = AllocFlags::empty();
        let high = matches!(urgency.reserves, Reserves::High | Reserves::Half)
            && (urgency.waits || !planted(Mutant::AtomicAtMin));
        let realtime = urgency.waits && task.realtime && !task.interrupt;
        flags.set(AllocFlags::MIN_RESERVE, high || realtime);
        if !urgency.waits && !matches!(urgency.reserves, Reserves::None | Reserves::Half) {
            flags.insert(AllocFlags::NON_BLOCK);
            flags.set(AllocFlags::HIGHATOMIC, order > Order::ZERO && urgency.reserves == Reserves::High);
        }
        Self { level: if planted(Mutant::SlowToLow) { Level::Low } else { Level::Min }, flags }
    }

    /// The same with the reserves that belong to who asks: for reclaim itself all, for a victim half.
    pub(crate) fn with_reserves(self, urgency: Urgency, task: Task) -> Self {
        match urgency.reserves {
            Reserves::None | Reserves::Half => self,
            Reserves::All => self.with(AllocFlags::NO_WATERMARKS),
            _ if task.interrupt => self,
            _ if task.memalloc => self.with(AllocFlags::NO_WATERMARKS),
            _ if task.oom_victim && !planted(Mutant::VictimWhole) => self.with(AllocFlags::OOM),
            Reserves::Ordinary | Reserves::High => self,
        }
    }

    /// The same with more flags.
    pub(crate) fn with(self, flags: AllocFlags) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    /// What is left of `mark`: half for MIN_RESERVE, then three quarters for NON_BLOCK too, then half for OOM.
    pub(crate) const fn share_of(self, mark: u64) -> u64 {
        let mut left = mark;
        if self.flags.contains(AllocFlags::MIN_RESERVE) {
            left -= left / 2;
            if self.flags.contains(AllocFlags::NON_BLOCK) {
                left -= left / 4;
            }
        }
        if self.flags.contains(AllocFlags::OOM) {
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
        let left = |flags| Access { level: Level::Min, flags }.share_of(4096);
        assert_eq!(left(AllocFlags::empty()), 4096);
        assert_eq!(left(AllocFlags::NON_BLOCK), 4096, "not waiting alone gives nothing");
        assert_eq!(left(AllocFlags::MIN_RESERVE), 2048, "HIGH: 1/2");
        assert_eq!(left(AllocFlags::MIN_RESERVE | AllocFlags::NON_BLOCK), 1536, "ATOMIC: 3/8");
        assert_eq!(left(AllocFlags::OOM), 2048, "a victim: 1/2");
        assert_eq!(left(AllocFlags::OOM | AllocFlags::MIN_RESERVE), 1024, "a victim with HIGH: 1/4");
        let all = AllocFlags::OOM | AllocFlags::MIN_RESERVE | AllocFlags::NON_BLOCK;
        assert_eq!(left(all), 768, "a victim with ATOMIC: 3/16");
    }

    #[test]
    fn odd_marks_are_rounded_up() {
        let left = |flags, mark| Access { level: Level::Min, flags }.share_of(mark);
        assert_eq!(left(AllocFlags::MIN_RESERVE, 5), 3);
        assert_eq!(left(AllocFlags::MIN_RESERVE | AllocFlags::NON_BLOCK, 11), 5);
        assert_eq!(left(AllocFlags::OOM, 1), 1);
    }
}
