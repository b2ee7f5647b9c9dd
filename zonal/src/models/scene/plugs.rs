//! A section that goes offline and comes back in the other zone while somebody of the first one is in the middle of a step.

use std::sync::Arc;

use crate::block::entry::{Claim, Raise};
use crate::compact::{CompactSummary, Outcome, Priority, compact};
use crate::frame::{BLOCK_FRAMES, BlockIndex, FrameRange, Order, Pfn};
use crate::gfp::Gfp;
use crate::hotplug::online::OnlineType;
use crate::models::explore::{Content, bounded, on_cpu, race};
use crate::models::scene::Scene;
use crate::models::scene::moves::Tenant;
use crate::models::stage::{Plan, Stage, want};
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::request::Request;
use crate::sync::Ordering;
use crate::topology::{Kind, ZoneKind};
use crate::zone::{Block, Zone};

/// The section plugged into Normal, beside two frames that are there from the start.
fn plugged<P: Platform + Default>(plan: Plan) -> Stage<P, Content> {
    let stage: Stage<P, Content> = Stage::new(&plan.hot(), Content::new);
    stage.allocator.add_memory(stage.hot()).expect("it is absent");
    stage.plug(OnlineType::Kernel);
    stage
}

impl<P: Platform + Default> Stage<P, Content> {
    /// The first block of the section goes and comes back in Movable, by the steps of offlining and onlining; whether it went.
    fn change_zones(&self) -> bool {
        self.change_zones_while(|_| {})
    }

    /// The same, with something done once its words have been emptied.
    fn change_zones_while(&self, meanwhile: impl FnOnce(&Self)) -> bool {
        let (block, other) = (self.hot_block(), self.movable().id);
        let range = FrameRange::new(block.start, block.start.add(BLOCK_FRAMES));
        if self.allocator.isolate(range).is_err() {
            return false;
        }
        let _ = self.zone().drain_range(range);
        meanwhile(self);
        // As an offlining: again when nothing is used any more.
        if block.entry.load().count() == BLOCK_FRAMES && !planted(Mutant::EmptiedOnce) {
            let _ = self.zone().drain_range(range);
        }
        let went = block.entry.unplug(self.zone().id, 0);
        assert!(!went || block.entry.plug(other, BLOCK_FRAMES), "it is nobody's");
        self.allocator.unisolate(range).expect("it is isolated");
        went
    }

    /// The Movable zone.
    fn movable(&self) -> &'static Zone<'static> {
        &self.allocator.state.zones[1]
    }

    /// The first block of the section.
    fn hot_block(&self) -> Block<'static> {
        self.zone().block_of(self.hot().start).expect("the zone reaches it")
    }

    /// The kind of zone that the frame belongs to now.
    fn kind_of(&self, pfn: Pfn) -> ZoneKind {
        self.allocator.state.block(pfn).expect("somebody has it").0.kind
    }

    /// What was taken for a request that may not have Movable frames is none, and everything is counted where it is.
    fn assert_apart(self, taken: Option<(Pfn, Order)>) {
        self.assert_at_rest(taken.map_or(0, |(_, order)| order.frames()));
        if let Some((pfn, order)) = taken {
            assert_ne!(self.kind_of(pfn), ZoneKind::Movable, "{pfn} is for what can be moved");
            self.give(pfn, order);
        }
        self.allocator.drain_all();
        self.assert_at_rest(0);
    }
}

/// A frame is claimed from a zone whose block goes. At most 1 preemption.
#[test]
fn loom_scene_a_frame_is_taken_of_a_section_that_changes_zones() {
    bounded(1, || {
        let (scene, taken, _) = race(
            plugged(Plan::frames(0..2)),
            |scene: &Scene| scene.take(Order::ZERO).ok(),
            Scene::change_zones,
        );
        scene.assert_apart(taken.map(|pfn| (pfn, Order::ZERO)));
    });
}

/// The same through slot words: the rest of its group goes into a word. At most 1 preemption.
#[test]
fn loom_scene_a_word_is_filled_from_a_section_that_changes_zones() {
    bounded(1, || {
        let stage = plugged(Plan::frames(0..2).cached());
        let (scene, taken, _) =
            race(stage, |scene: &Scene| scene.take(Order::ZERO).ok(), Scene::change_zones);
        scene.assert_apart(taken.map(|pfn| (pfn, Order::ZERO)));
    });
}

