//! Owners of movable runs whose content is known.

#![allow(dead_code, reason = "each test program uses a part of this module")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use zonal::{Migration, Order, PageAllocator, Pfn, Request, ZoneKind};
use zonal_linux::{LinuxPlatform, Mover, Pool, Registration, Relocation};

const WORDS: u64 = 512;

/// A request that may be served by Movable zones, and is first.
pub(crate) fn movable(order: Order) -> Request {
    Request::order(order).movable().zones_up_to(ZoneKind::Movable)
}

/// Runs by their first frame, with what is written in each of their words.
pub(crate) struct Tenants {
    pool: Arc<Pool>,
    runs: Mutex<BTreeMap<Pfn, (Order, u64)>>,
    /// Called before each move.
    before: Box<dyn Fn() + Send + Sync>,
}

impl Mover for Tenants {
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let runs = self.runs();
        let (&start, &(order, _)) = runs.range(..=pfn).next_back()?;
        (pfn < start.add(order.frames())).then_some((start, order))
    }

    fn relocate(&self, relocation: &Relocation<'_>) -> Migration {
        (self.before)();
        let mut runs = self.runs();
        match runs.remove(&relocation.from()) {
            Some((order, stamp)) if order == relocation.order() => {
                // SAFETY: the run is a tenant's, and tenants write under the lock only.
                unsafe { relocation.copy() };
                runs.insert(relocation.to(), (order, stamp));
                Migration::Moved
            }
            Some(other) => {
                runs.insert(relocation.from(), other);
                Migration::Refused
            }
            None => Migration::Refused,
        }
    }
}

impl Tenants {
    /// Tenants of a pool, registered as movers of theirs as long as what is returned lives.
    pub(crate) fn of(pool: &Arc<Pool>) -> (Arc<Self>, Registration) {
        Self::with(pool, || ())
    }

    pub(crate) fn with(
        pool: &Arc<Pool>,
        before: impl Fn() + Send + Sync + 'static,
    ) -> (Arc<Self>, Registration) {
        let (pool, before) = (Arc::clone(pool), Box::new(before));
        let tenants = Arc::new(Self { pool, runs: Mutex::default(), before });
        let weak: Weak<Self> = Arc::downgrade(&tenants);
        let registered = tenants.pool.movers().register(weak);
        (tenants, registered)
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<Pfn, (Order, u64)>> {
        self.runs.lock().unwrap()
    }

    fn allocator(&self) -> &PageAllocator<'_, LinuxPlatform> {
        self.pool.allocator()
    }

    fn words(&self, pfn: Pfn, order: Order) -> impl Iterator<Item = std::ptr::NonNull<u64>> {
        let first = self.pool.address(pfn).expect("mapped").cast::<u64>();
        // SAFETY: the words of a tenant's run, which is mapped in one piece.
        (0..order.frames() * WORDS).map(move |at| unsafe { first.add(at as usize) })
    }

    /// A run with every word written; false if there is none.
    pub(crate) fn enter(&self, order: Order) -> bool {
        let mut runs = self.runs();
        let Ok(pfn) = self.allocator().alloc_raw(&movable(order).nowait()) else {
            return false;
        };
        let stamp = fastrand::u64(..);
        // SAFETY: just allocated, and the words are its own.
        self.words(pfn, order).for_each(|word| unsafe { word.write(stamp) });
        assert!(runs.insert(pfn, (order, stamp)).is_none(), "{pfn} is somebody's");
        true
    }

    /// Frees all runs but these.
    pub(crate) fn keep(&self, which: impl Fn(Pfn) -> bool) {
        let mut runs = self.runs();
        runs.retain(|&pfn, &mut (order, _)| {
            let kept = which(pfn);
            if !kept {
                // SAFETY: the run was a tenant's, who is gone.
                unsafe { self.allocator().free_raw(pfn, order) }.unwrap();
            }
            kept
        });
    }

    /// The first frames of all runs.
    pub(crate) fn first_frames(&self) -> Vec<Pfn> {
        self.runs().keys().copied().collect()
    }

    /// Each run holds what was written, and nothing else is allocated.
    #[track_caller]
    pub(crate) fn check(&self) {
        let runs = self.runs();
        for (&pfn, &(order, stamp)) in &*runs {
            // SAFETY: the words are a tenant's, and nobody writes.
            let whole = self.words(pfn, order).all(|word| unsafe { word.read() } == stamp);
            assert!(whole, "the run at {pfn} of order {order} is not what was written");
        }
        let mut findings = Vec::new();
        let summary = self.allocator().audit(&mut |finding| findings.push(finding.to_string()));
        assert!(findings.is_empty(), "{findings:?}");
        let owned: u64 = runs.values().map(|(order, _)| order.frames()).sum();
        assert_eq!((summary.allocated, summary.isolated), (owned, 0), "{summary:?}");
    }
}
