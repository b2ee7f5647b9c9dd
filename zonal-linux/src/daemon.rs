//! The threads that run a pool's daemons, for each node with memory, named as Linux names them.
//!
//! A thread does its daemon's work while there is some, and sleeps on its bell otherwise. It holds no lock. Invariant: it
//! sleeps only if it has found neither work nor the word to stop while it could hear the bell; so whoever leaves work and
//! rings is heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use zonal::{Daemon, NodeId, PageAllocator};

use crate::bell::Bell;
use crate::built::{Built, PoolError};
use crate::platform::{Host, LinuxPlatform};
use crate::task::{self, Flags};

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
        // Relaxed, as its partner in `Threads::drop`: the bell orders it.
        let stops = || self.stop.load(Ordering::Relaxed);
        loop {
            bell.sleep_unless(|| stops() || allocator.has_work(*daemon, node));
            if stops() {
                return;
            }
            work(allocator, node); // does nothing if nothing waits any more
        }
    }
}

/// The threads of a pool; dropped, they have ended.
#[derive(Default)]
pub(crate) struct Threads {
    running: Vec<Running>,
    stop: Arc<AtomicBool>,
}

struct Running {
    daemon: Daemon,
    node: NodeId,
    host: Arc<Host>,
    thread: JoinHandle<()>,
}

impl Threads {
    pub(crate) fn start(built: &Arc<Built<LinuxPlatform>>, host: &Arc<Host>) -> Result<Self, PoolError> {
        let mut threads = Self::default();
        let mut nodes: Vec<NodeId> = built.allocator().zones().map(|zone| zone.node).collect();
        nodes.dedup(); // zones are listed by node
        for node in nodes {
            for duty in &DUTIES {
                let (built, host, stop) = (Arc::clone(built), Arc::clone(host), Arc::clone(&threads.stop));
                let seat = Seat { duty, node, built, host: Arc::clone(&host), stop };
                let thread = thread::Builder::new().name(format!("{}{}", duty.name, node.0));
                let thread = thread
                    .spawn(move || task::with(Flags::MEMALLOC.and(Flags::DAEMON), || seat.serve()))
                    .map_err(|error| PoolError::Thread { name: duty.name, node, error })?;
                threads.running.push(Running { daemon: duty.daemon, node, host, thread });
            }
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    /// Waits for work under way. On one of the threads themselves (a shrinker there was the last to hold the pool) that one
    /// ends by itself.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for Running { daemon, node, host, .. } in &self.running {
            host.bell(*daemon, *node).into_iter().for_each(Bell::ring);
        }
        let here = thread::current().id();
        for Running { thread, .. } in
            self.running.drain(..).filter(|running| running.thread.thread().id() != here)
        {
            // A thread that panicked has said so, and has ended.
            let _ = thread.join();
        }
    }
}
