//! What the embedder gives the allocator. The core owns no threads, clock, memory or statics.
//!
//! A platform needs [`Platform::cpu`] only; whatever else it leaves out is not there: nobody reclaims, nothing moves, and a
//! request that may wait fails where it would have to. Nothing is called from inside a protocol step.

mod lent;

use core::fmt;

use crate::frame::{NodeId, Order, Pfn, ZoneId};
use crate::gfp::Gfp;
use crate::memory_event::{MemoryEvent, Veto};
use crate::topology::ZoneKind;
use crate::usage::{Unknown, Usage};
use crate::wait::{InvalidWait, WaitContext};

/// The embedder's side. Every method says in which contexts it is called.
pub trait Platform {
    /// The CPU this code runs on. Only a hint: any value is correct, a good one is fast; a number outside the
    /// table is taken modulo the number of CPUs. Called in any context (task, IRQ, NMI, signal handler), at the
    /// start of every operation; must not block or allocate. Where CPUs own their slot words
    /// ([`crate::Config::own_words`]) it is what [`crate::OwnWords`] asks for.
    fn cpu(&self) -> usize;

    /// Fills frames `first..first + frames` with zeroes and returns true, or returns false if the platform cannot
    /// reach them. Called in the requester's context, outside every protocol step, for requests with
    /// [`crate::Gfp::ZERO`] only: the core itself never touches a frame.
    fn zero(&self, first: Pfn, frames: u64) -> bool {
        let _ = (first, frames);
        false
    }

    /// Who asks. Called in the requester's context (any) when the zones had nothing above their low marks, and first of all by
    /// [`crate::PageAllocator::alloc_raw_in`].
    fn task(&self) -> Task {
        Task::default()
    }

    /// Says that a node's daemon has work. Called in any context; must not block or allocate. It may be called again for
    /// work that waits already, but not while the daemon is at work: what is asked then it is told of when it ends. Who runs
    /// the daemon must not lose a call (an eventfd, a futex with a count; see `PageAllocator::has_work`).
    fn wake(&self, daemon: Daemon, node: NodeId) {
        let _ = (daemon, node);
    }

    /// Gives frames back that can be had again (caches, page cache), by freeing them here; returns how many. Called in
    /// task context only: by requests that may wait, and by kswapd. May block and allocate (its own requests for it
    /// should say [`Task::memalloc`]).
    fn reclaim(&self, demand: &Demand) -> u64 {
        let _ = demand;
        0
    }

    /// About how many frames of the zone `reclaim` could give back. Called in task context.
    fn reclaimable(&self, zone: ZoneId) -> u64 {
        let _ = zone;
        0
    }

    /// Gives frames of the demand's node back before a request that begins at `from` goes on to another node; returns how many, or `None`
    /// where that is not done: it is not wanted, the node is too far away, somebody else is at it (Linux: vm.zone_reclaim_mode,
    /// which is off at first, and node_reclaim_distance). Called in task context, by requests that may wait, as
    /// [`Platform::reclaim`].
    fn reclaim_near(&self, from: NodeId, demand: &Demand) -> Option<u64> {
        let _ = (from, demand);
        None
    }

    /// Whether more of the node's frames may be dirtied (Linux: node_dirty_ok). Where not, a request with [`Gfp::WRITE`] has its
    /// frames of other nodes as long as one is above its low mark. Called in the requester's context (any), for such
    /// requests (not for bulk calls); must not block.
    fn may_dirty(&self, node: NodeId) -> bool {
        let _ = node;
        true
    }

