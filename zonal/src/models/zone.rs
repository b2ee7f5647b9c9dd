//! A zone's landing and taking, without the ladder above it.

use crate::block::entry::Claim;
use crate::frame::{Order, Pfn};
use crate::models::explore::{Content, ModelCpu, bounded, exhaustively, race};
use crate::models::stage::{Plan, Stage, want};
use crate::topology::Kind;
use crate::zone::Block;

type Scene = Stage<ModelCpu, Content>;

/// One frame, allocated.
fn one_frame_taken() -> Scene {
    let scene = Stage::new(&Plan::frames(0..1), Content::new);
    assert!(scene.zone().take_run_at(block(&scene), 0, want(Order::ZERO, Kind::Movable)).is_ok());
    scene
}

fn block(scene: &Scene) -> Block<'static> {
    scene.zone().block_of(scene.range().start).expect("the stage has a block")
}

fn first(scene: &Scene) -> Pfn {
    scene.range().start
}

fn land(scene: &Scene) {
    scene.contents(first(scene), Order::ZERO)[0].touch();
    assert!(scene.zone().land(None, block(scene), 0, 1).is_ok());
}

/// Bits first, then the entry: who may claim finds the bit at once.
#[test]
fn loom_zone_a_claim_finds_what_landed() {
    exhaustively(|| {
        let claim = |scene: &Scene| {
            let block = block(scene);
            let got = block.entry.claim(scene.zone().id, 1, 1, None) != Claim::Refused;
            if got {
                assert!(block.bitmap.row(0).take_exact(1), "a claim without its bit");
                scene.contents(first(scene), Order::ZERO)[0].touch();
            }
            got
        };
        let (scene, _, got) = race(one_frame_taken(), land, claim);
        assert_eq!(block(&scene).bitmap.popcount(), u64::from(!got));
    });
}

/// Who claims a landed frame from the zone finds it by the hints: no search is needed elsewhere.
#[test]
fn loom_zone_who_claims_from_the_count_finds_a_hint() {
    exhaustively(|| {
        let (scene, ..) = race(one_frame_taken(), land, |scene| {
            let zone = scene.zone();
            let _ = zone
                .take_group(None, want(Order::ZERO, Kind::Movable), 0, 1)
                .map(|taken| zone.arrived(&taken));
        });
        let free = block(&scene).entry.load().count();
        assert_eq!(scene.zone().count.free(), free);
        assert_eq!(scene.zone().count.transit().frames(), 0);
        assert!(free == 0 || scene.zone().tree(Kind::Movable, crate::zone::search::Class::Frame).is_set(0));
    });
}

/// Two searches for runs of 8 where one group of 8 is left: one gets it, the other's claim comes back whole.
#[test]
fn loom_zone_a_lost_run_gives_its_claim_back() {
    bounded(2, || {
        let take = |scene: &Scene| {
            let zone = scene.zone();
            let taken = zone.take_group(None, want(Order::from_raw(3), Kind::Movable), 0, 8);
            taken.map(|taken| zone.arrived(&taken)).is_ok()
        };
        // 16 frames, 8 of them a run: both pass the count, one finds the run.
        let scene = Stage::new(&Plan::frames(4..20), Content::new);
        let (scene, a, b) = race(scene, take, take);
        assert!(a != b);
        scene.assert_at_rest(8);
    });
}
