//! Checks under real threads: frames are stamped by who holds them, and nobody is refused because others are busy.
//!
//! What holds, holds in every run; what is broken may pass by luck, so each is tried often.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, granted, machine, offered};
use super::subject::{Build, FrameAllocator};
use crate::machine::BLOCK;
use crate::seeded::Seeded;

pub(super) static CHECKS: [Check; 4] = [
    Check {
        name: "two-owners",
        origin: "P5, LLFree",
        says: "threads that share blocks at orders 7 and 8 never hold the same frame",
        repeats: Repeats::Races,
        run: two_owners,
    },
    Check {
        name: "threads",
        origin: "P5",
        says: "threads with mixed orders never hold the same frame, and at the end none is missing",
        repeats: Repeats::Races,
        run: threads,
    },
    Check {
        name: "busy-others",
        origin: "P3, frame-alloc",
        says: "nobody is refused because other threads are in the middle of a step, with most of memory free",
        repeats: Repeats::Races,
        run: busy_others,
    },
    Check {
        name: "shared-parts",
        origin: "P8, LLFree",
        says: "parts of one order-9 run are freed by two threads at once",
        repeats: Repeats::Races,
        run: shared_parts,
    },
];

/// How threads churn.
#[derive(Clone, Copy)]
struct Churn {
    threads: u32,
    blocks: u64,
    orders: (u32, u32),
    /// Runs that a thread holds about at once.
    runs: u64,
    /// Operations of each thread.
    operations: u32,
}

fn two_owners(build: &Build) -> Result<(), Fault> {
    churn(build, Churn { threads: 3, blocks: 3, orders: (7, 8), runs: 2, operations: 60_000 })
}

fn threads(build: &Build) -> Result<(), Fault> {
    churn(build, Churn { threads: 4, blocks: 16, orders: (0, 9), runs: 24, operations: 60_000 })
}

/// Threads take and free runs at random; then this one finds every frame there.
fn churn(build: &Build, how: Churn) -> Result<(), Fault> {
    let mut stand = Stand::of(build, &machine(how.blocks * BLOCK, how.threads as usize))?;
    let stamps: Vec<AtomicU32> = (0..how.blocks * BLOCK).map(|_| AtomicU32::new(0)).collect();
    let (allocator, stamps) = (stand.allocator(), stamps.as_slice());
    on_threads(how.threads, |thread| Worker { allocator, stamps, thread, how }.run())?;
    stand.fill().map(drop).map_err(|fault| fault.after("after all threads had freed what they held"))
}

/// Does the work in threads numbered from 1 on, waits for all of them, and reports the first fault.
fn on_threads(threads: u32, work: impl Fn(u32) -> Result<(), Fault> + Sync) -> Result<(), Fault> {
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (1..=threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        // A worker's panic is the check's.
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// One thread of a churn.
struct Worker<'c> {
    allocator: &'c dyn FrameAllocator,
    stamps: &'c [AtomicU32],
    thread: u32,
    how: Churn,
}

impl Worker<'_> {
    fn run(&self) -> Result<(), Fault> {
        offered(self.allocator.on_cpu(self.thread as usize - 1))?;
        let (mut numbers, mut held) = (Seeded::new(u64::from(self.thread)), Vec::new());
        for _ in 0..self.how.operations {
            if numbers.below(2 * self.how.runs) >= held.len() as u64 {
                held.extend(self.take(&mut numbers)?);
            } else {
                self.give(held.swap_remove(numbers.below(held.len() as u64) as usize))?;
            }
        }
        held.into_iter().try_for_each(|run| self.give(run))
    }

    fn take(&self, numbers: &mut Seeded) -> Result<Option<Run>, Fault> {
        let (smallest, largest) = self.how.orders;
        let spread = u64::from(largest - smallest) + 1;
        // Small orders often: the lesser of two numbers.
        let order = smallest + numbers.below(spread).min(numbers.below(spread)) as u32;
        let Some(pfn) = granted(self.allocator.alloc(order))? else { return Ok(None) };
        let run = Run { pfn, order };
        self.stamp(run, 0, self.thread)?;
        Ok(Some(run))
    }

    fn give(&self, run: Run) -> Result<(), Fault> {
        self.stamp(run, self.thread, 0)?;
        Ok(self.allocator.free(run.pfn, run.order)?)
    }

    fn stamp(&self, Run { pfn, order }: Run, from: u32, to: u32) -> Result<(), Fault> {
        for pfn in pfn..pfn + (1 << order) {
            let Some(stamp) = self.stamps.get(pfn as usize) else {
                return Err(Fault::Broken(format!("frame {pfn:#x} is none of memory and was handed out")));
            };
            let found = stamp.swap(to, Ordering::Relaxed); // Relaxed: the allocator must order it
            if found != from {
                let what = format!("frame {pfn:#x} of an order-{order} run was held by two threads");
                return Err(Fault::Broken(what));
            }
        }
        Ok(())
    }
}

/// More threads than a small machine has processors, so that some sleep in the middle of a step. There are sixteen runs
/// for each.
fn busy_others(build: &Build) -> Result<(), Fault> {
    const THREADS: u32 = 4;
    const PAIRS: u32 = 300_000;
    for order in [3, 0, 9] {
        let frames = ((16 * u64::from(THREADS)) << order).next_multiple_of(BLOCK);
        let mut stand = Stand::of(build, &machine(frames, THREADS as usize))?;
        let allocator = stand.allocator();
        on_threads(THREADS, |thread| {
            offered(allocator.on_cpu(thread as usize - 1))?;
            (0..PAIRS).try_for_each(|_| {
                let Some(pfn) = granted(allocator.alloc(order))? else {
                    let (others, runs) = (THREADS - 1, frames >> order);
                    let what =
                        format!("order {order} was refused: {others} others held one of {runs} runs each");
                    return Err(Fault::Broken(what));
                };
                Ok(allocator.free(pfn, order)?)
            })
        })?;
        stand.fill()?;
    }
    Ok(())
}

fn shared_parts(build: &Build) -> Result<(), Fault> {
    for to in [0, 3, 8].into_iter().cycle().take(150) {
        let mut stand = Stand::of_blocks(build, 2)?;
        let run = stand.take(9)?;
        stand.allocator().split(run.pfn, 9, to)?;
        let allocator = stand.allocator();
        on_threads(2, |thread| {
            let mine = (0..1 << (9 - to)).filter(|part| part % 2 == u64::from(thread) - 1);
            let mut mine = mine.map(|part| run.pfn + (part << to));
            Ok(mine.try_for_each(|pfn| allocator.free(pfn, to))?)
        })?;
        stand.leave(run.pfn, BLOCK);
        stand.all_had_as(9)?;
    }
    Ok(())
}
