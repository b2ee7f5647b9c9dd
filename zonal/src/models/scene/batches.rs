//! Several words filled at once, or emptied, while others are at the block or the words.

use std::vec::Vec;

use super::{Scene, scene};
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{GROUP_FRAMES, Order, Pfn};
use crate::models::explore::{bounded, race};
use crate::models::stage::Plan;
use crate::topology::Kind;

/// What requests are of that do not say.
const KIND: Kind = Kind::Unmovable;

/// Two groups of frames, of which the first CPU's next refill takes all.
fn two_groups() -> Scene {
    let scene = scene(&Plan::frames(0..2 * GROUP_FRAMES).cached());
    scene.expect_more();
    scene
}

impl Scene {
    /// Makes the first CPU's next refill of single frames one of several groups.
    fn expect_more(&self) {
        while self.zone().caches[0].batch(KIND) < 2 {}
    }

    fn is_cached(&self) -> bool {
        self.zone().caches.iter().any(|cache| cache.is_owner())
    }

    fn words(&self) -> usize {
        self.zone().caches[0].words().filter(|word| word.load().mask() != 0).count()
    }
}

#[test]
fn loom_scene_a_batch_fills_two_words() {
    bounded(2, || {
        let scene = two_groups();
        let pfn = scene.take(Order::ZERO).expect("there are frames");
        assert_eq!(scene.words(), 2);
        scene.give(pfn, Order::ZERO);
        scene.assert_all_free();
    });
}

/// A batch is put into words while its block is isolated: afterwards no word is of a group of it. At most 2 preemptions.
#[test]
fn loom_scene_a_batch_against_isolation() {
    bounded(2, || {
        let (scene, taken, isolated) = race(
            two_groups(),
            |scene| scene.take(Order::ZERO),
            |scene| scene.allocator.isolate(scene.range()).is_ok(),
        );
        assert!(!isolated || !scene.is_cached(), "a word is of a group of an isolated block");
        taken.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        if isolated {
            scene.allocator.unisolate(scene.range()).expect("it was isolated");
        }
        scene.assert_all_free();
    });
}

/// A batch is put into words that another CPU drains. At most 2 preemptions.
#[test]
fn loom_scene_a_batch_against_drain() {
    bounded(2, || {
        let (scene, served, _) =
            race(two_groups(), |scene| scene.take(Order::ZERO), |scene| scene.allocator.drain_cpu(0));
        let pfn = served.expect("there are frames");
        scene.assert_at_rest(1);
        scene.give(pfn, Order::ZERO);
        scene.assert_all_free();
    });
}

/// Two whole groups of a block land together, to make room for a frame of a third, while another CPU drains the words. At most 2
/// preemptions.
#[test]
fn loom_scene_groups_that_land_together_against_drain() {
    bounded(2, || {
        let frames = 2 * GROUP_FRAMES + 2;
        let scene = scene(&Plan::frames(0..frames).cached());
        let mut held: Vec<Pfn> = (0..frames).map(|_| scene.take(Order::ZERO).expect("so many")).collect();
        held.sort();
        // One is free: a zone without caches nothing.
        held.pop().into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.allocator.drain_all();
        let (last, groups) = held.split_last().expect("there are frames");
        groups.iter().for_each(|&pfn| scene.give(pfn, Order::ZERO));
        let words: Vec<Slot> = scene.zone().caches[0].words().map(SlotWord::load).collect();
        assert_eq!(words.iter().filter(|slot| slot.is_whole()).count(), 2, "{words:x?}");
        let (scene, evicted, _) = race(
            scene,
            |scene| {
                scene.touch(*last, Order::ZERO);
                let (zone, cache) = (scene.zone(), &scene.zone().caches[0]);
                let mut words = (0..).zip(cache.words().map(SlotWord::load));
                let (at, from) = words.find(|(_, slot)| slot.is_whole()).unwrap_or((0, Slot::EMPTY));
                from.is_whole() && zone.evict(cache, at, from, Slot::new(zone.group_of(*last), 1))
            },
            |scene| scene.allocator.drain_cpu(0),
        );
        if !evicted {
            scene.give(*last, Order::ZERO);
        }
        scene.assert_all_free();
    });
}
