//! Runs one fast path a given number of times and does nothing else: what `cargo xtask golden` counts.
//!
//! `fast_paths OPERATION COUNT` only runs it, for a profiler; `fast_paths --locked OPERATION COUNT` runs it one instruction
//! at a time and prints how many of the program's instructions were locked (x86-64 Linux). The platform is one CPU. The
//! machine and what is prepared before the first counted operation are the same for every COUNT.
//!
//! * `pair-0`, `pair-3`, `pair-9`: alloc and free of that order in a loop.
//! * `hold-alloc`: COUNT frames, one by one; `hold-free`: COUNT of the frames held, in order; `hold-free-random`: in an
//!   order that jumps; `bulk`: COUNT frames, 512 a call, then all back.
//! * `churn`: one of the frames held is freed, in an order that jumps, and another taken for it.
//! * `refuse-0`, `refuse-9`: a request of that order that may not wait, where no frame is free; `refuse-9-frag`: where half of each
//!   block is.
//! * `alloc-hit`: the slot word has the frame; `alloc-miss`: it is empty and filled from the block it was filled from before.
//! * `free-hit`: the slot word has the frame's group; `free-miss`: no word has it and none is free to take it, so it goes to
//!   its row; `free-evict`: the second such free in a row, which lands a word and takes its place.
//! * `drain-empty`, `drain-full`: the CPU's slot words, none or all of which hold a frame.

use std::error::Error;
use std::hint::black_box;
use std::mem::MaybeUninit;

use zonal::{
    Config, Gfp, Group, MemoryRange, NodeId, OneCpu, Order, PageAllocator, Pfn, Request, Reserves, Topology,
};

/// The machine's memory: 512 MiB of Normal zone.
const MEMORY: [MemoryRange; 1] = [MemoryRange::new(FIRST, FIRST + 131_072, 0)];
/// The first frame above 4 GiB.
const FIRST: u64 = 1 << 20;
/// Half a block.
const HALF: Order = Order::new(8).unwrap();
/// Frames held before `hold-free` gives the first one back.
const HELD: usize = 65_536;
/// How far `hold-free-random` jumps from frame to frame.
const STEP: usize = 40_503;
/// Frames asked for in one bulk call.
const BULK: usize = 512;
/// Frames of a group, which a slot word holds.
const GROUP: usize = 32;
/// Slot words of a CPU for each kind.
const WORDS: usize = 6;
/// A request for each kind of content that slot words are kept for.
const KINDS: [Gfp; 3] = [Gfp::KERNEL, Gfp::HIGHUSER_MOVABLE, Gfp::KERNEL.union(Gfp::RECLAIMABLE)];

type Pages<'m> = PageAllocator<'m, OneCpu>;
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mode, operation, count) = match words[..] {
        [operation, count] => (Mode::Run, operation, count),
        ["--locked", operation, count] => (Mode::PrintLocked, operation, count),
        _ => return Err("usage: fast_paths [--locked] OPERATION COUNT".into()),
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
    let work = Work::prepare(&pages, operation)?;
    match mode {
        Mode::Run => work.run(&pages, count),
        Mode::PrintLocked => print_locked(&pages, work, count),
    }
}

/// Who counts: a profiler from outside, or the program itself.
enum Mode {
    Run,
    PrintLocked,
}

/// What is counted.
enum Work {
    Pairs(Order),
    /// Allocates frames; those that are held, with room for all that may come.
    Allocs(Vec<Pfn>),
    /// Frees these frames.
    Frees(Vec<Pfn>),
    Bulk,
    Drains,
    /// Frees these frames and takes others for them.
    Churns(Vec<Pfn>),
    /// Asks for what there is not.
    Refusals(Request),
}

impl Work {
    /// Brings the allocator to where the operation begins.
    fn prepare(pages: &Pages<'_>, operation: &str) -> Outcome<Self> {
        Ok(match operation {
            "pair-0" => Self::Pairs(Order::ZERO),
            "pair-3" => Self::Pairs(Order::new(3).ok_or("order 3")?),
            "pair-9" => Self::Pairs(Order::BLOCK),
            "hold-alloc" => Self::Allocs(hold(pages, Gfp::KERNEL, 0)?),
            "alloc-hit" => Self::Allocs(hold(pages, Gfp::KERNEL, 1)?),
            "alloc-miss" => Self::Allocs(hold(pages, Gfp::KERNEL, GROUP)?),
            "hold-free" => Self::Frees(hold(pages, Gfp::KERNEL, HELD)?),
            "hold-free-random" => {
                let held = hold(pages, Gfp::KERNEL, HELD)?;
                // An odd step visits every frame of a power of two once, and no two neighbours in a row.
                Self::Frees((0..HELD).map(|i| held[i * STEP % HELD]).collect())
            }
            "churn" => Self::Churns(hold(pages, Gfp::KERNEL, HELD)?),
            "refuse-0" => Self::Refusals(take_all(pages, Order::ZERO).map(|(request, _)| request)?),
            "refuse-9" => Self::Refusals(take_all(pages, Order::BLOCK).map(|(request, _)| request)?),
            "refuse-9-frag" => {
                let (request, halves) = take_all(pages, Order::BLOCK)?;
                for &half in halves.iter().step_by(2) {
                    // SAFETY: allocated as it is, and nothing else knows it.
                    unsafe { pages.free_raw(half, HALF)? };
                }
                Self::Refusals(request)
            }
            "free-hit" => Self::Frees(hold(pages, Gfp::KERNEL, 2)?),
            "free-miss" => Self::Frees(fill_words(pages, Gfp::KERNEL)?),
            "free-evict" => {
                let others = fill_words(pages, Gfp::KERNEL)?;
                give_back(pages, &others[..1])?;
                Self::Frees(others[1..].to_vec())
            }
            "bulk" => Self::Bulk,
            "drain-empty" => Self::Drains,
            "drain-full" => {
                KINDS.into_iter().try_for_each(|kind| fill_words(pages, kind).map(drop))?;
                Self::Drains
            }
            unknown => return Err(format!("operation {unknown:?} is not known").into()),
        })
    }

