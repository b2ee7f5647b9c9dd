//! Who must be served is served: a request for one frame fails only if the frames may all be in others' hands.
//!
//! The oracle counts what the others can hold at most: what they keep, what they ask for, and the group (32) that an
//! operation of theirs has on the move. With more frames than that, no order of steps excuses a failure but one in
//! which every walk of the request was overtaken, which the small number of the others' steps excludes.

use crate::error::AllocError;
use crate::frame::{GROUP_FRAMES, Order};
use crate::models::stage::Plan;
use crate::models::storm::{Owner, evenly, number, on_all_cpus, stage, storm};
use crate::request::Request;
use crate::topology::Kind;

/// Threads of a scenario.
const THREADS: usize = 3;
/// Frames a thread keeps at most.
const KEPT: usize = 2;
/// What the others of a thread can have in their hands, and one frame for the thread itself with what it keeps.
const ENOUGH: u64 = (THREADS as u64 - 1) * (KEPT as u64 + 1 + GROUP_FRAMES) + KEPT as u64 + 1;

/// Takes and gives single frames; every request must be served.
fn takes_and_gives(owner: &mut Owner) {
    for _ in 0..4 {
        if owner.held.len() < KEPT {
            owner.take(Order::ZERO).expect("others cannot have all the frames");
        } else {
            owner.give();
        }
        if number(4) == 0 {
            owner.stage.allocator.drain_cpu(number(THREADS));
        }
    }
    owner.give_all();
}

#[test]
fn shuttle_liveness_a_frame_is_found_in_words_and_rows() {
    storm(30_000, || {
        let stage = stage(&Plan { cpus: THREADS, ..Plan::frames(0..ENOUGH).cached() });
        on_all_cpus(&stage, THREADS, takes_and_gives);
        stage.assert_at_rest(0);
    });
}

#[test]
fn shuttle_liveness_a_frame_is_found_in_rows_alone() {
    storm(30_000, || {
        // Without words nobody has more on the move than it asked for.
        let managed = (THREADS * (KEPT + 1)) as u64;
        let stage = stage(&Plan { cpus: THREADS, ..Plan::frames(60..60 + managed) });
        on_all_cpus(&stage, THREADS, takes_and_gives);
        stage.assert_at_rest(0);
    });
}

/// Takes a frame; a refusal must say that frames are on the move. (Threads that run evenly neither overtake all walks
/// of a request nor hold frames in their hands through all of them.)
fn is_served_or_told(owner: &mut Owner) {
    match owner.take(Order::ZERO) {
        Ok(()) => owner.give_all(),
        Err(AllocError::NoMemory { in_flight, .. } | AllocError::NoRun { in_flight, .. })
            if in_flight > 0 => {}
        Err(error) => panic!("a frame was free all the time: {error:?}"),
    }
}

#[test]
fn shuttle_liveness_a_drain_hides_nothing() {
    evenly(60_000, || {
        let stage = stage(&Plan::frames(0..2).cached());
        let first = stage.allocator.alloc_raw(&Request::order(Order::ZERO)).expect("two frames");
        // The other frame is in the first CPU's word now.
        on_all_cpus(&stage, 2, |owner| {
            if owner.is_first() {
                // Any step of the other's walks may meet the drain.
                (0..number(200)).for_each(|_| drop(owner.stage.zone().count.free()));
                owner.stage.allocator.drain_cpu(0);
            } else {
                is_served_or_told(owner);
            }
        });
        stage.assert_at_rest(1);
        // SAFETY: allocated above, and never stamped.
        unsafe { stage.allocator.free_raw(first, Order::ZERO) }.expect("the owner may free");
    });
}

#[test]
fn shuttle_liveness_a_refill_hides_nothing() {
    evenly(60_000, || {
        let stage = stage(&Plan::frames(0..3).cached());
        on_all_cpus(&stage, 2, is_served_or_told);
        stage.assert_at_rest(0);
    });
}

#[test]
fn shuttle_liveness_a_batch_hides_nothing() {
    evenly(30_000, || {
        let stage = stage(&Plan::frames(0..2 * GROUP_FRAMES).cached());
        while stage.zone().caches[0].batch(Kind::Unmovable) < 2 {}
        on_all_cpus(&stage, 2, is_served_or_told);
        stage.assert_at_rest(0);
    });
}

/// Two ask for runs of 8, of which there is one, while the third asks for frames: 9 are always left to it.
#[test]
fn shuttle_liveness_lost_runs_hide_nothing_from_single_frames() {
    storm(30_000, || {
        let stage = stage(&Plan { cpus: THREADS, ..Plan::frames(4..21) });
        on_all_cpus(&stage, THREADS, |owner| {
            if owner.is_first() {
                owner.take(Order::ZERO).expect("one frame is left");
            } else {
                let _ = owner.take(Order::from_raw(3));
            }
            owner.give_all();
        });
        stage.assert_at_rest(0);
    });
}
