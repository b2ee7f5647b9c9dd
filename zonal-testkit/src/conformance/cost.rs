//! The check of what a search costs: not how long it takes, but whether that grows with memory.
//!
//! A machine 256 times larger may take 32 times longer: a tree of words, or the misses of a larger cache, stay far below
//! that; a scan of all memory is far above.

use std::time::Instant;

use super::check::{Check, Fault, Repeats};
use super::stand::{Stand, granted, machine};
use super::subject::Build;

pub(super) static CHECKS: [Check; 1] = [Check {
    name: "flat-search",
    origin: "LLFree",
    says: "a request costs at 16 GiB less than 32 times what it costs at 64 MiB, full, or every block half full",
    repeats: Repeats::Clock,
    run: flat_search,
}];

const SMALL: u64 = 1 << 14;
const LARGE: u64 = 1 << 22;
const TIMES: u64 = 32;
/// Requests timed at once, so that a clock's step is small against them.
const BATCH: u64 = 4;
/// Of so many batches the fastest counts: whatever else the machine did, it did not do it in that one.
const BATCHES: usize = 16;

fn flat_search(build: &Build) -> Result<(), Fault> {
    for (what, order, prepare) in [
        ("order 0 refused, memory full", 0, fill_all as Prepare),
        ("order 9 refused, memory full", 9, fill_all),
        ("order 9 refused, every block half full", 9, fill_half),
    ] {
        let cost = |frames| -> Result<u64, Fault> {
            let mut stand = Stand::of(build, &machine(frames, 1))?;
            prepare(&mut stand)?;
            refusal(&stand, order).map_err(|fault| fault.after(what))
        };
        let (small, large) = (cost(SMALL)?, cost(LARGE)?);
        if large >= small * TIMES {
            let times = large / small;
            return Err(Fault::Broken(format!("{what}: {times} times the cost in 256 times the memory")));
        }
    }
    Ok(())
}

type Prepare = fn(&mut Stand) -> Result<(), Fault>;

fn fill_all(stand: &mut Stand) -> Result<(), Fault> {
    stand.exhaust(9).map(drop)
}

fn fill_half(stand: &mut Stand) -> Result<(), Fault> {
    let halves = stand.exhaust(8)?;
    stand.give_all(halves.into_iter().filter(|run| run.pfn >> 8 & 1 == 0))
}

/// What a refused request costs at best, in nanoseconds for a batch.
fn refusal(stand: &Stand, order: u32) -> Result<u64, Fault> {
    let mut best = u64::MAX;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..BATCH {
            if let Some(pfn) = granted(stand.allocator().alloc(order))? {
                return Err(Fault::Broken(format!("order {order} was served, at {pfn:#x}")));
            }
        }
        best = best.min(start.elapsed().as_nanos() as u64);
    }
    Ok(best.max(1))
}
