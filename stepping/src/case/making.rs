//! Runs that are made by moving, requests for which somebody is killed or that go below the marks, blocks kept for atomic runs.

use std::sync::atomic::Ordering::Relaxed;

use zonal::{Daemon, Gfp, Order, Pfn, Tuning};

use super::{Case, KERNEL, MOVABLE, alloc, order, rare};
use crate::call::Call;
use crate::host::Lent;
use crate::stage::{Ground, Stage, request};

const ZERO: Order = Order::ZERO;
/// A mark above which a zone of many blocks is short of a few frames.
const MARK: u64 = 1100;

/// The same near a mark of 200 frames.
const fn marked(case: Case) -> Case {
    Case { ground: Ground::marked(200), ..case }
}

/// The same in a zone that may keep a block for atomic runs.
const fn keeping(case: Case) -> Case {
    Case { ground: Ground::keeping(MARK), ..case }
}

pub(super) const CASES: &[Case] = &[
    rare("alloc-9-that-compaction-makes", |stage| {
        scattered(stage, 4)?;
        Some(alloc(9, KERNEL))
    }),
    rare("alloc-9-that-compaction-does-not-make", |stage| {
        scattered(stage, 3)?;
        Some(alloc(9, KERNEL.union(Gfp::NORETRY)))
    }),
    rare("contig-9-over-frames-that-move", |stage| {
        scattered(stage, 4)?;
        let asked = request(Order::BLOCK, MOVABLE.difference(Gfp::RECLAIM));
        Some(Call::AllocContig(asked, Order::BLOCK))
    }),
    rare("kcompactd", |stage| {
        scattered(stage, 4)?;
        stage.pages.ask(Daemon::Kcompactd, zonal::NodeId(0), Order::BLOCK);
        Some(Call::Daemon(Daemon::Kcompactd))
    }),
    marked(rare("kswapd", |stage| {
        let one = short(stage)?;
        stage.lend(one, Lent::Reclaim);
        stage.pages.ask(Daemon::Kswapd, zonal::NodeId(0), ZERO);
        Some(Call::Daemon(Daemon::Kswapd))
    })),
    marked(rare("alloc-after-a-kill", |stage| {
        let one = short(stage)?;
        Some(Call::AllocLent(request(ZERO, KERNEL), one, Lent::Kill))
    })),
    marked(rare("alloc-that-cannot-fail", |stage| {
        short(stage)?;
        Some(alloc(0, KERNEL.union(Gfp::NOFAIL)))
    })),
    marked(rare("alloc-of-who-frees-memory", |stage| {
        short(stage)?;
        stage.host.memalloc.store(true, Relaxed);
        Some(alloc(0, KERNEL))
    })),
    marked(rare("alloc-of-a-victim", |stage| {
        short(stage)?;
        stage.host.victim.store(true, Relaxed);
        Some(alloc(0, KERNEL))
    })),
    marked(rare("alloc-that-tries-once", |stage| {
        short(stage)?;
        Some(alloc(3, KERNEL.union(Gfp::NORETRY)))
    })),
    marked(rare("atomic-frame-below-the-mark", |stage| {
        short(stage)?;
        Some(alloc(0, Gfp::ATOMIC))
    })),
    keeping(rare("atomic-run-that-keeps-its-block", |stage| {
        short(stage)?;
        Some(alloc(2, Gfp::ATOMIC))
    })),
    keeping(rare("atomic-run-of-a-kept-block", |stage| {
        kept(stage)?;
        Some(alloc(2, Gfp::ATOMIC))
    })),
    keeping(rare("atomic-frame-of-a-kept-block", |stage| {
        kept(stage)?;
        // What is outside goes to such requests, down to their floor.
        while stage.pages.zones().any(|zone| zone.free + zone.cached > MARK / 2) {
            stage.take(ZERO, Gfp::ATOMIC)?;
        }
        Some(alloc(0, Gfp::ATOMIC))
    })),
    keeping(rare("free-into-a-kept-block", |stage| Some(Call::Free(kept(stage)?, order(2))))),
    keeping(rare("alloc-for-which-a-kept-block-is-given-up", |stage| {
        kept(stage)?;
        Some(alloc(0, KERNEL))
    })),
    rare("refill-that-keeps-kinds-apart", |stage| {
        keep_apart(stage)?;
        Some(alloc(0, MOVABLE))
    }),
    rare("atomic-that-keeps-kinds-apart", |stage| {
        keep_apart(stage)?;
        Some(alloc(0, Gfp::ATOMIC.union(Gfp::RECLAIMABLE)))
    }),
    rare("alloc-of-zeroes", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        stage.host.zeroes.store(true, Relaxed);
        Some(Call::Alloc(request(Order::GROUP, KERNEL).zeroed(), Order::GROUP))
    }),
];

/// Leaves a block of movable frames of which four are held, and `moving` of those can move; and two blocks of which half is free.
fn scattered(stage: &Stage, moving: usize) -> Option<()> {
    let blocks = stage.hold_blocks_of(MOVABLE);
    let held: Vec<Pfn> = [3, 100, 101, 400]
        .map(|at| blocks.first().map(|block| block.add(at)))
        .into_iter()
        .collect::<Option<_>>()?;
    let frames = stage.split(*blocks.first()?, ZERO);
    frames.into_iter().filter(|pfn| !held.contains(pfn)).for_each(|pfn| stage.give(pfn));
    held.iter().take(moving).for_each(|&pfn| stage.host.let_move(pfn));
    // Compaction wants twice the run to be free.
    for block in blocks.iter().skip(1).take(2) {
        let room = stage.split(*block, order(3));
        room.iter().take(1).chain(room.iter().skip(1).step_by(2)).for_each(|&pfn| stage.give(pfn));
        stage.spare(*room.get(6)?);
    }
    stage.pages.drain_all();
    Some(())
}

/// Takes all that is above the mark; a frame of it.
fn short(stage: &Stage) -> Option<Pfn> {
    let left = || stage.pages.zones().map(|zone| zone.free + zone.cached).sum::<u64>();
    while left() >= stage.mark + 600 {
        stage.take(Order::BLOCK, KERNEL)?;
    }
    let mut last = None;
    while left() > stage.mark {
        last = Some(stage.take(ZERO, KERNEL)?);
    }
    let (block, _) = *stage.ledger.runs().first()?;
    stage.spare(block);
    last
}

/// The same, and an atomic run that has had its block kept.
fn kept(stage: &Stage) -> Option<Pfn> {
    short(stage)?;
    let run = stage.take(order(2), Gfp::ATOMIC)?;
    stage.pages.zones().any(|zone| zone.reserved_highatomic > 0).then_some(run)
}

/// Leaves a block that is in use for frames of one kind, where kinds are kept apart.
fn keep_apart(stage: &Stage) -> Option<()> {
    super::states::broken_block(stage, order(3))?;
    stage
        .pages
        .set_tuning(Tuning { defrag_mode: true, watermark_boost_factor: 0, ..Tuning::default() })
        .ok()?;
    stage.unmark();
    Some(())
}
