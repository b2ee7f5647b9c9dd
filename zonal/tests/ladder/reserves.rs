//! Blocks kept for long atomic requests: who makes them, who may use them, and what counts as free for whom.

use zonal::{Gfp, Group, Order, Request};

use crate::stage::{BLOCK, MARKS, Plan, Stage};

/// So many blocks are kept, each with free frames, and all else is at the min mark.
pub(crate) fn with_reserved(blocks: u64) -> &'static Stage {
    let stage = Plan::of(&[400]).build();
    stage.leave(0, MARKS.low);
    // A run each out of the blocks that the frames left lie in.
    for kept in 1..=blocks {
        let mut out: Vec<_> = Vec::new();
        while stage.zones()[0].reserved_highatomic < kept * BLOCK {
            out.push(stage.ask(Gfp::ATOMIC, 1).expect("the mark leaves room"));
            assert!(out.len() < 300);
        }
        // The next one is to come out of another block: nobody but atomic requests with reserves sees this one.
        if kept < blocks {
            empty_reserve(stage);
        }
    }
    stage.allocator.drain_all();
    stage.leave_unreserved(MARKS.min);
    stage
}

fn empty_reserve(stage: &Stage) {
    while stage.zones()[0].free_highatomic > 16 {
        assert!(stage.ask(Gfp::ATOMIC, 4).is_ok());
    }
}

#[test]
fn a_long_atomic_request_keeps_its_block_up_to_a_hundredth_of_the_zone() {
    let stage = Plan::of(&[400]).build();
    stage.leave(0, MARKS.low);
    assert!(stage.ask(Gfp::ATOMIC, 0).is_ok() && stage.ask(Gfp::NOWAIT, 1).is_ok());
    assert_eq!(stage.zones()[0].reserved_highatomic, 0, "a frame, and a request without HIGH");
    let before = stage.free(0);
    assert!(stage.ask(Gfp::ATOMIC, 1).is_ok());
    let zone = &stage.zones()[0];
    assert_eq!(zone.reserved_highatomic, BLOCK);
    assert_eq!(stage.free(0) + zone.free_highatomic, before - 2);
    stage.check();
    let small = Plan::of(&[99]).build();
    small.leave(0, MARKS.low);
    assert!(small.ask(Gfp::ATOMIC, 1).is_ok());
    assert_eq!(small.zones()[0].reserved_highatomic, 0, "a hundredth is less than a block");
}

#[test]
fn what_is_kept_is_free_for_requests_with_reserves_alone() {
    let stage = with_reserved(1);
    let kept = stage.zones()[0].free_highatomic;
    assert!(kept > 0);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NORETRY, 1).is_err());
    assert_eq!(stage.ask_all(Gfp::KERNEL | Gfp::NOMEMALLOC | Gfp::NORETRY, 0), 0);
    // For half of the mark it counts as free, though the blocks are not to be had.
    let high = with_reserved(1);
    let had = high.ask_all(Gfp::KERNEL | Gfp::HIGH | Gfp::NORETRY, 0);
    assert_eq!((had, high.zones()[0].free_highatomic), ((MARKS.min / 2 + kept).min(MARKS.min), kept));
    // All of it counts as free for the floor of three eighths, and is had before the blocks are.
    assert_eq!(stage.ask_all(Gfp::ATOMIC, 0), MARKS.min - 375 + kept);
    assert_eq!((stage.free(0) + stage.zones()[0].free_highatomic, stage.demands()), (375, vec![]));
    stage.check();
}

#[test]
fn frames_freed_in_a_kept_block_stay_there() {
    let stage = with_reserved(1);
    let (free, kept) = (stage.free(0), stage.zones()[0].free_highatomic);
    let pfn = stage.ask(Gfp::ATOMIC, 2).expect("it is kept for this");
    assert_eq!((stage.free(0), stage.zones()[0].free_highatomic), (free, kept - 4));
    stage.free_run(pfn, 2);
    assert_eq!((stage.free(0), stage.zones()[0].free_highatomic), (free, kept));
    stage.check();
}

#[test]
fn a_bulk_call_leaves_what_is_kept_to_others() {
    let stage = with_reserved(1);
    stage.give(3);
    let (free, kept) = (stage.free(0), stage.zones()[0].free_highatomic);
    assert_eq!(free, MARKS.min + 3);
    let gfp = Gfp::DIRECT_RECLAIM | Gfp::FS | Gfp::HIGH | Gfp::NORETRY;
    let request = Request::order(Order::ZERO).gfp(gfp).expect("nothing is forbidden");
    let mut groups = [Group::EMPTY; 128];
    let filled = stage.allocator.alloc_bulk(&request, 4000, &mut groups).expect("there are some");
    let frames: u64 = groups[..filled].iter().map(|group| u64::from(group.frames())).sum();
    // Half of the mark is its own, of which what is kept counts as free; the blocks themselves are not.
    assert_eq!(frames, (MARKS.min / 2 + 3 + kept).min(free));
    assert_eq!(stage.zones()[0].free_highatomic, kept);
    stage.check();
}

#[test]
fn what_cannot_fail_gets_the_last_kept_block() {
    let stage = with_reserved(1);
    stage.leave_unreserved(0);
    assert!(stage.ask(Gfp::KERNEL | Gfp::NOFAIL, 4).is_ok());
    assert_eq!((stage.kills(), stage.zones()[0].reserved_highatomic), (0, 0));
    stage.check();
}

#[test]
fn a_block_that_is_isolated_is_kept_no_more() {
    let stage = with_reserved(1);
    let (free, kept) = (stage.free(0), stage.zones()[0].free_highatomic);
    let pfn = stage.ask(Gfp::ATOMIC, 2).expect("it is kept for this");
    let start = pfn.get() / BLOCK * BLOCK;
    let block = crate::support::range(start, start + BLOCK);
    assert_eq!(stage.allocator.isolate(block).expect("nobody is at work"), kept - 4);
    let zone = &stage.zones()[0];
    assert_eq!((zone.free, zone.free_highatomic, zone.reserved_highatomic), (free, 0, 0));
    stage.free_run(pfn, 2);
    assert_eq!(stage.allocator.unisolate(block), Ok(kept));
    assert_eq!(stage.free(0), free + kept);
    stage.check();
}
