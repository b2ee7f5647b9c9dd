//! The process that storm `kill` kills: it goes on over the file it finds, allocates and frees until it is killed, and writes
//! every step into the ledger.

use std::env::var_os;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zonal::{Order, Request};
use zonal_linux::{CpuSource, Simulation, play_cpu};

use super::kill::{machine, open_file};
use super::ledger::{Ledger, SLOTS, Step};

/// Names the directory to work in, in the environment of a process that is to be killed.
pub(super) const WORKER: &str = "ZONAL_STORM_KILL";
/// Threads of the process.
pub(super) const THREADS: usize = 4;
/// What they ask for.
const ORDERS: [u8; 12] = [0, 0, 0, 0, 0, 1, 2, 3, 5, 6, 9, 10];

/// Works until it is killed, if this process was started for that.
///
/// # Errors
/// If the file or the ledger cannot be had, or the allocator breaks a promise.
pub(super) fn work_if_asked(seed: u64) -> Result<()> {
    match var_os(WORKER) {
        Some(directory) => work(Path::new(&directory), seed),
        None => Ok(()),
    }
}

fn work(directory: &Path, seed: u64) -> Result<()> {
    let ledger = Ledger::open(directory, THREADS)?;
    // SAFETY: the file's only other user recovers it while this process does not run.
    let opened = unsafe { Simulation::open(&machine()?, CpuSource::Played, open_file(directory)?, |_| true) };
    let (simulation, _) = opened.context("going on over the file")?;
    ledger.set_ready();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (ledger, simulation) = (&ledger, &simulation);
                scope.spawn(move || storm(ledger, simulation, thread, seed))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread panicked"),
        })
    })
}

/// One thread: what it holds survives it.
fn storm(ledger: &Ledger, simulation: &Simulation, thread: usize, seed: u64) -> Result<()> {
    let allocator = simulation.allocator();
    let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(thread as u64));
    play_cpu(thread);
    loop {
        let slot = dice.usize(..SLOTS);
        if dice.u8(..) == 0 {
            play_cpu(dice.usize(..THREADS));
            ledger.begin(thread, Step::Upkeep);
            allocator.drain_cpu(dice.usize(..2));
            ledger.end(thread);
        } else if let Some((pfn, order)) = ledger.slot(thread, slot) {
            ledger.begin(thread, Step::Run(order));
            ledger.strike(thread, slot);
            // SAFETY: the ledger says that this thread, or one before it, holds the run.
            unsafe { allocator.free_raw(pfn, order) }.context("a run that the ledger holds")?;
            ledger.end(thread);
        } else {
            let order = Order::new(ORDERS[dice.usize(..ORDERS.len())]).unwrap_or(Order::ZERO);
            ledger.begin(thread, Step::Run(order));
            if let Ok(pfn) = allocator.alloc_raw(&Request::order(order)) {
                ledger.hold(thread, slot, (pfn, order));
            }
            ledger.end(thread);
        }
    }
}
