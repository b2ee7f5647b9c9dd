//! Storm `nolock`: 1024, then 65,536 nolock requests in a row, again and again, while three threads on another CPU hammer the same zones:
//! every one is served.
//!
//! What there is holds them all, what the hammering threads hold, and what every context's operation may have in its hands: so there is
//! always a frame above the min mark. The larger number takes two nodes, and goes far below their low marks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use zonal::{Order, Tuning};
use zonal_linux::{Machine, MachineError};

use super::engine::{self, Run};
use super::hand::Hand;
use super::request::Class;
use super::{Finding, Storm, Threads};

/// Requests in a row, and rows in a round, by turns.
const ROWS: [(u64, u64); 2] = [(1024, 16), (65_536, 1)];
/// Frames that a hammering thread holds at most.
const HAMMER: u64 = 1024;

/// Two nodes, two CPUs each, a thread on every one: the first asks.
pub(super) struct Nolock {
    /// Steps of who asks.
    steps: AtomicU64,
    /// Rows completed of each length.
    rows: [AtomicU64; 2],
}

/// The one of the list.
pub(super) static NOLOCK: Nolock =
    Nolock { steps: AtomicU64::new(0), rows: [const { AtomicU64::new(0) }; 2] };

impl Nolock {
    /// In the first step of a round, all of its rows.
    fn ask_in_rows(&self, hand: &mut Hand) {
        let (at, steps) = (self.steps.fetch_add(1, Relaxed), self.steps() as u64);
        let (round, step) = (at / steps, at % steps);
        let which = (round % 2) as usize;
        let (length, rows) = ROWS[which];
        for _ in 0..if step == 0 { rows } else { 0 } {
            for _ in 0..length {
                match hand.request(Class::Nolock, Order::ZERO) {
                    Ok(run) => hand.hold(run),
                    Err(error) => return hand.refused_wrongly(Class::Nolock, error),
                }
            }
            while let Some(run) = hand.pick() {
                hand.give_nolock(run);
            }
            self.rows[which].fetch_add(1, Relaxed);
        }
    }

    /// Single frames and small runs, in any order.
    fn hammer(&self, hand: &mut Hand) {
        let (class, order) = hand.wish(&[0, 0, 0, 0, 0, 1, 2, 3]);
        match hand.dice.u8(..64) {
            0 => hand.drain_one(),
            1..=36 if hand.frames < HAMMER => {
                hand.request(class, order).into_iter().for_each(|run| hand.hold(run));
            }
            _ => hand.give_one(),
        }
    }
}

impl Storm for Nolock {
    fn name(&self) -> &'static str {
        "nolock"
    }

    fn about(&self) -> &'static str {
        "rows of 1024 and 65,536 nolock requests while others hammer the zones: each is served"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["NolockGivesUp", "NolockToLow", "NolockParks"]
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let mut found = engine::rage(self, run)?;
        for (rows, (length, _)) in self.rows.iter().zip(ROWS) {
            let rows = rows.load(Relaxed);
            found.report.details += &format!("{rows} rows of {length} nolock requests, each served\n");
        }
        Ok(found)
    }
}

impl Threads for Nolock {
    /// Low marks far above the min marks.
    fn machine(&self) -> Result<Machine, MachineError> {
        let tuning = Tuning { watermark_scale_factor: 3000, watermark_boost_factor: 0, ..Tuning::default() };
        Machine::uniform(2, 170 << 20, 4)?.with_tuning(tuning)
    }

    fn steps(&self) -> usize {
        1 << 15
    }

    fn step(&self, hand: &mut Hand) {
        hand.stage.cpus.play(hand.whose.thread);
        if hand.whose.thread == 0 { self.ask_in_rows(hand) } else { self.hammer(hand) }
    }
}
