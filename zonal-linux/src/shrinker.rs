//! The caches of an application that can give frames back, and how much each is asked for.
//!
//! A [`Shrinker`] says how much it has and gives some of it; the pool asks when frames run short, from kswapd's thread or
//! from a request that waits. As in Linux's `do_shrink_slab`, its share of a demand is to look at
//! `(count >> priority) * 4 / seeks` frames, at twice as many as it has at most; here at 32 at least, since what is
//! not done now is not kept for the next time (Linux: `nr_deferred`). It is asked in batches of 128 until its share or
//! the demand is done. Each demand begins with another shrinker.
//!
//! Who is called holds no lock of this module. Invariant: what they have given is counted once, as the daemons' or not.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use zonal::{Demand, MAX_FRAMES, NodeId};

use crate::registry::{Registration, Registry};
use crate::task::Flags;

/// Frames to look at in one call (Linux: SHRINK_BATCH).
const BATCH: u64 = 128;

/// Frames to look at, at least (Linux: SWAP_CLUSTER_MAX).
const LEAST: u64 = 32;

/// A cache that can give frames back by freeing them.
///
/// Called in task context only, by several threads at once, in the role [`crate::Role::Memalloc`]: its own requests go below
/// the marks and do not reclaim. A shrinker that panics is taken out; the request that called it goes on.
///
/// A thread that requests frames under a lock that `scan` takes would wait for itself. So either no request that waits is
/// made under the lock, or `scan` only tries it and returns `None` (Linux: GFP_NOFS).
pub trait Shrinker: Send + Sync {
    /// About how many frames of the node it could give back (Linux: count_objects).
    fn count(&self, node: NodeId) -> u64;

    /// Looks at `frames` of its frames on the demand's node, frees those it can do without, and returns how many it freed;
    /// `None` if it cannot now: it is not called again for this demand (Linux: scan_objects, SHRINK_STOP). Frames of
    /// zones above the demand's highest do not help.
    fn scan(&self, frames: u64, demand: &Demand) -> Option<u64>;

    /// What it costs to have a frame again, 2 if that is a read from a disk: the more, the less it is asked for. 0 asks for
    /// half of what there is each time.
    fn seeks(&self) -> u32 {
        2
    }
}

impl<S: Shrinker + ?Sized> Shrinker for Arc<S> {
    fn count(&self, node: NodeId) -> u64 {
        (**self).count(node)
    }

    fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
        (**self).scan(frames, demand)
    }

    fn seeks(&self) -> u32 {
        (**self).seeks()
    }
}

/// As long as it lives: for a cache that holds its pool, which must not hold the cache.
impl<S: Shrinker + ?Sized> Shrinker for Weak<S> {
    fn count(&self, node: NodeId) -> u64 {
        self.upgrade().map_or(0, |shrinker| shrinker.count(node))
    }

    fn scan(&self, frames: u64, demand: &Demand) -> Option<u64> {
        self.upgrade()?.scan(frames, demand)
    }

    fn seeks(&self) -> u32 {
        self.upgrade().map_or(2, |shrinker| shrinker.seeks())
    }
}

/// Frames that shrinkers gave back since the pool was built. Exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GivenBack {
    /// To the pool's daemons (Linux: pgsteal_kswapd).
    pub daemons: u64,
    /// To requests that waited, and to whoever calls `kswapd` by hand (Linux: pgsteal_direct).
    pub direct: u64,
}

/// A pool's shrinkers.
#[derive(Default)]
pub struct Shrinkers {
    registry: Registry<dyn Shrinker>,
    /// The one that comes first next time.
    turn: AtomicUsize,
    by_daemons: AtomicU64,
    direct: AtomicU64,
}

impl Shrinkers {
    /// From now on the shrinker is asked, until what is returned is dropped. Task context, also inside a shrinker.
    pub fn register(&self, shrinker: impl Shrinker + 'static) -> Registration {
        self.registry.register(Arc::new(shrinker))
    }

    /// What they have given so far.
    pub fn given_back(&self) -> GivenBack {
        let [daemons, direct] = [&self.by_daemons, &self.direct].map(|frames| frames.load(Ordering::Relaxed));
        GivenBack { daemons, direct }
    }

    /// Asks one after the other until the demand is met; nothing for a request from inside a shrinker.
    pub(crate) fn reclaim(&self, demand: &Demand) -> u64 {
        if Flags::CALLED.are_here() {
            return 0;
        }
        let entries = self.registry.entries();
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(entries.len()).unwrap_or(0);
        let (later, sooner) = entries.split_at(first);
        let mut freed = 0;
        for entry in sooner.iter().chain(later) {
            if freed >= demand.frames {
                break;
            }
            let left = demand.frames - freed;
            let given = entry.call(|shrinker| shrink(shrinker, demand, left));
            freed += given.and_then(Result::ok).unwrap_or(0);
        }
        let sum = if Flags::DAEMON.are_here() { &self.by_daemons } else { &self.direct };
        sum.fetch_add(freed, Ordering::Relaxed);
        freed
    }

    /// About how many frames of the node they could give back.
    pub(crate) fn count(&self, node: NodeId) -> u64 {
        if Flags::CALLED.are_here() {
            return 0;
        }
        let entries = self.registry.entries();
        let counts = entries.iter().filter_map(|entry| entry.call(|shrinker| shrinker.count(node)));
        counts.filter_map(Result::ok).fold(0, u64::saturating_add)
    }
}

impl fmt::Debug for Shrinkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shrinkers")
            .field("registered", &self.registry.entries().len())
            .field("given_back", &self.given_back())
            .finish()
    }
}

/// One shrinker's share of a demand of which `wanted` frames are left.
fn shrink(shrinker: &dyn Shrinker, demand: &Demand, wanted: u64) -> u64 {
    let mut left = share(shrinker.count(demand.node), demand.priority, shrinker.seeks());
    let mut freed = 0;
    while left > 0 && freed < wanted {
        let batch = left.min(BATCH);
        match shrinker.scan(batch, demand) {
            Some(frames) => freed += frames.min(MAX_FRAMES), // nobody has more: sums do not overflow
            None => break,
        }
        left -= batch;
    }
    freed
}

/// Frames to look at.
fn share(count: u64, priority: u8, seeks: u32) -> u64 {
    let part = match seeks {
        0 => count / 2,
        _ => (count.checked_shr(priority.into()).unwrap_or(0)).saturating_mul(4) / u64::from(seeks),
    };
    part.max(LEAST).min(count.saturating_mul(2))
}
