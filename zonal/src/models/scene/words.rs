//! Slot words that one CPU fills while another's failing search clears the hint that says whose words hold frames.

use super::{Scene, scene};
use crate::frame::Order;
use crate::models::explore::{bounded, on_cpu, race};
use crate::models::stage::Plan;

/// Two frames of one group go back, one after the other, into the word that gave them, while another CPU asks in vain or
/// takes one of them. Whatever it took first, both can be had by it afterwards. At most 2 preemptions.
#[test]
fn loom_scene_frees_into_a_word_whose_hint_is_cleared() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..2).cached());
        let held = [0; 2].map(|_| scene.take(Order::ZERO).expect("two frames"));
        let (scene, _, other) = race(
            scene,
            |scene| held.iter().for_each(|&pfn| scene.give(pfn, Order::ZERO)),
            |scene| scene.take(Order::ZERO),
        );
        scene.assert_at_rest(u64::from(other.is_ok()));
        let rest = on_cpu(1, move || {
            let needed = if other.is_ok() { 1 } else { 2 };
            let had = (0..needed).filter_map(|_| scene.take(Order::ZERO).ok()).chain(other);
            had.collect::<std::vec::Vec<_>>().into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
            scene.assert_all_free();
        });
        rest.join().expect("the requests ran");
    });
}

/// A word that holds nothing of its group takes a frame of another, while another CPU asks. At most 2 preemptions.
#[test]
fn loom_scene_an_install_into_a_word_whose_hint_is_cleared() {
    bounded(2, || {
        // The last frame of the first group and the first of the second.
        let scene: Scene = scene(&Plan::frames(30..33).cached());
        let held = [0; 3].map(|_| scene.take(Order::ZERO).expect("three frames"));
        let (scene, _, other) = race(
            scene,
            |scene| held.iter().for_each(|&pfn| scene.give(pfn, Order::ZERO)),
            |scene| scene.take_and_give(Order::ZERO),
        );
        let _ = other;
        scene.assert_all_free();
    });
}

/// A refill installs the rest of a group while its block is isolated: afterwards no word is of the group, and frees of its
/// frames stay in the block. At most 2 preemptions.
#[test]
fn loom_scene_a_refill_against_isolation() {
    bounded(2, || {
        let is_cached = |scene: &Scene| scene.zone().caches.iter().any(|cache| cache.is_owner());
        let (scene, taken, isolated) = race(
            scene(&Plan::frames(0..3).cached()),
            |scene| scene.take(Order::ZERO),
            |scene| scene.allocator.isolate(scene.range()).is_ok(),
        );
        assert!(!isolated || !is_cached(&scene), "a word is of a group of an isolated block");
        taken.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        if isolated {
            assert!(!is_cached(&scene), "a free of an isolated block's frame was cached");
            scene.allocator.unisolate(scene.range()).expect("it was isolated");
        }
        scene.assert_all_free();
    });
}
