//! Runs that nobody needs any more, for reclaim to give back. They live in houses, so they may be moved meanwhile.
//!
//! Invariant: what is counted for a zone are the frames of the runs here that lay in it when they came.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zonal::{NodeId, ZoneId};

use super::houses::Half;

/// Kinds of zones that a node may have.
const KINDS: usize = 4;

/// A run in a cache.
#[derive(Clone, Copy)]
pub(super) struct Cached {
    pub(super) house: usize,
    pub(super) zone: ZoneId,
    pub(super) frames: u64,
}

/// The caches of all nodes.
pub(super) struct Caches {
    /// What has been there for longest first.
    runs: Vec<Mutex<VecDeque<Cached>>>,
    vacant: [Mutex<Vec<usize>>; 2],
    /// Frames, by zone. Relaxed: what is told of caches is a guess.
    frames: Vec<AtomicU64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caches {
    /// Nothing is in them; they may have these houses.
    pub(super) fn new(nodes: u16, houses: impl Iterator<Item = usize>) -> Self {
        let (movable, pinned) = houses.partition(|&house| Half::of(house) == Half::Movable);
        Self {
            runs: (0..nodes).map(|_| Mutex::default()).collect(),
            vacant: [Mutex::new(movable), Mutex::new(pinned)],
            frames: (0..usize::from(nodes) * KINDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Takes a house with its run, and gives a vacant one for it if there is any.
    pub(super) fn put(&self, node: NodeId, run: Cached) -> Option<usize> {
        let runs = self.runs.get(usize::from(node.0))?;
        let vacant = locked(&self.vacant[Half::of(run.house) as usize]).pop()?;
        if let Some(frames) = self.frames.get(usize::from(run.zone.0)) {
            frames.fetch_add(run.frames, Relaxed);
        }
        locked(runs).push_back(run);
        Some(vacant)
    }

    /// The run that has been in the node's cache for longest.
    pub(super) fn take(&self, node: NodeId) -> Option<Cached> {
        let run = locked(self.runs.get(usize::from(node.0))?).pop_front()?;
        if let Some(frames) = self.frames.get(usize::from(run.zone.0)) {
            frames.fetch_sub(run.frames, Relaxed);
        }
        Some(run)
    }

    /// A house whose run has gone.
    pub(super) fn vacate(&self, house: usize) {
        locked(&self.vacant[Half::of(house) as usize]).push(house);
    }

    /// Frames that came from the zone.
    pub(super) fn of_zone(&self, zone: ZoneId) -> u64 {
        self.frames.get(usize::from(zone.0)).map_or(0, |frames| frames.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::super::houses::HOUSES;
    use super::*;

    #[test]
    fn a_run_is_taken_for_a_house_and_comes_out_in_turn() {
        // One house for what can be moved, two for what cannot.
        let caches = Caches::new(2, HOUSES / 2 - 1..HOUSES / 2 + 2);
        let run = |house, frames| Cached { house, zone: ZoneId(5), frames };
        let node = NodeId(1);
        assert_eq!(caches.put(node, run(0, 8)), Some(HOUSES / 2 - 1));
        assert_eq!(caches.put(node, run(1, 8)), None, "no house is vacant");
        assert!(caches.put(node, run(HOUSES - 1, 2)).is_some(), "for the other kind there is");
        assert_eq!((caches.of_zone(ZoneId(5)), caches.of_zone(ZoneId(4))), (10, 0));
        assert!(caches.take(NodeId(0)).is_none());
        assert_eq!(caches.take(node).map(|run| run.house), Some(0));
        caches.vacate(0);
        assert_eq!((caches.put(node, run(1, 1)), caches.of_zone(ZoneId(5))), (Some(0), 3));
    }
}
