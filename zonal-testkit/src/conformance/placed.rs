//! Checks of requests for a place, for a count, in bulk, and of runs freed in parts.

use std::collections::BTreeSet;

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, granted};
use super::subject::Build;
use crate::machine::BLOCK;

pub(super) static CHECKS: [Check; 6] = [
    Check {
        name: "at-frame",
        origin: "P2",
        says: "every free frame can be had by its number, wherever it is kept, and no other",
        repeats: Repeats::Always,
        run: at_frame,
    },
    Check {
        name: "below-limit",
        origin: "P2",
        says: "every frame below a limit is had, and none above it",
        repeats: Repeats::Always,
        run: below_limit,
    },
    Check {
        name: "aligned-run",
        origin: "P2",
        says: "a run is aligned to more than its order where asked, as often as there is a place",
        repeats: Repeats::Always,
        run: aligned_run,
    },
    Check {
        name: "exact-count",
        origin: "P5",
        says: "a count that is no power of two takes so many frames and gives them back",
        repeats: Repeats::Always,
        run: exact_count,
    },
    Check {
        name: "bulk",
        origin: "P2",
        says: "bulk requests hand out every scattered frame once, and take them back",
        repeats: Repeats::Always,
        run: bulk,
    },
    Check {
        name: "split",
        origin: "P5",
        says: "a run split into smaller ones is freed part by part, and joins again",
        repeats: Repeats::Always,
        run: split,
    },
];

fn at_frame(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 4)?;
    let frames = stand.fill()?;
    let (freed, kept): (Vec<Run>, Vec<Run>) = frames.into_iter().partition(|run| run.pfn % 11 < 4);
    stand.give_all(freed.iter().copied())?;
    for run in &kept {
        if granted(stand.allocator().alloc_at(0, run.pfn))?.is_some() {
            return Err(Fault::Broken(format!("frame {:#x} was held and was handed out by number", run.pfn)));
        }
    }
    for run in &freed {
        if granted(stand.allocator().alloc_at(0, run.pfn))?.is_none() {
            return Err(Fault::Broken(format!("frame {:#x} was free and was refused by number", run.pfn)));
        }
        stand.enter(run.pfn, 1, 1)?;
    }
    stand.give_all(freed.into_iter().chain(kept))?;
    stand.fill().map(drop)
}

fn below_limit(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 4)?;
    let limit = BLOCK + 77;
    let mut held = Vec::new();
    while let Some(pfn) = granted(stand.allocator().alloc_below(0, limit))? {
        stand.enter(pfn, 1, 1)?;
        if pfn >= limit {
            return Err(Fault::Broken(format!("frame {pfn:#x} is not below {limit:#x}")));
        }
        held.push(Run { pfn, order: 0 });
    }
    if (held.len() as u64) < limit {
        return Err(Fault::Broken(format!("{} of {limit} frames below {limit:#x} were had", held.len())));
    }
    stand.give_all(held)?;
    stand.fill().map(drop)
}

fn aligned_run(build: &Build) -> Result<(), Fault> {
    for (order, align) in [(0, 5), (2, 6), (3, 9), (9, 10)] {
        let mut stand = Stand::of_blocks(build, 8)?;
        let (places, mut held) = ((8 * BLOCK) >> align, Vec::new());
        while let Some(pfn) = granted(stand.allocator().alloc_aligned(order, align))? {
            stand.enter(pfn, 1 << order, 1 << align)?;
            held.push(Run { pfn, order });
        }
        if (held.len() as u64) < places {
            return Err(Fault::Broken(format!(
                "order {order} aligned to order {align} was had {} times, there are {places} places",
                held.len()
            )));
        }
        stand.give_all(held)?;
        stand.fill()?;
    }
    Ok(())
}

fn exact_count(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 16)?;
    let mut held = Vec::new();
    let most = 1 << stand.allocator().max_order().min(18);
    for frames in [3, 5, 33, 100, 257, 513, 1000, 1536].into_iter().filter(|&frames| frames <= most) {
        let Some(pfn) = granted(stand.allocator().alloc_count(frames))? else {
            return Err(Fault::Broken(format!("{frames} frames were refused with {} free", stand.free())));
        };
        stand.enter(pfn, frames, 1)?;
        held.push((pfn, frames));
    }
    let rest = stand.fill().map_err(|fault| fault.after("after counts that are no power of two"))?;
    for (pfn, frames) in held {
        stand.leave(pfn, frames);
        stand.allocator().free_count(pfn, frames)?;
    }
    stand.give_all(rest)?;
    stand.fill().map(drop)
}

fn bulk(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 4)?;
    let frames = stand.fill()?;
    stand.give_all(frames.into_iter().filter(|run| run.pfn % 3 == 1))?;
    let mut held = BTreeSet::new();
    while let Some(frames) = granted(stand.allocator().alloc_bulk(100))? {
        if frames.is_empty() || frames.len() > 100 {
            return Err(Fault::Broken(format!("{} frames came for 100", frames.len())));
        }
        frames.iter().try_for_each(|&pfn| stand.enter(pfn, 1, 1))?;
        held.extend(frames);
    }
    if stand.free() > 0 {
        return Err(Fault::Broken(format!("a bulk request was refused with {} frames free", stand.free())));
    }
    held.iter().for_each(|&pfn| stand.leave(pfn, 1));
    stand.allocator().free_bulk(&held.into_iter().collect::<Vec<_>>())?;
    stand.fill().map(drop)
}

fn split(build: &Build) -> Result<(), Fault> {
    for (from, to) in [(3, 0), (9, 0), (9, 3), (10, 9), (10, 0)] {
        let mut stand = Stand::of_blocks(build, 8)?;
        let run = stand.take(from)?;
        stand.allocator().split(run.pfn, from, to)?;
        let parts = (0..1 << (from - to)).map(|part| Run { pfn: run.pfn + (part << to), order: to });
        let (even, odd): (Vec<Run>, Vec<Run>) = parts.partition(|part| part.pfn >> to & 1 == 0);
        let rest = {
            stand.give_all(odd)?;
            stand.fill()?
        };
        stand.give_all(even)?;
        stand.give_all(rest)?;
        stand.all_had_as(from)?;
    }
    Ok(())
}
