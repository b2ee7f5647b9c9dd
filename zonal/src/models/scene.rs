//! Whole allocators in small races: the frames' owners write to them, and at rest the audit is clean.

mod batches;
mod blocks;
mod credits;
mod kept;
mod moves;
mod plugs;
mod poison;
mod words;

use crate::error::AllocError;
use crate::frame::{BLOCK_FRAMES, Group, Order, Pfn};
use crate::models::explore::{Content, ModelCpu, bounded, race};
use crate::models::stage::{Plan, Stage, want};
use crate::platform::Platform;
use crate::request::Request;
use crate::topology::Kind;
use crate::zone::search::Offer;

/// A stage on which loom watches the frames.
type Scene = Stage<ModelCpu, Content>;

/// The order above a block: in the small geometry a whole section.
const PAIR: Order = Order::from_raw(Order::BLOCK.get() + 1);
const EIGHT: Order = Order::from_raw(3);

fn scene(plan: &Plan) -> Scene {
    Stage::new(plan, Content::new)
}

impl<P: Platform + Default> Stage<P, Content> {
    fn take(&self, order: Order) -> Result<Pfn, AllocError> {
        let pfn = self.allocator.alloc_raw(&Request::order(order).nowait().wakes_nobody())?;
        self.touch(pfn, order);
        Ok(pfn)
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.touch(pfn, order);
        // SAFETY: every caller owns the run and is done with it; the cells would show it if not.
        unsafe { self.allocator.free_raw(pfn, order) }.expect("the owner may free");
    }

    fn touch(&self, pfn: Pfn, order: Order) {
        self.contents(pfn, order).iter().for_each(|content| {
            content.touch();
        });
    }

    /// Looks for a frame as a request does that has one in another block: clears the hints of blocks that have none.
    fn search_in_vain(&self) {
        let refuse = |_, _| Offer::<()>::Stop;
        assert!(self.zone().search(want(Order::ZERO, Kind::Movable), 0, refuse).is_err());
    }

    /// Takes a run if there is one, and gives it back; whether there was.
    fn take_and_give(&self, order: Order) -> bool {
        self.take(order).map(|pfn| self.give(pfn, order)).is_ok()
    }

    /// All of it can be had again: nothing is lost, nothing hidden.
    fn assert_all_free(&self) {
        self.assert_at_rest(0);
        self.allocator.drain_all();
        self.assert_at_rest(0);
        let managed = self.zone().managed();
        assert_eq!(self.zone().count.free(), managed);
        if managed == BLOCK_FRAMES {
            assert!(self.take(Order::BLOCK).is_ok(), "a free block can be had");
        }
    }
}

/// Two CPUs without slot words, three frames: each is served, at most 2 preemptions.
#[test]
fn loom_scene_order_0_from_two_threads() {
    bounded(2, || {
        let take = |scene: &Scene| scene.take_and_give(Order::ZERO);
        let (scene, a, b) = race(scene(&Plan::frames(62..65)), take, take);
        assert!(a && b, "there are frames for both");
        scene.assert_all_free();
    });
}

/// The same through slot words: refills, puts, and steals from the other CPU's word. At most 1 preemption.
#[test]
fn loom_scene_order_0_through_slot_words() {
    bounded(1, || {
        let take = |scene: &Scene| {
            scene.take_and_give(Order::ZERO);
        };
        let (scene, ..) = race(scene(&Plan::frames(0..2).cached()), take, take);
        scene.assert_all_free();
    });
}

/// A frame that is drained from one CPU's word and taken by another. (It may be refused: loom's loads may stay stale
/// for as many walks as a request makes.) At most 2 preemptions.
#[test]
fn loom_scene_a_drained_frame_is_taken_by_another() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..2).cached());
        let pfn = scene.take(Order::ZERO).expect("two frames");
        let (scene, ..) =
            race(scene, |scene| scene.allocator.drain_cpu(0), |scene| scene.take_and_give(Order::ZERO));
        scene.give(pfn, Order::ZERO);
        scene.assert_all_free();
    });
}

/// A frame freed into the word of one CPU and stolen by another. At most 2 preemptions.
#[test]
fn loom_scene_a_stolen_frame_carries_its_content() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..1).cached());
        let pfn = scene.take(Order::ZERO).expect("one frame");
        let (scene, ..) =
            race(scene, |scene| scene.give(pfn, Order::ZERO), |scene| scene.take_and_give(Order::ZERO));
        scene.assert_all_free();
    });
}

/// A refill of the words that another CPU drains. At most 2 preemptions.
#[test]
fn loom_scene_refill_against_drain() {
    bounded(2, || {
        let (scene, served, _) = race(
            scene(&Plan::frames(0..3).cached()),
            |scene| scene.take(Order::ZERO),
            |scene| scene.allocator.drain_cpu(0),
        );
        let pfn = served.expect("there are frames");
        scene.assert_at_rest(1);
        scene.give(pfn, Order::ZERO);
        scene.assert_all_free();
    });
}

