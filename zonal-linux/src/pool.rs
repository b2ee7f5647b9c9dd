//! An allocator with its frames: every run it hands out is real memory of this process.
//!
//! A pool owns the metadata it lends to its allocator, the frames, and the threads it was asked to start. It never touches
//! a frame but to zero it on request. Invariant: `address(pfn)` is some exactly for the frames of the machine's ranges,
//! and neighbouring frames of one run have neighbouring addresses.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use zonal::{Migration, Oom, PageAllocator, Pfn, Verdict};

use crate::binding::Binding;
use crate::built::{Built, PoolError};
use crate::daemon::Threads;
use crate::machine::Machine;
use crate::memory::{FrameMemory, Pages};
use crate::platform::{Callbacks, Host, LinuxPlatform};
use crate::shrinker::Shrinkers;

/// An allocator whose frames are real pages of this process.
pub struct Pool {
    /// First: they end before what they use.
    _threads: Threads,
    built: Arc<Built<LinuxPlatform>>,
    host: Arc<Host>,
}

impl Pool {
    /// Maps the machine's memory as `pages` says, binds it to nodes where this machine has several, and builds the
    /// allocator. No thread is started: [`Pool::plan`] says more.
    ///
    /// # Errors
    /// [`PoolError::Config`] for a machine the allocator refuses; [`PoolError::Memory`] where this machine does not have
    /// the memory, or not in pages of that size: never a signal later.
    pub fn build(machine: &Machine, pages: Pages) -> Result<Self, PoolError> {
        Self::plan(machine).pages(pages).build()
    }

    /// A pool to be built with daemons, or with somebody to call when memory runs out.
    pub fn plan(machine: &Machine) -> PoolPlan<'_> {
        PoolPlan { machine, pages: Pages::default(), daemons: Daemons::None, callbacks: Callbacks::default() }
    }

    /// The allocator.
    #[inline]
    pub fn allocator(&self) -> &PageAllocator<'_, LinuxPlatform> {
        self.built.allocator()
    }

    /// The caches that give frames back when they run short.
    pub fn shrinkers(&self) -> &Shrinkers {
        &self.host.shrinkers
    }

    /// The first of the 4096 bytes of a frame, or `None` for a frame the machine does not have. Valid as long as the
    /// pool; who may use it is what the allocator says.
    #[inline]
    pub fn address(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        self.host.frames.address(pfn)
    }

    /// Whether the memory is bound to nodes, and why not.
    pub fn binding(&self) -> &Binding {
        self.host.frames.binding()
    }

    /// Bytes of metadata.
    pub fn metadata_bytes(&self) -> usize {
        self.built.metadata_bytes()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = self.metadata_bytes();
        f.debug_struct("Pool").field("host", &self.host).field("metadata_bytes", &metadata).finish()
    }
}

/// Who runs a pool's daemons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Daemons {
    /// Nobody, or the embedder by calling [`PageAllocator::kswapd`] and the like: requests that wait reclaim for themselves.
    #[default]
    None,
    /// A thread of the pool for each daemon of each node with memory.
    Threads,
}

/// What a pool will be.
pub struct PoolPlan<'m> {
    machine: &'m Machine,
    pages: Pages,
    daemons: Daemons,
    callbacks: Callbacks,
}

impl PoolPlan<'_> {
    /// What the frames are made of.
    #[must_use]
    pub fn pages(self, pages: Pages) -> Self {
        Self { pages, ..self }
    }

    /// Who runs the daemons.
    #[must_use]
    pub fn daemons(self, daemons: Daemons) -> Self {
        Self { daemons, ..self }
    }

    /// Whom to call when memory has run out for a request that waits: by one request at a time, when nothing more can be
    /// reclaimed. Whoever gives memory back says [`Verdict::Killed`], and the request tries again. Without a callback, or
    /// if it panics, the request fails.
    #[must_use]
    pub fn on_oom(self, call: impl Fn(&Oom) -> Verdict + Send + Sync + 'static) -> Self {
        let callbacks = Callbacks { oom: Some(Box::new(call)), ..self.callbacks };
        Self { callbacks, ..self }
    }

    /// Whom to call to move a movable frame's content to another frame, for compaction: what it must do is said in
    /// [`zonal::Platform::migrate`]; it must not panic. Without a callback nothing moves.
    #[must_use]
    pub fn on_migrate(self, call: impl Fn(Pfn, Pfn) -> Migration + Send + Sync + 'static) -> Self {
        let callbacks = Callbacks { migrate: Some(Box::new(call)), ..self.callbacks };
        Self { callbacks, ..self }
    }

    /// Where failures and shortages are written, at a limited rate: called in the context of the request, which may be a
    /// signal handler ([`zonal::Platform::report`]). Without a callback nobody reads them.
    #[must_use]
    pub fn on_report(self, call: impl Fn(&dyn fmt::Display) + Send + Sync + 'static) -> Self {
        let callbacks = Callbacks { report: Some(Box::new(call)), ..self.callbacks };
        Self { callbacks, ..self }
    }

    /// Builds the pool and starts its threads.
    ///
    /// # Errors
    /// As [`Pool::build`]; [`PoolError::Thread`] if the system gives no thread. Nothing runs then.
    pub fn build(self) -> Result<Pool, PoolError> {
        let Self { machine, pages, daemons, callbacks } = self;
        zonal::metadata_size(&machine.config())?;
        let frames = FrameMemory::map(machine.memory(), pages)?;
        let host = Arc::new(Host::new(frames, machine.nodes(), callbacks));
        let built = Arc::new(Built::new(machine, LinuxPlatform::new(Arc::clone(&host)))?);
        host.know_zones(built.allocator().zones().map(|zone| zone.node));
        let threads = match daemons {
            Daemons::None => Threads::default(),
            Daemons::Threads => Threads::start(&built, &host)?,
        };
        Ok(Pool { _threads: threads, built, host })
    }
}

impl fmt::Debug for PoolPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolPlan")
            .field("machine", self.machine)
            .field("pages", &self.pages)
            .field("daemons", &self.daemons)
            .finish_non_exhaustive()
    }
}
