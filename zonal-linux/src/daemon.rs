//! The threads that run a pool's daemons, for each node with memory, named as Linux names them. They come with a node's first
//! memory and end with its last; with them comes the one that goes over idle caches.
//!
//! A thread does its daemon's work while there is some, and sleeps on its bell otherwise. It holds no lock. Invariant: it
//! sleeps only if it has found neither work nor the word to stop while it could hear the bell; so whoever leaves work and
//! rings is heard.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use zonal::{Daemon, NodeId, PageAllocator};

use crate::bell::Bell;
use crate::built::{Built, PoolError};
use crate::platform::{Crew, Host, LinuxPlatform};
use crate::refusal::PlugError;
use crate::task::{self, Flags};
use crate::upkeep::{self, Upkeep};

/// A daemon, its threads' name, and what they do with work.
struct Duty {
    daemon: Daemon,
    name: &'static str,
    work: fn(&PageAllocator<'_, LinuxPlatform>, NodeId) -> bool,
}

/// What runs on every node with memory.
const DUTIES: [Duty; 2] = [
    Duty { daemon: Daemon::Kswapd, name: "kswapd", work: |allocator, node| allocator.kswapd(node) },
    Duty { daemon: Daemon::Kcompactd, name: "kcompactd", work: |allocator, node| allocator.kcompactd(node) },
];

/// What a thread has.
struct Seat {
    duty: &'static Duty,
    node: NodeId,
    built: Arc<Built<LinuxPlatform>>,
    host: Arc<Host>,
    stop: Arc<AtomicBool>,
}

impl Seat {
    fn serve(&self) {
        let (Duty { daemon, work, .. }, node) = (self.duty, self.node);
        let Some(bell) = self.host.bell(*daemon, node) else { return };
        let allocator = self.built.allocator();
        // Relaxed, as its partner in `dismiss`: the bell orders it. Once it is set the bell is left to whoever is next.
        let stops = || self.stop.load(Ordering::Relaxed);
        while !stops() {
            bell.sleep_unless(|| stops() || allocator.has_work(*daemon, node));
            if !stops() {
                work(allocator, node); // does nothing if nothing waits any more
            }
        }
    }
}

/// The threads of a pool; dropped, they have ended.
pub(crate) struct Threads {
    built: Arc<Built<LinuxPlatform>>,
    host: Arc<Host>,
    running: Mutex<Vec<Running>>,
    _upkeep: Upkeep,
}

struct Running {
    daemon: Daemon,
    node: NodeId,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The system gave no thread.
pub(crate) struct NoThread {
    name: &'static str,
    node: NodeId,
    error: io::Error,
}

impl From<NoThread> for PoolError {
    fn from(NoThread { name, node, error }: NoThread) -> Self {
        Self::Thread { name, node, error }
    }
}

impl From<NoThread> for PlugError {
    fn from(NoThread { name, node, error }: NoThread) -> Self {
        Self::Thread { name, node, error }
    }
}

impl Threads {
    /// Those of all nodes that have memory.
    pub(crate) fn start(built: &Arc<Built<LinuxPlatform>>, host: &Arc<Host>) -> Result<Self, NoThread> {
        let (built, host) = (Arc::clone(built), Arc::clone(host));
        let populated = built.allocator().zones().filter(|zone| zone.managed > 0);
        let mut nodes: Vec<NodeId> = populated.map(|zone| zone.node).collect();
        nodes.dedup(); // zones are listed by node
        let failed =
            |error| NoThread { name: upkeep::NAME, node: nodes.first().copied().unwrap_or(NodeId(0)), error };
        let upkeep = Upkeep::start(&built).map_err(failed)?;
        let threads = Self { built, host, running: Mutex::default(), _upkeep: upkeep };
        nodes.into_iter().try_for_each(|node| threads.serve_all(node))?;
        Ok(threads)
    }

    /// Starts a node's threads, all of them or none.
    fn serve_all(&self, node: NodeId) -> Result<(), NoThread> {
        for duty in &DUTIES {
            let (built, host, stop) = (Arc::clone(&self.built), Arc::clone(&self.host), Arc::default());
            let seat = Seat { duty, node, built, host, stop: Arc::clone(&stop) };
            let thread = thread::Builder::new().name(format!("{}{}", duty.name, node.0));
            match thread.spawn(move || task::with(Flags::MEMALLOC.and(Flags::DAEMON), || seat.serve())) {
                Ok(thread) => self.running().push(Running { daemon: duty.daemon, node, stop, thread }),
                Err(error) => {
                    self.stop(|running| running.node == node);
                    return Err(NoThread { name: duty.name, node, error });
                }
            }
        }
        Ok(())
    }

    /// Stops threads, and waits for work under way. On one of the threads themselves (a shrinker there gave the node's last
    /// memory away, or was the last to hold the pool) that one ends by itself.
    fn stop(&self, which: impl Fn(&Running) -> bool) {
        let stopped: Vec<Running> = self.running().extract_if(.., |running| which(running)).collect();
        for Running { daemon, node, stop, .. } in &stopped {
            stop.store(true, Ordering::Relaxed);
            self.host.bell(*daemon, *node).into_iter().for_each(Bell::ring);
        }
        let here = thread::current().id();
        for Running { thread, .. } in stopped.into_iter().filter(|other| other.thread.thread().id() != here) {
            // A thread that panicked has said so, and has ended.
            let _ = thread.join();
        }
    }

    /// Nobody panics under the lock.
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew for Threads {
    fn serve(&self, node: NodeId) -> Result<(), PlugError> {
        Ok(self.serve_all(node)?)
    }

    fn dismiss(&self, node: NodeId) {
        self.stop(|running| running.node == node);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop(|_| true);
    }
}
