//! A pool that grows for a rush and shrinks after it, and what the system sees of that.
//!
//! The pool has 64 MiB, and addresses for 512 MiB more on the same node. Sessions come, each with a run of its own, until no
//! memory is left, so the pool grows; most of them leave, and the pool shrinks: the sessions that stay are moved together,
//! which their table allows, and the memory they were in goes back to the system. `resident` is what the kernel says.
//!
//!     cargo run --release -p zonal-linux --example grow_and_shrink

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zonal::{FRAME_SIZE, Migration, NodeId, OnlineType, Order, Pfn, Request, ZoneKind};
use zonal_linux::{Machine, Mover, Pages, Pool, Relocation};

const NODE: NodeId = NodeId(0);
const MIB: u64 = 1 << 20;
const SECTION: u64 = 128 * MIB;
/// A session's run: 32 KiB.
const RUN: Order = match Order::new(3) {
    Some(order) => order,
    None => Order::ZERO,
};

/// Sessions by number, and where each has its run.
struct Sessions {
    pool: Arc<Pool>,
    runs: Mutex<BTreeMap<u64, Pfn>>,
}

impl Sessions {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<u64, Pfn>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first word of each page of a session's run.
    fn words(&self, run: Pfn) -> impl Iterator<Item = *mut u64> + '_ {
        let pages = (0..RUN.frames()).filter_map(move |page| self.pool.address(run.add(page)));
        pages.map(|page| page.cast().as_ptr())
    }

    /// Takes a run for a new session; false if there is none.
    fn enter(&self, number: u64) -> bool {
        let mut runs = self.runs();
        let request = Request::order(RUN).movable().zones_up_to(ZoneKind::Movable).nowait();
        let Ok(run) = self.pool.allocator().alloc_raw(&request) else { return false };
        // SAFETY: the run was just allocated, and its pages are mapped.
        self.words(run).for_each(|word| unsafe { word.write(number) });
        runs.insert(number, run);
        true
    }

    /// Ends the sessions that do not stay.
    fn leave(&self, stays: impl Fn(u64) -> bool) -> Result<(), zonal::FreeError> {
        let mut runs = self.runs();
        let gone: Vec<u64> = runs.keys().copied().filter(|&number| !stays(number)).collect();
        for run in gone.iter().filter_map(|number| runs.remove(number)) {
            // SAFETY: the run was the session's, which is over.
            unsafe { self.pool.allocator().free_raw(run, RUN) }?;
        }
        Ok(())
    }

    /// Sessions whose memory is not what they wrote.
    fn broken(&self) -> usize {
        let runs = self.runs();
        // SAFETY: the run is the session's, and nobody moves it while the table is locked.
        let whole = |number: u64, run: Pfn| self.words(run).all(|word| unsafe { word.read() } == number);
        runs.iter().filter(|&(&number, &run)| !whole(number, run)).count()
    }
}

impl Mover for Sessions {
    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let start = Pfn::new(pfn.get() / RUN.frames() * RUN.frames()); // runs are aligned
        self.runs().values().any(|&run| run == start).then_some((start, RUN))
    }

    fn relocate(&self, relocation: &Relocation<'_>) -> Migration {
        let mut runs = self.runs();
        match runs.values_mut().find(|run| **run == relocation.from()) {
            Some(run) if relocation.order() == RUN => {
                // SAFETY: the run is a session's, and sessions write under the lock.
                unsafe { relocation.copy() };
                *run = relocation.to();
                Migration::Moved
            }
            _ => Migration::Refused,
        }
    }
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * FRAME_SIZE)
}

fn line(what: &str, sessions: &Sessions) -> Result<(), Box<dyn Error>> {
    let online = sessions.pool.pluggable().filter(|section| section.zone.is_some()).count() as u64;
    println!(
        "{what:<26} {:>6} sessions  pool {:>3} MiB  resident {:>3} MiB",
        sessions.runs().len(),
        64 + online * SECTION / MIB,
        resident()? / MIB
    );
    Ok(())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let machine = Machine::uniform(1, 64 * MIB, 4)?.with_hotplug(NODE, 4 * SECTION)?;
    let pool = Arc::new(Pool::build(&machine, Pages::Lazy)?);
    let sessions = Arc::new(Sessions { pool: Arc::clone(&pool), runs: Mutex::default() });
    let registered = pool.movers().register(Arc::downgrade(&sessions));
    line("at first", &sessions)?;
    for number in 0..12_000 {
        while !sessions.enter(number) {
            line("no memory left", &sessions)?;
            let grown = pool.grow(NODE, SECTION, OnlineType::Movable);
            if let Some(error) = grown.stopped {
                return Err(error.into());
            }
        }
    }
    line("all have come", &sessions)?;
    sessions.leave(|number| number % 8 == 0)?;
    line("most have left", &sessions)?;
    loop {
        let shrunk = pool.shrink(NODE, SECTION);
        match shrunk.stopped {
            None => line("a section less", &sessions)?,
            Some(why) => {
                println!("no smaller: {why}");
                break;
            }
        }
    }
    println!("{} sessions have lost something", sessions.broken());
    drop(registered);
    Ok(if sessions.broken() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
