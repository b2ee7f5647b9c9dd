//! From a row's case to its workload: which engine, on a zone of what size, and what of it is taken.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::Result;
use zonal::{Gfp, Tuning, Watermarks, ZoneKind};
use zonal_linux::{Pool, Simulation, WordKind};

use super::boot::{Boot, Memset};
use super::case::Case;
use super::churn::Churn;
use super::drain::Drain;
use super::engine::{Engine, Setup};
use super::gaps;
use super::ground::Ground;
use super::limit::{Limit, Step, ZeroPage};
use super::name::{BenchName, EngineName};
use super::peers;
use super::plug::Plug;
use super::rebuild::{Beside, Reader, Rebuild};
use super::refuse::Refuse;
use super::workload::{Bulk, CHECKED_RUNS, Hold, Pair, Phase, Workload, runs_held};
use super::zonal::{Home, Zonal, metadata};

type Boxed = Box<dyn Workload>;

/// Memory for each thread to hold, and as much again that nobody does.
const BYTES_PER_THREAD: u64 = 1 << 30;
/// The zones that are churned.
const CHURNED: u64 = 16 << 30;
/// The zones whose size should not matter, and the smaller ones they are compared with.
const FULL: u64 = 1 << 40;
const FAILING: u64 = 256 << 30;
const SMALL: u64 = 16 << 30;
/// Frames held in a full zone, or a quarter of those that are free.
const FULL_HOLD: u64 = 100_000;
/// The machine that is booted, and its nodes.
const BOOTED: u64 = 16 << 40;
const BOOTED_NODES: usize = 64;
/// CPUs the smaller depot is made for, and the larger: a machine of more shares its slots.
const FEW_CPUS: usize = 2;
const MANY_CPUS: usize = 128;

/// Sets a row up.
pub(super) fn workload(case: &Case) -> Result<Boxed> {
    match case.engine {
        EngineName::Limit => limit(case),
        EngineName::Zonal if case.bench.blocks().is_some() => Ok(Box::new(Plug::build(case)?)),
        EngineName::Zonal if case.bench.is_drain() => Ok(Box::new(Drain::of(case)?)),
        EngineName::Zonal if is_simulated(case.bench) => zonal::<Simulation>(case),
        EngineName::Zonal => zonal::<Pool>(case),
        EngineName::ZonalOwner if is_simulated(case.bench) => zonal::<Simulation>(case),
        EngineName::ZonalOwner => zonal::<Pool>(case),
        EngineName::FrameAlloc => single::<peers::FrameAlloc>(case),
        EngineName::FrameAllocDepot if usize::from(case.cpus) <= FEW_CPUS => {
            single::<peers::FrameAllocDepot<FEW_CPUS>>(case)
        }
        EngineName::FrameAllocDepot => single::<peers::FrameAllocDepot<MANY_CPUS>>(case),
        EngineName::BuddySpin => single::<peers::BuddySpin>(case),
        #[cfg(target_env = "gnu")]
        EngineName::Glibc => single::<peers::Malloc<peers::Glibc>>(case),
        #[cfg(feature = "c-peers")]
        EngineName::Mimalloc => single::<peers::Malloc<peers::Mimalloc>>(case),
        #[cfg(feature = "c-peers")]
        EngineName::Jemalloc => single::<peers::Malloc<peers::Jemalloc>>(case),
    }
}

/// Whether the bench's zone is larger than this machine may be.
fn is_simulated(bench: BenchName) -> bool {
    zone_bytes(bench).is_some()
}

/// How large the bench's zone is, where that is part of the bench.
fn zone_bytes(bench: BenchName) -> Option<u64> {
    match bench {
        BenchName::Churn50 | BenchName::Churn90 => Some(CHURNED),
        BenchName::Full => Some(FULL),
        BenchName::Boot | BenchName::BootMemset => Some(BOOTED),
        BenchName::Fail | BenchName::FailFrag => Some(FAILING),
        BenchName::FailAtomic => Some(FAILING),
        BenchName::FullSmall | BenchName::FailSmall | BenchName::FailFragSmall | BenchName::KernelLow => {
            Some(SMALL)
        }
        _ => None,
    }
}

fn setup(case: &Case) -> Setup {
    let &Case { threads, cpus, order, .. } = case;
    let bytes = zone_bytes(case.bench).unwrap_or(BYTES_PER_THREAD * (u64::from(threads) + 1));
    let nodes = match case.bench {
        BenchName::Boot | BenchName::BootMemset => BOOTED_NODES,
        BenchName::FailAtomic => 2,
        _ => 1,
    };
    let gfp = match case.bench {
        BenchName::Atomic | BenchName::FailAtomic => Gfp::ATOMIC,
        // What may wait reclaims before it fails.
        BenchName::Fail | BenchName::FailSmall | BenchName::FailFrag | BenchName::FailFragSmall => {
            Gfp::NOWAIT
        }
        BenchName::Nowait => Gfp::NOWAIT,
        BenchName::Zeroed => Gfp::KERNEL | Gfp::ZERO,
        _ => Gfp::KERNEL,
    };
    let has_marks = matches!(case.bench, BenchName::KernelLow | BenchName::FailAtomic);
    let words = if case.engine == EngineName::ZonalOwner { WordKind::Owned } else { WordKind::Locked };
    Setup { cpus, order, nodes, bytes, gfp, tuning: has_marks.then(Tuning::default), words }
}

