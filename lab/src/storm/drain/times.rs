//! How long drains took.

use std::fmt;
use std::time::Duration;

/// Drains of one sort. The longest includes the time without a CPU.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Drains {
    pub(super) number: u64,
    pub(super) total: Duration,
    pub(super) longest: Duration,
    pub(super) frames: u64,
}

impl Drains {
    /// Notes one.
    pub(super) fn add(&mut self, took: Duration, frames: u64) {
        self.number += 1;
        self.total += took;
        self.longest = self.longest.max(took);
        self.frames += frames;
    }

    /// These and those.
    fn and(self, next: Self) -> Self {
        Self {
            number: self.number + next.number,
            total: self.total + next.total,
            longest: self.longest.max(next.longest),
            frames: self.frames + next.frames,
        }
    }

    fn mean_us(&self) -> f64 {
        if self.number == 0 { 0.0 } else { self.total.as_secs_f64() * 1e6 / self.number as f64 }
    }
}

impl fmt::Display for Drains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest, mean) = (self.longest.as_secs_f64() * 1e6, self.mean_us());
        write!(f, "{} drains of {} frames, mean {mean:.2} us, max {longest:.2} us", self.number, self.frames)
    }
}

/// All drains of the storm's part with stopped owners.
#[derive(Clone, Default, Debug)]
pub(super) struct Times {
    /// Of an owner that stood.
    pub(super) stopped: Drains,
    /// While owners worked.
    pub(super) beside: Drains,
    /// The same of two thousand frames.
    pub(super) much: Drains,
    /// The longest call of an owner during each of those.
    pub(super) others: Vec<Duration>,
}

impl Times {
    /// Of this part of a storm and the next one.
    pub(super) fn and(mut self, next: Self) -> Self {
        self.others.extend(next.others);
        Self {
            stopped: self.stopped.and(next.stopped),
            beside: self.beside.and(next.beside),
            much: self.much.and(next.much),
            others: self.others,
        }
    }

    /// Median and longest of the longest calls of others.
    fn others_us(&self) -> [f64; 2] {
        let mut sorted = self.others.clone();
        sorted.sort_unstable();
        let us = |at: usize| sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e6);
        [us(sorted.len() / 2), us(sorted.len().saturating_sub(1))]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "owner stopped at some instruction: {}", self.stopped)?;
        writeln!(f, "owners at work: {}", self.beside)?;
        let [median, longest] = self.others_us();
        writeln!(f, "much at once: {}", self.much)?;
        writeln!(f, "    the longest call of others meanwhile: median {median:.2} us, max {longest:.2} us")
    }
}
