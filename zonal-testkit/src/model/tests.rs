//! The model's own canaries: each wrong answer it exists to notice is given to it once.

use super::{Ask, Figures, Model};
use crate::machine::{BLOCK, Class, Machine};
use crate::violation::Violation;

fn model() -> (Model, Ask) {
    let model = Model::new(&Machine::ragged());
    let ask = Ask::run(0, model.zonelist(0, Class::Normal));
    (model, ask)
}

#[test]
fn holes_and_reserved_frames_are_absent() {
    let (mut model, ask) = model();
    for pfn in [0, 64, 95, 700, 702, 1499, 1500, 2048, 3000, 3583, 4096, u64::MAX] {
        assert_eq!(model.granted(&ask, pfn), Err(Violation::Absent { pfn }));
    }
    assert_eq!(model.total().managed, 700 - 1 - 32 + 797 - 100 + 1534 - 1 + 512);
}

#[test]
fn a_frame_handed_out_twice_is_noticed() {
    let (mut model, ask) = model();
    assert_eq!(model.granted(&ask, 5), Ok(()));
    assert_eq!(model.granted(&ask, 5), Err(Violation::Taken { pfn: 5 }));
    let overlapping = Ask::run(3, ask.zones.clone());
    assert_eq!(model.granted(&overlapping, 8), Ok(()));
    assert_eq!(model.granted(&ask, 15), Err(Violation::Taken { pfn: 15 }));
}

#[test]
fn a_poisoned_frame_handed_out_is_noticed() {
    let (mut model, ask) = model();
    assert_eq!((model.granted(&ask, 5), model.poison(5), model.poison(6)), (Ok(()), Some(true), Some(false)));
    assert_eq!(model.granted(&ask, 6), Err(Violation::Poisoned { pfn: 6 }));
    assert_eq!(model.freed(5, 1), Ok(()));
    assert_eq!(model.granted(&ask, 5), Err(Violation::Poisoned { pfn: 5 }));
    assert_eq!(model.total().poisoned, 2);
    assert_eq!((model.heal(5), model.heal(5), model.poison(u64::MAX)), (Some(false), None, None));
    assert_eq!(model.granted(&ask, 5), Ok(()));
    assert_eq!(model.poisoned().collect::<Vec<_>>(), [6]);
}

#[test]
fn alignment_limit_and_zone_are_noticed() {
    let mut model = Model::new(&Machine::two_nodes());
    let ask = Ask::run(2, model.own_zones(1, Class::Normal));
    assert_eq!(
        model.granted(&ask, 5 * BLOCK + 6),
        Err(Violation::Misaligned { pfn: 5 * BLOCK + 6, align: 4 })
    );
    assert_eq!(model.granted(&ask, 3 * BLOCK), Err(Violation::ForbiddenZone { pfn: 3 * BLOCK, zone: 2 }));
    let (pfn, below) = (6 * BLOCK, 6 * BLOCK + 3);
    let low = ask.below(below);
    assert_eq!(model.granted(&low, pfn), Err(Violation::TooHigh { pfn: below, below }));
    assert_eq!(model.granted(&low, pfn - 4), Ok(()));
    let crossing = Ask::run(0, low.zones.clone()).exact(4);
    assert_eq!(model.granted(&crossing, BLOCK - 2), Err(Violation::TwoZones { pfn: BLOCK }));
}

#[test]
fn a_refusal_is_right_only_without_a_usable_run() {
    let mut model = Model::new(&Machine::one_block());
    let ask = |order| Ask::run(order, vec![0]);
    assert_eq!(model.refused(&ask(10)), Ok(()));
    assert_eq!(model.refused(&ask(9)), Err(Violation::Refused { pfn: 0, zone: 0, frames: 512 }));
    for pfn in (0..BLOCK).step_by(2) {
        assert_eq!(model.granted(&ask(0), pfn), Ok(()));
    }
    assert_eq!(model.refused(&ask(1)), Ok(()));
    assert_eq!(model.refused(&ask(0)), Err(Violation::Refused { pfn: 1, zone: 0, frames: 1 }));
    assert_eq!(model.refused_at(&ask(0), 2), Ok(()));
    assert_eq!(model.refused_at(&ask(0), 3), Err(Violation::Refused { pfn: 3, zone: 0, frames: 1 }));
}