/// A free into a word that another CPU drains. At most 2 preemptions.
#[test]
fn loom_scene_put_against_drain() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..2).cached());
        let pfn = scene.take(Order::ZERO).expect("two frames");
        let (scene, ..) =
            race(scene, |scene| scene.give(pfn, Order::ZERO), |scene| scene.allocator.drain_cpu(0));
        scene.assert_all_free();
    });
}

/// Closing sweeps out what a refill put in, and lets nothing in after. At most 2 preemptions.
#[test]
fn loom_scene_refill_against_close() {
    bounded(2, || {
        let (scene, served, _) = race(
            scene(&Plan::frames(0..2).cached()),
            |scene| scene.take(Order::ZERO),
            |scene| scene.zone().close_caches(),
        );
        assert_eq!(scene.zone().cached(), 0, "nothing is cached after a close");
        scene.give(served.expect("there are frames"), Order::ZERO);
        assert_eq!(scene.zone().cached(), 0, "nothing is cached while closed");
        assert!(scene.zone().reopen_caches());
        scene.assert_all_free();
    });
}

/// A whole block against a single frame of it: one is served, at least. At most 2 preemptions.
#[test]
fn loom_scene_order_block_against_order_0() {
    bounded(2, || {
        let (scene, block, frame) =
            race(scene(&Plan::blocks(1)), |scene| scene.take(Order::BLOCK), |scene| scene.take(Order::ZERO));
        assert!(block.is_ok() != frame.is_ok(), "one of them is served: {block:?}, {frame:?}");
        let allocated = if block.is_ok() { BLOCK_FRAMES } else { 1 };
        scene.assert_at_rest(allocated);
        block.into_iter().for_each(|pfn| scene.give(pfn, Order::BLOCK));
        frame.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.assert_all_free();
    });
}

/// The last frame comes back while the block is asked for. At most 2 preemptions.
#[test]
fn loom_scene_free_of_the_last_frame_against_order_block() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(1));
        let pfn = scene.take(Order::ZERO).expect("a block");
        let (scene, ..) =
            race(scene, |scene| scene.give(pfn, Order::ZERO), |scene| scene.take_and_give(Order::BLOCK));
        scene.assert_all_free();
    });
}

/// A whole block comes back while a frame is asked for. At most 2 preemptions.
#[test]
fn loom_scene_free_of_a_block_against_order_0() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(1));
        let pfn = scene.take(Order::BLOCK).expect("a block");
        let (scene, ..) =
            race(scene, |scene| scene.give(pfn, Order::BLOCK), |scene| scene.take_and_give(Order::ZERO));
        scene.assert_all_free();
    });
}

/// A block is split and its parts are freed by two threads, one of which takes a frame. At most 2 preemptions.
#[test]
fn loom_scene_split_and_parts_freed_by_two() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(1));
        let pfn = scene.take(Order::BLOCK).expect("a block");
        // SAFETY: the block was allocated just above, and no part of it has been freed.
        unsafe { scene.allocator.split_raw(pfn, Order::BLOCK, Order::ROW) }.expect("the owner may split");
        let (scene, ..) = race(
            scene,
            |scene| scene.give(pfn, Order::ROW),
            move |scene| {
                scene.give(pfn.add(Order::ROW.frames()), Order::ROW);
                scene.take_and_give(Order::ZERO)
            },
        );
        scene.assert_all_free();
    });
}

/// A split by its owner while another asks for a frame: none can be had before a part is freed. At most 2 preemptions.
#[test]
fn loom_scene_split_against_order_0() {
    bounded(2, || {
        let scene = scene(&Plan::blocks(1));
        let pfn = scene.take(Order::BLOCK).expect("a block");
        let (scene, _, got) = race(
            scene,
            |scene| {
                // SAFETY: the block is this thread's; it frees the one part after the split, the other below.
                unsafe { scene.allocator.split_raw(pfn, Order::BLOCK, Order::ROW) }
                    .expect("the owner may split");
                scene.give(pfn, Order::ROW);
            },
            |scene| scene.take(Order::ZERO).ok(),
        );
        scene.assert_at_rest(Order::ROW.frames() + u64::from(got.is_some()));
        got.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.give(pfn.add(Order::ROW.frames()), Order::ROW);
        scene.assert_all_free();
    });
}

/// Order 3 against order 0 where exactly 8 frames are free: one of them is served. At most 2 preemptions.
#[test]
fn loom_scene_order_3_against_order_0_on_eight_frames() {
    bounded(2, || {
        let (scene, run, frame) =
            race(scene(&Plan::frames(8..16)), |scene| scene.take(EIGHT), |scene| scene.take(Order::ZERO));
        assert!(run.is_ok() != frame.is_ok(), "one of them is served: {run:?}, {frame:?}");
        run.into_iter().for_each(|pfn| scene.give(pfn, EIGHT));
        frame.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.assert_all_free();
    });
}

