//! Checks of what CPUs keep for themselves: it is free, so it is had before a request fails, by whoever asks.

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, machine};
use super::subject::Build;
use crate::machine::BLOCK;

pub(super) static CHECKS: [Check; 5] = [
    Check {
        name: "own-cache",
        origin: "P2, Linux",
        says: "orders 1 to 9 are served while their frames were freed one by one on the CPU that asks",
        repeats: Repeats::Always,
        run: own_cache,
    },
    Check {
        name: "others-caches",
        origin: "P3, Linux and Asterinas",
        says: "order 0 is served while the free frames were freed on other CPUs",
        repeats: Repeats::Always,
        run: others_caches,
    },
    Check {
        name: "others-runs",
        origin: "P3, Linux and Asterinas",
        says: "orders 1 to 9 are served while their frames were freed one by one on other CPUs",
        repeats: Repeats::Always,
        run: others_runs,
    },
    Check {
        name: "many-cpus",
        origin: "P2, LLFree",
        says: "with 64 CPUs on 16 blocks, all asking in turn, every frame is handed out",
        repeats: Repeats::Always,
        run: many_cpus,
    },
    Check {
        name: "drain",
        origin: "P4",
        says: "any CPU empties the caches of all CPUs, and nothing is left there",
        repeats: Repeats::Always,
        run: drain,
    },
];

const CPUS: usize = 4;

fn own_cache(build: &Build) -> Result<(), Fault> {
    had_as_runs(build, 1)
}

fn others_runs(build: &Build) -> Result<(), Fault> {
    had_as_runs(build, CPUS)
}

/// Frees the frames of a run one by one, on CPUs in turn but the first, and asks for the run on the first.
fn had_as_runs(build: &Build, cpus: usize) -> Result<(), Fault> {
    for order in 1..=9 {
        let mut stand = Stand::of(build, &machine(4 * BLOCK, cpus))?;
        if cpus > 1 {
            stand.on_cpu(0)?;
        }
        let frames = stand.fill()?;
        let (start, end) = (BLOCK, BLOCK + (1 << order));
        let freed = frames.into_iter().filter(|run| (start..end).contains(&run.pfn));
        for (at, run) in freed.enumerate() {
            if cpus > 1 {
                stand.on_cpu(1 + at % (cpus - 1))?;
            }
            stand.give(run)?;
        }
        if cpus > 1 {
            stand.on_cpu(0)?;
        }
        stand.take(order)?;
    }
    Ok(())
}

fn others_caches(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of(build, &machine(4 * BLOCK, CPUS))?;
    stand.on_cpu(0)?;
    let frames = stand.fill()?;
    for (at, run) in frames.into_iter().take(300).enumerate() {
        stand.on_cpu(1 + at % (CPUS - 1))?;
        stand.give(run)?;
    }
    stand.on_cpu(0)?;
    stand.fill().map(drop)
}

fn many_cpus(build: &Build) -> Result<(), Fault> {
    const MANY: usize = 64;
    let mut stand = Stand::of(build, &machine(16 * BLOCK, MANY))?;
    for rounds in 0..3 {
        let mut held: Vec<Run> = Vec::new();
        for at in 0..16 * BLOCK as usize {
            stand.on_cpu(at % MANY)?;
            held.push(stand.take(0)?);
        }
        for (at, run) in held.into_iter().enumerate() {
            stand.on_cpu((at * 7 + rounds) % MANY)?;
            stand.give(run)?;
        }
    }
    Ok(())
}

fn drain(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of(build, &machine(4 * BLOCK, CPUS))?;
    stand.on_cpu(0)?;
    let frames = stand.fill()?;
    for (at, run) in frames.into_iter().take(300).enumerate() {
        stand.on_cpu(1 + at % (CPUS - 1))?;
        stand.give(run)?;
    }
    stand.on_cpu(0)?;
    let first = stand.allocator().drain()?;
    if first > stand.free() {
        return Err(Fault::Broken(format!("{first} frames came from caches with {} free", stand.free())));
    }
    let left = stand.allocator().drain()?;
    if left > 0 {
        return Err(Fault::Broken(format!("{left} frames were left in caches after a drain of {first}")));
    }
    stand.fill().map(drop).map_err(|fault| fault.after(&format!("after a drain of {first} frames")))
}
