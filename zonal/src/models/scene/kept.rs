//! Blocks kept for atomic requests: made, used, filled and given up while others do the same.

use std::vec::Vec;

use crate::block::entry::Snapshot;
use crate::frame::{BLOCK_FRAMES, Order, Pfn};
use crate::models::explore::{bounded, race};
use crate::models::scene::{Scene, scene};
use crate::models::stage::{Plan, want};
use crate::topology::Kind;
use crate::zone::Block;

const KIND: Kind = Kind::Movable;

impl Scene {
    fn block(&self, index: u64) -> Block<'static> {
        self.zone().block_of(self.range().start.add(index * BLOCK_FRAMES)).expect("the stage has it")
    }

    /// Keeps a block, as a request does that has been served out of it (the stage is smaller than a zone that may).
    fn keep(&self, index: u64) -> bool {
        let (zone, block) = (self.zone(), self.block(index));
        let seen = block.entry.load();
        seen.is_open() && zone.highatomic.enlarge(u64::MAX) && {
            let kept = zone.flag_reserved(block, seen);
            if !kept {
                zone.highatomic.shrink();
            }
            kept
        }
    }

    /// Takes a frame of a kept block.
    fn take_kept(&self) -> Option<Pfn> {
        self.zone().take_reserved(want(Order::ZERO, KIND)).inspect(|&pfn| self.touch(pfn, Order::ZERO))
    }

    /// Takes a frame of a block that is not kept.
    fn take_plain(&self) -> Option<Pfn> {
        let taken = self.zone().take_group(None, want(Order::ZERO, KIND), 0, 1).ok()?;
        let pfn = self.zone().frame((taken.group, taken.first));
        self.touch(pfn, Order::ZERO);
        self.zone().arrived(&taken);
        Some(pfn)
    }

    /// Counts agree with blocks, and what is kept is found.
    fn assert_kept(&self, allocated: u64) {
        self.assert_at_rest(allocated);
        let entries = self.zone().blocks().map(|block| block.entry.load());
        let (kept, open): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.is_reserved());
        let frames = |entries: Vec<Snapshot>| entries.iter().map(|entry| entry.count()).sum::<u64>();
        let free = self.zone().highatomic.free();
        assert_eq!((free, self.zone().count.free()), (frames(kept), frames(open)));
        assert_eq!(free > 0, self.take_kept().is_some(), "{free} frames are kept");
    }
}

/// Two blocks of so many frames each.
fn two_blocks(frames: u64) -> Scene {
    let managed = BLOCK_FRAMES - frames..BLOCK_FRAMES + frames;
    scene(&Plan { managed, ..Plan::blocks(2) })
}

/// A block is kept while a frame of it is freed: the frame is the zone's or kept, and counted once. At most 2 preemptions.
#[test]
fn loom_scene_a_block_is_kept_while_a_frame_of_it_is_freed() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..3));
        let held = [scene.take_plain(), scene.take_plain()].map(|pfn| pfn.expect("three frames"));
        let (scene, ..) = race(scene, |scene| scene.give(held[0], Order::ZERO), |scene| scene.keep(0));
        scene.assert_kept(1);
    });
}

/// A block is kept while an ordinary request takes of it: that one has its frame or none. At most 2 preemptions.
#[test]
fn loom_scene_a_block_is_kept_or_claimed_from() {
    bounded(2, || {
        let (scene, taken, _) = race(two_blocks(2), Scene::take_plain, |scene| scene.keep(0));
        scene.assert_kept(u64::from(taken.is_some()));
    });
}

/// A block is given up while an atomic request takes a frame of it, or of the other one. At most 2 preemptions.
#[test]
fn loom_scene_a_kept_block_is_given_up_while_a_frame_of_it_is_taken() {
    bounded(2, || {
        let scene = two_blocks(2);
        assert!(scene.keep(0) && scene.keep(1));
        let (scene, taken, _) = race(scene, Scene::take_kept, |scene| scene.zone().release(KIND, 0));
        scene.assert_kept(u64::from(taken.is_some()));
    });
}

/// A block is given up and kept again at once: who looks for it finds it, although its hint is being cleared still. At most
/// 3 preemptions.
#[test]
fn loom_scene_a_kept_block_is_not_hidden_by_a_clear() {
    bounded(3, || {
        let scene = two_blocks(1);
        assert!(scene.keep(0));
        let keep_and_take = |scene: &Scene| scene.keep(0).then(|| scene.take_kept().is_some());
        let (scene, given, found) = race(scene, |scene| scene.zone().release(KIND, 0), keep_and_take);
        assert!(given && found != Some(false), "its frame is kept, and nobody else wants it");
        scene.assert_kept(u64::from(found == Some(true)));
    });
}
