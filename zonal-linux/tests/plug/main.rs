//! Pools that grow and shrink: memory is there exactly while it is online, and whatever fails leaves everything as it was.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod tenants;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tenants::{Tenants, movable};
use zonal::{
    FrameRange, Gfp, HotplugError, MemoryStep, NodeId, ObstacleCause, OnlineType, Order, Request, Tuning,
    Veto, ZoneKind,
};
use zonal_linux::{Daemons, Machine, Pages, PlugError, Pool};

const NODE: NodeId = NodeId(0);
const SECTION: u64 = 128 << 20;

/// 64 MiB, and two sections that may come.
fn machine() -> Machine {
    Machine::uniform(1, 64 << 20, 2).unwrap().with_hotplug(NODE, 2 * SECTION).unwrap()
}

/// The sections that may be plugged in.
fn sections(pool: &Pool) -> Vec<FrameRange> {
    pool.pluggable().map(|section| section.range).collect()
}

/// The zones that they belong to.
fn zones(pool: &Pool) -> Vec<Option<ZoneKind>> {
    pool.pluggable().map(|section| section.zone).collect()
}

/// The permissions that the kernel shows for an address, such as `rw-p`.
fn access(pool: &Pool, range: FrameRange) -> String {
    let address = pool.address(range.start).expect("reserved").addr().get();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ends = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    let line = maps.lines().find(|line| ends(line).is_some_and(|range| range.contains(&address)));
    line.and_then(|line| line.split(' ').nth(1)).expect("it is mapped").to_owned()
}

/// Takes a section offline whose obstacles are of no interest.
fn offline(pool: &Pool, range: FrameRange) -> Result<u64, PlugError> {
    pool.offline(range, &mut |_| {}).map(|done| done.moved)
}

#[test]
fn memory_is_there_exactly_while_it_is_online() {
    let pool = Pool::build(&machine(), Pages::Lazy).unwrap();
    let [first, second] = sections(&pool)[..] else { panic!("two sections may come") };
    let allocator = pool.allocator();
    assert_eq!((access(&pool, first).as_str(), zones(&pool)), ("---p", vec![None, None]));
    assert_eq!(pool.online(first, OnlineType::Movable).unwrap(), first.frames());
    assert_eq!(zones(&pool), [Some(ZoneKind::Movable), None]);
    assert_eq!((access(&pool, first), access(&pool, second)), ("rw-p".into(), "---p".into()));
    assert_eq!(offline(&pool, first).unwrap(), 0);
    assert_eq!((access(&pool, first).as_str(), zones(&pool)), ("---p", vec![None, None]));
    // By the allocator itself: a frame that is handed out is memory all the same.
    allocator.add_memory(second).unwrap();
    assert_eq!(access(&pool, second), "---p");
    allocator.online_memory(second, OnlineType::Kernel).unwrap();
    let zeroed = Request::order(Order::BLOCK).gfp(Gfp::KERNEL | Gfp::ZERO).unwrap();
    let runs: Vec<_> = std::iter::from_fn(|| allocator.alloc(&zeroed.nowait()).ok()).collect();
    assert!(runs.iter().filter(|run| second.contains(run.pfn())).count() == 64, "all of it is handed out");
    drop(runs);
    allocator.offline_memory(second, &mut |_| {}).unwrap();
    assert_eq!(access(&pool, second), "---p");
}

#[test]
fn pages_are_taken_at_once_where_the_pool_s_are() {
    for pages in [Pages::Prefault, Pages::TransparentHuge] {
        let small = Machine::uniform(1, 2 << 20, 1).unwrap().with_hotplug(NODE, SECTION).unwrap();
        let pool = Pool::build(&small, pages).unwrap();
        let grown = pool.grow(NODE, 1, OnlineType::Movable);
        assert_eq!(grown.bytes, SECTION, "{grown:?}");
        let start = pool.address(sections(&pool)[0].start).unwrap().as_ptr();
        let mut present = vec![0u8; (SECTION / 4096) as usize];
        // SAFETY: asks which pages of a mapping of this process are in memory; one byte a page.
        let asked = unsafe { libc::mincore(start.cast(), SECTION as usize, present.as_mut_ptr()) };
        assert_eq!(asked, 0);
        assert!(present.iter().all(|page| page & 1 == 1), "{pages:?}");
    }
}