/// A whole block is taken. At most 1 preemption.
#[test]
fn loom_scene_a_block_is_taken_of_a_section_that_changes_zones() {
    bounded(1, || {
        // The early frames are no block: they stand in for the frames that are claimed.
        let stage = plugged(Plan::frames(0..BLOCK_FRAMES - 1));
        let (scene, taken, _) =
            race(stage, |scene: &Scene| scene.take(Order::BLOCK).ok(), Scene::change_zones);
        scene.assert_apart(taken.map(|pfn| (pfn, Order::BLOCK)));
    });
}

/// The last frame in use is freed into its CPU's word, or the row, while the section goes. At most 1 preemption.
#[test]
fn loom_scene_the_last_frame_of_a_section_that_changes_zones_is_freed() {
    bounded(1, || {
        let stage: Scene = plugged(Plan::frames(0..1).cached());
        let held = [stage.take(Order::ZERO), stage.take(Order::ZERO)].map(|pfn| pfn.expect("much is free"));
        let inside = held.into_iter().find(|&pfn| stage.hot().contains(pfn)).expect("one is of the section");
        let (scene, (), _) = race(stage, move |scene| scene.give(inside, Order::ZERO), Scene::change_zones);
        let other = held.into_iter().find(|&pfn| pfn != inside);
        scene.assert_apart(other.map(|pfn| (pfn, Order::ZERO)));
    });
}

/// The last frame in use is put into its CPU's word, which was looked at before, is taken out of there by another CPU, and is free
/// at last: the word has no group when the section has gone. At most 3 preemptions.
#[test]
fn loom_scene_a_word_of_a_section_that_changes_zones_is_filled_and_emptied() {
    bounded(3, || {
        let stage: Arc<Scene> = Arc::new(plugged(Plan::frames(0..1).cached()));
        // By the other CPU, so that no word of the first one has its group.
        let theirs = Arc::clone(&stage);
        let taken = on_cpu(1, move || theirs.take(Order::ZERO)).join().expect("the other ran");
        let stage = Arc::into_inner(stage).expect("the other is done");
        let inside = taken.expect("much is free");
        assert!(stage.hot().contains(inside));
        let take_and_give = |stage: &Scene| {
            let taken = stage.zone().steal(stage.allocator.cpu(), want(Order::ZERO, Kind::Movable));
            taken.into_iter().for_each(|pfn| stage.give(pfn, Order::ZERO));
        };
        let change = move |stage: &Scene| stage.change_zones_while(take_and_give);
        let (scene, (), _) = race(stage, move |scene| scene.give(inside, Order::ZERO), change);
        scene.assert_apart(None);
    });
}

/// A frame is taken of a block that is kept for atomic requests, while it goes and is kept in the other zone. At most 1
/// preemption.
#[test]
fn loom_scene_a_kept_frame_is_taken_of_a_section_that_changes_zones() {
    bounded(1, || {
        let stage: Scene = plugged(Plan::frames(0..2));
        let keep = |zone: &'static Zone<'static>, block: Block<'static>| {
            let seen = block.entry.load();
            let kept = seen.is_open() && zone.highatomic.enlarge(u64::MAX) && zone.flag_reserved(block, seen);
            assert!(kept, "it is free");
        };
        let first = stage.hot_block();
        let second = stage.zone().block(BlockIndex(first.index.0 + 1)).expect("a section has two");
        [first, second].into_iter().for_each(|block| keep(stage.zone(), block));
        let change = move |scene: &Scene| {
            if scene.change_zones() {
                keep(scene.movable(), scene.hot_block());
            }
        };
        let take = |scene: &Scene| scene.zone().take_reserved(want(Order::ZERO, Kind::Movable));
        let (scene, taken, ()) = race(stage, take, change);
        scene.assert_apart(taken.map(|pfn| (pfn, Order::ZERO)));
    });
}

/// An isolation is ended by somebody who saw the block in its old zone. At most 2 preemptions.
#[test]
fn loom_scene_an_isolation_is_ended_of_a_section_that_changes_zones() {
    bounded(2, || {
        let end = |scene: &Scene| scene.allocator.unisolate(scene.hot()).map(|_| ());
        let (scene, ..) = race(plugged(Plan::frames(0..2)), end, Scene::change_zones);
        scene.assert_apart(None);
    });
}

