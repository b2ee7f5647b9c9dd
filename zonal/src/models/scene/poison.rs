//! Frames that are poisoned while others free and take: in the end each is out, and it is never had after that.

use super::{Scene, scene};
use crate::frame::{BLOCK_FRAMES, Order, Pfn};
use crate::models::explore::{bounded, race};
use crate::models::stage::Plan;
use crate::poison::Poisoned;

/// At rest the frame is out, and all others can be had; healed, it can be had again.
fn assert_out(scene: &Scene, pfn: Pfn) {
    assert_eq!(scene.allocator.poisoned(pfn), Some(Poisoned::Out));
    scene.assert_at_rest(0);
    scene.allocator.drain_all();
    scene.assert_at_rest(0);
    assert_eq!(scene.zone().count.free(), scene.zone().managed() - 1);
    assert_eq!(scene.allocator.unpoison(pfn), Ok(Poisoned::Out));
    scene.assert_all_free();
}

/// A used frame is poisoned while it is freed. At most 2 preemptions.
fn poison_against_free(plan: fn() -> Plan) {
    bounded(2, move || {
        let scene: Scene = scene(&plan());
        let pfn = scene.take(Order::ZERO).expect("two frames");
        let (scene, ..) =
            race(scene, move |scene| scene.give(pfn, Order::ZERO), move |scene| scene.allocator.poison(pfn));
        assert_out(&scene, pfn);
    });
}

#[test]
fn loom_scene_poison_against_free() {
    poison_against_free(|| Plan::frames(0..2));
}

/// The same into a slot word.
#[test]
fn loom_scene_poison_against_free_into_a_word() {
    poison_against_free(|| Plan::frames(0..2).cached());
}

/// A free frame is poisoned while a refill takes it or its neighbours into a word. At most 2 preemptions.
#[test]
fn loom_scene_poison_against_refill() {
    bounded(2, || {
        let scene: Scene = scene(&Plan::frames(0..3).cached());
        let pfn = scene.range().start.add(1);
        let (scene, taken, poisoned) =
            race(scene, |scene| scene.take(Order::ZERO), move |scene| scene.allocator.poison(pfn));
        let taken = taken.ok();
        assert!(poisoned != Ok(Poisoned::Out) || taken != Some(pfn), "an out frame was had");
        scene.assert_at_rest(u64::from(taken.is_some()));
        taken.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        assert_out(&scene, pfn);
    });
}

/// A frame of a free block is poisoned while the block is taken whole: it goes when the block comes back, and the others
/// stay. At most 2 preemptions.
#[test]
fn loom_scene_poison_against_order_block() {
    bounded(2, || {
        let scene: Scene = scene(&Plan::blocks(1));
        let pfn = scene.range().start.add(70);
        let (scene, block, poisoned) =
            race(scene, |scene| scene.take(Order::BLOCK), move |scene| scene.allocator.poison(pfn));
        assert_eq!(poisoned == Ok(Poisoned::Pending), block.is_ok(), "{poisoned:?}, {block:?}");
        scene.assert_at_rest(if block.is_ok() { BLOCK_FRAMES } else { 0 });
        block.into_iter().for_each(|pfn| scene.give(pfn, Order::BLOCK));
        assert_out(&scene, pfn);
    });
}

/// A frame of a whole block is poisoned while the block is freed (another is free, so that the zone's count never is 0).
/// At most 2 preemptions.
#[test]
fn loom_scene_poison_against_free_of_its_block() {
    bounded(2, || {
        let scene: Scene = scene(&Plan::blocks(2));
        let block = scene.take(Order::BLOCK).expect("a block");
        let pfn = block.add(3);
        let (scene, ..) = race(
            scene,
            move |scene| scene.give(block, Order::BLOCK),
            move |scene| scene.allocator.poison(pfn),
        );
        assert_out(&scene, pfn);
    });
}

/// A frame that was poisoned while it was used is freed: who takes a frame then gets the other one. At most 2 preemptions.
#[test]
fn loom_scene_a_poisoned_frame_is_not_had_after_its_free() {
    bounded(2, || {
        let scene: Scene = scene(&Plan::frames(0..2));
        let pfn = scene.take(Order::ZERO).expect("two frames");
        assert_eq!(scene.allocator.poison(pfn), Ok(Poisoned::Pending));
        let (scene, _, had) =
            race(scene, move |scene| scene.give(pfn, Order::ZERO), |scene| scene.take(Order::ZERO).ok());
        assert_ne!(had, Some(pfn), "the poisoned frame was had");
        had.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        assert_out(&scene, pfn);
    });
}

/// A frame is healed while it is freed: it is free in the end, whoever was first. At most 2 preemptions.
#[test]
fn loom_scene_healing_against_free() {
    bounded(2, || {
        let scene: Scene = scene(&Plan::frames(0..2));
        let pfn = scene.take(Order::ZERO).expect("two frames");
        assert_eq!(scene.allocator.poison(pfn), Ok(Poisoned::Pending));
        let (scene, ..) = race(
            scene,
            move |scene| scene.give(pfn, Order::ZERO),
            move |scene| scene.allocator.unpoison(pfn),
        );
        assert_eq!(scene.allocator.poisoned(pfn), None);
        scene.assert_all_free();
    });
}
