//! The figures of linux-facts 2.6 and the rows of 2.9.

use super::mask::{
    DIRECT_RECLAIM, DMA, DMA32, FS, HIGH, HIGHMEM, KSWAPD_RECLAIM, MEMALLOC, MOVABLE, NOFAIL, NOMEMALLOC,
    NORETRY, RETRY_MAYFAIL, THISNODE,
};
use super::*;
use crate::machine::Class;

const IO: u32 = 1 << 6;
const KERNEL: u32 = DIRECT_RECLAIM | KSWAPD_RECLAIM | IO | FS;
const ATOMIC: u32 = HIGH | KSWAPD_RECLAIM;
const NOWAIT: u32 = KSWAPD_RECLAIM;
const TASK: Asker = Asker { memalloc: false, victim: false, realtime: false, interrupt: false };
const VICTIM: Asker = Asker { victim: true, ..TASK };
const RECLAIMER: Asker = Asker { memalloc: true, ..TASK };

/// 16 GiB, all free.
const ZONE: ZoneNow = ZoneNow {
    free: 4_194_304,
    highatomic: 0,
    marks: [4096, 8290, 12_484],
    boost: 0,
    reserve: [0; 4],
    longest: Some(10),
    longest_highatomic: None,
};

/// The fewest free frames with which some test of the request passes.
fn least(zone: ZoneNow, mask: u32, order: u8, asker: Asker) -> Option<u64> {
    (0..=20_000).find(|&free| admitting(&[ZoneNow { free, ..zone }], mask, order, asker).is_some())
}

#[test]
fn each_class_has_its_floor() {
    let after = |mask, asker| least(ZONE, mask, 0, asker).map(|free| free - 1);
    assert_eq!(after(KERNEL, TASK), Some(4096));
    assert_eq!(after(NOWAIT, TASK), Some(4096), "not waiting alone gives nothing");
    assert_eq!(after(KERNEL | HIGH, TASK), Some(2048), "1/2");
    assert_eq!(after(ATOMIC, TASK), Some(1536), "3/8");
    assert_eq!(after(KERNEL, VICTIM), Some(2048), "1/2");
    assert_eq!(after(KERNEL | HIGH, VICTIM), Some(1024), "1/4");
    assert_eq!(after(ATOMIC, VICTIM), Some(768), "3/16");
    assert_eq!(after(KERNEL, Asker { realtime: true, ..TASK }), Some(2048));
    assert_eq!(after(NOWAIT, Asker { realtime: true, ..TASK }), Some(4096), "it does not wait");
    assert_eq!(after(ATOMIC | NOMEMALLOC, TASK), Some(2048), "half, but no more for not waiting");
    for (mask, asker) in [(KERNEL | MEMALLOC, TASK), (KERNEL, RECLAIMER), (ATOMIC | MEMALLOC, TASK)] {
        assert_eq!(least(ZONE, mask, 0, asker), Some(0), "no mark: whatever run there is");
        assert_eq!(least(ZoneNow { longest: None, ..ZONE }, mask, 0, asker), None);
    }
    for asker in [VICTIM, RECLAIMER] {
        assert_eq!(after(KERNEL | NOMEMALLOC, asker), Some(4096), "whoever asks");
        assert_eq!(after(KERNEL, Asker { interrupt: true, ..asker }), Some(4096), "who is no task");
    }
    assert_eq!(after(KERNEL | MEMALLOC | NOMEMALLOC, TASK), Some(4096));
}

#[test]
fn odd_marks_round_in_the_zone_s_favour() {
    let after =
        |mask, asker| least(ZoneNow { marks: [11, 20, 30], ..ZONE }, mask, 0, asker).map(|free| free - 1);
    assert_eq!(after(KERNEL | HIGH, TASK), Some(6));
    assert_eq!(after(ATOMIC, TASK), Some(5));
    assert_eq!(after(ATOMIC, VICTIM), Some(3));
}

#[test]
fn a_run_leaves_the_floor_behind_and_must_exist() {
    for order in 0..=10u8 {
        assert_eq!(least(ZONE, KERNEL, order, TASK), Some(4096 + (1 << order)));
        let short = ZoneNow { longest: order.checked_sub(1), ..ZONE };
        assert_eq!(least(short, KERNEL, order, TASK), None);
    }
}

#[test]
fn lower_zones_leave_more_to_their_own() {
    let dma32 = ZoneNow { marks: [0; 3], reserve: [0, 0, 13_056, 13_056], ..ZONE };
    assert_eq!(least(dma32, KERNEL | DMA32, 0, TASK), Some(1));
    assert_eq!(least(dma32, KERNEL, 0, TASK), Some(13_057));
    assert_eq!(least(dma32, KERNEL | MOVABLE | HIGHMEM, 0, TASK), Some(13_057));
    assert_eq!(least(dma32, ATOMIC, 0, TASK), Some(13_057), "the reserve is not halved");
    assert_eq!(least(dma32, KERNEL | MEMALLOC, 0, TASK), Some(0), "but overridden");
    let zones = [ZoneNow { free: 4096, ..ZONE }, ZoneNow { free: 13_057, ..dma32 }];
    assert_eq!(admitting(&zones, KERNEL, 0, TASK), Some(1));
    assert_eq!(admitting(&zones, KERNEL | DMA | DMA32, 0, TASK), None, "no mask");
}

