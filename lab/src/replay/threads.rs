//! Dealing a plan out to threads so that the recorded order of each frame is kept, without one thread ever waiting for
//! what another does to a frame.
//!
//! Frames are cut into regions of the recording's largest run, so that an allocation lies in one region, be it freed
//! whole or in parts; regions that a misaligned run bridges are joined. All operations on a region go to one thread,
//! in recorded order. Invariant: two operations on slots that share a recorded frame are in the same share, in recorded
//! order; every operation is in exactly one share.

use std::collections::HashMap;
use std::num::NonZero;

use zonal::{BLOCK_FRAMES, Order};

use crate::plan::{Op, Plan};
use crate::trace::Run;

/// The operations of one thread: their places in the plan, ascending.
pub(crate) type Share = Vec<usize>;

/// Deals the operations out: the largest regions first, each to the thread that has the least so far. Fewer shares than
/// threads if there are fewer regions.
pub(crate) fn shares(plan: &Plan, threads: NonZero<usize>) -> Vec<Share> {
    let mut regions = Regions::of(plan);
    let homes: Vec<u32> = plan.slots.iter().map(|slot| regions.home(slot.recorded)).collect();
    let home = |op: &Op| homes[op.slot().index()];
    let mut loads: HashMap<u32, usize> = HashMap::new();
    for op in &plan.ops {
        *loads.entry(home(op)).or_default() += 1;
    }
    let mut order: Vec<(u32, usize)> = loads.into_iter().collect();
    order.sort_unstable_by_key(|&(region, load)| (std::cmp::Reverse(load), region));
    let mut dealt = vec![0; threads.get()];
    let thread_of: HashMap<u32, usize> = order
        .into_iter()
        .map(|(region, load)| {
            let least =
                dealt.iter().enumerate().min_by_key(|&(_, &dealt)| dealt).map_or(0, |(thread, _)| thread);
            dealt[least] += load;
            (region, least)
        })
        .collect();
    let mut shares = vec![Share::new(); threads.get()];
    for (at, op) in plan.ops.iter().enumerate() {
        shares[thread_of[&home(op)]].push(at);
    }
    shares.retain(|share| !share.is_empty());
    shares
}

/// Regions by number, joined where a run bridges them (union-find).
struct Regions {
    frames: u64,
    numbers: HashMap<u64, u32>,
    parents: Vec<u32>,
}

impl Regions {
    fn of(plan: &Plan) -> Self {
        let frames = plan.largest_order().frames().max(BLOCK_FRAMES);
        let mut regions = Self { frames, numbers: HashMap::new(), parents: Vec::new() };
        for slot in &plan.slots {
            let (first, last) = regions.ends(slot.recorded);
            let (first, last) = (regions.root(first), regions.root(last));
            regions.parents[last as usize] = first;
        }
        regions
    }

    /// The region, after joining, that a run lies in.
    fn home(&mut self, run: Run) -> u32 {
        let (first, _) = self.ends(run);
        self.root(first)
    }

    /// The regions of a run's first and last frame: the same or neighbours, no run being longer than a region.
    fn ends(&mut self, run: Run) -> (u32, u32) {
        (self.number(run.first.get()), self.number(run.end().get() - Order::ZERO.frames()))
    }

    fn number(&mut self, frame: u64) -> u32 {
        let next = self.parents.len() as u32;
        let number = *self.numbers.entry(frame / self.frames).or_insert(next);
        if number == next {
            self.parents.push(next);
        }
        number
    }

    fn root(&mut self, mut region: u32) -> u32 {
        while self.parents[region as usize] != region {
            let above = self.parents[self.parents[region as usize] as usize];
            self.parents[region as usize] = above;
            region = above;
        }
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::trace::Event;
    use zonal::{Gfp, Pfn};

    fn run(first: u64, order: u8) -> Run {
        Run { first: Pfn::new(first), order: Order::new(order).unwrap() }
    }

    fn plan(runs: impl IntoIterator<Item = (u64, u8)>) -> Plan {
        let mut ledger = Ledger::default();
        for (first, order) in runs {
            ledger.event(Event::Alloc(run(first, order), Gfp::KERNEL));
            ledger.event(Event::Free(run(first, 0)));
        }
        ledger.finish()
    }

    fn check(plan: &Plan, threads: usize) -> Vec<Share> {
        let shares = shares(plan, NonZero::new(threads).unwrap());
        let mut thread_of_frame = HashMap::new();
        let mut seen = 0;
        for (thread, share) in shares.iter().enumerate() {
            assert!(share.is_sorted());
            seen += share.len();
            for &at in share {
                let recorded = plan.slot(plan.ops[at].slot()).recorded;
                for frame in recorded.first.get()..recorded.end().get() {
                    assert_eq!(*thread_of_frame.entry(frame).or_insert(thread), thread, "frame {frame}");
                }
            }
        }
        assert_eq!(seen, plan.ops.len());
        shares
    }

    #[test]
    fn one_frame_one_thread() {
        let runs = (0..4000u64).map(|i| (i * 7919 % 40_000, (i % 7) as u8));
        let shares = check(&plan(runs), 3);
        assert!(shares.iter().all(|share| share.len() > 2000));
    }

    #[test]
    fn large_runs_widen_the_regions() {
        let shares = check(&plan([(0, 10), (512, 0), (1024, 0), (0, 18), (1 << 18, 0)]), 2);
        assert_eq!(shares.iter().map(Vec::len).min(), Some(2));
    }

    #[test]
    fn misaligned_runs_join_regions() {
        check(&plan([(510, 3), (1020, 3), (0, 0), (1030, 0), (5000, 0)]), 4);
    }

    #[test]
    fn more_threads_than_regions() {
        let shares = check(&plan([(1, 0)]), 8);
        assert_eq!(shares.len(), 1);
    }
}
