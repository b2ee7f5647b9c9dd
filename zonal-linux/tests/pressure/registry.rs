//! The registry by itself: who is called, how often, on which thread, and when no more.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use zonal::{Demand, NodeId, Order, Platform, Request};
use zonal_linux::{Daemons, Pool, Registration, Shrinker};

use crate::NODE;
use crate::hoard::{Hoard, PATIENCE, audit_is_clean, build, comes_true, frame_of, machine};

/// Runs something that could wait for itself.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match end.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it waits for itself"),
        _ => thread.join().unwrap(),
    }
}

/// Asked, it does something once; it has no frames.
struct Once<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Once<F> {
    fn new(work: F) -> Self {
        Self(Mutex::new(Some(work)))
    }
}

impl<F: FnOnce() + Send> Shrinker for Once<F> {
    fn count(&self, _: NodeId) -> u64 {
        1
    }

    fn scan(&self, _: u64, _: &Demand) -> Option<u64> {
        let work = self.0.lock().unwrap().take()?;
        work();
        None
    }
}

/// Takes all that can be had, so that the next request must wait.
fn exhausted() -> (Arc<Pool>, Arc<Hoard>) {
    let pool = build(Pool::plan(&machine(1)));
    let hoard = Hoard::new(&pool, NODE);
    hoard.fill(&frame_of(NODE).nowait());
    (pool, hoard)
}

#[test]
fn nobody_is_called_once_his_registration_is_gone() {
    struct Watched {
        hoard: Arc<Hoard>,
        registered: AtomicBool,
        called_after: AtomicU64,
    }
    impl Shrinker for Watched {
        fn count(&self, node: NodeId) -> u64 {
            self.hoard.count(node)
        }
        fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
            thread::yield_now(); // so that a registration may go meanwhile
            if !self.registered.load(Relaxed) {
                self.called_after.fetch_add(1, Relaxed);
            }
            self.hoard.scan(frames, demand)
        }
    }
    let pool = build(Pool::plan(&machine(1)).daemons(Daemons::Threads));
    let base = Hoard::new(&pool, NODE);
    let registered = pool.shrinkers().register(Arc::downgrade(&base));
    base.fill(&frame_of(NODE).nowait());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = || {
            while !stop.load(Relaxed) {
                let frames = (0..300).map_while(|_| pool.allocator().alloc_raw(&frame_of(NODE)).ok());
                frames.for_each(|pfn| base.put(pfn));
            }
        };
        scope.spawn(asking);
        scope.spawn(asking);
        let coming = (0..2).map(|_| {
            scope.spawn(|| {
                let mut scans = 0;
                for _ in 0..400 {
                    let hoard = Hoard::new(&pool, NODE);
                    (0..40)
                        .filter_map(|_| pool.allocator().alloc_raw(&frame_of(NODE)).ok())
                        .for_each(|pfn| hoard.put(pfn));
                    let watched = Arc::new(Watched {
                        hoard: Arc::clone(&hoard),
                        registered: AtomicBool::new(true),
                        called_after: AtomicU64::new(0),
                    });
                    let registration = pool.shrinkers().register(Arc::clone(&watched));
                    thread::yield_now();
                    drop(registration);
                    assert_eq!(Arc::strong_count(&watched), 1, "somebody still holds it");
                    watched.registered.store(false, Relaxed);
                    thread::yield_now();
                    assert_eq!(watched.called_after.load(Relaxed), 0);
                    scans += hoard.scans.load(Relaxed);
                }
                scans
            })
        });
        let scans: Vec<_> = coming.collect::<Vec<_>>().into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Relaxed);
        let scans: u64 = scans.into_iter().map(|scans| scans.expect("what it asserts")).sum();
        assert!(scans > 0, "none of those that came and went was ever asked");
    });
    drop(registered);
    drop(base);
    audit_is_clean(&pool);
}

