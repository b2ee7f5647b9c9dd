//! The tests a request makes, one after the other, each with which mark and which part of it.

use super::mask::{DIRECT_RECLAIM, HIGH, MEMALLOC, NOMEMALLOC, has};

/// A mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Of slow walks.
    Min,
    /// Of the fast walk.
    Low,
    /// Of the last look before somebody is killed.
    High,
}

/// One test: a mark, and what makes it lower (Linux: ALLOC_ flags).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The mark tested.
    pub level: Level,
    /// Half of it.
    pub min_reserve: bool,
    /// With `min_reserve`, three quarters of that.
    pub non_block: bool,
    /// Half of what is left: a task that is being killed.
    pub victim: bool,
    /// The blocks kept for long requests that do not wait may be used.
    pub highatomic: bool,
    /// A failed test does not count.
    pub no_watermarks: bool,
}

impl Grant {
    /// The whole mark.
    pub const fn at(level: Level) -> Self {
        Self {
            level,
            min_reserve: false,
            non_block: false,
            victim: false,
            highatomic: false,
            no_watermarks: false,
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Asker {
    /// A task that frees memory.
    pub memalloc: bool,
    /// A task that is being killed for its memory.
    pub victim: bool,
    /// A real-time task.
    pub realtime: bool,
    /// An interrupt: what the task is does not count.
    pub interrupt: bool,
}

/// The tests of a request, in their order: the fast walk's, the slow walk's, and the one with the reserves of who asks.
///
/// The last has what the slow walk's has besides; so a victim whose request is HIGH is left a quarter of the mark.
pub fn grants(mask: u32, order: u8, asker: Asker) -> Vec<Grant> {
    let waits = has(mask, DIRECT_RECLAIM);
    let mut slow = Grant::at(Level::Min);
    if has(mask, HIGH) {
        slow.min_reserve = true;
    }
    if !waits && !has(mask, NOMEMALLOC) {
        slow.non_block = true;
        slow.highatomic = order > 0 && has(mask, HIGH);
    }
    if waits && asker.realtime && !asker.interrupt {
        slow.min_reserve = true;
    }
    let mut last = slow;
    if !has(mask, NOMEMALLOC) {
        if has(mask, MEMALLOC) || (asker.memalloc && !asker.interrupt) {
            last.no_watermarks = true;
        } else if asker.victim && !asker.interrupt {
            last.victim = true;
        }
    }
    vec![Grant::at(Level::Low), slow, last]
}
