//! Work on a thread of its own that shows it lives; when it shows nothing for long, nobody waits for it any more.
//!
//! Invariant: `watched` returns, whatever the work does.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// How long work may show nothing before the call under way is taken to hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(5);

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
    let (mut beats, mut since) = (0, Instant::now());
    while !worker.is_finished() {
        thread::sleep(GLANCE);
        let now = pulse.beats();
        if now != beats {
            (beats, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            return Ok(None);
        }
    }
    worker.join().map(Some).map_err(|_| anyhow!("the storm's thread panicked"))
}