/// A compaction is at work in the block; what it moves is its own zone's. At most 1 preemption.
#[test]
fn loom_scene_a_compaction_in_a_section_that_changes_zones() {
    type Housed = Stage<Tenant, Content>;
    bounded(1, || {
        let stage: Housed = plugged(Plan::frames(0..4));
        let movable = Request::order(Order::ZERO).gfp(Gfp::MOVABLE).expect("no forbidden flag");
        let (inside, outside) = (stage.hot().start, stage.range().start);
        for pfn in [inside, outside] {
            stage.allocator.alloc_at(&movable, pfn).expect("all is free");
            stage.touch(pfn, Order::ZERO);
        }
        let tenant =
            |stage: &Housed, pfn: Pfn| stage.allocator.platform.place.store(pfn.get(), Ordering::Release);
        tenant(&stage, inside);
        let make = |stage: &Housed| {
            let (state, platform) = (&stage.allocator.state, &stage.allocator.platform);
            let mut summary = CompactSummary::default();
            let wanted = (stage.zone(), want(Order::BLOCK, Kind::Unmovable));
            match compact(state, platform, wanted, Priority::Async, &mut summary) {
                Outcome::Captured(pfn) => Some(pfn),
                _ => None,
            }
        };
        // The tenant leaves, and comes back to where it was when that is another zone's.
        let change = move |stage: &Housed| {
            let before = stage.allocator.platform.place.swap(0, Ordering::AcqRel);
            stage.give(Pfn::new(before), Order::ZERO);
            if stage.change_zones() && stage.allocator.alloc_at(&movable, inside).is_ok() {
                stage.touch(inside, Order::ZERO);
                tenant(stage, inside);
            }
        };
        let (stage, made, ()) = race(stage, make, change);
        let held = made.map(|pfn| (pfn, Order::BLOCK)).into_iter();
        held.clone().for_each(|(pfn, _)| assert_ne!(stage.kind_of(pfn), ZoneKind::Movable));
        let tenants = 1 + u64::from(stage.allocator.platform.place.load(Ordering::Acquire) != 0);
        stage.assert_at_rest(tenants + held.clone().map(|(_, order)| order.frames()).sum::<u64>());
    });
}

/// Claims of both zones on a block that changes zones: only its own zone's is served.
#[test]
fn loom_scene_both_zones_claim_of_a_section_that_changes_zones() {
    bounded(2, || {
        let stage: Scene = plugged(Plan::frames(0..2));
        let (block, zone) = (stage.hot_block(), stage.zone().id);
        let claim = move |_: &Scene| block.entry.claim(zone, 1, 1, None);
        let change = |scene: &Scene| {
            let (entry, zone, other) = (scene.hot_block().entry, scene.zone().id, scene.movable().id);
            let gone = entry.isolate(zone, BLOCK_FRAMES).is_ok() && entry.unplug(zone, 0);
            gone && entry.plug(other, BLOCK_FRAMES) && matches!(entry.unisolate(other), Raise::Done(_))
        };
        let (_, claimed, changed) = race(stage, claim, change);
        assert!(changed != matches!(claimed, Claim::Got(..)), "either it was claimed or it went");
    });
}

/// A section's free blocks are isolated together, for one claim, while a frame or a block of them is taken; then isolation
/// ends. At most 1 preemption.
#[test]
fn loom_scene_blocks_are_isolated_together_while_one_is_taken() {
    for order in [Order::ZERO, Order::BLOCK] {
        bounded(1, move || {
            let scene: Scene = Stage::new(&Plan::blocks(2), Content::new);
            let isolate = |scene: &Scene| scene.allocator.isolate(scene.range());
            let (scene, taken, isolated) = race(scene, move |scene: &Scene| scene.take(order).ok(), isolate);
            let counted = 2 * BLOCK_FRAMES - taken.map_or(0, |_| order.frames());
            if let Ok(frames) = isolated {
                // What was claimed and not taken when a block was isolated came back later.
                assert!(frames <= counted && scene.zone().count.free() == 0);
                assert_eq!(scene.allocator.unisolate(scene.range()), Ok(counted));
            }
            assert_eq!(scene.zone().count.free(), counted);
            scene.assert_at_rest(2 * BLOCK_FRAMES - counted);
            taken.into_iter().for_each(|pfn| scene.give(pfn, order));
            scene.assert_all_free();
        });
    }
}
