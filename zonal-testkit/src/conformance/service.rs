//! Checks of memory out of service, and of an allocator's own books.

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, machine, offered};
use super::subject::Build;
use crate::machine::BLOCK;
use crate::seeded::Seeded;

pub(super) static CHECKS: [Check; 3] = [
    Check {
        name: "offline",
        origin: "P5, LLFree",
        says: "a frame freed while its block is out of service is not handed out, and is there when it is back",
        repeats: Repeats::Always,
        run: offline,
    },
    Check {
        name: "books",
        origin: "P5",
        says: "the count of free frames is what an observer counts",
        repeats: Repeats::Always,
        run: books,
    },
    Check {
        name: "audit",
        origin: "P5",
        says: "the allocator's recount of its own books finds nothing wrong",
        repeats: Repeats::Always,
        run: audit,
    },
];

fn offline(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 8)?;
    let frames = stand.fill()?;
    let block = 2 * BLOCK..3 * BLOCK;
    let (inside, outside): (Vec<Run>, Vec<Run>) =
        frames.into_iter().partition(|run| block.contains(&run.pfn));
    let (before, later) = inside.split_at(200);
    stand.give_all(before.iter().copied())?;
    stand.allocator().isolate(block.clone())?;
    if let Some(counted) = offered(stand.allocator().free_frames())?.filter(|&counted| counted > 0) {
        return Err(Fault::Broken(format!("{counted} frames count as free, all in service are held")));
    }
    stand.give_all(later.iter().copied())?;
    if let Some(run) = stand.try_take(0)? {
        return Err(Fault::Broken(format!("frame {:#x} was handed out though out of service", run.pfn)));
    }
    stand.give_all(outside)?;
    stand.exhaust(0)?;
    if stand.free() != BLOCK {
        return Err(Fault::Broken(format!(
            "{} frames were left when all in service were taken, {BLOCK} are out of it",
            stand.free()
        )));
    }
    stand.allocator().unisolate(block)?;
    stand.take(9).map(drop).map_err(|fault| fault.after("when the block was back in service"))
}

fn books(build: &Build) -> Result<(), Fault> {
    at_random(build, |stand| {
        let (counted, free) = (stand.allocator().free_frames()?, stand.free());
        if counted != free {
            return Err(Fault::Broken(format!("{counted} frames are said to be free, {free} are")));
        }
        Ok(())
    })
}

fn audit(build: &Build) -> Result<(), Fault> {
    at_random(build, |stand| Ok(stand.allocator().audit()?))
}

/// Looks every now and then while runs are taken and freed at random, on random CPUs where there are any.
fn at_random(build: &Build, look: impl Fn(&Stand) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut stand = Stand::of(build, &machine(16 * BLOCK, 4))?;
    let (mut numbers, mut held) = (Seeded::new(23), Vec::new());
    for step in 0..4000 {
        if numbers.below(40) >= held.len() as u64 {
            held.extend(stand.try_take(numbers.below(11) as u32)?);
        } else {
            let run = held.swap_remove(numbers.below(held.len() as u64) as usize);
            stand.give(run)?;
        }
        if step % 40 == 0 {
            offered(stand.allocator().on_cpu(numbers.below(4) as usize))?;
            look(&stand)?;
        }
    }
    stand.give_all(held)?;
    look(&stand)?;
    offered(stand.allocator().drain())?;
    look(&stand)
}
