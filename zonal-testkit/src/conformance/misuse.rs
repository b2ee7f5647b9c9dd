//! Checks of bad input: it is refused, it does not panic, and nobody is harmed by it.

use super::check::{Check, Fault, Repeats};
use super::stand::{Run, Stand, granted, machine};
use super::subject::{Build, No, Setup};
use crate::machine::BLOCK;

pub(super) static CHECKS: [Check; 7] = [
    Check {
        name: "double-free",
        origin: "P5, buddy_system_allocator",
        says: "a second free of the same run is refused",
        repeats: Repeats::Always,
        run: double_free,
    },
    Check {
        name: "foreign-frame",
        origin: "P5, buddy_system_allocator",
        says: "a free of a frame that is none of memory is refused",
        repeats: Repeats::Always,
        run: foreign_frame,
    },
    Check {
        name: "wrong-order",
        origin: "P5, LLFree",
        says: "a free of one frame of an order-3 or order-9 run as order 0 is refused",
        repeats: Repeats::Always,
        run: wrong_order,
    },
    Check {
        name: "misaligned-free",
        origin: "P5",
        says: "a free of a run that begins inside a run is refused",
        repeats: Repeats::Always,
        run: misaligned_free,
    },
    Check {
        name: "bad-order",
        origin: "P7, LLFree",
        says: "an order above the largest is refused",
        repeats: Repeats::Always,
        run: bad_order,
    },
    Check {
        name: "bad-count",
        origin: "P7, LLFree",
        says: "a count of 0, or of more frames than there can be, is refused",
        repeats: Repeats::Always,
        run: bad_count,
    },
    Check {
        name: "bad-memory",
        origin: "P7",
        says: "memory with ranges that overlap, end before they begin or lie above every address is refused",
        repeats: Repeats::Always,
        run: bad_memory,
    },
];

/// Gives back what is not the caller's; what it did if it was not refused.
fn misused(stand: &mut Stand, run: Run, what: &str) -> Result<(), Fault> {
    match stand.allocator().misuse(run.pfn, run.order) {
        Err(No::Refused(_)) => Ok(()),
        Err(No::Unsupported(why)) => Err(Fault::Unsupported(why)),
        Ok(()) => {
            let harm = stand.exhaust(0).map(|_| "and nobody was harmed yet");
            let harm = harm.map_err(|fault| fault.after(&format!("{what}: accepted")));
            Err(Fault::Broken(format!("{what} was accepted, {}", harm?)))
        }
    }
}

fn double_free(build: &Build) -> Result<(), Fault> {
    for order in [0, 3, 9] {
        let mut stand = Stand::watched(build, 4)?;
        let (one, two) = (stand.take(order)?, stand.take(order)?);
        // Held, so that no count of allocated frames runs out.
        let other = stand.take(9)?;
        stand.give_all([one, two])?;
        misused(&mut stand, one, &format!("a second free of order {order} at {:#x}", one.pfn))?;
        stand.give(other)?;
        stand.fill()?;
    }
    Ok(())
}

fn foreign_frame(build: &Build) -> Result<(), Fault> {
    for pfn in [4 * BLOCK, 1 << 20, 1 << 39] {
        let mut stand = Stand::of_blocks(build, 4)?;
        let held = stand.take(0)?;
        misused(&mut stand, Run { pfn, order: 0 }, &format!("a free of frame {pfn:#x}, none of memory"))?;
        stand.give(held)?;
        stand.fill()?;
    }
    Ok(())
}

fn wrong_order(build: &Build) -> Result<(), Fault> {
    for order in [3, 9] {
        for frame in [0, 5] {
            let mut stand = Stand::watched(build, 4)?;
            let run = stand.take(order)?;
            let part = Run { pfn: run.pfn + frame, order: 0 };
            misused(
                &mut stand,
                part,
                &format!("a free of frame {frame} of an order-{order} run as order 0"),
            )?;
            stand.give(run)?;
            stand.fill()?;
        }
    }
    Ok(())
}

fn misaligned_free(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::watched(build, 4)?;
    let (run, next) = (stand.take(3)?, stand.take(3)?);
    let inside = Run { pfn: run.pfn + 4, order: 3 };
    misused(&mut stand, inside, "a free of order 3 from the middle of a run on")?;
    stand.give_all([run, next])?;
    stand.fill().map(drop)
}

fn bad_order(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 8)?;
    let largest = stand.allocator().max_order();
    let bad = [largest + 1, 40, 63, 64, 255, 256, 512, u32::MAX];
    for order in bad.into_iter().filter(|&order| order > largest) {
        if let Some(pfn) = granted(stand.allocator().alloc(order))? {
            return Err(Fault::Broken(format!("order {order} was served, at {pfn:#x}")));
        }
    }
    stand.fill().map(drop)
}

fn bad_count(build: &Build) -> Result<(), Fault> {
    let mut stand = Stand::of_blocks(build, 8)?;
    for frames in [0, 8 * BLOCK + 1, 1 << 40, u64::MAX / 2 + 2, u64::MAX] {
        if let Some(pfn) = granted(stand.allocator().alloc_count(frames))? {
            return Err(Fault::Broken(format!("{frames} frames were served, at {pfn:#x}")));
        }
    }
    stand.fill().map(drop)
}

#[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
fn bad_memory(build: &Build) -> Result<(), Fault> {
    let machines = [
        ("ranges that overlap", Vec::from([0..2 * BLOCK, BLOCK..3 * BLOCK])),
        ("a range that ends before it begins", Vec::from([0..BLOCK, 3 * BLOCK..2 * BLOCK])),
        ("a range above every address", Vec::from([0..BLOCK, u64::MAX - BLOCK..u64::MAX])),
    ];
    for (what, memory) in machines {
        if granted(build(&Setup { memory, ..machine(0, 1) }))?.is_some() {
            return Err(Fault::Broken(format!("{what}: accepted")));
        }
    }
    Ok(())
}
