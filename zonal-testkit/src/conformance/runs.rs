//! Checks of runs and orders on one CPU: nothing is refused that is there, and what is freed joins again.

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, machine};
use super::subject::{Build, Setup};
use crate::machine::BLOCK;
use crate::seeded::Seeded;

pub(super) static CHECKS: [Check; 8] = [
    Check {
        name: "last-frame",
        origin: "P2",
        says: "every frame is handed out before order 0 is refused",
        repeats: Repeats::Always,
        run: last_frame,
    },
    Check {
        name: "ragged-memory",
        origin: "P5",
        says: "with holes and ragged ends every frame is handed out once, and none of a hole",
        repeats: Repeats::Always,
        run: ragged_memory,
    },
    Check {
        name: "every-order",
        origin: "P2",
        says: "of free memory every order up to the largest is served, aligned, down to the last frame",
        repeats: Repeats::Always,
        run: every_order,
    },
    Check {
        name: "mixed-orders",
        origin: "P5",
        says: "runs of mixed orders are aligned, lie in memory and have one owner, and none is lost",
        repeats: Repeats::Always,
        run: mixed_orders,
    },
    Check {
        name: "joined-again",
        origin: "P2",
        says: "when all is freed frame by frame in any order, all memory can be had as the largest order",
        repeats: Repeats::Always,
        run: joined_again,
    },
    Check {
        name: "single-frames",
        origin: "P2, Asterinas",
        says: "order 0 is served while only single frames are free",
        repeats: Repeats::Always,
        run: single_frames,
    },
    Check {
        name: "whole-blocks",
        origin: "P2, LLFree",
        says: "each of 205 free blocks among 1024, the others one frame short, is had as order 9",
        repeats: Repeats::Always,
        run: whole_blocks,
    },
    Check {
        name: "fragments-heal",
        origin: "Linux",
        says: "where half of memory is held, scattered, reallocating a tenth of that 100 times brings half of the free blocks back",
        repeats: Repeats::Always,
        run: fragments_heal,
    },
];

fn last_frame(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 8)?;
    let runs = stand.fill()?;
    stand.give_all(runs)?;
    stand.fill().map(drop).map_err(|fault| fault.after("after all was freed"))
}

fn ragged_memory(build: &Build) -> Result<(), Fault> {
    let memory = Vec::from([3..700, 703..1500, 2049..3583, 3584..4096, 10_000..10_001]);
    let mut stand = Stand::of(build, &Setup { memory, ..machine(0, 1) })?;
    let runs = stand.fill()?;
    stand.give_all(runs)?;
    stand.all_had_as(9)?;
    stand.fill().map(drop)
}

fn every_order(build: &Build) -> Result<(), Fault> {
    let largest = largest(build)?;
    let mut stand = Stand::of(build, &machine(2 << largest, 1))?;
    for order in (0..=largest).rev() {
        let runs = stand.exhaust(order)?;
        if stand.free() > 0 {
            return Err(Fault::Broken(format!(
                "order {order} was refused with {} frames free",
                stand.free()
            )));
        }
        stand.give_all(runs)?;
    }
    Ok(())
}

/// The largest order that the allocator serves, up to a gibibyte.
fn largest(build: &Build) -> Result<u32, Fault> {
    Ok(Stand::of_blocks(build, 8)?.allocator().max_order().min(18))
}

fn mixed_orders(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 32)?;
    let (mut numbers, mut held) = (Seeded::new(11), Vec::new());
    for _ in 0..20_000 {
        // Small orders often: the lesser of two numbers.
        let order = numbers.below(10).min(numbers.below(10)) as u32;
        if numbers.below(60) >= held.len() as u64 {
            held.extend(stand.try_take(order)?);
        } else if !held.is_empty() {
            let run = held.swap_remove(numbers.below(held.len() as u64) as usize);
            stand.give(run)?;
        }
    }
    stand.give_all(held)?;
    stand.fill().map(drop).map_err(|fault| fault.after("after all was freed"))
}

fn joined_again(build: &Build) -> Result<(), Fault> {
    let largest = largest(build)?;
    let mut stand = Stand::of(build, &machine(2 << largest, 1))?;
    let mut frames = stand.fill()?;
    shuffle(&mut frames);
    stand.give_all(frames)?;
    stand.all_had_as(largest)
}

fn single_frames(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 8)?;
    let frames = stand.fill()?;
    stand.give_all(frames.into_iter().filter(|run| run.pfn % 7 == 3))?;
    stand.fill().map(drop)
}

fn whole_blocks(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 1024)?;
    let frames = stand.fill()?;
    let stays = |run: &Run| {
        let (block, frame) = (run.pfn / BLOCK, run.pfn % BLOCK);
        block % 5 != 3 && frame == block % BLOCK
    };
    stand.give_all(frames.into_iter().filter(|run| !stays(run)))?;
    stand.all_had_as(9)
}

fn fragments_heal(build: &Build) -> Result<(), Fault> {
    const ROUNDS: usize = 100;
    let mut stand = Stand::of_blocks(build, 128)?;
    let mut numbers = Seeded::new(5);
    let (mut held, freed): (Vec<Run>, Vec<Run>) =
        stand.fill()?.into_iter().partition(|_| numbers.below(2) == 0);
    stand.give_all(freed)?;
    let (possible, before) = (stand.free() / BLOCK, stand.free_runs(9));
    for _ in 0..ROUNDS {
        let kept = held.len() - held.len() / 10;
        while held.len() > kept {
            let run = held.swap_remove(numbers.below(held.len() as u64) as usize);
            stand.give(run)?;
        }
        for _ in 0..kept / 9 {
            held.push(stand.take(0)?);
        }
    }
    let after = stand.exhaust(9)?.len() as u64;
    if after < possible / 2 {
        return Err(Fault::Broken(format!(
            "{before} blocks were free, {after} after {ROUNDS} rounds; the free frames are {possible} blocks' worth"
        )));
    }
    Ok(())
}

/// The same in a random order, always the same one.
fn shuffle(runs: &mut [Run]) {
    let mut numbers = Seeded::new(3);
    for left in (1..runs.len()).rev() {
        runs.swap(left, numbers.below(left as u64 + 1) as usize);
    }
}
