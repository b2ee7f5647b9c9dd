//! The process that storm `kill` kills: it goes on over the file it finds, allocates and frees until it is killed, and writes
//! every step into the ledger.

use std::env::var_os;
use std::ffi::OsStr;
use std::path::Path;
use std::process::exit;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use zonal::{Order, Request};
use zonal_linux::{CpuSource, Simulation, play_cpu};

use super::kill::{machine, open_file};
use super::ledger::{Ledger, SLOTS, Step};
use crate::output::explain;

/// Names the directory to work in, in the environment of a process that is to be killed.
pub(super) const WORKER: &str = "ZONAL_STORM_KILL";
/// The process that is to kill it, there too.
pub(super) const PARENT: &str = "ZONAL_STORM_KILL_BY";
/// Threads of the process.
pub(super) const THREADS: usize = 4;
/// Calls of a thread between two pauses of all: about as long as a pause.
const BURST: u32 = 4096;
/// How long nobody is in any call: who is killed then leaves nothing in hand, and all that words hold must be found.
const PAUSE: Duration = Duration::from_millis(2);
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
    // Who was to kill it may be killed first, or has been.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("ending with its parent")?;
    let parent = rustix::process::getppid().map(|parent| parent.to_string());
    if parent.as_deref().map(OsStr::new) != var_os(PARENT).as_deref() {
        exit(0)
    }
    let ledger = Ledger::open(directory, THREADS)?;
    // SAFETY: the file's only other user recovers it while this process does not run.
    let opened = unsafe { Simulation::open(&machine()?, CpuSource::Played, open_file(directory)?, |_| true) };
    let (simulation, _) = opened.context("going on over the file")?;
    ledger.set_ready();
    let pause = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ledger, simulation, pause) = (&ledger, &simulation, &pause);
            scope.spawn(move || {
                let mut dice = Rng::with_seed(seed.wrapping_add(thread as u64));
                loop {
                    for _ in 0..BURST {
                        call(ledger, simulation, thread, &mut dice).unwrap_or_else(|error| give_up(&error));
                    }
                    pause.wait();
                    thread::sleep(PAUSE);
                    pause.wait();
                }
            });
        }
    });
    Ok(())
}

/// The process ends, whatever its other threads do: who was to kill it reads why.
fn give_up(error: &anyhow::Error) {
    explain("broken", &[format!("{error:#}")]);
    exit(1)
}

/// One call of a thread: what it holds survives it.
fn call(ledger: &Ledger, simulation: &Simulation, thread: usize, dice: &mut Rng) -> Result<()> {
    let allocator = simulation.allocator();
    let slot = dice.usize(..SLOTS);
    play_cpu(thread);
    if dice.u8(..) == 0 {
        play_cpu(dice.usize(..THREADS));
        ledger.begin(thread, Step::Upkeep);
        allocator.drain_cpu(dice.usize(..2));
    } else if let Some((pfn, order)) = ledger.slot(thread, slot) {
        ledger.begin(thread, Step::Run(order));
        ledger.strike(thread, slot);
        // SAFETY: the ledger says that this thread, or one before it, holds the run.
        unsafe { allocator.free_raw(pfn, order) }.context("a run that the ledger holds")?;
    } else {
        let order = Order::new(ORDERS[dice.usize(..ORDERS.len())]).unwrap_or(Order::ZERO);
        ledger.begin(thread, Step::Run(order));
        if let Ok(pfn) = allocator.alloc_raw(&Request::order(order)) {
            ledger.hold(thread, slot, (pfn, order));
        }
    }
    ledger.end(thread);
    Ok(())
}
