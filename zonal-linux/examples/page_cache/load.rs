//! Threads that read more blocks than there is memory, some of them often, and look at every word they read.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use zonal::{Daemon, NodeId, Order};
use zonal_linux::Pool;

use crate::cache::{Found, PageCache, Words};

/// The only node.
pub(crate) const NODE: NodeId = NodeId(0);

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) time: Duration,
    pub(crate) readers: u64,
    /// Blocks there are.
    pub(crate) blocks: u64,
    /// The first of them, of which four in five reads are.
    pub(crate) often: u64,
}

/// What came of it so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Requests that got no frame.
    pub(crate) refused: u64,
    /// Pages with another content than their block's.
    pub(crate) wrong: u64,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
}

impl Counts {
    fn tally(&self) -> Tally {
        let [hits, misses, refused, wrong] =
            [&self.hits, &self.misses, &self.refused, &self.wrong].map(|count| count.load(Relaxed));
        Tally { hits, misses, refused, wrong }
    }
}

/// The content of a block.
pub(crate) fn content(block: u64, words: &mut Words) {
    words.iter_mut().zip(0..).for_each(|(word, at)| *word = word_of(block, at));
}

fn word_of(block: u64, at: u64) -> u64 {
    (block << 9 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn is_right(block: u64, words: &Words) -> bool {
    words.iter().zip(0..).all(|(&word, at)| word == word_of(block, at))
}

/// Reads for the time asked, and shows how things stand every `every`.
pub(crate) fn run(
    cache: &PageCache,
    load: Load,
    every: Duration,
    mut show: impl FnMut(Duration, Tally),
) -> Tally {
    let (counts, start) = (Counts::default(), Instant::now());
    thread::scope(|scope| {
        for reader in 0..load.readers {
            let counts = &counts;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                while start.elapsed() < load.time {
                    (0..64).for_each(|_| read_one(cache, load, &mut random, counts));
                }
            });
        }
        while start.elapsed() < load.time {
            thread::sleep(every);
            show(start.elapsed(), counts.tally());
        }
    });
    counts.tally()
}

fn read_one(cache: &PageCache, load: Load, random: &mut fastrand::Rng, counts: &Counts) {
    let block = if random.u8(..5) < 4 { random.u64(..load.often) } else { random.u64(..load.blocks) };
    match cache.read(block, |words| is_right(block, words)) {
        Ok((found, right)) => {
            let count = if found == Found::Here { &counts.hits } else { &counts.misses };
            count.fetch_add(1, Relaxed);
            counts.wrong.fetch_add(u64::from(!right), Relaxed);
        }
        Err(_) => {
            counts.refused.fetch_add(1, Relaxed);
        }
    }
}

/// Free frames of the pool, and its low and high marks.
pub(crate) fn free_low_high(pool: &Pool) -> [u64; 3] {
    let zones = pool.allocator().zones().filter(|zone| zone.node == NODE);
    zones.fold([0; 3], |[free, low, high], zone| {
        [free + zone.free + zone.cached, low + zone.marks.low, high + zone.marks.high]
    })
}

/// Has kswapd look once more, as a request at the low mark would, and waits until it rests; whether the high mark is
/// reached then.
pub(crate) fn rests_at_high(pool: &Pool, patience: Duration) -> bool {
    pool.allocator().ask(Daemon::Kswapd, NODE, Order::ZERO);
    let start = Instant::now();
    loop {
        let [free, _, high] = free_low_high(pool);
        if free >= high {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
