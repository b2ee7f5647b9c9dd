//! A page cache over blocks that can be made again: what is read stays in memory as long as there is room.
//!
//! Pages lie in shards by their block's number, in each in the order they came; eviction takes the oldest, but one that
//! was read since it was last looked at gets a second chance (behind the youngest). Invariant: a frame is in one shard,
//! or in the hands of the thread that fills it; `pages` counts those in shards.

use std::collections::{HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use zonal::{AllocError, Demand, NodeId, Order, Pfn, Request};
use zonal_linux::{Pool, Shrinker};

/// Many more than threads, so that there is always one that nobody has locked.
const SHARDS: usize = 64;

/// A page's content.
pub(crate) type Words = [u64; 512];

/// The cache. It has its frames from the pool's only node.
pub(crate) struct PageCache {
    pool: Arc<Pool>,
    /// Writes a block's content.
    source: fn(u64, &mut Words),
    shards: [Mutex<Shard>; SHARDS],
    /// The shard that is looked through next.
    hand: AtomicUsize,
    pages: AtomicU64,
}

#[derive(Default)]
struct Shard {
    pages: HashMap<u64, Page>,
    /// The blocks of `pages`, those that were looked at longest ago first.
    queue: VecDeque<u64>,
}

struct Page {
    frame: Frame,
    /// Read since it was last looked at.
    touched: bool,
}

/// A frame that is the cache's alone.
struct Frame {
    pfn: Pfn,
    words: NonNull<Words>,
}

// SAFETY: a frame is reached through its owner only, and its memory is no thread's in particular.
unsafe impl Send for Frame {}

/// Where a page came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Here,
    Filled,
}

impl PageCache {
    pub(crate) fn new(pool: Arc<Pool>, source: fn(u64, &mut Words)) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { pool, source, shards, hand: AtomicUsize::new(0), pages: AtomicU64::new(0) }
    }

    /// Looks at a block's content; reads it in if it is not here.
    pub(crate) fn read<R>(
        &self,
        block: u64,
        look: impl FnOnce(&Words) -> R,
    ) -> Result<(Found, R), AllocError> {
        if let Some(page) = lock(self.shard(block)).pages.get_mut(&block) {
            page.touched = true;
            return Ok((Found::Here, look(page.frame.words())));
        }
        // Under no lock: it may wait for what `scan` finds in the shards.
        let mut frame = self.frame()?;
        (self.source)(block, frame.words_mut());
        let mut shard = lock(self.shard(block));
        let Shard { pages, queue } = &mut *shard;
        let mut double = None;
        let page = match pages.entry(block) {
            std::collections::hash_map::Entry::Occupied(page) => {
                double = Some(frame); // somebody else was faster
                page.into_mut()
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                queue.push_back(block);
                self.pages.fetch_add(1, Relaxed);
                place.insert(Page { frame, touched: false })
            }
        };
        let seen = look(page.frame.words());
        drop(shard);
        double.into_iter().for_each(|frame| self.free(frame));
        Ok((Found::Filled, seen))
    }

    /// Pages that are here.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    fn shard(&self, block: u64) -> &Mutex<Shard> {
        &self.shards[block as usize % SHARDS]
    }

    fn frame(&self) -> Result<Frame, AllocError> {
        let pfn = self.pool.allocator().alloc_raw(&Request::order(Order::ZERO).movable())?;
        match self.pool.address(pfn) {
            Some(bytes) => Ok(Frame { pfn, words: bytes.cast() }),
            None => unreachable!("a pool maps every frame it has"),
        }
    }

    fn free(&self, frame: Frame) {
        // SAFETY: allocated in `frame`, and nobody else has it.
        let freed = unsafe { self.pool.allocator().free_raw(frame.pfn, Order::ZERO) };
        debug_assert_eq!(freed, Ok(()));
    }

    /// Looks at up to `frames` pages of a shard and evicts those that nobody read since the last look: how many were
    /// looked at, and how many went.
    fn evict(&self, shard: &mut Shard, frames: u64) -> (u64, u64) {
        let (mut looked, mut evicted) = (0, 0);
        while looked < frames {
            let Some(block) = shard.queue.pop_front() else { break };
            looked += 1;
            match shard.pages.get_mut(&block) {
                Some(page) if page.touched => {
                    page.touched = false;
                    shard.queue.push_back(block);
                }
                _ => {
                    let page = shard.pages.remove(&block);
                    page.into_iter().for_each(|page| self.free(page.frame));
                    evicted += 1;
                }
            }
        }
        self.pages.fetch_sub(evicted, Relaxed);
        (looked, evicted)
    }
}

impl Shrinker for PageCache {
    fn count(&self, _node: NodeId) -> u64 {
        self.pages()
    }

    fn scan(&self, frames: u64, _demand: &Demand) -> Option<u64> {
        let (mut left, mut evicted) = (frames, 0);
        for _ in 0..SHARDS {
            let at = self.hand.fetch_add(1, Relaxed) % SHARDS;
            // Whoever has it locked may be the thread that this runs on: a cache that requests frames under its locks could
            // not wait here.
            let mut shard = match self.shards[at].try_lock() {
                Ok(shard) => shard,
                Err(TryLockError::Poisoned(shard)) => shard.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            let (looked, gone) = self.evict(&mut shard, left.min(frames.div_ceil(8)));
            (left, evicted) = (left - looked, evicted + gone);
            if left == 0 {
                break;
            }
        }
        (left < frames).then_some(evicted)
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        for shard in &self.shards {
            let pages = std::mem::take(&mut lock(shard).pages);
            pages.into_values().for_each(|page| self.free(page.frame));
        }
    }
}

impl Frame {
    fn words(&self) -> &Words {
        // SAFETY: the frame's 4096 bytes are mapped as long as the pool, which the cache holds; they are ours, and whoever
        // fills them has filled them before anybody else sees the frame.
        unsafe { self.words.as_ref() }
    }

    fn words_mut(&mut self) -> &mut Words {
        // SAFETY: as above; any bytes are numbers.
        unsafe { self.words.as_mut() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
