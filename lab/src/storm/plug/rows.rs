//! Sections that hold their own rows: where those are, and when nobody looks at them any more.
//!
//! Each call of the allocator is a section of the process's grace periods, hooks and handlers within, so a removal is quiet
//! when a period is over that began behind it. Now and then nobody can tell, and the section must stay. Invariant: from a
//! removal to the next adding a frame is the storm's, and holds what the storm wrote there.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use zonal::{FRAME_SIZE, OwnRows, Pfn, Reader};
use zonal_linux::Grace;

use super::super::violation::Violation;
use super::world::World;

/// What the storm writes to a frame that is its own again: to who looks for rows there, all frames are free.
const SCRIBBLE: u64 = u64::MAX;

static PERIODS: LazyLock<Grace> = LazyLock::new(Grace::default);

thread_local! {
    static READER: Reader<'static> = PERIODS.reader();
    /// The world in which this thread plugs.
    static WORLD: Cell<Option<&'static World>> = const { Cell::new(None) };
    /// Nobody can tell whether rows are looked at.
    static UNSURE: Cell<bool> = const { Cell::new(false) };
}

/// Whose the memory of sections' rows is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rows {
    /// Lent from the start.
    Lent,
    /// The section's own first frame.
    Own,
}

/// The first frame of a section.
#[repr(align(4096))]
pub(super) struct Frame([AtomicU64; FRAME_SIZE as usize / size_of::<AtomicU64>()]);

impl Frame {
    /// The storm's.
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(SCRIBBLE) }; _])
    }

    /// The frame is the storm's again.
    fn scribble(&self) {
        self.0.iter().for_each(|word| word.store(SCRIBBLE, Relaxed)); // Relaxed, both: nobody else's
    }

    fn is_untouched(&self) -> bool {
        self.0.iter().all(|word| word.load(Relaxed) == SCRIBBLE)
    }
}

impl Rows {
    /// How the allocator is told.
    pub(super) fn config(self) -> Option<OwnRows> {
        // SAFETY: (1) a world is leaked, its frames with it; each section of it has one of its own, which nobody touches but
        // the storm between a removal and the next adding. (2) A period that begins in `quiesce` is over when every call has
        // returned that was under way: all are made in `reading`, but for those of who plugs, whose thread is here, and of
        // handlers that interrupt it, which have returned.
        (self == Self::Own).then(|| unsafe { OwnRows::new(memory, quiesce) })
    }

    /// Which one it is, for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Lent => "with lent rows",
            Self::Own => "with rows of their own",
        }
    }

    /// Frames of a section that are never handed out.
    pub(super) fn frames(self) -> u64 {
        u64::from(self == Self::Own)
    }
}

/// Makes calls of the allocator that a removal waits for.
pub(super) fn reading<R>(calls: impl FnOnce() -> R) -> R {
    READER.with(|reader| reader.read(calls))
}

/// Adds or removes a section of the world, on this thread; `is_unsure`: nobody can tell whether its rows are looked at.
pub(super) fn plugging<R>(world: &'static World, is_unsure: bool, body: impl FnOnce() -> R) -> R {
    WORLD.set(Some(world));
    UNSURE.set(is_unsure);
    body()
}

fn memory(first: Pfn) -> Option<NonNull<u8>> {
    let world = WORLD.get()?;
    let frame = world.rows.get(world.section_at(first)?)?;
    if !frame.is_untouched() {
        world.broke(Violation::RowsWritten { pfn: first });
    }
    Some(NonNull::from(frame).cast())
}

fn quiesce() -> bool {
    if UNSURE.get() {
        return false;
    }
    let period = PERIODS.start();
    // Who is in a call may have to stop all others before it returns.
    WORLD.get().into_iter().for_each(|world| {
        world.hook(|| {
            while !PERIODS.is_over(period) {
                thread::yield_now();
            }
        });
    });
    true
}

impl World {
    /// A section has been removed.
    pub(super) fn take_back(&self, section: usize) {
        self.rows.get(section).into_iter().for_each(Frame::scribble);
    }

    /// Whether the frame holds rows, if there are any.
    pub(super) fn is_for_rows(&self, pfn: Pfn) -> bool {
        !self.rows.is_empty() && self.hot.iter().any(|section| section.start == pfn)
    }
}

#[cfg(test)]
mod tests {
    use zonal::{Order, SECTION_FRAMES};
    use zonal_linux::WordKind;

    use super::super::Plugging;
    use super::super::ground::Ground;
    use super::super::hotplug::Hotplug;
    use super::super::plugger::Plugger;
    use super::*;
    use crate::storm::gate::Gate;
    use crate::storm::owners::Run;

    fn plugger() -> Plugger {
        let ground = Ground { rows: Rows::Own, ..Hotplug.ground() };
        let world = World::build(ground, WordKind::Locked, 1).unwrap();
        Gate::sit(1);
        Plugger::new(world, fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_removal_waits_for_who_is_in_a_call() {
        let mut plugger = plugger();
        plugger.add(0).unwrap();
        let (here, waits) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicBool::new(true));
        thread::scope(|scope| {
            scope.spawn(|| {
                reading(|| {
                    here.wait();
                    thread::sleep(std::time::Duration::from_millis(50));
                    assert!(waits.load(Relaxed), "it did not wait");
                });
            });
            here.wait();
            plugger.remove(0, false).unwrap();
            waits.store(false, Relaxed);
        });
        assert!(plugger.world.rows[0].is_untouched() && plugger.world.judged().first.is_none());
    }

    #[test]
    fn who_writes_to_a_frame_that_was_taken_back_is_found() {
        let mut plugger = plugger();
        let world = plugger.world;
        plugger.add(0).unwrap();
        assert!(!world.rows[0].is_untouched(), "its rows are there");
        assert!(plugger.remove(0, true).is_err(), "nobody can tell");
        plugger.remove(0, false).unwrap();
        world.rows[0].0[17].store(0, Relaxed);
        plugger.add(0).unwrap();
        assert!(matches!(world.judged().first, Some(Violation::RowsWritten { .. })));
    }

    #[test]
    fn a_frame_that_holds_rows_is_nobodys() {
        let plugger = plugger();
        let first = plugger.world.hot[1].start;
        assert!(plugger.world.is_for_rows(first) && !plugger.world.is_for_rows(first.add(1)));
        let taken = plugger.world.owners.take(Run::new(1, first, Order::ZERO));
        assert!(matches!(taken, Err(Violation::Twice { .. })));
        assert_eq!(first.get() % SECTION_FRAMES, 0);
    }
}
