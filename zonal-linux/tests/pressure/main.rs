//! Pools whose frames run short: kswapd's threads, direct reclaim, the callback for memory that has run out, shrinkers that
//! come and go.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod hoard;
mod interrupt;
mod registry;

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak, mpsc};
use std::thread;

use zonal::{AllocError, Daemon, Demand, Migration, NodeId, Order, Pfn, Request, Verdict};
use zonal_linux::{Daemons, GivenBack, Mover, Pool, Relocation, Role, Shrinker, acting_as};

use crate::hoard::{Hoard, PATIENCE, audit_is_clean, build, comes_true, frame_of, machine};

const NODE: NodeId = NodeId(0);

#[test]
fn after_every_burst_a_node_comes_back_to_its_high_mark() {
    const BURSTS: usize = 300;
    let pool = build(Pool::plan(&machine(2)).daemons(Daemons::Threads));
    let hoards = [NodeId(0), NodeId(1)].map(|node| Hoard::new(&pool, node));
    let registered = hoards.each_ref().map(|hoard| pool.shrinkers().register(Arc::downgrade(hoard)));
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for hoard in hoards.iter().chain(&hoards) {
            scope.spawn(|| {
                let request = frame_of(hoard.node).nowait();
                for burst in 0..BURSTS {
                    together.wait();
                    let taken = hoard.fill(&request);
                    // The last one was refused: it has left work for kswapd, and nobody asks any more.
                    together.wait();
                    let back = comes_true(|| hoard.is_at_high());
                    let figures = (taken, hoard.free_and_high(), hoard.len());
                    assert!(back, "node {:?}, burst {burst}: {figures:?}", hoard.node);
                }
            });
        }
    });
    let given = pool.shrinkers().given_back();
    assert!(given.daemons > BURSTS as u64 && given.direct == 0, "{given:?}");
    drop(registered);
    drop(hoards);
    audit_is_clean(&pool);
}

/// One ask at a time, at all moments of the thread's way to sleep: nobody asks again if it is not heard.
#[test]
fn an_ask_at_any_moment_is_heard() {
    let pool = build(Pool::plan(&machine(1)).daemons(Daemons::Threads));
    let waits = || pool.allocator().has_work(Daemon::Kswapd, NODE);
    let mut random = fastrand::Rng::with_seed(1);
    for at in 0..50_000 {
        pool.allocator().ask(Daemon::Kswapd, NODE, Order::ZERO);
        let mut patience = 10_000;
        while waits() && patience > 0 {
            patience -= 1;
            std::hint::spin_loop();
        }
        assert!(!waits() || comes_true(|| !waits()), "ask {at} was not heard");
        (0..random.u32(..2 << (at % 5))).for_each(|_| std::hint::spin_loop());
    }
}

#[test]
fn without_threads_requests_that_wait_reclaim_for_themselves() {
    let pool = build(Pool::plan(&machine(1)));
    let hoard = Hoard::new(&pool, NODE);
    let _registered = pool.shrinkers().register(Arc::downgrade(&hoard));
    let (waiting, nowait) = (frame_of(NODE), frame_of(NODE).nowait());
    let filled = hoard.fill(&nowait);
    assert!(pool.allocator().alloc(&nowait).is_err(), "nobody reclaims for it");
    let kept = Hoard::new(&pool, NODE);
    for served in 0..filled / 2 {
        let pfn = pool.allocator().alloc_raw(&waiting);
        kept.put(pfn.unwrap_or_else(|error| panic!("{served} of {filled}: {error}")));
    }
    let GivenBack { daemons, direct } = pool.shrinkers().given_back();
    assert_eq!((daemons, direct), (0, filled - hoard.len()));
    assert!(direct >= filled / 2);
}

/// A pool whose callback frees so many frames of those lent to it at each call, as long as it has some.
fn pool_with_victim(frames: u64) -> (Arc<Pool>, Arc<Hoard>, Arc<AtomicU64>) {
    let victim: Arc<OnceLock<Weak<Hoard>>> = Arc::default();
    let calls: Arc<AtomicU64> = Arc::default();
    let (called, lent) = (Arc::clone(&calls), Arc::clone(&victim));
    let pool = build(Pool::plan(&machine(1)).on_oom(move |oom| {
        assert_eq!((oom.order, oom.node), (Order::ZERO, NODE));
        called.fetch_add(1, Relaxed);
        let given = lent.get().and_then(Weak::upgrade).map_or(0, |victim| victim.give(frames));
        if given > 0 { Verdict::Killed } else { Verdict::GiveUp }
    }));
    let hoard = Hoard::new(&pool, NODE);
    assert!(victim.set(Arc::downgrade(&hoard)).is_ok());
    (pool, hoard, calls)
}