/// The same where a ninth frame is free: order 0 is served whatever order 3 does. At most 2 preemptions.
#[test]
fn loom_scene_order_3_never_hides_frames_from_order_0() {
    bounded(2, || {
        let (scene, run, frame) =
            race(scene(&Plan::frames(8..17)), |scene| scene.take(EIGHT), |scene| scene.take(Order::ZERO));
        let frame = frame.expect("nine frames are enough for order 0");
        run.into_iter().for_each(|pfn| scene.give(pfn, EIGHT));
        scene.give(frame, Order::ZERO);
        scene.assert_all_free();
    });
}

/// A claim against isolation and its end. At most 2 preemptions.
#[test]
fn loom_scene_claim_against_isolation() {
    bounded(2, || {
        let (scene, served, _) = race(
            scene(&Plan::frames(0..2)),
            |scene| scene.take(Order::ZERO),
            |scene| {
                if scene.allocator.isolate(scene.range()).is_ok() {
                    scene.allocator.unisolate(scene.range()).expect("it was isolated");
                }
            },
        );
        scene.assert_at_rest(u64::from(served.is_ok()));
        served.into_iter().for_each(|pfn| scene.give(pfn, Order::ZERO));
        scene.assert_all_free();
    });
}

/// A free against isolation and its end: the frame is counted once. At most 2 preemptions.
#[test]
fn loom_scene_free_against_isolation() {
    bounded(2, || {
        let scene = scene(&Plan::frames(0..2));
        let pfn = scene.take(Order::ZERO).expect("two frames");
        let (scene, ..) = race(
            scene,
            |scene| scene.give(pfn, Order::ZERO),
            |scene| {
                if scene.allocator.isolate(scene.range()).is_ok() {
                    scene.allocator.unisolate(scene.range()).expect("it was isolated");
                }
            },
        );
        scene.assert_all_free();
    });
}

/// Isolation of a block with one free frame ends and its hints are set row by row, while a frame before it is freed and
/// it is taken: the count never was 0, so whoever ends the isolation owes the hint. At most 3 preemptions.
#[test]
fn loom_scene_frames_move_between_rows_while_hints_are_refreshed() {
    bounded(3, || {
        let scene = scene(&Plan::frames(63..65));
        let (low, high) = (scene.range().start.add(63), scene.range().start.add(64));
        (0..2).for_each(|_| assert!(scene.take(Order::ZERO).is_ok()));
        scene.give(high, Order::ZERO);
        scene.allocator.isolate(scene.range()).expect("nobody else is at work");
        // Finds the block closed and clears its hint.
        scene.search_in_vain();
        let (scene, ..) = race(
            scene,
            |scene| scene.allocator.unisolate(scene.range()).expect("it was isolated"),
            move |scene| {
                scene.give(low, Order::ZERO);
                scene.allocator.alloc_at(&Request::order(Order::ZERO), high)
            },
        );
        scene.assert_at_rest(scene.zone().managed() - scene.zone().count.free());
    });
}

/// A search that clears the block's stale hint against the free that makes it true. At most 3 preemptions.
#[test]
fn loom_scene_hint_clear_against_free() {
    bounded(3, || {
        let scene = scene(&Plan::frames(0..1));
        let pfn = scene.take(Order::ZERO).expect("one frame");
        let (scene, ..) = race(
            scene,
            |scene| scene.give(pfn, Order::ZERO),
            // It finds the block or clears its hint; the hint must stand in the end.
            Scene::search_in_vain,
        );
        scene.assert_all_free();
        assert!(scene.take(Order::ZERO).is_ok());
    });
}

/// A run of two blocks against its second block: what is taken towards the lost run comes back. At most 2 preemptions.
#[test]
fn loom_scene_a_run_of_blocks_against_a_block() {
    bounded(2, || {
        // A third block, so that the zone's count admits both.
        let scene = scene(&Plan::blocks(3));
        let second = scene.range().start.add(BLOCK_FRAMES);
        let (scene, pair, block) = race(
            scene,
            |scene| scene.take(PAIR),
            move |scene| scene.allocator.alloc_at(&Request::order(Order::BLOCK), second),
        );
        assert!(pair.is_ok() != block.is_ok());
        match pair {
            Ok(pfn) => scene.give(pfn, PAIR),
            Err(_) => scene.give(second, Order::BLOCK),
        }
        scene.assert_all_free();
        assert!(scene.take(PAIR).is_ok());
    });
}

/// A bulk call and a single frame share a group. At most 1 preemption.
#[test]
fn loom_scene_bulk_against_order_0() {
    bounded(1, || {
        let bulk = |scene: &Scene| {
            let mut groups = [Group::EMPTY; 2];
            let filled =
                scene.allocator.alloc_bulk(&Request::order(Order::ZERO), 3, &mut groups).unwrap_or(0);
            for group in &groups[..filled] {
                group.iter().for_each(|pfn| scene.touch(pfn, Order::ZERO));
            }
            // SAFETY: the groups were allocated just above.
            unsafe { scene.allocator.free_bulk(&groups[..filled]) }.expect("the owner may free");
        };
        let (scene, ..) = race(scene(&Plan::frames(30..33)), bulk, |scene| scene.take_and_give(Order::ZERO));
        scene.assert_all_free();
    });
}