#[test]
fn a_boost_counts_but_for_single_high_frames() {
    let boosted = ZoneNow { boost: 1000, ..ZONE };
    let after = |mask, order: u8| least(boosted, mask, order, TASK).map(|free| free - (1 << order));
    assert_eq!(after(KERNEL, 0), Some(5096));
    assert_eq!(after(KERNEL, 1), Some(5096));
    assert_eq!(after(KERNEL | HIGH, 0), Some(2048));
    assert_eq!(after(KERNEL | HIGH, 1), Some(2548));
    assert_eq!(after(ATOMIC, 0), Some(1536));
    assert_eq!(after(ATOMIC, 1), Some(1911));
}

#[test]
fn kept_blocks_are_for_those_with_reserves() {
    let kept = ZoneNow { highatomic: 512, longest: Some(0), longest_highatomic: Some(9), ..ZONE };
    assert_eq!(least(kept, KERNEL, 0, TASK), Some(4097 + 512));
    assert_eq!(least(kept, ATOMIC, 0, TASK), Some(1537));
    assert_eq!(least(kept, ATOMIC, 3, TASK), Some(1536 + 8));
    assert_eq!(least(kept, NOWAIT, 3, TASK), Some(4096 + 8), "it does not wait either");
    assert_eq!(least(kept, KERNEL | HIGH, 3, TASK), None, "it waits");
    let keeps = |mask, order| grants(mask, order, TASK)[1].highatomic;
    assert!(keeps(ATOMIC, 1) && !keeps(ATOMIC, 0) && !keeps(ATOMIC | NOMEMALLOC, 1) && !keeps(NOWAIT, 1));
    assert_eq!(least(kept, KERNEL, 3, VICTIM), Some(2048 + 8));
    let only_kept = ZoneNow { longest: None, ..kept };
    assert_eq!(least(only_kept, ATOMIC, 0, TASK), Some(1537));
    assert_eq!(least(only_kept, KERNEL | HIGH, 0, TASK), None);
}

#[test]
fn the_fast_walk_leaves_the_low_mark_and_the_last_look_the_high_one() {
    let floor = |level| ZONE.floor(Grant::at(level), Class::Normal, 0);
    assert_eq!([Level::Min, Level::Low, Level::High].map(floor), [4096, 8290, 12_484]);
    assert_eq!(grants(ATOMIC, 0, TASK)[0], Grant::at(Level::Low), "no reserve before the slow walk");
}

#[test]
fn later_grants_admit_what_earlier_ones_do() {
    let askers = (0..16).map(|bits| Asker {
        memalloc: bits & 1 != 0,
        victim: bits & 2 != 0,
        realtime: bits & 4 != 0,
        interrupt: bits & 8 != 0,
    });
    for asker in askers {
        for flags in 0..16 {
            let pick = |bit: u32, flag| if flags & bit != 0 { flag } else { 0 };
            let mask = pick(1, HIGH) | pick(2, DIRECT_RECLAIM) | pick(4, MEMALLOC) | pick(8, NOMEMALLOC);
            for order in [0, 1, 9] {
                let floors: Vec<u64> = grants(mask, order, asker)
                    .into_iter()
                    .map(
                        |grant| if grant.no_watermarks { 0 } else { ZONE.floor(grant, Class::Normal, order) },
                    )
                    .collect();
                assert!(
                    floors.is_sorted_by(|earlier, later| earlier >= later),
                    "{mask:#x} {asker:?}: {floors:?}"
                );
            }
        }
    }
}

#[test]
fn when_a_request_may_fail() {
    let rows = [
        (ATOMIC, 0, Failure::AtOnce),
        (NOWAIT, 9, Failure::AtOnce),
        (0, 0, Failure::AtOnce),
        (ATOMIC | NOFAIL, 0, Failure::AtOnce),
        (KERNEL, 0, Failure::WithoutVictim),
        (KERNEL, 3, Failure::WithoutVictim),
        (KERNEL, 4, Failure::AfterOnePass),
        (KERNEL | RETRY_MAYFAIL, 0, Failure::WithoutProgress),
        (KERNEL | RETRY_MAYFAIL, 9, Failure::WithoutProgress),
        (KERNEL | NORETRY, 0, Failure::AfterOneLightPass),
        (KERNEL | NORETRY | RETRY_MAYFAIL, 0, Failure::AfterOneLightPass),
        (KERNEL | NOFAIL, 9, Failure::Never),
        (KERNEL | NOFAIL | NORETRY, 0, Failure::Never),
    ];
    for (mask, order, expected) in rows {
        assert_eq!(failure(mask, order, TASK), expected, "{mask:#x} order {order}");
    }
    assert_eq!(failure(KERNEL, 0, RECLAIMER), Failure::AtOnce);
    assert_eq!(failure(KERNEL | NOFAIL, 0, RECLAIMER), Failure::Never);
}

#[test]
fn for_whom_somebody_is_killed() {
    let killed = |mask, order| kills(mask, order, TASK);
    assert!(killed(KERNEL, 0) && killed(KERNEL, 3) && killed(KERNEL | NOFAIL, 0));
    assert!(killed(KERNEL | MOVABLE | HIGHMEM, 0));
    assert!(!killed(KERNEL, 4) && !killed(KERNEL | NOFAIL, 4));
    for flag in [RETRY_MAYFAIL, NORETRY, THISNODE, DMA, DMA32] {
        assert!(!killed(KERNEL | flag, 0), "{flag:#x}");
    }
    assert!(!killed(KERNEL & !FS, 0), "it could not help itself");
    assert!(!killed(ATOMIC, 0) && !kills(KERNEL, 0, RECLAIMER));
}