fn limit(case: &Case) -> Result<Boxed> {
    Ok(match case.bench {
        BenchName::BootMemset => Box::new(Memset::of(metadata(&setup(case))?)),
        BenchName::CasPair => Box::new(Limit::new(Step::CasPair, case.threads)?),
        BenchName::ZeroPage => Box::new(ZeroPage),
        BenchName::CpuPair => Box::new(Limit::new(Step::CpuPair, case.threads)?),
        BenchName::PlainPair => Box::new(Limit::new(Step::PlainPair, case.threads)?),
        _ => Box::new(Limit::new(Step::Cas, case.threads)?),
    })
}

/// The share of the booted machine that is metadata.
pub(super) fn metadata_share(case: &Case) -> Option<f64> {
    let setup = setup(case);
    Some(metadata(&setup).ok()? as f64 / setup.bytes as f64)
}

/// The page allocator: the benches by the group are its own.
fn zonal<H: Home>(case: &Case) -> Result<Boxed> {
    match case.bench {
        BenchName::Bulk => Ok(Box::new(Bulk::on(whole::<Zonal<H>>(case)?))),
        BenchName::BulkFrag => Ok(Box::new(Bulk::on(Ground::<Zonal<H>>::filled(&setup(case), 50)?.0))),
        BenchName::Rebuild => Ok(Box::new(Rebuild::of(case)?)),
        BenchName::Reader => Ok(Box::new(Reader::of(case, Beside::Idling)?)),
        BenchName::ReaderRebuilds => Ok(Box::new(Reader::of(case, Beside::Rebuilding)?)),
        _ => single::<Zonal<H>>(case),
    }
}

/// An engine that takes run by run.
fn single<E: Engine>(case: &Case) -> Result<Boxed> {
    let runs = runs_held(case.order);
    let hold = |ground, phase| -> Boxed { Box::new(Hold::<E>::on(ground, runs, phase)) };
    Ok(match case.bench {
        BenchName::HoldAlloc => hold(whole(case)?, Phase::Alloc),
        BenchName::HoldFree => hold(whole(case)?, Phase::Free),
        BenchName::HoldFreeRandom => hold(whole(case)?, Phase::FreeRandom),
        BenchName::Bulk => hold(whole(case)?, Phase::Both),
        BenchName::BulkFrag => hold(Ground::filled(&setup(case), 50)?.0, Phase::Both),
        BenchName::Churn50 => churn::<E>(case, 50)?,
        BenchName::Churn90 => churn::<E>(case, 90)?,
        BenchName::Full | BenchName::FullSmall => full::<E>(case)?,
        BenchName::Fail | BenchName::FailSmall | BenchName::FailAtomic => refuse::<E>(case, &[])?,
        BenchName::FailFrag | BenchName::FailFragSmall => {
            refuse::<E>(case, &gaps::one_taken_in_each_block(setup(case).frames()))?
        }
        BenchName::Boot => Box::new(Boot::<E>::of(setup(case))),
        BenchName::KernelLow => just_above_low::<E>(case)?,
        BenchName::Pair
        | BenchName::Atomic
        | BenchName::Nowait
        | BenchName::Zeroed
        | BenchName::ZeroPage
        | BenchName::OfflineFree
        | BenchName::OfflineDrain
        | BenchName::Online
        | BenchName::Drain
        | BenchName::DrainEmpty
        | BenchName::Rebuild
        | BenchName::Reader
        | BenchName::ReaderRebuilds
        | BenchName::Cas
        | BenchName::CasPair
        | BenchName::CpuPair
        | BenchName::PlainPair
        | BenchName::BootMemset => Box::new(Pair::<E>::on(whole(case)?, case.order)),
    })
}

/// A zone of which nothing is taken.
fn whole<E: Engine>(case: &Case) -> Result<Ground<E>> {
    let setup = setup(case);
    Ground::leaving(&setup, from_ref(&setup.zone()))
}

/// A zone with Linux's marks of which only what its threads take and a few frames more lie above the low one.
fn just_above_low<E: Engine>(case: &Case) -> Result<Boxed> {
    let setup = setup(case);
    let frames = setup.frames();
    let low = Watermarks::new(setup.tuning.unwrap_or_default(), [[0, 0, frames, 0]])
        .marks(ZoneKind::Normal, frames)
        .low;
    let left = low + CHECKED_RUNS * (u64::from(case.threads) + 1);
    Ok(Box::new(Pair::<E>::on(Ground::leaving(&setup, from_ref(&(0..left)))?, case.order)))
}

fn churn<E: Engine>(case: &Case, percent: u64) -> Result<Boxed> {
    let setup = setup(case);
    let (ground, held) = Ground::<E>::filled(&setup, percent)?;
    let left = (setup.frames() >> case.order.get()) - held.len() as u64;
    let checked = (left / u64::from(case.threads)).min(CHECKED_RUNS);
    Ok(Box::new(Churn::on(ground, &held, case.threads, checked)))
}

fn full<E: Engine>(case: &Case) -> Result<Boxed> {
    let setup = setup(case);
    let free = gaps::spread(setup.frames());
    let runs = FULL_HOLD.min(free.len() as u64 / 4);
    Ok(Box::new(Hold::<E>::on(Ground::leaving(&setup, &free)?, runs, Phase::Both)))
}

fn refuse<E: Engine>(case: &Case, free: &[Range<u64>]) -> Result<Boxed> {
    Ok(Box::new(Refuse::<E>::on(Ground::leaving(&setup(case), free)?)))
}
