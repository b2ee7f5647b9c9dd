//! Kinds kept apart as long as that goes (`Tuning::defrag_mode`): who mixes them when, and who makes whole blocks meanwhile.

use zonal::{BlockInfo, Caching, Daemon, Gfp, Kind, Marks, NodeId, Order, Pfn, Tuning};

use crate::stage::{BLOCK, MARKS, Plan, Stage, act, give, lose};

const DEFRAG: Tuning = Tuning {
    min_free_kbytes: None,
    watermark_scale_factor: 10,
    watermark_boost_factor: 0,
    lowmem_reserve_ratio: [0; 4],
    defrag_mode: true,
};

/// Little is kept free, so that only kinds matter.
const LOW: Marks = Marks { min: 5, low: 10, high: 700, promo: 800 };

fn stage(plan: Plan, marks: Marks) -> &'static Stage {
    let stage = Plan { tuning: Some(DEFRAG), ..plan }.build();
    stage.zones().iter().for_each(|zone| assert!(stage.allocator.set_marks(zone.id, marks)));
    stage
}

/// One node of which every second of these frames is free, in blocks of movable frames.
fn scattered(frames: usize) -> &'static Stage {
    let stage = stage(Plan::of(&[32]), LOW);
    stage.leave(0, 0);
    stage.scatter(frames, 2);
    stage
}

/// The same, and a block that can be freed.
fn with_block(plan: Plan) -> (&'static Stage, Pfn) {
    let stage = stage(plan, LOW);
    let block = stage.ask(Gfp::KERNEL, 9).expect("there is plenty");
    stage.leave(0, 0);
    stage.scatter(1000, 2);
    (stage, block)
}

fn blocks(stage: &Stage) -> Vec<BlockInfo> {
    stage.zones().iter().flat_map(|zone| stage.allocator.blocks(zone.id)).collect()
}

fn block_of(stage: &Stage, pfn: Pfn) -> BlockInfo {
    let start = pfn.get() / BLOCK * BLOCK;
    blocks(stage).into_iter().find(|block| block.start.get() == start).expect("it is managed")
}

fn free_blocks(stage: &Stage) -> usize {
    blocks(stage).iter().filter(|block| u64::from(block.free) == BLOCK).count()
}

#[test]
fn who_may_not_wait_mixes_kinds_before_it_fails() {
    for gfp in [Gfp::NOWAIT, Gfp::empty(), Gfp::KERNEL | Gfp::NORETRY] {
        let stage = scattered(1000);
        assert_eq!(stage.ask_all(gfp, 0), 995, "all above the mark");
        stage.check();
    }
    let stage = scattered(1000);
    let nolock = || stage.allocator.alloc_nolock(Gfp::empty(), None, Order::ZERO).ok();
    assert_eq!(std::iter::from_fn(nolock).count(), 995);
    stage.check();
}

#[test]
fn another_node_serves_rather_than_another_kind() {
    for gfp in [Gfp::NOWAIT, Gfp::KERNEL] {
        let stage = stage(Plan::of(&[32, 16]), LOW);
        stage.leave(0, 0);
        stage.scatter(1000, 2);
        // Down to its low mark, and then to its min mark.
        stage.leave(1, 512 + LOW.low);
        for left in (512 + LOW.min..512 + LOW.low).rev() {
            assert!(stage.ask(gfp | Gfp::MOVABLE | Gfp::THISNODE, 0).is_ok(), "movable frames are at hand");
            assert!(stage.ask(gfp, 0).is_ok());
            assert_eq!((stage.free(1), stage.demands()), (left, vec![]));
        }
        stage.check();
    }
}

#[test]
fn who_may_wait_reclaims_before_it_mixes_kinds() {
    let (stage, block) = with_block(Plan::of(&[32]));
    stage.reclaims([
        lose(0),
        act(move |stage| {
            stage.free_run(block, 9);
            BLOCK
        }),
    ]);
    let pfn = stage.ask(Gfp::KERNEL, 0).expect("a block was made");
    assert_eq!((stage.demands().len(), pfn.get() / BLOCK), (2, block.get() / BLOCK));
    stage.check();
}