    /// Moves the content of an allocated frame to another one, which is allocated for it, and lets its owner use that one
    /// from now on. Called in task context only, by compaction and offlining; may block, allocate and free.
    ///
    /// * [`Migration::Moved`]: the owner of `from` has been made the owner of `to`, and has not freed `from` and never will: from the moment of
    ///   the change `from` is the allocator's, and only `to` is its owner's to free, at any time, also before this returns.
    /// * [`Migration::Refused`]: nothing changed, and `to` is the allocator's again. So it must be where `from` is nobody's single movable frame:
    ///   it is part of a longer run, pinned, cached in the allocator, or was freed just now. The allocator may ask about any
    ///   frame number that it manages.
    ///
    /// * [`Migration::Unsupported`]: as refused, and it is of no use to ask about other frames.
    ///
    /// The embedder decides between a move and a free of the same frame that meet (by the lock or reference count under which
    /// frames change owners): just one of them gets `from`.
    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        let _ = (from, to);
        Migration::Unsupported
    }

    /// The run that an allocated frame belongs to, if the platform knows: offlining moves runs as they are. (In checked mode
    /// the allocator knows, and does not ask.) Called in task context.
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let _ = pfn;
        None
    }

    /// The same as [`Platform::migrate`] for a run of `order`, to one just as long. Called in task context, by offlining.
    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        if order == Order::ZERO { self.migrate(from, to) } else { Migration::Refused }
    }

    /// Memory comes or goes. Called in task context, outside every protocol step; may block, allocate and free, but must not
    /// plug or unplug memory itself. An objection counts where [`crate::MemoryStep::may_be_vetoed`] says so.
    ///
    /// # Errors
    /// A [`Veto`], to keep it from happening.
    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        let _ = event;
        Ok(())
    }

    /// Whether who takes memory offline has been told to stop (by a signal). Called in task context, now and then.
    fn cancelled(&self) -> bool {
        false
    }

    /// Memory has run out for a request that cannot fail. Called in task context, by one request at a time: what this
    /// asks for itself must not wait, or say [`Task::memalloc`]. (Not called for requests without [`Gfp::FS`]: they go on
    /// trying, a `pause` each time.)
    fn oom(&self, oom: &Oom) -> Verdict {
        let _ = oom;
        Verdict::GiveUp
    }

    /// A request that may wait waits for others: a tick. Called in task context.
    fn pause(&self) {
        core::hint::spin_loop();
    }

    /// A rebuild of the zonelists has come so far. Called in task context, by whoever rebuilds, while other rebuilds wait
    /// for this one: may block and allocate, but must not have the lists rebuilt. A place to stop at, for tests.
    fn rebuild_step(&self, step: RebuildStep) {
        let _ = step;
    }

    /// Milliseconds since some moment, for the rate of reports. Called in any context.
    fn now_ms(&self) -> u64 {
        0
    }

    /// A request has come down from the ladder: how far it went. Called in the requester's context (any), after its last
    /// step; must not block.
    fn climbed(&self, climb: &Climb) {
        let _ = climb;
    }

    /// Something to be read by people, in Linux's words: a request failed, memory has run out. Called in the requester's
    /// context (any), outside every protocol step and at a limited rate: it may allocate, and block or take locks that the
    /// requester holds as far as that context may. The text is made while it is written and is gone afterwards.
    fn report(&self, report: &dyn fmt::Display) {
        let _ = report;
    }

    /// Who asks, by name, for reports. Called in the requester's context.
    fn comm(&self) -> &str {
        "zonal"
    }

    /// Who knows what memory is used for, for reports. Called in any context.
    fn usage(&self) -> &dyn Usage {
        &Unknown
    }

    /// Where this code runs, for [`crate::Checking::On`] to look whether requests that may sleep or wake kswapd are made where
    /// that is allowed. Called in the requester's context (any), before its first step.
    fn wait_context(&self) -> WaitContext {
        WaitContext::default()
    }

    /// A request was made where it might have to wait for what must not be waited for there; it goes on. Called as
    /// [`Platform::wait_context`], each time: must not wait for more than is allowed there.
    fn invalid_wait(&self, found: &InvalidWait) {
        self.report(found);
    }

    /// Whether to fail here on purpose. Called in any context, before each step. Who leaves it out pays nothing for it.
    #[inline(always)]
    fn injects(&self, failure: Step) -> bool {
        let _ = failure;
        false
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Task {
    /// It frees memory (reclaim itself): it may go below every mark, and does not reclaim (Linux: PF_MEMALLOC). A softirq that works
    /// for such a task says so, too, and not that it is an interrupt.
    pub memalloc: bool,
    /// It is being killed for its memory: half of the mark is its, so that it can end.
    pub oom_victim: bool,
    /// It is a real-time task: half of the min mark is its, too.
    pub realtime: bool,
    /// It is no task: an interrupt, an NMI, a signal handler. What is above does not count.
    pub interrupt: bool,
}

/// How far a request went that its first zone did not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Climb {
    /// Walks over its zones.
    pub walks: u32,
    /// Rounds of reclaim, each with a walk.
    pub reclaims: u32,
    /// Times it waited a tick for others.
    pub pauses: u32,
    /// Times it had the platform kill.
    pub kills: u32,
    /// Times it began anew instead of failing, because zonelists, what may be had of their zones, or where it may go had changed.
    pub restarts: u32,
}