    fn run(self, pages: &Pages<'_>, count: usize) -> Outcome<()> {
        match self {
            Self::Pairs(order) => pair(pages, order, count),
            Self::Allocs(mut held) => {
                alloc(pages, Gfp::KERNEL, count, &mut held)?;
                black_box(held);
                Ok(())
            }
            Self::Frees(held) => {
                let freed = held.get(..count).ok_or_else(|| format!("count {count}: too few are held"))?;
                give_back(pages, freed)
            }
            Self::Bulk => bulk(pages, count),
            Self::Churns(held) => churn(pages, held, count),
            Self::Refusals(request) => refuse(pages, &request, count),
            Self::Drains => {
                black_box((0..count).map(|_| pages.drain_cpu(0)).sum::<u64>());
                Ok(())
            }
        }
    }
}

/// Runs the work stepped, and prints how many instructions of this program were locked.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn print_locked(pages: &Pages<'_>, work: Work, count: usize) -> Outcome<()> {
    use zonal_testkit::stepper::{Window, trace};
    /// More than any of the operations executes for the counts it is asked for.
    const MOST_INSTRUCTIONS: usize = 4 << 20;
    let (outcome, trace) = trace(&Window::of_program()?, MOST_INSTRUCTIONS, || work.run(pages, count))?;
    println!("{}", trace.locked());
    outcome
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn print_locked(_: &Pages<'_>, _: Work, _: usize) -> Outcome<()> {
    Err("instructions are stepped on x86-64 Linux only".into())
}

fn pair(pages: &Pages<'_>, order: Order, count: usize) -> Outcome<()> {
    let request = Request::order(order);
    for _ in 0..count {
        let pfn = pages.alloc_raw(&request)?;
        // SAFETY: the run was just allocated with this order, and nothing else knows it.
        unsafe { pages.free_raw(pfn, order)? };
    }
    Ok(())
}

/// Frames taken one by one.
fn hold(pages: &Pages<'_>, kind: Gfp, count: usize) -> Outcome<Vec<Pfn>> {
    let mut held = Vec::with_capacity(HELD);
    alloc(pages, kind, count, &mut held)?;
    Ok(held)
}

/// Takes all there is, in runs of half a block, which are returned, and makes a request of this order that must be refused.
fn take_all(pages: &Pages<'_>, order: Order) -> Outcome<(Request, Vec<Pfn>)> {
    let request = Request::order(HALF).atomic().reserves(Reserves::All);
    let halves: Vec<Pfn> = std::iter::from_fn(|| pages.alloc_raw(&request).ok()).collect();
    Ok((Request::order(order).nowait(), halves))
}

fn refuse(pages: &Pages<'_>, request: &Request, count: usize) -> Outcome<()> {
    match (0..count).find_map(|_| pages.alloc_raw(request).ok()) {
        Some(pfn) => Err(format!("{pfn} was to be had").into()),
        None => Ok(()),
    }
}

fn churn(pages: &Pages<'_>, mut held: Vec<Pfn>, count: usize) -> Outcome<()> {
    let request = Request::order(Order::ZERO);
    for i in 0..count {
        let place = &mut held[i * STEP % HELD];
        // SAFETY: allocated with this order, and what is allocated next takes its place.
        unsafe { pages.free_raw(*place, Order::ZERO)? };
        *place = pages.alloc_raw(&request)?;
    }
    black_box(held);
    Ok(())
}

fn alloc(pages: &Pages<'_>, kind: Gfp, count: usize, held: &mut Vec<Pfn>) -> Outcome<()> {
    let request = Request::order(Order::ZERO).gfp(kind)?;
    for _ in 0..count {
        held.push(pages.alloc_raw(&request)?);
    }
    Ok(())
}

/// Lets every slot word of the kind hold a frame; the frames held of a group that none of the words has.
fn fill_words(pages: &Pages<'_>, kind: Gfp) -> Outcome<Vec<Pfn>> {
    let held = hold(pages, kind, (WORDS + 4) * GROUP)?;
    let groups: Vec<&[Pfn]> = held.chunks(GROUP).collect();
    groups.iter().take(WORDS + 1).try_for_each(|group| give_back(pages, &group[..1]))?;
    Ok(groups[WORDS + 2].to_vec())
}

fn bulk(pages: &Pages<'_>, count: usize) -> Outcome<()> {
    let mut groups = [Group::EMPTY; BULK / GROUP];
    let request = Request::order(Order::ZERO);
    for _ in 0..count / BULK {
        let filled = pages.alloc_bulk(&request, BULK as u64, &mut groups)?;
        // SAFETY: the groups were just allocated, and nothing else knows them.
        unsafe { pages.free_bulk(&groups[..filled])? };
    }
    Ok(())
}

fn give_back(pages: &Pages<'_>, held: &[Pfn]) -> Outcome<()> {
    for &pfn in held {
        // SAFETY: each frame was allocated with order 0, is freed once, and nothing else uses it.
        unsafe { pages.free_raw(pfn, Order::ZERO)? };
    }
    Ok(())
}
