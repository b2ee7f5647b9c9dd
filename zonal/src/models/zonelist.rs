//! Zonelists against readers: a list that lacks a zone has been published behind the reader's back, and he can tell. Writers:
//! whoever returns has been heard.

use std::vec;
use std::vec::Vec;

use crate::frame::{NodeId, ZoneId};
use crate::models::explore::{bounded, race};
use crate::sync::{AtomicU64, Ordering, UnmodelledU64};
use crate::topology::ZoneKind;
use crate::zonelist::combine::Combiner;
use crate::zonelist::order::{NodeOrder, Standing};
use crate::zonelist::{ListedZone, Lists, Place, Zonelists};

const NODE: NodeId = NodeId(0);
/// The zone that a request may use: the last on the list.
const ALLOWED: ZoneId = ZoneId(0);

/// The lists of one node with two zones, both of them on its list.
fn two_zones() -> Zonelists<'static> {
    let zone = |kind| ListedZone { node: NODE, kind };
    let listed = Vec::leak(vec![zone(ZoneKind::Dma32), zone(ZoneKind::Normal)]);
    let lists = || {
        let places = Vec::leak((0..2).map(|_| Place::empty()).collect());
        Lists::new(places, Vec::leak(vec![core::array::from_fn(|_| Place::empty())]))
    };
    let order =
        NodeOrder::new(&[10], Vec::leak(vec![Standing::new(true)]), Vec::leak(vec![UnmodelledU64::new(0)]));
    let zonelists = Zonelists::new(listed, [lists(), lists()], order);
    rebuild(&zonelists, |_| true);
    zonelists
}

fn rebuild(lists: &Zonelists<'_>, populated: impl Fn(ZoneId) -> bool) {
    assert!(lists.rebuild(populated, |_| {}, loom::thread::yield_now));
}

/// The other zone goes in the second of two rebuilds, which writes the buffer that the reader may be in.
#[test]
fn loom_zonelist_a_reader_misses_a_zone_only_if_the_word_has_moved() {
    bounded(3, || {
        race(
            two_zones(),
            |lists| {
                let stamp = lists.stamp();
                let found = lists.list(NODE).any(|zone| zone == ALLOWED);
                assert!(found || lists.have_moved(stamp), "a list lacks a zone, and nothing was published");
            },
            |lists| {
                rebuild(lists, |_| true);
                rebuild(lists, |zone| zone == ALLOWED);
            },
        );
    });
}

/// What came within reach before a bump is found by whoever begins anew because of it.
#[test]
fn loom_zonelist_who_sees_a_bump_sees_what_it_was_for() {
    bounded(3, || {
        race(
            (two_zones(), AtomicU64::new(0)),
            |(lists, free)| {
                let before = lists.stamp();
                if lists.have_moved(before) {
                    assert_eq!(free.load(Ordering::Relaxed), 1, "who begins anew does not find what came");
                }
            },
            |(lists, free)| {
                free.store(1, Ordering::Relaxed);
                lists.bump();
            },
        );
    });
}

/// Each of two writers changes something and returns: what it changed has been looked at, by itself or by the other.
#[test]
fn loom_zonelist_two_writers_lose_no_request() {
    struct Desk {
        combiner: Combiner,
        changes: [AtomicU64; 2],
        shown: [AtomicU64; 2],
    }
    let write = |desk: &Desk, who: usize| {
        // Relaxed, all: the tickets order them.
        desk.changes[who].store(1, Ordering::Relaxed);
        let act = || {
            for (change, shown) in desk.changes.iter().zip(&desk.shown) {
                shown.store(change.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        };
        desk.combiner.run(act, loom::thread::yield_now);
        assert_eq!(
            desk.shown[who].load(Ordering::Relaxed),
            1,
            "a change is not shown when its writer returns"
        );
    };
    bounded(3, move || {
        let atomics = || [AtomicU64::new(0), AtomicU64::new(0)];
        let desk = Desk { combiner: Combiner::new(), changes: atomics(), shown: atomics() };
        race(desk, move |desk| write(desk, 0), move |desk| write(desk, 1));
    });
}