#[test]
fn growing_and_shrinking_go_as_far_as_they_can() {
    let pool = Arc::new(Pool::build(&machine(), Pages::Lazy).unwrap());
    let grown = pool.grow(NODE, 3 * SECTION, OnlineType::Movable);
    assert_eq!(grown.bytes, 2 * SECTION);
    assert!(matches!(grown.stopped, Some(PlugError::Exhausted { node: NODE })), "{grown:?}");
    let pinned = pool.allocator().alloc(&movable(Order::ZERO)).unwrap();
    let shrunk = pool.shrink(NODE, 2 * SECTION);
    assert_eq!(shrunk.bytes, SECTION);
    let in_the_way = HotplugError::InTheWay { frames: 1 };
    assert!(matches!(shrunk.stopped, Some(PlugError::Hotplug(error)) if error == in_the_way), "{shrunk:?}");
    let mut obstacles = Vec::new();
    let section = pool.pluggable().find(|section| section.zone.is_some()).unwrap().range;
    pool.offline(section, &mut |obstacle| obstacles.push(*obstacle)).expect_err("one is in the way");
    assert_eq!((obstacles.len(), obstacles[0].pfn), (1, pinned.pfn()));
    assert_eq!(obstacles[0].cause, ObstacleCause::Immobile, "nobody moves anything");
    drop(pinned);
    assert_eq!(pool.shrink(NODE, 1).bytes, SECTION);
    let nothing = pool.shrink(NODE, 1);
    assert!(matches!(nothing.stopped, Some(PlugError::Exhausted { .. })), "{nothing:?}");
}

#[test]
fn an_objection_at_any_step_leaves_everything_as_it_was() {
    let vetoed: Arc<Mutex<Option<MemoryStep>>> = Arc::default();
    let watched = Arc::clone(&vetoed);
    let machine = machine();
    let plan = Pool::plan(&machine);
    let pool =
        plan.on_memory_event(
            move |event| {
                if *watched.lock().unwrap() == Some(event.step) { Err(Veto) } else { Ok(()) }
            },
        );
    let pool = Arc::new(pool.build().unwrap());
    let (tenants, _registered) = Tenants::of(&pool);
    let range = sections(&pool)[0];
    let object = |step| *vetoed.lock().unwrap() = step;
    let is_veto = |error: &PlugError, step| {
        assert!(
            matches!(error, PlugError::Hotplug(HotplugError::Vetoed { step: at }) if *at == step),
            "{error}"
        );
    };
    for step in [MemoryStep::GoingToBeAdded, MemoryStep::GoingOnline] {
        object(Some(step));
        is_veto(&pool.online(range, OnlineType::Movable).expect_err("objected"), step);
        assert_eq!((access(&pool, range).as_str(), zones(&pool)), ("---p", vec![None, None]));
    }
    object(None);
    pool.online(range, OnlineType::Movable).unwrap();
    assert!(tenants.enter(Order::ZERO) && range.contains(tenants.first_frames()[0]));
    for step in [MemoryStep::GoingOffline, MemoryStep::GoingToBeRemoved] {
        object(Some(step));
        is_veto(&offline(&pool, range).expect_err("objected"), step);
        assert_eq!(access(&pool, range), "rw-p");
        assert_eq!(zones(&pool), [Some(ZoneKind::Movable), None]);
        tenants.check();
        assert!(tenants.enter(Order::ZERO), "it is handed out again");
    }
    object(None);
    assert!(offline(&pool, range).is_ok());
    tenants.check();
}

#[test]
fn a_flag_stops_it_in_the_middle() {
    let (flag, moves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let pool = Arc::new(Pool::plan(&machine()).cancelled_by(Arc::clone(&flag)).build().unwrap());
    let (stop, counted) = (Arc::clone(&flag), Arc::clone(&moves));
    let (tenants, _registered) = Tenants::with(&pool, move || {
        if counted.fetch_add(1, Relaxed) == 600 {
            stop.store(true, Relaxed); // as a signal handler would
        }
    });
    pool.online(sections(&pool)[0], OnlineType::Movable).unwrap();
    (0..4000).for_each(|_| assert!(tenants.enter(Order::ZERO)));
    let stopped = pool.shrink(NODE, SECTION);
    assert_eq!(stopped.bytes, 0);
    assert!(matches!(stopped.stopped, Some(PlugError::Hotplug(HotplugError::Cancelled))), "{stopped:?}");
    assert!((600..4000).contains(&moves.load(Relaxed)), "{moves:?}");
    tenants.check();
    flag.store(false, Relaxed);
    assert_eq!(pool.shrink(NODE, SECTION).bytes, SECTION);
    assert_eq!(moves.load(Relaxed), 4000, "what had been moved stayed where it was");
    tenants.check();
}

#[test]
fn a_node_s_daemons_come_with_its_first_memory_and_end_with_its_last() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
        let mut names: Vec<String> =
            tasks.filter_map(|task| name(task.ok()?)).filter(|name| name.trim_end().ends_with('7')).collect();
        names.sort();
        names.concat()
    };
    // A thread names itself, and the kernel may show it a little longer than it runs.
    let are_soon = |expected: &str| {
        let start = Instant::now();
        while threads() != expected {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}, not {expected:?}", threads());
            thread::yield_now();
        }
    };
    let text = "[[node]]\nmemory = '64 MiB'\ncpus = 1\n[[node]]\ncount = 7\n\
                [[hotplug]]\nnode = 7\nstart = '4 GiB'\nsize = '256 MiB'\n";
    let pool = Pool::plan(&Machine::from_toml(text).unwrap()).daemons(Daemons::Threads).build().unwrap();
    are_soon("");
    let both = "kcompactd7\nkswapd7\n";
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(pool.grow(NodeId(7), 1, OnlineType::Movable).bytes, SECTION);
            are_soon(both);
        }
        assert_eq!(pool.shrink(NodeId(7), 1).bytes, SECTION);
        are_soon(both);
        assert_eq!(pool.shrink(NodeId(7), 1).bytes, SECTION);
        are_soon("");
    }
    let _ = pool.grow(NodeId(7), 1, OnlineType::Movable);
    drop(pool);
    are_soon("");
}