#[test]
fn a_shrinker_may_register_and_unregister_others_and_itself() {
    let (pool, hoard) = exhausted();
    let own: Arc<Mutex<Option<Registration>>> = Arc::default();
    let other = Mutex::new(Some(pool.shrinkers().register(Once::new(|| ()))));
    let (mine, inner, cache) = (Arc::clone(&own), Arc::clone(&pool), Arc::clone(&hoard));
    let later: Arc<Mutex<Option<Registration>>> = Arc::default();
    let kept = Arc::clone(&later);
    let shrinker = Once::new(move || {
        *kept.lock().unwrap() = Some(inner.shrinkers().register(cache));
        drop(other.lock().unwrap().take());
        drop(mine.lock().unwrap().take());
    });
    *own.lock().unwrap() = Some(pool.shrinkers().register(shrinker));
    ends(move || {
        assert!(pool.allocator().alloc(&frame_of(NODE)).is_ok(), "the one registered meanwhile gives");
        assert!(own.lock().unwrap().is_none() && later.lock().unwrap().is_some());
        assert!(format!("{:?}", pool.shrinkers()).contains("registered: 1"), "{:?}", pool.shrinkers());
        drop(later.lock().unwrap().take());
    });
}

#[test]
fn unregistering_waits_for_the_calls_under_way() {
    let (pool, _hoard) = exhausted();
    let ((entered, enters), (go, goes)) = (mpsc::channel(), mpsc::channel::<()>());
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let registration = pool.shrinkers().register(Once::new(move || {
        entered.send(()).unwrap();
        goes.recv().unwrap();
        end.store(true, Relaxed);
    }));
    let asking = Arc::clone(&pool);
    let asker = thread::spawn(move || asking.allocator().alloc(&frame_of(NODE)).is_err());
    enters.recv_timeout(PATIENCE).unwrap();
    let dropper = thread::spawn(move || drop(registration));
    assert!(comes_true(|| format!("{:?}", pool.shrinkers()).contains("registered: 0")));
    assert!(!dropper.is_finished(), "the call is under way");
    go.send(()).unwrap();
    dropper.join().unwrap();
    assert!(ended.load(Relaxed));
    assert!(asker.join().unwrap());
}

#[test]
fn a_shrinker_s_own_requests_go_below_the_marks_and_do_not_reclaim() {
    struct Asking {
        hoard: Arc<Hoard>,
        nested: AtomicBool,
        /// Frames it got in calls that are no deeper than the first; and otherwise.
        got: [AtomicU64; 2],
    }
    impl Shrinker for Asking {
        fn count(&self, _: NodeId) -> u64 {
            1
        }
        fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
            let nested = self.nested.swap(true, Relaxed);
            // Nobody is asked from inside, whatever asks.
            let given = self.hoard.pool.allocator().platform().reclaim(demand);
            self.got[1].fetch_add(given, Relaxed);
            let frame = self.hoard.pool.allocator().alloc(&frame_of(NODE));
            self.got[usize::from(nested)].fetch_add(u64::from(frame.is_ok()), Relaxed);
            self.nested.store(nested, Relaxed);
            self.hoard.scan(frames, demand)
        }
    }
    let (pool, hoard) = exhausted();
    let got = [const { AtomicU64::new(0) }; 2];
    let asking = Arc::new(Asking { hoard, nested: AtomicBool::new(false), got });
    let _registered = pool.shrinkers().register(Arc::downgrade(&asking));
    assert!(pool.allocator().alloc(&frame_of(NODE)).is_ok());
    assert_eq!(asking.got.each_ref().map(|got| got.load(Relaxed)), [1, 0]);
}

#[test]
fn one_that_panics_is_taken_out_and_the_others_are_asked() {
    let (pool, hoard) = exhausted();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let _bad = pool.shrinkers().register(Once::new(move || panic!("as planned {held:?}")));
    let _good = pool.shrinkers().register(Arc::downgrade(&hoard));
    for _ in 0..3 {
        assert!(pool.allocator().alloc(&frame_of(NODE)).is_ok());
    }
    let _one = pool.allocator().alloc(&frame_of(NODE)).unwrap();
    assert_eq!(Arc::strong_count(&token), 1, "it is gone");
}

