//! The platform of a stage: what its hooks do is what a case has put here.
//!
//! Called by the call under test and by handlers in the middle of it, so all of it is atomic, and nothing is on the heap.
//! Invariant: what a hook gives away it has taken out of here by an exchange, so it is given once.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use zonal::{Demand, MemoryEvent, Migration, Oom, Order, Pfn, Platform, Task, Verdict, Veto};

use crate::stage::Pages;

/// Runs that can be moved, and moves that can be noted.
const MOVES: usize = 16;

/// Whether an operation of a stage is under way, where a barrier would wait for it: a static, since barriers are told nothing
/// but the CPU. Stages are built by one thread, one after the other.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// A CPU's number, chosen by the test, and what others give back, let be moved or object to.
#[derive(Default)]
pub(crate) struct Host {
    cpu: AtomicUsize,
    /// Frames that reclaim gives back, and that whoever is killed does; 0: none.
    reclaimable: AtomicU64,
    killable: AtomicU64,
    /// To whom.
    pages: OnceLock<&'static Pages>,
    /// First frames of runs whose owner lets them be moved; 0: none.
    movable: [AtomicU64; MOVES],
    /// The moves made, from and to, and how many there are.
    moves: [[AtomicU64; 2]; MOVES],
    moved: AtomicUsize,
    /// Whether somebody objects to whatever memory does.
    pub(crate) objects: AtomicBool,
    /// Whether frames can be zeroed.
    pub(crate) zeroes: AtomicBool,
    /// Whether who asks frees memory, or is being killed.
    pub(crate) memalloc: AtomicBool,
    pub(crate) victim: AtomicBool,
    /// Whether the first node has too much that is to be written.
    pub(crate) dirty: AtomicBool,
}

impl Host {
    /// Whose platform it is.
    pub(crate) fn serve(&self, pages: &'static Pages) {
        self.pages.get_or_init(|| pages);
    }

    /// From now on it runs on another CPU; on which before.
    pub(crate) fn move_to(&self, cpu: usize) -> usize {
        self.cpu.swap(cpu, Relaxed)
    }

    /// From now on who asks is nobody special, and nobody objects.
    pub(crate) fn is_anybody(&self) {
        [&self.memalloc, &self.victim, &self.objects].into_iter().for_each(|flag| flag.store(false, Relaxed));
    }

    /// A frame that reclaim gives back from now on, or who is killed.
    pub(crate) fn lend(&self, pfn: Pfn, to: Lent) {
        self.lent(to).store(pfn.get(), Relaxed);
    }

    /// What has not been given back yet.
    pub(crate) fn take(&self, from: Lent) -> Option<Pfn> {
        Some(self.lent(from).swap(0, Relaxed)).filter(|&frame| frame != 0).map(Pfn::new)
    }

    fn lent(&self, to: Lent) -> &AtomicU64 {
        match to {
            Lent::Reclaim => &self.reclaimable,
            Lent::Kill => &self.killable,
        }
    }

    /// Lets a run be moved, if there is room to note it.
    pub(crate) fn let_move(&self, pfn: Pfn) {
        let vacant = self.movable.iter().find(|place| place.load(Relaxed) == 0);
        vacant.into_iter().for_each(|place| place.store(pfn.get(), Relaxed));
    }

    /// The moves made from the `from`th on.
    pub(crate) fn moves(&self, from: usize) -> impl Iterator<Item = (Pfn, Pfn)> {
        let made = self.moves.iter().take(self.moved.load(Relaxed)).skip(from);
        made.map(|[from, to]| (Pfn::new(from.load(Relaxed)), Pfn::new(to.load(Relaxed))))
    }

    /// Frees a frame that was lent; how many that is.
    fn give_back(&self, from: Lent) -> u64 {
        let (frame, pages) = (self.take(from), self.pages.get());
        // SAFETY: a case has put the frame here, which it held and has taken off the ledger; the swap gives it to one caller.
        let free = |(pfn, pages): (Pfn, &&Pages)| unsafe { pages.free_raw(pfn, Order::ZERO) };
        u64::from(frame.zip(pages).map(free).is_some_and(|freed| freed.is_ok()))
    }
}

/// To whom a frame is lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lent {
    Reclaim,
    Kill,
}

impl Lent {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Reclaim, Self::Kill];
}

/// Says for as long as the answer lives that an operation is under way.
pub(crate) fn under_way() -> impl Drop {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            UNDER_WAY.store(false, Relaxed);
        }
    }
    UNDER_WAY.store(true, Relaxed);
    Ended
}

/// The barrier of words that CPUs own: refused in the middle of an operation, by whose end it would have to wait.
pub(crate) fn barrier(_cpu: usize) -> bool {
    !UNDER_WAY.load(Relaxed)
}

impl Platform for Host {
    #[inline]
    fn cpu(&self) -> usize {
        self.cpu.load(Relaxed)
    }

    fn zero(&self, _first: Pfn, _frames: u64) -> bool {
        self.zeroes.load(Relaxed)
    }

    fn task(&self) -> Task {
        let (memalloc, oom_victim) = (self.memalloc.load(Relaxed), self.victim.load(Relaxed));
        Task { memalloc, oom_victim, ..Task::default() }
    }

    fn may_dirty(&self, node: zonal::NodeId) -> bool {
        node.0 != 0 || !self.dirty.load(Relaxed)
    }

    fn reclaim(&self, _demand: &Demand) -> u64 {
        self.give_back(Lent::Reclaim)
    }

    fn oom(&self, _oom: &Oom) -> Verdict {
        match self.give_back(Lent::Kill) {
            0 => Verdict::GiveUp,
            _ => Verdict::Killed,
        }
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        self.migrate_run(from, to, Order::ZERO)
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, _order: Order) -> Migration {
        let place = self.moves.get(self.moved.load(Relaxed));
        let mine =
            |owned: &&AtomicU64| owned.compare_exchange(from.get(), to.get(), Relaxed, Relaxed).is_ok();
        let (Some([noted_from, noted_to]), Some(_)) = (place, self.movable.iter().find(mine)) else {
            return Migration::Refused;
        };
        noted_from.store(from.get(), Relaxed);
        noted_to.store(to.get(), Relaxed);
        self.moved.fetch_add(1, Relaxed);
        Migration::Moved
    }

    fn memory_event(&self, _event: &MemoryEvent) -> Result<(), Veto> {
        if self.objects.load(Relaxed) { Err(Veto) } else { Ok(()) }
    }
}