#[test]
fn frames_in_words_are_of_some_kind_too() {
    let (stage, block) = with_block(Plan { caching: Caching::Local, ..Plan::of(&[32]) });
    assert!(stage.allocator.set_marks(stage.zones()[0].id, Marks::at(0)));
    assert!(stage.ask(Gfp::NOWAIT | Gfp::MOVABLE, 0).is_ok());
    assert!(stage.zones()[0].cached > 0, "a group of movable frames");
    stage.reclaims([act(move |stage| {
        stage.free_run(block, 9);
        BLOCK
    })]);
    let pfn = stage.ask(Gfp::KERNEL, 0).expect("a block was made");
    assert_eq!((stage.demands().len(), pfn.get() / BLOCK), (1, block.get() / BLOCK));
    stage.check();
}

#[test]
fn kinds_are_mixed_once_reclaim_has_brought_none_of_the_own_for_long() {
    for brings in [0, 1] {
        let stage = scattered(900);
        stage.reclaims((0..100).map(|_| give(brings)));
        assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
        assert_eq!((stage.demands().len(), stage.kills(), stage.pauses()), (17, 0, 0), "{brings} each time");
        stage.check();
    }
}

/// Somebody is being killed: who has frames of other kinds at hand does not wait for that.
#[test]
fn nobody_waits_for_a_kill_with_frames_of_other_kinds_at_hand() {
    let stage = scattered(0);
    stage.script.kills.borrow_mut().push_back(act(|stage| {
        stage.scatter(100, 2);
        assert!(stage.again(Gfp::KERNEL, 0).is_ok());
        0
    }));
    assert!(stage.ask(Gfp::KERNEL | Gfp::MOVABLE, 0).is_ok());
    assert_eq!((stage.kills(), stage.pauses()), (1, 0));
    stage.check();
}

#[test]
fn a_short_run_that_is_made_is_in_a_block_of_its_kind() {
    let stage = scattered(1024);
    assert!(stage.allocator.set_marks(stage.zones()[0].id, Marks::at(0)));
    stage.script.moves.set(true);
    let pfn = stage.ask(Gfp::KERNEL, 3).expect("a block is made");
    let block = block_of(stage, pfn);
    assert_eq!((block.kind, u64::from(block.free)), (Kind::Unmovable, BLOCK - 8), "nobody else is in it");
    assert_eq!(stage.kills(), 0);
    // Movable frames have each other's company.
    let pfn = stage.ask(Gfp::KERNEL | Gfp::MOVABLE, 3).expect("a run is made");
    assert_eq!(block_of(stage, pfn).kind, Kind::Movable);
    stage.check();
}

#[test]
fn the_daemons_make_whole_blocks_up_to_the_high_mark() {
    let stage = scattered(1000);
    stage.script.moves.set(true);
    assert!(stage.free(0) > LOW.high && free_blocks(stage) == 0);
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    stage.reclaims([give(40), lose(0)]);
    assert!(stage.allocator.kswapd(NodeId(0)));
    let demands: Vec<_> = stage.demands().iter().map(|demand| demand.frames).collect();
    assert_eq!(demands, [1024, 984], "room to move frames, until that is in vain");
    assert!(stage.allocator.has_work(Daemon::Kcompactd, NodeId(0)));
    assert!(stage.allocator.kcompactd(NodeId(0)));
    assert_eq!(free_blocks(stage), 2, "the least that is 700 frames");
    assert!(stage.allocator.vmstat().to_string().contains("\nnr_free_pages_blocks 1024\n"));
    // Now there is nothing to do for them.
    stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
    let before = stage.demands().len();
    assert!(stage.allocator.kswapd(NodeId(0)));
    assert_eq!(stage.demands().len(), before);
    assert!(!stage.allocator.has_work(Daemon::Kcompactd, NodeId(0)));
    // One of them is broken for another kind, and no other block.
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(free_blocks(stage), 1);
    stage.check();
}

