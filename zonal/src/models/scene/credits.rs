//! Blocks that pass from one CPU's credit to another CPU.

use super::{Scene, scene};
use crate::frame::Order;
use crate::models::explore::{bounded, on_cpu, race};
use crate::models::stage::Plan;

/// Two CPUs with credits, a block for each: both are served whoever's credit the frames are in. At most 2 preemptions.
#[test]
fn loom_scene_blocks_through_credits() {
    bounded(2, || {
        let take = |scene: &Scene| scene.take_and_give(Order::BLOCK);
        let (scene, a, b) = race(scene(&Plan::blocks(2).cached()), take, take);
        assert!(a && b, "there are blocks for both");
        scene.assert_all_free();
    });
}

/// A block freed into one CPU's credit while another asks for it: afterwards it can be had. At most 2 preemptions.
#[test]
fn loom_scene_a_credit_is_collected() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(2).cached());
        let held = scene.take(Order::BLOCK).expect("two blocks");
        let (scene, _, other) =
            race(scene, |scene| scene.give(held, Order::BLOCK), |scene| scene.take(Order::BLOCK));
        let other = other.expect("a block that nobody else asks for");
        let last = on_cpu(1, move || {
            let last = scene.take(Order::BLOCK).expect("the other CPU's credit");
            scene.give(last, Order::BLOCK);
            scene.give(other, Order::BLOCK);
            scene.assert_all_free();
        });
        last.join().expect("the last request ran");
    });
}
