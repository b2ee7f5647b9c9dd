//! Work on a thread of its own that shows it lives; when it shows nothing for long, nobody waits for it any more.
//!
//! Invariant: `watched` returns, whatever the work does.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::steps;

/// How long work may show nothing before the call under way is taken to hang, on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "faults") { 3 } else { 10 });
/// How often it is looked at: as often as that makes, however long it takes. Where there is no time for who looks, there is
/// none for the work.
const GLANCE: Duration = Duration::from_millis(5);
const GLANCES: u32 = (PATIENCE.as_millis() / GLANCE.as_millis()) as u32;
/// The same where somebody counts steps, perhaps those of the call: longer than it takes to count the most of them.
const COUNTED: u32 = GLANCES + 1000;

/// Whoever looks whether work goes on.
#[derive(Default)]
pub(super) struct Watch {
    /// How far the work was, and how often it has been seen so.
    seen: u64,
    unchanged: u32,
    /// The same, with the steps counted.
    steps: u64,
    still: u32,
}

impl Watch {
    /// Waits a while; then whether work that is seen to be so far now may still be under way.
    pub(super) fn glance(&mut self, now: impl FnOnce() -> u64) -> bool {
        thread::sleep(GLANCE);
        self.look(now(), steps::of_all())
    }

    fn look(&mut self, seen: u64, steps: u64) -> bool {
        let moved = seen != self.seen;
        self.unchanged = if moved { 0 } else { self.unchanged + 1 };
        self.still = if moved || steps != self.steps { 0 } else { self.still + 1 };
        (self.seen, self.steps) = (seen, steps);
        self.still <= GLANCES && self.unchanged <= COUNTED
    }
}

/// What the work beats to show that it lives.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// One step is done.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Relaxed); // Relaxed: a number that changes, nothing else
    }

    fn beats(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Does the work, as long as its pulse beats. `None` if it stopped: its thread is left alone until the process ends.
///
/// # Errors
/// If there is no thread to be had, or the work panicked.
pub(super) fn watched<R: Send + 'static>(
    work: impl FnOnce(&Pulse) -> R + Send + 'static,
) -> Result<Option<R>> {
    let pulse = Pulse::default();
    let beaten = pulse.clone();
    let worker = thread::Builder::new().spawn(move || work(&beaten)).context("a thread for the storm")?;
    let mut watch = Watch::default();
    while !worker.is_finished() {
        if !watch.glance(|| pulse.beats()) {
            return Ok(None);
        }
    }
    worker.join().map(Some).map_err(|_| anyhow!("the storm's thread panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_hangs_and_what_is_counted_hangs_later() {
        let looks = |steps: fn(u64) -> u64| {
            let mut watch = Watch::default();
            (0..100 * u64::from(GLANCES)).take_while(|&look| watch.look(1, steps(look))).count() as u32
        };
        assert_eq!((looks(|_| 0), looks(|look| look)), (GLANCES + 1, COUNTED + 1));
        let mut watch = Watch::default();
        assert!((0..100 * u64::from(GLANCES)).all(|look| watch.look(look / 2, 0)), "it goes on");
    }
}