#[test]
fn a_mark_holds_to_the_frame() {
    let mut model = Model::new(&Machine::two_nodes());
    let dma = Ask::run(0, model.zonelist(0, Class::Dma));
    for pfn in 5..BLOCK - 300 {
        assert_eq!(model.granted(&dma, pfn), Ok(()));
    }
    let below = Violation::BelowMark { zone: 0, free: 300, frames: 1, mark: 300 };
    assert_eq!(model.granted(&dma, BLOCK - 1), Err(below));
    assert_eq!(model.refused(&dma), Ok(()));
}

#[test]
fn only_what_is_held_is_freed() {
    let (mut model, ask) = model();
    let eight = Ask::run(3, ask.zones);
    assert_eq!(model.freed(16, 8), Err(Violation::NotHeld { pfn: 16, frames: 8 }));
    assert_eq!(model.granted(&eight, 16), Ok(()));
    assert_eq!(model.freed(16, 16), Err(Violation::NotHeld { pfn: 16, frames: 16 }));
    assert_eq!(model.freed(18, 2), Ok(()));
    assert_eq!(model.runs().collect::<Vec<_>>(), [(16, 2), (20, 4)]);
    assert_eq!(model.freed(18, 2), Err(Violation::NotHeld { pfn: 18, frames: 2 }));
    assert_eq!(model.split(20, 4, 0), Err(Violation::NotHeld { pfn: 20, frames: 0 }));
    assert_eq!(model.split(20, 8, 1), Err(Violation::NotHeld { pfn: 20, frames: 8 }));
    assert_eq!(model.split(20, 4, 1), Ok(()));
    assert_eq!(model.freed(20, 2), Err(Violation::NotHeld { pfn: 20, frames: 2 }));
    assert_eq!(model.total().held, 6);
}

#[test]
fn only_held_halves_are_merged() {
    let (mut model, ask) = model();
    let two = Ask::run(1, ask.zones);
    assert_eq!(model.granted(&two, 8), Ok(()));
    assert_eq!(model.merged(8, 2), Err(Violation::NotHeld { pfn: 10, frames: 2 }));
    assert_eq!(model.granted(&two, 10), Ok(()));
    assert_eq!(model.merged(8, 2), Ok(()));
    assert_eq!(model.runs().collect::<Vec<_>>(), [(8, 4)]);
    assert_eq!(model.freed(9, 3), Ok(()));
}

#[test]
fn isolated_frames_are_not_free() {
    let mut model = Model::new(&Machine::one_block());
    let ask = Ask::run(0, vec![0]);
    assert_eq!(model.granted(&ask, 9), Ok(()));
    assert_eq!(model.isolated(0), Ok(()));
    assert_eq!(model.isolated(0), Err(Violation::Isolation { block: 0 }));
    assert_eq!(model.total(), Figures { managed: 512, held: 1, isolated: 511, ..Figures::default() });
    assert_eq!(model.granted(&ask, 8), Err(Violation::Isolated { pfn: 8 }));
    assert_eq!(model.refused(&ask), Ok(()));
    assert_eq!(model.freed(9, 1), Ok(()));
    assert_eq!(model.unisolated(0), Ok(()));
    assert_eq!(model.unisolated(0), Err(Violation::Isolation { block: 0 }));
    assert_eq!(model.total().free, 512);
}

#[test]
fn zones_and_lists_are_in_order() {
    let model = Model::new(&Machine::two_nodes());
    let names: Vec<_> = model.zones().iter().map(|zone| (zone.node, zone.class)).collect();
    use Class::{Dma, Dma32, Movable, Normal};
    assert_eq!(names, [(0, Dma), (0, Dma32), (0, Normal), (0, Movable), (1, Normal), (1, Movable)]);
    assert_eq!(model.zonelist(0, Movable), [3, 2, 1, 0, 5, 4]);
    assert_eq!(model.zonelist(1, Normal), [4, 2, 1, 0]);
    assert_eq!(model.zonelist(1, Dma32), [1, 0]);
    assert_eq!(model.own_zones(1, Dma32), []);
    assert_eq!(model.zonelist(9, Normal), []);
}

#[test]
fn a_block_belongs_to_the_zone_of_its_first_frame() {
    let mut machine = Machine::equal_nodes(2, 1, 0, BLOCK + 100);
    machine.reserved.push(BLOCK + 99..BLOCK + 101);
    let model = Model::new(&machine);
    assert_eq!(model.zone_of(BLOCK + 98), Some(0));
    assert_eq!(model.zone_of(BLOCK + 99), None);
    assert_eq!(model.zone_of(BLOCK + 101), Some(0));
    assert_eq!(model.zone_of(2 * BLOCK), Some(1));
    assert_eq!((model.figures(0).managed, model.figures(1).managed), (2 * BLOCK - 2, 200));
}