/// A daemon of a node: a function that a thread of the embedder calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Daemon {
    /// Reclaims until the node's zones are at their high marks: [`crate::PageAllocator::kswapd`].
    Kswapd,
    /// Makes long runs by moving frames: [`crate::PageAllocator::kcompactd`].
    Kcompactd,
}

/// What is asked of [`Platform::reclaim`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    /// The node whose frames are short.
    pub node: NodeId,
    /// Frames of zones above this one do not help.
    pub highest: ZoneKind,
    /// The run that is wanted in the end.
    pub order: Order,
    /// The request's flags: without [`Gfp::IO`] or [`Gfp::FS`] reclaim must not start I/O or call into filesystems.
    pub gfp: Gfp,
    /// Frames wanted.
    pub frames: u64,
    /// From 12 (look at a 4096th of what there is) down to 0 (at everything).
    pub priority: u8,
}

/// A request for which memory has run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oom {
    /// What was asked for.
    pub order: Order,
    /// Its flags.
    pub gfp: Gfp,
    /// The highest zone it may use.
    pub highest: ZoneKind,
    /// The node it must or would have its frames from.
    pub node: NodeId,
}

/// What came of [`Platform::oom`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Somebody was told to give memory back: the request goes on trying.
    Killed,
    /// Nobody can, or should (who asks dumps core, storage is suspended): the request fails (one with [`Gfp::NOFAIL`] goes below the
    /// marks, and on).
    GiveUp,
}

/// What came of [`Platform::migrate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Migration {
    /// The owner has the other frame now.
    Moved,
    /// Nothing changed: this frame cannot be moved now.
    Refused,
    /// Nothing changed: this platform moves no frames at all.
    Unsupported,
}

/// How far a rebuild of the zonelists has come. Whatever becomes of it there, requests find whole lists: up to and with
/// [`RebuildStep::Written`] the old ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebuildStep {
    /// It is this one's turn; nothing has been written.
    Begun,
    /// A node's list is written, where nobody follows it.
    Listed(NodeId),
    /// All are.
    Written,
    /// Requests follow the new lists.
    Published,
}

/// A step of a request that [`Platform::injects`] may make fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The CPU's slot words.
    Words,
    /// The blocks of the zone that it tries first.
    FirstZone,
    /// The zones above their low marks; for a bulk call all but what single requests bring.
    FastWalk,
    /// The zones above their min marks, or as far below as the request may go.
    SlowWalk,
    /// Direct reclaim.
    Reclaim,
    /// Direct compaction.
    Compaction,
    /// The move of one frame.
    Migration,
    /// The killing of somebody when memory has run out.
    Kill,
    /// The last look at all zones: a request that does not get its frames before fails, or goes on if it cannot.
    LastWalk,
}

impl Step {
    /// All, in the order in which a request comes to them: where each fails, it does, whatever is free.
    pub const ALL: [Self; 9] = [
        Self::Words,
        Self::FirstZone,
        Self::FastWalk,
        Self::SlowWalk,
        Self::Reclaim,
        Self::Compaction,
        Self::Migration,
        Self::Kill,
        Self::LastWalk,
    ];
}

/// A platform of one CPU that reaches no frame: enough for a unikernel's first boot, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneCpu;

impl Platform for OneCpu {
    #[inline]
    fn cpu(&self) -> usize {
        0
    }
}
