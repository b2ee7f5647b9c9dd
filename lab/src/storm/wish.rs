//! A request as Linux writes it, and who makes it: what the allocator is asked for and what the oracle is told, from the
//! same bits.

use std::fmt;

use zonal::{AllocError, Climb, Context, Gfp, Order, PageAllocator, Pfn, Platform, Request, Task};
use zonal_testkit::contract::{self, Asker, Failure, ZoneNow};

use super::asker::{self, ORDINARY};

/// A task that is being killed for its memory.
const VICTIM: Task = Task { oom_victim: true, ..ORDINARY };
/// A task that frees memory.
const RECLAIMER: Task = Task { memalloc: true, ..ORDINARY };
/// A real-time task.
const REALTIME: Task = Task { realtime: true, ..ORDINARY };
/// No task at all.
const INTERRUPT: Task = Task { interrupt: true, oom_victim: true, ..ORDINARY };

/// Flags and askers that differ in how far down a request may go.
pub(super) const CLASSES: [(Gfp, Task); 17] = [
    (Gfp::empty(), ORDINARY),
    (Gfp::NOWAIT, ORDINARY),
    (Gfp::ATOMIC, ORDINARY),
    (Gfp::KERNEL, ORDINARY),
    (Gfp::KERNEL.union(Gfp::NORETRY), ORDINARY),
    (Gfp::KERNEL.union(Gfp::RETRY_MAYFAIL), ORDINARY),
    (Gfp::KERNEL.union(Gfp::HIGH), ORDINARY),
    (Gfp::KERNEL.union(Gfp::NOMEMALLOC), VICTIM),
    (Gfp::ATOMIC.union(Gfp::NOMEMALLOC), RECLAIMER),
    (Gfp::ATOMIC, INTERRUPT),
    (Gfp::NOWAIT, REALTIME),
    (Gfp::KERNEL, REALTIME),
    (Gfp::KERNEL, VICTIM),
    (Gfp::KERNEL.union(Gfp::HIGH), VICTIM),
    (Gfp::ATOMIC, VICTIM),
    (Gfp::KERNEL.union(Gfp::MEMALLOC), ORDINARY),
    (Gfp::NOWAIT, RECLAIMER),
];

/// Longer runs are not worth more than one try (Linux: PAGE_ALLOC_COSTLY_ORDER).
const COSTLY: u8 = 3;

/// The flags that limit a request to zones, lowest first.
pub(super) const LIMITS: [Gfp; 4] = [Gfp::DMA, Gfp::DMA32, Gfp::empty(), Gfp::MOVABLE.union(Gfp::HIGHMEM)];

/// A request and who makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) gfp: Gfp,
    pub(super) order: Order,
    pub(super) task: Task,
}

impl Wish {
    /// Asks for it. None of the flags used here exclude each other, so no request is refused for its flags.
    pub(super) fn ask(self, allocator: &PageAllocator<'_, impl Platform>) -> Result<Pfn, AllocError> {
        let request = Request::order(self.order).gfp(self.gfp)?;
        asker::ask(self.task, || allocator.alloc_raw(&request))
    }

    /// Asks for it within a set, or by a policy.
    pub(super) fn ask_in(
        self,
        allocator: &PageAllocator<'_, impl Platform>,
        context: &Context<'_>,
    ) -> Result<Pfn, AllocError> {
        let request = Request::order(self.order).gfp(self.gfp)?;
        asker::ask(self.task, || allocator.alloc_raw_in(context, &request))
    }

    pub(super) fn waits(self) -> bool {
        self.gfp.contains(Gfp::DIRECT_RECLAIM)
    }

    /// Whether it has nothing from outside its set: an atomic one may have it from everywhere, and one without HARDWALL from
    /// more than the set.
    pub(super) fn stays_in_set(self) -> bool {
        self.gfp.contains(Gfp::HARDWALL) && !self.gfp.contains(Gfp::HIGH)
    }

    /// The first of these zones that must serve it.
    pub(super) fn admitting(self, zones: &[ZoneNow]) -> Option<usize> {
        contract::admitting(zones, self.gfp.bits(), self.order.get(), self.asker())
    }

    /// When it may fail.
    pub(super) fn failure(self) -> Failure {
        contract::failure(self.gfp.bits(), self.order.get(), self.asker())
    }

    /// What it left untried when it failed after this climb, if anything.
    pub(super) fn untried(self, climb: Climb) -> Option<&'static str> {
        // A victim has nobody else killed.
        let kills = contract::kills(self.gfp.bits(), self.order.get(), self.asker()) && !self.task.oom_victim;
        match self.failure() {
            Failure::AtOnce => None,
            Failure::Never => Some("it may not fail at all"),
            // A single try for a long run ends with the compaction before the first reclaim, if that lacks frames.
            _ if self.gfp.contains(Gfp::NORETRY) && self.order.get() > COSTLY => None,
            _ if climb.reclaims == 0 => Some("it has not reclaimed"),
            Failure::WithoutVictim if kills && climb.kills == 0 => Some("nobody was asked to be killed"),
            _ => None,
        }
    }

    fn asker(self) -> Asker {
        let Task { memalloc, oom_victim, realtime, interrupt } = self.task;
        Asker { memalloc, victim: oom_victim, realtime, interrupt }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { memalloc, oom_victim, realtime, interrupt } = self.task;
        write!(f, "{} of order {}", self.gfp, self.order)?;
        let names = [
            (memalloc, " by a reclaimer"),
            (oom_victim, " by a victim"),
            (realtime, " by a real-time task"),
            (interrupt, " in an interrupt"),
        ];
        names.into_iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, name)| f.write_str(name))
    }
}