/// Gives nothing and writes down what it was asked for.
struct Counted {
    count: u64,
    seeks: u32,
    answer: Option<u64>,
    asked: Mutex<Vec<(u8, u64)>>,
}

impl Shrinker for Counted {
    fn count(&self, _: NodeId) -> u64 {
        self.count
    }

    fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
        self.asked.lock().unwrap().push((demand.priority, frames));
        self.answer
    }

    fn seeks(&self) -> u32 {
        self.seeks
    }
}

#[test]
fn each_is_asked_for_its_share() {
    let (pool, _hoard) = exhausted();
    let cases = [
        (1 << 20, 2, Some(0)),
        (1 << 20, 8, Some(0)),
        (10, 2, Some(0)),
        (1 << 12, 0, Some(0)),
        (0, 2, Some(0)),
        (1 << 20, 2, None),
    ];
    let shrinkers = cases
        .map(|(count, seeks, answer)| Arc::new(Counted { count, seeks, answer, asked: Mutex::default() }));
    let _registered = shrinkers.each_ref().map(|shrinker| pool.shrinkers().register(Arc::clone(shrinker)));
    // One that is refused: 16 rounds of reclaim without progress, and priorities from 12 down to 0.
    assert!(pool.allocator().alloc(&Request::order(Order::ZERO)).is_err());
    let asked = |at: usize, priority: u8| -> Vec<u64> {
        let asked = shrinkers[at].asked.lock().unwrap();
        asked.iter().filter(|asked| asked.0 == priority).map(|asked| asked.1).collect()
    };
    let sum = |at, priority| asked(at, priority).iter().sum::<u64>();
    assert_eq!([12, 9, 5, 1].map(|priority| sum(0, priority)), [512, 4096, 65536, 1 << 20]);
    assert_eq!([12, 9, 5, 1].map(|priority| sum(1, priority)), [128, 1024, 16384, 1 << 18]);
    assert_eq!([12, 1].map(|priority| sum(2, priority)), [20, 20], "at most twice what there is");
    assert_eq!([12, 1].map(|priority| sum(3, priority)), [2048, 2048], "half of it, always");
    assert_eq!(sum(4, 12), 0);
    assert_eq!(asked(0, 12), [128; 4], "in batches");
    assert_eq!(asked(5, 1), [128], "one that cannot now is not asked again");
}

#[test]
fn nobody_is_asked_for_more_once_a_demand_is_met() {
    /// Asked for half of what it has.
    struct Cheap(Arc<Hoard>);
    impl Shrinker for Cheap {
        fn count(&self, node: NodeId) -> u64 {
            self.0.count(node)
        }
        fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
            self.0.scan(frames, demand)
        }
        fn seeks(&self) -> u32 {
            0
        }
    }
    let (pool, hoard) = exhausted();
    let other = Hoard::new(&pool, NODE);
    hoard.give(2000);
    other.fill(&frame_of(NODE).nowait());
    let _registered = [&hoard, &other].map(|hoard| pool.shrinkers().register(Cheap(Arc::clone(hoard))));
    assert!(pool.allocator().alloc(&frame_of(NODE)).is_ok());
    assert_eq!(pool.shrinkers().given_back().direct, 128, "a batch of one");
    assert_eq!(hoard.scans.load(Relaxed) + other.scans.load(Relaxed), 1);
}

#[test]
fn none_is_spared() {
    let (pool, hoard) = exhausted();
    let others = [(); 2].map(|()| Hoard::new(&pool, NODE));
    for other in &others {
        hoard.give(1000);
        other.fill(&frame_of(NODE).nowait());
    }
    let all = || [&hoard, &others[0], &others[1]];
    let _registered = all().map(|hoard| pool.shrinkers().register(Arc::downgrade(hoard)));
    let kept = Hoard::new(&pool, NODE);
    (0..600).for_each(|_| kept.put(pool.allocator().alloc_raw(&frame_of(NODE)).unwrap()));
    let scans = all().map(|hoard| hoard.scans.load(Relaxed));
    assert!(scans.iter().all(|&times| times > 0), "{scans:?}");
}