#[test]
fn a_mover_that_panics_is_asked_no_more_and_neither_run_is_anybody_s() {
    let pool = Arc::new(Pool::build(&machine(), Pages::Lazy).unwrap());
    pool.online(sections(&pool)[0], OnlineType::Movable).unwrap();
    let (tenants, _registered) = Tenants::with(&pool, || panic!("a mover's mistake"));
    assert!(tenants.enter(Order::ZERO));
    assert!(catch_unwind(AssertUnwindSafe(|| pool.shrink(NODE, SECTION))).is_err());
    let before = tenants.first_frames();
    let mut obstacles = Vec::new();
    pool.offline(sections(&pool)[0], &mut |obstacle| obstacles.push(obstacle.pfn))
        .expect_err("nobody moves it");
    assert_eq!((&obstacles, obstacles.len()), (&before, 1));
    let summary = pool.allocator().audit(&mut |finding| panic!("{finding}"));
    assert_eq!((summary.allocated, summary.isolated), (2, 0), "the run, and the one it was to move to");
}

#[test]
fn threads_go_on_while_memory_comes_and_goes() {
    const ROUNDS: u64 = 12;
    let machine = machine().with_tuning(Tuning::default()).unwrap();
    let pool = Arc::new(Pool::plan(&machine).daemons(Daemons::Threads).build().unwrap());
    let (tenants, _registered) = Tenants::of(&pool);
    let (ends, refusals) = (AtomicBool::new(false), AtomicU64::new(0));
    let gone = thread::scope(|scope| {
        for thread in 1..=3u64 {
            let (pool, ends, refusals) = (&pool, &ends, &refusals);
            scope.spawn(move || {
                for round in (0..).take_while(|_| !ends.load(Relaxed)) {
                    let stamp = thread << 32 | round;
                    let runs: Vec<_> =
                        (0..200).map_while(|_| pool.allocator().alloc(&movable(Order::ZERO)).ok()).collect();
                    refusals.fetch_add(200 - runs.len() as u64, Relaxed);
                    let word = |pfn| pool.address(pfn).expect("mapped").cast::<u64>();
                    // SAFETY: the frames are this thread's until they are dropped.
                    runs.iter().for_each(|run| unsafe { word(run.pfn()).write(stamp) });
                    // SAFETY: as above.
                    assert!(runs.iter().all(|run| unsafe { word(run.pfn()).read() } == stamp));
                }
            });
        }
        let resized = (0..ROUNDS).map(|_| {
            let grown = pool.grow(NODE, 2 * SECTION, OnlineType::Movable);
            assert!(grown.bytes > 0 || zones(&pool).iter().all(Option::is_some), "{grown:?}");
            (0..500).for_each(|_| assert!(tenants.enter(Order::ZERO)));
            let shrunk = pool.shrink(NODE, 2 * SECTION);
            tenants.keep(|pfn| pfn.get() % 2 == 0);
            shrunk.bytes / SECTION
        });
        let gone: u64 = resized.sum();
        ends.store(true, Relaxed);
        gone
    });
    assert!(gone >= ROUNDS, "{gone} of {} sections could be taken away", 2 * ROUNDS);
    assert_eq!(refusals.into_inner(), 0, "there was memory all the time");
    tenants.check();
}
