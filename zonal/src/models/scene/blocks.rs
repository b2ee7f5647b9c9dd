//! A whole block that a CPU keeps, while others drain, isolate, or need its frames.

use super::{Scene, scene};
use crate::frame::{BLOCK_FRAMES, FrameRange, Order, Pfn};
use crate::models::explore::{bounded, race};
use crate::models::stage::Plan;

impl Scene {
    fn is_kept(&self) -> bool {
        self.zone().caches.iter().any(|cache| cache.block_word().load().mask() != 0)
    }
}

/// Two blocks, so that one may be kept while frames are free, and the one that the first CPU has.
fn with_a_block() -> (Scene, Pfn) {
    let scene = scene(&Plan::blocks(2).cached());
    let pfn = scene.take(Order::BLOCK).expect("there are blocks");
    (scene, pfn)
}

/// A block is freed and kept while it is isolated: afterwards nobody keeps it.
fn keep_against_isolation(scene: Scene, pfn: Pfn) -> Scene {
    let range = FrameRange::new(pfn, pfn.add(BLOCK_FRAMES));
    let (scene, _, isolated) = race(
        scene,
        |scene| scene.give(pfn, Order::BLOCK),
        move |scene| scene.allocator.isolate(range).is_ok(),
    );
    assert!(!isolated || !scene.is_kept(), "a block is kept that is isolated");
    if isolated {
        scene.allocator.unisolate(range).expect("it was isolated");
    }
    scene
}

/// The word is EMPTY. At most 2 preemptions.
#[test]
fn loom_scene_a_kept_block_against_isolation() {
    bounded(2, || {
        let (scene, pfn) = with_a_block();
        keep_against_isolation(scene, pfn).assert_all_free();
    });
}

/// The word is of another block's group, so that nobody is on the move who fills it. At most 2 preemptions.
#[test]
fn loom_scene_the_next_kept_block_against_isolation() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(4).cached());
        let [pfn, other] = [0; 2].map(|_| scene.take(Order::BLOCK).expect("there are blocks"));
        scene.give(other, Order::BLOCK);
        assert!(scene.is_kept());
        assert_eq!(scene.take(Order::BLOCK), Ok(other));
        let scene = keep_against_isolation(scene, pfn);
        scene.give(other, Order::BLOCK);
        scene.assert_all_free();
    });
}

/// A block that is kept and taken again while another CPU drains the words: each time it is somebody's. At most 2 preemptions.
#[test]
fn loom_scene_a_kept_block_against_drain() {
    bounded(2, || {
        let (scene, pfn) = with_a_block();
        let (scene, ..) = race(
            scene,
            |scene| {
                scene.give(pfn, Order::BLOCK);
                assert!(scene.take_and_give(Order::BLOCK), "there are two");
            },
            |scene| scene.allocator.drain_cpu(0),
        );
        scene.assert_all_free();
    });
}

/// Two blocks for two CPUs of which one has kept what it freed: nobody goes without. At most 2 preemptions.
#[test]
fn loom_scene_a_kept_block_against_another_s_request() {
    bounded(2, || {
        let (scene, pfn) = with_a_block();
        let other = scene.take(Order::BLOCK).expect("there are two");
        scene.give(pfn, Order::BLOCK);
        let (scene, mine, others) =
            race(scene, |scene| scene.take(Order::BLOCK), |scene| scene.take(Order::ZERO));
        assert!(mine.is_ok() || others.is_ok(), "a block is free");
        mine.into_iter().for_each(|pfn| scene.give(pfn, Order::BLOCK));
        others.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.give(other, Order::BLOCK);
        scene.assert_all_free();
    });
}
