//! A timer interrupts the allocator at random instructions, and the handler allocates and frees.
//!
//! Two workers each own a POSIX timer that signals their own thread; the next tick is armed inside the handler, so
//! handlers are interrupted too. A handler makes no request that may wait, takes no lock, allocates no heap and cannot
//! panic: what goes wrong is counted and asserted afterwards. Invariant: every allocated frame carries the stamp of its
//! run, and only who holds the run removes it.
//!
//! `ZONAL_SIGNAL_SECONDS` sets how long each test runs, `ZONAL_SIGNAL_SEED` its random choices.

mod arena;
mod seat;

use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use zonal::{Checking, Order, Platform};
use zonal_linux::{CpuSource, Machine, Pages, Pool, Simulation};
use zonal_testkit::ticks::ticking;

use crate::arena::{Arena, FAULTS, Room, Run};
use crate::seat::{CALLS, Seat};

/// Interruptions a run has to reach to have shown anything.
const ENOUGH: u64 = 300;
/// How much longer than asked a run may take before a handler is taken to hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Runs two workers with their timers on an allocator, and asserts what has to hold.
fn storm<P: Platform + Sync>(name: &str, arena: &Arena<'_, P>) {
    let seconds = Duration::from_secs_f64(from_environment("ZONAL_SIGNAL_SECONDS", 1.5));
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let seed = from_environment("ZONAL_SIGNAL_SEED", now);
    eprintln!("{name}: ZONAL_SIGNAL_SEED={seed}");
    let seats = [seed, !seed].map(|seed| Seat::new(arena, seed));
    let until = Instant::now() + seconds;
    thread::scope(|scope| {
        let work = |seat: &Seat<'_, P>| {
            let ticked = ticking(seat, |timer| {
                seat.arm(timer);
                seat.work(until);
            });
            ticked.unwrap_or_else(|error| {
                panic!("a timer that signals one thread (SIGEV_THREAD_ID): {error}; this test needs one")
            });
        };
        let workers = seats.each_ref().map(|seat| scope.spawn(move || work(seat)));
        while workers.iter().any(|worker| !worker.is_finished()) {
            if Instant::now() > until + PATIENCE {
                eprintln!("{name}: a call or handler did not return: {:?}", seats.each_ref().map(figures));
                std::process::abort();
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    seats.iter().for_each(|seat| eprintln!("{name}: {}", figures(seat)));
    verify(name, &seats);
    account(name, arena, &seats[0]);
}

/// How often a seat was interrupted, and where.
fn figures<P: Platform>(seat: &Seat<'_, P>) -> String {
    let landed = CALLS.map(|call| (call, seat.landed[call as usize].load(Relaxed)));
    let [entries, exits, nested] =
        [&seat.entries, &seat.exits, &seat.nested].map(|number| number.load(Relaxed));
    format!("{entries} ticks, {exits} returned, {nested} in a handler, the others in {landed:?}")
}

fn verify<P: Platform>(name: &str, seats: &[Seat<'_, P>; 2]) {
    let arena = seats[0].arena;
    let faults = FAULTS.map(|fault| (fault, arena.faults[fault as usize].load(Relaxed)));
    let first = arena.first.each_ref().map(|part| part.load(Relaxed));
    let [which, expected, found] = first;
    let which = which.checked_sub(1).and_then(|at| FAULTS.get(at as usize));
    assert!(which.is_none(), "{name}: {faults:?}, first {which:?}: {expected:#x}, not {found:#x}");
    for seat in seats {
        let (entries, exits) = (seat.entries.load(Relaxed), seat.exits.load(Relaxed));
        assert_eq!(entries, exits, "{name}: handlers did not return");
        assert!(entries > ENOUGH, "{name}: {entries} ticks: timers are too coarse here, or there are none");
        let inside: u64 = seat.landed.iter().skip(1).map(|landed| landed.load(Relaxed)).sum();
        assert!(inside > 0, "{name}: no tick landed inside the allocator: {}", figures(seat));
    }
}

/// Frees what was left, and counts every frame by the audit and by hand.
fn account<P: Platform>(name: &str, arena: &Arena<'_, P>, seat: &Seat<'_, P>) {
    let left = arena.left.iter().map(|place| Run(place.swap(0, AcqRel)));
    left.filter(|run| run.0 != 0).for_each(|run| seat.give(run));
    arena.allocator.drain_all();
    let audit = || {
        let mut findings = Vec::new();
        let summary = arena.allocator.audit(&mut |finding| findings.push(finding.to_string()));
        assert!(findings.is_empty(), "{name}: {findings:?}");
        assert_eq!((summary.allocated, summary.in_flight, summary.cached), (0, 0, 0), "{name}");
        summary.managed
    };
    let managed = audit();
    let single = arena.requests[1];
    let all: Vec<Run> = std::iter::from_fn(|| arena.allocator.alloc_raw(&single).ok())
        .map(|pfn| arena.claim(pfn, Order::ZERO))
        .collect();
    assert_eq!(all.len() as u64, managed, "{name}: frames that cannot be had");
    all.into_iter().for_each(|run| seat.give(run));
    arena.allocator.drain_all();
    audit();
    assert_eq!(arena.first[0].load(Relaxed), 0, "{name}: a frame was handed out twice at the end");
}

fn storm_on_real_memory(name: &str, machine: &Machine, room: Room) {
    let pool = Pool::build(machine, Pages::Lazy).unwrap_or_else(|error| panic!("{error}"));
    let address = |pfn| pool.address(pfn);
    storm(name, &Arena::new(pool.allocator(), Some(&address), room));
}

#[test]
fn handlers_on_real_memory() {
    let machine = Machine::uniform(1, 128 << 20, 2).unwrap();
    storm_on_real_memory("real memory", &machine, Room::Plenty(2048));
}

#[test]
fn handlers_on_a_simulation_whose_threads_migrate() {
    let machine = Machine::uniform(2, 64 << 20, 4).unwrap();
    let simulation = Simulation::build(&machine, CpuSource::Played).unwrap();
    storm("simulation", &Arena::new(simulation.allocator(), None, Room::Plenty(2048)));
}

#[test]
fn handlers_near_exhaustion() {
    let machine = Machine::uniform(1, 4 << 20, 2).unwrap();
    storm_on_real_memory("two blocks", &machine, Room::Exhausted);
}

#[test]
fn handlers_in_checked_mode() {
    let machine = Machine::uniform(1, 128 << 20, 2).unwrap().with_checking(Checking::On);
    storm_on_real_memory("checked", &machine, Room::Plenty(2048));
}
