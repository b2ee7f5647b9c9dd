//! What the system sees of a pool that grows and shrinks: pages in memory, and refusals of its own. Each test in a process of
//! its own, since both are the whole process's.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../plug/tenants.rs"]
mod tenants;

use std::env::{current_exe, var_os};
use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tenants::{Tenants, movable};
use zonal::{FRAME_SIZE, FrameRange, NodeId, OnlineType, Order, ZoneKind};
use zonal_linux::{Machine, MemoryError, Pages, PlugError, Pool, Step};

const NODE: NodeId = NodeId(0);
const MIB: u64 = 1 << 20;
const SECTION: u64 = 128 * MIB;
/// What tests, threads and the kernel's counters may add to a figure.
const SLACK: u64 = 8 * MIB;

/// Set in a process that runs one test.
const ALONE: &str = "ZONAL_TEST_ALONE";

/// Runs the test of this name in a process that does nothing else.
fn alone(name: &str, test: impl FnOnce()) {
    if var_os(ALONE).is_some() {
        return test();
    }
    let mut command = Command::new(current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ALONE, "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{text}"
    );
    eprint!("{text}");
}

/// 64 MiB, and two sections that may come.
fn pool() -> Arc<Pool> {
    let machine = Machine::uniform(1, 64 * MIB, 2).unwrap().with_hotplug(NODE, 2 * SECTION).unwrap();
    Arc::new(Pool::build(&machine, Pages::Lazy).unwrap())
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * FRAME_SIZE
}

/// A line of the kernel's about this process, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[track_caller]
fn is_about(found: u64, expected: u64) {
    assert!(found.abs_diff(expected) <= SLACK, "{} MiB, not {}", found / MIB, expected / MIB);
}

#[test]
fn what_a_pool_gives_back_the_system_has() {
    alone("what_a_pool_gives_back_the_system_has", what_a_pool_gives_back_the_system_has_alone);
}

fn what_a_pool_gives_back_the_system_has_alone() {
    let pool = pool();
    let (tenants, _registered) = Tenants::of(&pool);
    let before = resident();
    assert_eq!(pool.grow(NODE, 2 * SECTION, OnlineType::Movable).bytes, 2 * SECTION);
    is_about(resident(), before);
    let orders = [0, 3, 0, 5, 1].map(|order| Order::new(order).unwrap());
    let full = orders.into_iter().cycle().take_while(|&order| tenants.enter(order)).count();
    while tenants.enter(Order::ZERO) {}
    let peak = resident();
    is_about(peak, before + 64 * MIB + 2 * SECTION);
    // What stays must fit into what is there from the start.
    let first = pool.pluggable().next().unwrap().range.start;
    tenants.keep(|pfn| pfn >= first && pfn.get() / 32 % 8 == 0);
    assert!(tenants.first_frames().len() > full / 20, "many have to be moved");
    for section in 1..=2 {
        let shrunk = pool.shrink(NODE, SECTION);
        assert_eq!(shrunk.bytes, SECTION, "{shrunk:?}");
        is_about(resident(), peak - section * SECTION);
        tenants.check();
    }
    assert!(tenants.first_frames().iter().all(|&pfn| pfn < first), "all of them have moved");
    eprintln!("resident: {} MiB, at the peak {}, then {}", before / MIB, peak / MIB, resident() / MIB);
    // What comes back is as fresh as it was.
    tenants.keep(|_| false);
    assert_eq!(pool.grow(NODE, SECTION, OnlineType::Movable).bytes, SECTION);
    let frame = pool.allocator().alloc(&movable(Order::ZERO)).unwrap();
    let bytes = pool.address(frame.pfn()).unwrap();
    assert!(frame.pfn() >= first);
    // SAFETY: the frame is the test's, and mapped.
    assert!((0..FRAME_SIZE as usize).all(|at| unsafe { bytes.add(at).read() } == 0));
}

/// Does something under a limit of the process.
fn limited<R>(resource: Resource, bytes: u64, work: impl FnOnce() -> R) -> R {
    let usual = getrlimit(resource);
    let (current, maximum) = (Some(bytes), usual.maximum);
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
    let outcome = work();
    setrlimit(resource, usual).unwrap();
    outcome
}

#[test]
fn what_the_system_does_not_take_back_is_online_again() {
    alone(
        "what_the_system_does_not_take_back_is_online_again",
        what_the_system_does_not_take_back_is_online_again_alone,
    );
}

fn what_the_system_does_not_take_back_is_online_again_alone() {
    let pool = pool();
    let (tenants, _registered) = Tenants::of(&pool);
    let section = pool.pluggable().next().unwrap().range;
    pool.online(section, OnlineType::Movable).unwrap();
    assert!(tenants.enter(Order::BLOCK) && section.contains(tenants.first_frames()[0]));
    // With more addresses than it may have, a process gets no mapping, not even over another one.
    let refused = limited(Resource::As, status("VmSize") / 2, || pool.offline(section, &mut |_| {}));
    match refused.expect_err("refused") {
        PlugError::Memory(MemoryError::Refused { step: Step::Release, start, end, errno }) => {
            assert_eq!((start, end, errno), (section.start, section.end, Errno::NOMEM.raw_os_error()));
        }
        other => panic!("{other}"),
    }
    assert_eq!(pool.pluggable().next().unwrap().zone, Some(ZoneKind::Movable));
    tenants.check();
    assert!(tenants.enter(Order::BLOCK) && section.contains(tenants.first_frames()[1]));
    pool.offline(section, &mut |_| {}).unwrap();
    tenants.check();
}

#[test]
fn what_the_system_refuses_is_named_and_nothing_changed() {
    alone(
        "what_the_system_refuses_is_named_and_nothing_changed",
        what_the_system_refuses_is_named_and_nothing_changed_alone,
    );
}

fn what_the_system_refuses_is_named_and_nothing_changed_alone() {
    let pool = pool();
    let whole = || {
        let (first, last) = (pool.pluggable().next().unwrap(), pool.pluggable().last().unwrap());
        FrameRange::new(first.range.start, last.range.end)
    };
    let zones = || pool.pluggable().map(|section| section.zone).collect::<Vec<_>>();
    let before = pool.allocator().audit(&mut |finding| panic!("{finding}"));
    let (refused, grown) = limited(Resource::Data, status("VmData") + SECTION + SECTION / 2, || {
        let refused = pool.online(whole(), OnlineType::Movable);
        (refused, pool.grow(NODE, 2 * SECTION, OnlineType::Movable))
    });
    let commit_of = |error: &PlugError| match *error {
        PlugError::Memory(MemoryError::Refused { step: Step::Commit, start, end, errno }) => {
            assert_eq!(errno, Errno::NOMEM.raw_os_error());
            FrameRange::new(start, end)
        }
        ref other => panic!("{other}"),
    };
    assert_eq!(commit_of(&refused.expect_err("refused")), whole());
    assert_eq!(grown.bytes, SECTION, "one section fits: {grown:?}");
    assert_eq!(commit_of(&grown.stopped.unwrap()), pool.pluggable().last().unwrap().range);
    assert_eq!(pool.shrink(NODE, SECTION).bytes, SECTION);
    assert_eq!(zones(), [None, None]);
    assert_eq!(pool.allocator().audit(&mut |finding| panic!("{finding}")), before);
    assert_eq!(pool.online(whole(), OnlineType::Movable).unwrap(), whole().frames());
}
