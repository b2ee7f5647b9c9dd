//! Each check can fail: a toy that is right passes all of them, and a toy with one fault fails the check that is there
//! for it.

mod toy;

use std::collections::BTreeSet;
use std::time::Duration;

use toy::Mistake::{self, *};
use zonal_testkit::conformance::{Answer, Build, Check, FrameAllocator, No, Verdict, checks};

/// The mistake that each check is there for.
const CAUGHT: [(&str, Mistake); 34] = [
    ("last-frame", KeepsOne),
    ("ragged-memory", FillsHoles),
    ("every-order", NotTheLargest),
    ("mixed-orders", HalfAligned),
    ("joined-again", NeverJoins),
    ("single-frames", RefillsEight),
    ("whole-blocks", GivesUp),
    ("fragments-heal", LastFreed),
    ("own-cache", KeepsCached),
    ("others-caches", NeverDrains),
    ("others-runs", KeepsCached),
    ("many-cpus", FewCpus),
    ("drain", DrainsHalf),
    ("at-frame", TakesHeld),
    ("below-limit", NoLimit),
    ("aligned-run", NoAlignment),
    ("exact-count", RoundsUp),
    ("bulk", RefillsEight),
    ("split", SplitsInTwo),
    ("double-free", Trusts),
    ("foreign-frame", Trusts),
    ("wrong-order", Trusts),
    ("misaligned-free", Trusts),
    ("bad-order", ShiftsTooFar),
    ("bad-count", CountsFromOne),
    ("bad-memory", AnyMemory),
    ("offline", ForgetsOffline),
    ("books", Miscounts),
    ("audit", Miscounts),
    ("two-owners", TakesLate),
    ("threads", TakesLate),
    ("busy-others", RefusesWhenBusy),
    ("shared-parts", PanicsWhenBusy),
    ("flat-search", Scans),
];

fn check(name: &str) -> &'static Check {
    checks().find(|check| check.name == name).expect("the check is in the suite")
}

#[test]
fn a_toy_that_is_right_passes_every_check() {
    for check in checks() {
        assert_eq!(check.run(&toy::build(None)), Verdict::Holds, "{}", check.name);
    }
}

#[test]
fn each_check_fails_on_a_toy_with_its_mistake() {
    let named: BTreeSet<&str> = CAUGHT.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, checks().map(|check| check.name).collect(), "a check without a toy");
    let verdict = |(name, mistake)| (name, mistake, check(name).run(&toy::build(Some(mistake))));
    let is_caught = |verdict: &Verdict| matches!(verdict, Verdict::Broken(_) | Verdict::Crashed(_));
    let missed: Vec<_> =
        CAUGHT.into_iter().map(verdict).filter(|(.., verdict)| !is_caught(verdict)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_panic_is_a_verdict() {
    let verdict = check("bad-order").run(&toy::build(Some(ShiftsTooFar)));
    assert!(matches!(&verdict, Verdict::Crashed(message) if message.contains("order 11")), "{verdict}");
}

/// Never returns.
struct Stuck;

impl FrameAllocator for Stuck {
    fn max_order(&self) -> u32 {
        10
    }

    fn alloc(&self, _order: u32) -> Answer<u64> {
        loop {
            std::thread::park();
        }
    }

    fn free(&self, _pfn: u64, _order: u32) -> Answer<()> {
        Ok(())
    }
}

#[test]
fn an_allocator_that_hangs_is_left_behind() {
    let build: Build = std::sync::Arc::new(|_| Ok(Box::new(Stuck)));
    let patience = Duration::from_millis(50);
    assert_eq!(check("last-frame").run_within(&build, patience), Verdict::Hung(patience));
}

#[test]
fn what_is_not_offered_is_unsupported() {
    let build: Build = std::sync::Arc::new(|_| Err(No::Unsupported("nothing at all")));
    for check in checks() {
        assert_eq!(check.run(&build), Verdict::Unsupported("nothing at all"), "{}", check.name);
    }
}
