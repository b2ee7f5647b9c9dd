//! How often a report may be made: so many in an interval, whoever asks.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=7 | reports made in the interval | [`Rate::admits`] |
//! | 8..=63 | when it began, in ms, and 1 (0: never) | `admits` |
//!
//! Each change is one compare-exchange; who loses it has been reported instead of, or looks again. A clock that stands
//! still admits one interval's reports in all.

use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering};

const MADE: u64 = 0xff;

/// The word, and what it admits.
pub(crate) struct Rate {
    word: AtomicU64,
    interval_ms: u64,
    burst: u64,
}

impl Rate {
    /// One every 10 s: allocation failures (Linux: `nopage_rs`).
    pub(crate) fn of_failures() -> Self {
        Self { word: AtomicU64::new(0), interval_ms: 10_000, burst: 1 }
    }

    /// Ten every 5 s: out of memory (Linux: `oom_rs`).
    pub(crate) fn of_kills() -> Self {
        Self { word: AtomicU64::new(0), interval_ms: 5_000, burst: 10 }
    }

    /// Whether a report may be made now; it counts then. Any context. Retries only after another's report was admitted.
    pub(crate) fn admits(&self, now_ms: u64) -> bool {
        let mut word = self.word.load(Ordering::Relaxed); // Relaxed, all: orders nothing else
        loop {
            let (began, made) = (word >> 8, word & MADE);
            let is_over = began == 0 || (now_ms + 1).saturating_sub(began) >= self.interval_ms;
            let next = if is_over { (now_ms + 1) << 8 | 1 } else { word + 1 };
            if !is_over && made >= self.burst && !planted(Mutant::ReportsUnlimited) {
                return false;
            }
            match self.word.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_failure_every_ten_seconds() {
        let rate = Rate::of_failures();
        let admitted =
            [0, 1, 9_999, 10_000, 10_001, 19_999, 20_000, 90_000, 80_000].map(|now| rate.admits(now));
        assert_eq!(admitted, [true, false, false, true, false, false, true, true, false]);
    }

    #[test]
    fn ten_kills_every_five_seconds() {
        let rate = Rate::of_kills();
        let admitted = |now| (0..20).filter(|_| rate.admits(now)).count();
        assert_eq!([7, 4_000, 5_006, 5_007, 10_007].map(admitted), [10, 0, 0, 10, 10]);
    }

    #[test]
    fn a_clock_that_stands_still_admits_one() {
        let rate = Rate::of_failures();
        assert_eq!((0..100).filter(|_| rate.admits(0)).count(), 1);
    }
}
