//! Runs one fast path a given number of times and does nothing else: what `cargo xtask golden` counts.
//!
//! `fast_paths OPERATION COUNT`; operations: `pair-0`, `pair-3`, `pair-9` (alloc and free of that order in a loop),
//! `hold-alloc` (COUNT frames, one by one), `hold-free` (COUNT of the frames held, in order), `hold-free-random` (in
//! an order that jumps), `bulk` (COUNT frames, 512 a call, then all back). The machine and what happens before the
//! first counted operation are the same for every COUNT.

use std::error::Error;
use std::hint::black_box;
use std::mem::MaybeUninit;

use zonal::{Config, Group, MemoryRange, NodeId, OneCpu, Order, PageAllocator, Pfn, Request, Topology};

/// The machine's memory: 512 MiB of Normal zone.
const MEMORY: [MemoryRange; 1] = [MemoryRange::new(FIRST, FIRST + 131_072, 0)];
/// The first frame above 4 GiB.
const FIRST: u64 = 1 << 20;
/// Frames held before `hold-free` gives the first one back.
const HELD: usize = 65_536;
/// How far `hold-free-random` jumps from frame to frame.
const STEP: usize = 40_503;
/// Frames asked for in one bulk call.
const BULK: usize = 512;

type Pages<'m> = PageAllocator<'m, OneCpu>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, count] = arguments.as_slice() else {
        return Err("usage: fast_paths OPERATION COUNT".into());
    };
    let count: usize = count.parse().map_err(|error| format!("count {count:?}: {error}"))?;

    let config = Config::new(Topology {
        memory: &MEMORY,
        reserved: &[],
        nodes: 1,
        distances: &[10],
        cpus: &[NodeId(0)],
    });
    let mut metadata = vec![MaybeUninit::uninit(); zonal::metadata_size(&config)?];
    let pages = PageAllocator::new(&config, OneCpu, &mut metadata)?;
    match operation.as_str() {
        "pair-0" => pair(&pages, 0, count),
        "pair-3" => pair(&pages, 3, count),
        "pair-9" => pair(&pages, 9, count),
        "hold-alloc" => hold(&pages, count).map(|held| drop(black_box(held))),
        "hold-free" => {
            let held = hold(&pages, HELD)?;
            let freed = held.get(..count).ok_or(format!("count {count}: only {HELD} frames are held"))?;
            give_back(&pages, freed)
        }
        "hold-free-random" => {
            let held = hold(&pages, HELD)?;
            // An odd step visits every frame of a power of two once, and no two neighbours in a row.
            let jumping: Vec<_> = (0..HELD).map(|i| held[i * STEP % HELD]).collect();
            let freed = jumping.get(..count).ok_or(format!("count {count}: only {HELD} frames are held"))?;
            give_back(&pages, freed)
        }
        "bulk" => bulk(&pages, count),
        unknown => Err(format!("operation {unknown:?} is not known").into()),
    }
}

fn pair(pages: &Pages<'_>, order: u8, count: usize) -> Result<(), Box<dyn Error>> {
    let order = Order::new(order).ok_or(format!("order {order}"))?;
    let request = Request::order(order);
    for _ in 0..count {
        let pfn = pages.alloc_raw(&request)?;
        // SAFETY: the run was just allocated with this order, and nothing else knows it.
        unsafe { pages.free_raw(pfn, order)? };
    }
    Ok(())
}

fn hold(pages: &Pages<'_>, count: usize) -> Result<Vec<Pfn>, Box<dyn Error>> {
    let mut held = Vec::with_capacity(HELD.max(count));
    let request = Request::order(Order::ZERO);
    for _ in 0..count {
        held.push(pages.alloc_raw(&request)?);
    }
    Ok(held)
}

fn bulk(pages: &Pages<'_>, count: usize) -> Result<(), Box<dyn Error>> {
    let mut groups = [Group::EMPTY; BULK / 32];
    let request = Request::order(Order::ZERO);
    for _ in 0..count / BULK {
        let filled = pages.alloc_bulk(&request, BULK as u64, &mut groups)?;
        // SAFETY: the groups were just allocated, and nothing else knows them.
        unsafe { pages.free_bulk(&groups[..filled])? };
    }
    Ok(())
}

fn give_back(pages: &Pages<'_>, held: &[Pfn]) -> Result<(), Box<dyn Error>> {
    for &pfn in held {
        // SAFETY: each frame was allocated with order 0, is freed once, and nothing else uses it.
        unsafe { pages.free_raw(pfn, Order::ZERO)? };
    }
    Ok(())
}