#[test]
fn where_no_blocks_can_be_made_the_daemons_end_and_are_called_again() {
    let stage = scattered(1000);
    for _ in 0..20 {
        stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
        stage.reclaims((0..30).map(|_| lose(100)));
        let before = stage.demands().len();
        assert!(stage.allocator.kswapd(NodeId(0)));
        assert_eq!(stage.demands().len() - before, 11, "for 1024 frames, once");
        assert!(stage.allocator.kcompactd(NodeId(0)));
        let has_work = |daemon| stage.allocator.has_work(daemon, NodeId(0));
        assert!(!has_work(Daemon::Kswapd) && !has_work(Daemon::Kcompactd));
        stage.script.reclaims.borrow_mut().clear();
        // Nor do frames that are not reclaimed make it hopeless.
        stage.allocator.ask(Daemon::Kswapd, NodeId(0), Order::ZERO);
        assert!(stage.allocator.kswapd(NodeId(0)));
        assert_eq!(stage.demands().len() - before, 12);
        assert!(stage.allocator.kcompactd(NodeId(0)));
    }
    assert!(stage.ask(Gfp::NOWAIT, 0).is_ok());
    assert_eq!(stage.woken(), [NodeId(0)], "by who found no frame of its kind");
    stage.check();
}

#[test]
fn the_knob_turns_while_everybody_allocates() {
    let stage = scattered(1000);
    let turn = |defrag_mode| {
        stage.allocator.set_tuning(Tuning { defrag_mode, ..DEFRAG }).expect("it is possible");
        assert!(stage.allocator.set_marks(stage.zones()[0].id, LOW));
    };
    turn(false);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!(stage.calls(), [], "out of whatever block");
    turn(true);
    assert!(stage.ask(Gfp::KERNEL | Gfp::RECLAIMABLE, 0).is_ok());
    assert_eq!(stage.demands().len(), 17);
    stage.check();
}

/// Whether a frame of the kind could be had above the mark without another kind's block: by a look at every block.
fn could_be_own(stage: &Stage, kind: Kind) -> bool {
    stage.zones().iter().filter(|zone| zone.free > MARKS.min).any(|zone| {
        let mut blocks = stage.allocator.blocks(zone.id).filter(|block| block.free > 0);
        blocks.any(|block| block.kind == kind || u64::from(block.free) == BLOCK)
    })
}

#[test]
fn no_block_is_shared_while_one_of_the_own_kind_could_serve() {
    let kinds = [
        (Gfp::empty(), Kind::Unmovable),
        (Gfp::RECLAIMABLE, Kind::Reclaimable),
        (Gfp::MOVABLE, Kind::Movable),
    ];
    let stage = stage(Plan::of(&[6, 5]), MARKS);
    let (mut held, mut dice, mut mixed) = (Vec::new(), 7u64, 0);
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for round in 0..12_000 {
        // Fuller and emptier by turns; kinds come in waves.
        if roll(100) < if round / 4000 == 1 { 70 } else { 10 } && !held.is_empty() {
            let at = roll(held.len() as u64) as usize;
            stage.free_run(held.swap_remove(at), 0);
            continue;
        }
        let (gfp, kind) = kinds[((round / 700 + roll(4) / 3) % 3) as usize];
        stage.script.cpu.set(2 * roll(2) as usize);
        let (before, own) = (blocks(stage), could_be_own(stage, kind));
        let Ok(pfn) = stage.ask(Gfp::NOWAIT | gfp, 0) else { continue };
        let start = pfn.get() / BLOCK * BLOCK;
        let block = before.iter().find(|block| block.start.get() == start).expect("it is managed");
        if block.kind != kind && u64::from(block.free) < BLOCK {
            assert!(!own, "{pfn:?} of {kind:?} is out of {block:?}");
            mixed += 1;
        }
        held.push(pfn);
    }
    assert!(mixed > 0, "it came to that");
    stage.check();
}