#[test]
fn somebody_is_killed_only_when_nothing_can_be_reclaimed() {
    const EACH: u64 = 10;
    let (pool, victim, calls) = pool_with_victim(EACH);
    let (cache, mine) = (Hoard::new(&pool, NODE), Hoard::new(&pool, NODE));
    let _registered = pool.shrinkers().register(Arc::downgrade(&cache));
    let (waiting, nowait) = (Request::order(Order::ZERO), Request::order(Order::ZERO).nowait());
    for at in 0..20 * EACH + 500 {
        let pfn = pool.allocator().alloc_raw(&nowait).unwrap();
        if at < 20 * EACH {
            victim.put(pfn)
        } else {
            cache.put(pfn)
        };
    }
    mine.fill(&nowait);
    let ask = || pool.allocator().alloc_raw(&waiting).map(|pfn| mine.put(pfn));
    while cache.len() > 0 {
        ask().unwrap();
    }
    assert_eq!(calls.load(Relaxed), 0, "there was something to reclaim");
    let mut served = 0u64;
    while calls.load(Relaxed) <= 20 {
        match ask() {
            Ok(()) => served += 1,
            Err(error) => {
                assert!(matches!(error, AllocError::NoMemory { .. }), "{error}");
                break;
            }
        }
    }
    assert_eq!((calls.load(Relaxed), victim.len()), (21, 0), "each call but the last gave {EACH}");
    assert!(served >= 20 * EACH, "{served} served with what the victim had");
}

#[test]
fn a_callback_that_panics_or_asks_for_frames_does_no_harm() {
    let pool: Arc<OnceLock<Weak<Pool>>> = Arc::default();
    let own = Arc::clone(&pool);
    let made = build(Pool::plan(&machine(1)).on_oom(move |_| {
        let pool = own.get().and_then(Weak::upgrade).expect("a pool");
        // One that waits: it has its frame from below the marks, and calls nobody.
        drop(pool.allocator().alloc(&Request::order(Order::ZERO)).expect("from below the marks"));
        panic!("as planned");
    }));
    assert!(pool.set(Arc::downgrade(&made)).is_ok());
    let hoard = Hoard::new(&made, NODE);
    hoard.fill(&frame_of(NODE).nowait());
    let error = made.allocator().alloc(&Request::order(Order::ZERO)).expect_err("nothing is left");
    assert!(matches!(error, AllocError::NoMemory { .. }), "{error}");
    // The next one is asked again: nobody kept the turn.
    assert!(made.allocator().alloc(&Request::order(Order::ZERO)).is_err());
}

/// Frames of two kinds in turn, of which only the movable ones stay: no block is free, and each could be made so.
fn scattered(pool: &Pool) -> Vec<Pfn> {
    let request = Request::order(Order::ZERO).movable().nowait();
    let all: Vec<Pfn> = std::iter::from_fn(|| pool.allocator().alloc_raw(&request).ok()).collect();
    let (kept, freed): (Vec<Pfn>, Vec<Pfn>) = all.into_iter().partition(|pfn| pfn.get() % 8 == 0);
    // SAFETY: allocated just above.
    freed.into_iter().for_each(|pfn| unsafe { pool.allocator().free_raw(pfn, Order::ZERO) }.unwrap());
    kept
}

/// Who has frames, and the threads on which they were moved.
#[derive(Default)]
struct Owner {
    held: Mutex<HashSet<u64>>,
    threads: Mutex<HashSet<String>>,
}

impl Mover for Owner {
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        self.held.lock().unwrap().contains(&pfn.get()).then_some((pfn, Order::ZERO))
    }

    fn relocate(&self, relocation: &Relocation<'_>) -> Migration {
        self.threads.lock().unwrap().extend(thread::current().name().map(str::to_owned));
        let mut held = self.held.lock().unwrap();
        if !held.remove(&relocation.from().get()) {
            return Migration::Refused;
        }
        held.insert(relocation.to().get());
        Migration::Moved
    }
}

