//! The thread that makes a pass over a pool's idle caches every second (Linux: the vmstat worker).
//!
//! Invariant: it has ended when its [`Upkeep`] is dropped, or it is the one that drops it and ends by itself.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::built::Built;
use crate::platform::LinuxPlatform;

/// The thread's name.
pub(crate) const NAME: &str = "zonal-upkeep";
/// Between two passes.
const PERIOD: Duration = Duration::from_secs(1);

/// The thread while it is wanted.
pub(crate) struct Upkeep {
    /// Nothing is sent: dropped, it says that the thread is to end.
    wanted: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts it.
    pub(crate) fn start(built: &Arc<Built<LinuxPlatform>>) -> io::Result<Self> {
        let (wanted, unwanted) = mpsc::channel::<()>();
        let built = Arc::clone(built);
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn(move || {
            while unwanted.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                built.allocator().age_caches();
            }
        })?;
        Ok(Self { wanted: Some(wanted), thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.wanted = None;
        let here = thread::current().id();
        for thread in self.thread.take().into_iter().filter(|thread| thread.thread().id() != here) {
            // A thread that panicked has said so, and has ended.
            let _ = thread.join();
        }
    }
}
