//! The conformance suite on this allocator: each promise and each hole found elsewhere is a test of the check's name.
//!
//! Everything must hold, in every geometry: nothing is unsupported here. Holes under other names: marks and the caller's
//! own caches in `refusals.rs`, bad input in `errors.rs` and `hostile.rs`, busy blocks and statics in `scale.rs`.

#[path = "support/subject.rs"]
mod subject;

use std::collections::BTreeSet;

use subject::Geometry;
use zonal::{Caching, Checking};
use zonal_testkit::conformance::{Verdict, checks};

const GEOMETRIES: [Geometry; 5] = [
    Geometry::PLAIN,
    Geometry { nodes: 2, ..Geometry::PLAIN },
    Geometry { nodes: 2, caching: Caching::All, checking: Checking::On },
    Geometry { caching: Caching::Off, ..Geometry::PLAIN },
    Geometry { checking: Checking::On, ..Geometry::PLAIN },
];

fn holds(name: &str) {
    let check = checks().find(|check| check.name == name).expect("the check is in the suite");
    for geometry in GEOMETRIES {
        let verdict = check.run(&geometry.build());
        assert_eq!(verdict, Verdict::Holds, "{geometry}: {}", check.says);
    }
}

/// A test for each of these checks, and one that none is left out.
macro_rules! suite {
    ($($test:ident $check:literal,)*) => {
        $(#[test]
        fn $test() {
            holds($check);
        })*

        #[test]
        fn every_check_is_a_test() {
            let tested = BTreeSet::from([$($check),*]);
            assert_eq!(tested, checks().map(|check| check.name).collect());
        }
    };
}

suite! {
    last_frame "last-frame",
    ragged_memory "ragged-memory",
    every_order "every-order",
    mixed_orders "mixed-orders",
    joined_again "joined-again",
    single_frames "single-frames",
    whole_blocks "whole-blocks",
    fragments_heal "fragments-heal",
    own_cache "own-cache",
    others_caches "others-caches",
    others_runs "others-runs",
    many_cpus "many-cpus",
    drain "drain",
    at_frame "at-frame",
    below_limit "below-limit",
    aligned_run "aligned-run",
    exact_count "exact-count",
    bulk "bulk",
    split "split",
    double_free "double-free",
    foreign_frame "foreign-frame",
    wrong_order "wrong-order",
    misaligned_free "misaligned-free",
    bad_order "bad-order",
    bad_count "bad-count",
    bad_memory "bad-memory",
    offline "offline",
    books "books",
    audit "audit",
    two_owners "two-owners",
    threads "threads",
    busy_others "busy-others",
    shared_parts "shared-parts",
    flat_search "flat-search",
}