#[test]
fn frames_move_by_their_owner_from_a_request_and_from_kcompactd() {
    for daemons in [Daemons::None, Daemons::Threads] {
        let pool = build(Pool::plan(&machine(1)).daemons(daemons));
        let owner = Arc::new(Owner::default());
        let (held, names) = (&owner.held, &owner.threads);
        let _registered = pool.movers().register(Arc::clone(&owner));
        held.lock().unwrap().extend(scattered(&pool).into_iter().map(Pfn::get));
        let block = Request::order(Order::BLOCK).movable();
        let made = match daemons {
            Daemons::None => pool.allocator().alloc(&block).is_ok(),
            Daemons::Threads => {
                pool.allocator().ask(Daemon::Kcompactd, NODE, Order::BLOCK);
                comes_true(|| pool.allocator().alloc(&block.nowait()).is_ok())
            }
        };
        assert!(made, "{daemons:?}: no block");
        let by_thread = names.lock().unwrap().contains("kcompactd0");
        assert_eq!(by_thread, daemons == Daemons::Threads, "{names:?}");
        for &pfn in &*held.lock().unwrap() {
            // SAFETY: allocated in `scattered`, or given by the allocator for one that was.
            unsafe { pool.allocator().free_raw(Pfn::new(pfn), Order::ZERO) }.unwrap();
        }
        audit_is_clean(&pool);
    }
}

#[test]
fn a_failure_is_reported_in_words() {
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&written);
    let pool =
        build(Pool::plan(&machine(1)).on_report(move |report| sink.lock().unwrap().push(report.to_string())));
    let hoard = Hoard::new(&pool, NODE);
    hoard.fill(&frame_of(NODE).nowait());
    assert_eq!(*written.lock().unwrap(), [""; 0], "nowait says that it can do without");
    assert!(pool.allocator().alloc(&frame_of(NODE)).is_err());
    let written = written.lock().unwrap();
    assert!(written.iter().any(|text| text.contains("page allocation failure: order:0")), "{written:?}");
}

#[test]
fn roles_go_below_the_marks() {
    let pool = build(Pool::plan(&machine(1)));
    let hoard = Hoard::new(&pool, NODE);
    let request = Request::order(Order::ZERO).nowait();
    hoard.fill(&request);
    let left = |hoard: &Hoard| hoard.free_and_high().0;
    let min = pool.allocator().zones().map(|zone| zone.marks.min).sum::<u64>();
    assert_eq!(left(&hoard), min);
    acting_as(Role::Memalloc, || {
        acting_as(Role::Interrupt, || {
            assert_eq!(hoard.fill(&request), 0, "a handler has no role but its own")
        });
        assert_eq!(hoard.fill(&request), min);
    });
    assert_eq!(left(&hoard), 0);
}

/// Gives its hoard up while it is being asked: whoever asks drops the last of the pool.
struct LastHolder {
    hoard: Mutex<Option<Arc<Hoard>>>,
    asked: mpsc::Sender<()>,
    dropped: Mutex<mpsc::Receiver<()>>,
}

impl Shrinker for LastHolder {
    fn count(&self, _: NodeId) -> u64 {
        1
    }

    fn scan(&self, _: u64, _: &Demand) -> Option<u64> {
        let hoard = self.hoard.lock().unwrap().take()?;
        self.asked.send(()).unwrap();
        self.dropped.lock().unwrap().recv().unwrap();
        drop(hoard);
        self.asked.send(()).unwrap();
        None
    }
}

#[test]
fn a_pool_may_end_on_its_own_thread() {
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let pool = build(Pool::plan(&machine(1)).daemons(Daemons::Threads).on_oom(move |_| {
        assert_eq!(*held, ());
        Verdict::GiveUp
    }));
    let hoard = Hoard::new(&pool, NODE);
    let ((asked, was_asked), (drops, dropped)) = (mpsc::channel(), mpsc::channel());
    let last =
        LastHolder { hoard: Mutex::new(Some(Arc::clone(&hoard))), asked, dropped: Mutex::new(dropped) };
    let _registered = pool.shrinkers().register(last);
    hoard.fill(&frame_of(NODE).nowait());
    was_asked.recv_timeout(PATIENCE).expect("kswapd asks");
    drop((pool, hoard));
    drops.send(()).unwrap();
    was_asked.recv_timeout(PATIENCE).expect("the pool's drop returns");
    assert!(comes_true(|| Arc::strong_count(&token) == 1), "the thread has not ended");
}

#[test]
fn a_pool_ends_while_its_threads_are_at_work() {
    for round in 0..50 {
        let pool = build(Pool::plan(&machine(2)).daemons(Daemons::Threads));
        let hoard = Hoard::new(&pool, NODE);
        let registered = pool.shrinkers().register(Arc::clone(&hoard));
        let request = frame_of(NODE).nowait();
        let taken: Vec<Pfn> =
            std::iter::from_fn(|| pool.allocator().alloc_raw(&request).ok()).take(round * 200).collect();
        // SAFETY: allocated just above.
        taken.iter().for_each(|&pfn| unsafe { pool.allocator().free_raw(pfn, Order::ZERO) }.unwrap());
        drop(registered);
        drop(hoard);
        assert_eq!(Arc::strong_count(&pool), 1);
    }
}
