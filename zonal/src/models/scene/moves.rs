//! Compaction against what goes on meanwhile: the owner of the frame in the way frees it, others take and isolate.

use crate::cache::hold::Barriers;
use crate::compact::{CompactSummary, Outcome, Priority, compact};
use crate::frame::{BLOCK_FRAMES, FrameRange, Order, Pfn};
use crate::gfp::Gfp;
use crate::models::explore::{Content, ModelCpu, bounded, race};
use crate::models::stage::{Plan, Stage};
use crate::platform::{Migration, Platform};
use crate::request::Request;
use crate::sync::{AtomicU64, Ordering};
use crate::topology::Kind;
use crate::zone::{Mixing, Want};

/// A platform with one frame that can be moved: where it is, 0 if its owner has freed it. What the word holds is the owner's
/// and goes along: who changes it gets the frame that it leaves.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) place: AtomicU64,
}

impl Platform for Tenant {
    fn cpu(&self) -> usize {
        ModelCpu.cpu()
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        // AcqRel: what the owner wrote to `from`, and what those before it wrote to `to`.
        match self.place.compare_exchange(from.get(), to.get(), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Migration::Moved,
            Err(_) => Migration::Refused,
        }
    }
}

type Housed = Stage<Tenant, Content>;

/// Three blocks: one with the frame that can be moved, one with a frame that cannot, one free.
fn housed() -> Housed {
    let stage: Housed = Stage::new(&Plan::blocks(3), Content::new);
    let start = stage.range().start;
    let movable = Request::order(Order::ZERO).gfp(Gfp::MOVABLE).expect("no forbidden flag");
    for pfn in [start, start.add(BLOCK_FRAMES)] {
        stage.allocator.alloc_at(&movable, pfn).expect("all is free");
        stage.touch(pfn, Order::ZERO);
    }
    stage.allocator.platform.place.store(start.get(), Ordering::Release);
    stage
}

impl Housed {
    /// Makes a run by moving the frame, and writes to it; whether one was made.
    fn compacted(&self, order: Order) -> Option<(Pfn, Order)> {
        let want = Want {
            order,
            kind: Kind::Movable,
            floor: 0,
            mixing: Mixing::Allowed,
            barriers: Barriers::Allowed,
        };
        let (state, platform) = (&self.allocator.state, &self.allocator.platform);
        let mut summary = CompactSummary::default();
        match compact(state, platform, (self.zone(), want), Priority::Async, &mut summary) {
            Outcome::Captured(pfn) => {
                self.touch(pfn, order);
                Some((pfn, order))
            }
            _ => None,
        }
    }

    /// The owner frees its frame, wherever that is.
    fn leave(&self) {
        let pfn = Pfn::new(self.allocator.platform.place.swap(0, Ordering::AcqRel));
        if pfn.get() != 0 {
            self.give(pfn, Order::ZERO);
        }
    }

    /// What was made and what others took is freed, the owner goes: then only the frame that cannot be moved is left.
    fn assert_only_the_pinned_is_left(&self, held: impl IntoIterator<Item = (Pfn, Order)>) {
        let held: std::vec::Vec<_> = held.into_iter().collect();
        let tenant = u64::from(self.allocator.platform.place.load(Ordering::Acquire) != 0);
        self.assert_at_rest(1 + tenant + held.iter().map(|(_, order)| order.frames()).sum::<u64>());
        held.into_iter().for_each(|(pfn, order)| self.give(pfn, order));
        self.leave();
        self.assert_at_rest(1);
        assert_eq!(self.zone().count.free(), 3 * BLOCK_FRAMES - 1);
    }

    fn block(&self, at: u64) -> FrameRange {
        let start = self.range().start.add(at * BLOCK_FRAMES);
        FrameRange::new(start, start.add(BLOCK_FRAMES))
    }
}

/// Alone it is made: the frame goes to the fuller block, and its own is had whole.
#[test]
fn loom_scene_a_block_is_made_by_a_move() {
    bounded(0, || {
        let stage = housed();
        let made = stage.compacted(Order::BLOCK);
        assert_eq!(made, Some((stage.range().start, Order::BLOCK)));
        assert!(
            stage.zone().block_of(stage.range().start).is_some_and(|block| block.entry.load().is_whole())
        );
        stage.assert_only_the_pinned_is_left(made);
    });
}

/// The frame in the way is freed by its owner: it is moved or taken, and never both. At most 3 preemptions.
#[test]
fn loom_scene_a_move_against_the_owners_free() {
    bounded(3, || {
        let (stage, made, ()) = race(housed(), |stage| stage.compacted(Order::BLOCK), Housed::leave);
        stage.assert_only_the_pinned_is_left(made);
    });
}

/// The same for a part of a block. At most 3 preemptions.
#[test]
fn loom_scene_a_move_out_of_a_row_against_the_owners_free() {
    bounded(3, || {
        let (stage, made, ()) = race(housed(), |stage| stage.compacted(Order::ROW), Housed::leave);
        stage.assert_only_the_pinned_is_left(made);
    });
}

/// Another takes a frame of the block, wherever the compaction stands. At most 3 preemptions.
#[test]
fn loom_scene_a_compaction_against_order_0() {
    bounded(3, || {
        let take = |stage: &Housed| {
            let frame = Request::order(Order::ZERO).gfp(Gfp::MOVABLE).expect("no forbidden flag");
            let pfn = stage.allocator.alloc_raw(&frame).ok()?;
            stage.touch(pfn, Order::ZERO);
            Some((pfn, Order::ZERO))
        };
        let (stage, made, taken) = race(housed(), |stage| stage.compacted(Order::BLOCK), take);
        assert!(taken.is_some(), "there are frames for both");
        stage.assert_only_the_pinned_is_left(made.into_iter().chain(taken));
    });
}

/// Two compactions at once: they keep out of each other's block. At most 1 preemption.
#[test]
fn loom_scene_two_compactions() {
    bounded(1, || {
        let (stage, one, other) =
            race(housed(), |stage| stage.compacted(Order::BLOCK), |stage| stage.compacted(Order::ROW));
        stage.assert_only_the_pinned_is_left(one.into_iter().chain(other));
    });
}

/// The block is isolated meanwhile, and isolation ends. At most 3 preemptions.
#[test]
fn loom_scene_a_compaction_against_isolation() {
    bounded(3, || {
        let isolate = |stage: &Housed| {
            if stage.allocator.isolate(stage.block(0)).is_ok() {
                stage.allocator.unisolate(stage.block(0)).expect("it was isolated");
            }
        };
        let (stage, made, ()) = race(housed(), |stage| stage.compacted(Order::BLOCK), isolate);
        stage.assert_only_the_pinned_is_left(made);
    });
}
