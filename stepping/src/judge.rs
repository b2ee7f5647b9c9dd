//! What must hold when the interrupted call has returned.
//!
//! Asks the allocator nothing that the ledger can say. Invariant of a kept promise: held + free = managed at rest, and with
//! everything given back, every block is free and can be had.

use zonal::{BLOCK_FRAMES, Gfp, Order, ZoneInfo};

use crate::call::{Call, Reply};
use crate::child::Verdict;
use crate::stage::{Stage, ZONE};
use crate::violation::Violation;

/// Whether a call is served if nobody interrupts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Alone {
    Served,
    Refused,
    /// That is what is found out now.
    Now,
}

/// Judges a call that has returned, and all that handlers did meanwhile.
pub(crate) fn judge(stage: &Stage, call: Call, alone: Alone, reply: Reply) -> Verdict {
    stage.at_stake.set(0);
    stage.take_lent();
    stage.note_moves();
    stage.host.is_anybody();
    let refused = call.settle(stage, reply);
    // What could be had before it and can be had after it could be had all the time: handlers take or give, not both.
    if let (Reply::Refused(error), Alone::Served) = (reply, alone) {
        let again = call.carry_out(stage.pages);
        if !call.settle(stage, again) {
            stage.ledger.object(Violation::Premature { error });
        }
    }
    let plain = matches!(call, Call::AllocNolock(Order::ZERO, None));
    if let (Reply::Refused(error), Alone::Now, true) = (reply, alone, plain) {
        stage.explain(Order::ZERO, error); // it fails for lack of memory above the mark only
    }
    // Words whose barrier was refused stay as they are.
    let closed = |zone: &ZoneInfo| zone.id == ZONE && zone.refused_barriers == 0;
    let cached = stage.pages.zones().filter(closed).map(|zone| zone.cached).sum();
    if stage.is_closed.get() && cached > 0 {
        stage.ledger.object(Violation::CachedWhileClosed { frames: cached });
    }
    audit(stage);
    keep_mark(stage);
    give_back(stage);
    match stage.ledger.first_violation() {
        Some(violation) => violation.into(),
        None => Verdict::Kept { refused },
    }
}

/// The recount finds nothing, and the ledger's frames are those that are allocated.
fn audit(stage: &Stage) {
    let summary = stage.pages.audit(&mut |finding| {
        stage.ledger.object(Violation::Audit { finding: finding.to_string() });
    });
    let held = stage.ledger.frames();
    if summary.allocated > held {
        stage.ledger.object(Violation::Lost { frames: summary.allocated - held });
    } else if summary.allocated < held {
        let finding = format!("{held} frames are held, {} allocated", summary.allocated);
        stage.ledger.object(Violation::Audit { finding });
    }
}

/// Whatever is asked for, the mark is left.
fn keep_mark(stage: &Stage) {
    let left = || stage.pages.zones().map(|zone| zone.free + zone.cached).sum::<u64>();
    if stage.mark == 0 || left() < stage.mark {
        return; // isolation may have taken the zone below its mark: requests did not
    }
    while let Ok(pfn) = stage.pages.alloc_raw(&crate::stage::request(Order::ZERO, Gfp::KERNEL)) {
        stage.ledger.claim(pfn, Order::ZERO);
    }
    if left() < stage.mark {
        stage.ledger.object(Violation::BelowMark { left: left(), mark: stage.mark });
    }
}

/// Gives back what is held and ends what handlers and the case began: then all is free, and every block can be had.
fn give_back(stage: &Stage) {
    stage.take_lent();
    stage.note_moves();
    if stage.mark == 0 {
        stage.unmark();
    }
    if let Some(pfn) = stage.poisoned.take() {
        let _ = stage.pages.unpoison(pfn); // it may not have come to that
    }
    stage.ledger.runs().into_iter().for_each(|(pfn, _)| stage.give(pfn));
    while stage.pages.reopen_caches(ZONE) {}
    let _ = stage.pages.unisolate(stage.all()); // what remains isolated is missing below
    stage.pages.drain_all();
    audit(stage);
    let free = stage.pages.zones().map(|zone| zone.free + zone.free_highatomic).sum::<u64>();
    if free != stage.frames() {
        stage.ledger.object(Violation::Lost { frames: stage.frames().saturating_sub(free) });
    }
    let kept = stage.pages.zones().map(|zone| zone.reserved_highatomic).sum::<u64>();
    let spared = stage.mark.div_ceil(BLOCK_FRAMES) + kept / BLOCK_FRAMES;
    for _ in 0..stage.blocks - spared {
        match stage.pages.alloc_raw(&crate::stage::request(Order::BLOCK, Gfp::KERNEL)) {
            Ok(pfn) => stage.ledger.claim(pfn, Order::BLOCK),
            Err(error) => stage.ledger.object(Violation::BlockHidden { error }),
        }
    }
}
