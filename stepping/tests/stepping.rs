//! Operations interrupted at their instructions: all of them here and there, some everywhere.
//!
//! `cargo run --release -p stepping --example step` interrupts all of them everywhere.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::num::NonZeroU64;

use stepping::{Error, Options, run};

/// Far enough apart that it takes seconds, and no divisor of a loop's length.
const STRIDE: NonZeroU64 = NonZeroU64::new(97).unwrap();

/// A case under one handler, at each instruction.
#[track_caller]
fn bears(case: &str, handler: &str) {
    let options = Options { case: Some(case.into()), handler: Some(handler.into()), ..Options::default() };
    let report = run(&options).expect("children can be started");
    assert!(report.holds(), "{report}");
    assert!(report.interruptions > 20 && !report.functions.is_empty(), "{report}");
}

#[test]
fn every_operation_bears_every_handler() {
    let report = run(&Options { stride: STRIDE, ..Options::default() }).expect("children can be started");
    println!("{report}");
    assert!(report.holds(), "{report}");
    assert!(report.addresses() * 5 > report.instructions(), "hardly anything was interrupted: {report}");
}

#[test]
fn a_hit_bears_a_hit() {
    bears("alloc-hit", "takes");
    bears("free-hit", "takes");
}

#[test]
fn a_drain_bears_frees_into_its_words() {
    bears("drain", "gives");
}

#[test]
fn a_request_does_not_wait_for_the_drain_it_interrupts() {
    bears("drain-of-the-last-frames", "takes");
}

#[test]
fn a_refill_does_not_share_a_block_that_is_taken_whole() {
    bears("refill-from-the-last-block", "takes-block");
}

#[test]
fn an_eviction_drops_no_frame() {
    bears("free-that-evicts", "takes");
}

#[test]
fn an_abandoned_run_of_blocks_leaves_nothing_behind() {
    bears("alloc-10-of-the-last-pair", "takes-block");
}

#[test]
fn a_free_near_the_mark_bears_an_isolation() {
    bears("free-9-near-the-mark", "isolates");
}

#[test]
fn a_frame_drained_meanwhile_is_had_at_its_place() {
    bears("alloc-at", "drains");
}

#[test]
fn a_request_does_not_wait_for_the_rebuild_it_interrupts() {
    bears("rebuild-while-a-node-is-full", "takes");
}

#[test]
fn a_section_does_not_go_offline_with_a_frame_that_was_taken_meanwhile() {
    bears("offline-of-all-that-is-free", "takes");
}

#[test]
fn a_nolock_request_is_served_of_what_another_cpu_caches() {
    bears("nolock-of-what-another-cpu-caches", "takes");
}

#[test]
fn a_block_that_a_daemon_makes_is_whole() {
    bears("kcompactd", "takes");
}

#[test]
fn frames_of_a_tab_are_seen_while_it_is_settled() {
    bears("pinned-free-that-turns-a-tab", "takes");
    bears("pinned-drain-of-a-tab", "takes");
}

#[test]
fn an_unknown_case_is_refused_by_name() {
    let unknown = Options { case: Some("alloc-19".into()), ..Options::default() };
    assert!(matches!(run(&unknown), Err(Error::Unknown { name, .. }) if name == "alloc-19"));
}
