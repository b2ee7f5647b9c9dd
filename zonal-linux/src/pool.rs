//! An allocator with its frames: every run it hands out is real memory of this process.
//!
//! A pool owns the metadata it lends to its allocator, the frames, and the threads it was asked to start. It never touches
//! a frame but to zero it on request, and to move it. Invariant: `address(pfn)` is some exactly for the frames of the machine's
//! ranges, those that may be plugged in among them, and neighbouring frames of one run have neighbouring addresses.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use zonal::{HotRange, MemoryEvent, Oom, PageAllocator, Pfn, Verdict, Veto};

use crate::binding::Binding;
use crate::built::{Built, PoolError};
use crate::cpu::CpuReader;
use crate::daemon::Threads;
use crate::machine::Machine;
use crate::memory::{FrameMemory, Pages};
use crate::mover::Movers;
use crate::platform::{Callbacks, Host, LinuxPlatform};
use crate::shrinker::Shrinkers;

/// An allocator whose frames are real pages of this process.
pub struct Pool {
    /// First: they end before what they use. None if the pool was not asked to run any.
    _threads: Option<Arc<Threads>>,
    built: Arc<Built<LinuxPlatform>>,
    host: Arc<Host>,
    /// What may be plugged in.
    pub(crate) hotplug: Box<[HotRange]>,
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

    /// The owners of frames that can be moved, for long runs and for memory that is to go.
    pub fn movers(&self) -> &Movers {
        &self.host.movers
    }

    /// The first of the 4096 bytes of a frame, or `None` for a frame the machine does not have. Valid as long as the
    /// pool; who may use it is what the allocator says. (There is nothing behind the address of a frame that is not plugged
    /// in, and nobody is given one.)
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
    /// A thread of the pool for each daemon of each node with memory, and one that goes over idle caches every second
    /// ([`PageAllocator::age_caches`]).
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

    /// Whom to tell of memory that comes and goes ([`zonal::Platform::memory_event`]): it may object, and must not panic or
    /// plug. When it is told that frames go online their memory is not there yet, and that they are offline, not any more.
    #[must_use]
    pub fn on_memory_event(
        self,
        call: impl Fn(&MemoryEvent) -> Result<(), Veto> + Send + Sync + 'static,
    ) -> Self {
        let callbacks = Callbacks { memory: Some(Box::new(call)), ..self.callbacks };
        Self { callbacks, ..self }
    }

    /// Where whoever wants taking memory offline to stop says so, from a signal handler if need be: as long as it is true, none
    /// goes offline that is used.
    #[must_use]
    pub fn cancelled_by(self, flag: Arc<AtomicBool>) -> Self {
        let callbacks = Callbacks { cancelled: Some(flag), ..self.callbacks };
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
        let frames = FrameMemory::map(machine.memory(), machine.hotplug(), pages)?;
        let host = Arc::new(Host::new(frames, machine.nodes(), callbacks));
        // SAFETY: (1) the platform below answers what a reader does. (2) The metadata is a mapping of this process.
        let own_words = unsafe { machine.words().resolve(machine.cpus().len(), CpuReader::find()) };
        let built = Arc::new(Built::new(machine, own_words, LinuxPlatform::new(Arc::clone(&host)))?);
        host.know_zones(built.allocator().zones().map(|zone| zone.node));
        let threads = match daemons {
            Daemons::None => None,
            Daemons::Threads => {
                let threads = Arc::new(Threads::start(&built, &host)?);
                let crew: Weak<Threads> = Arc::downgrade(&threads);
                host.know_crew(crew);
                Some(threads)
            }
        };
        Ok(Pool { _threads: threads, built, host, hotplug: machine.hotplug().into() })
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
