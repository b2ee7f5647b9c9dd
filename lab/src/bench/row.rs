//! A row while it is measured: its bench, how much work makes a sample, and the samples so far.

use std::time::{Duration, Instant};

use anyhow::Result;
use zonal::{Order, Pfn};

use super::ROUNDS;
use super::case::Case;
use super::name::EngineKind;
use super::stage;
use super::threads::Cpus;
use super::workload::{Timed, Units, Workload};
use super::wrong::{Wrong, check_distinct};

/// What a sample should take: less than a time slice, so that most samples are not interrupted by anybody.
const SAMPLE: Duration = Duration::from_millis(2);
/// What all samples of a row should take: a row whose unit of work is long has fewer of them.
const ALL_SAMPLES: Duration = Duration::from_millis(300);
/// Samples a row has at least.
const MIN_SAMPLES: usize = 5;
/// A warm-up sample at least this long says how fast the row is.
const TELLING: Duration = Duration::from_micros(500);

/// Median, least and largest of a row's samples, in nanoseconds an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) ns: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// A row of the table.
pub(super) struct Row {
    case: Case,
    workload: Box<dyn Workload>,
    cpus: Cpus,
    units: Units,
    /// The row is timed in one of so many rounds.
    stride: usize,
    /// Nanoseconds an operation, the mean of the threads.
    samples: Vec<f64>,
}

impl Row {
    pub(super) fn build(case: Case) -> Result<Self> {
        Self::of(case, stage::workload(&case)?)
    }

    fn of(case: Case, workload: Box<dyn Workload>) -> Result<Self> {
        Ok(Self { case, workload, cpus: Cpus::allowed()?, units: Units(1), stride: 1, samples: Vec::new() })
    }

    pub(super) fn case(&self) -> Case {
        self.case
    }

    /// Finds out how much work makes a sample.
    pub(super) fn warm_up(&mut self) -> Result<(), Wrong> {
        loop {
            let (began, worked) = (Instant::now(), self.units.0);
            let longest = self.timed()?.iter().map(|timed| timed.elapsed).max().unwrap_or_default();
            if longest >= TELLING {
                let per_unit = longest.as_secs_f64() / self.units.0 as f64;
                self.units = Units((SAMPLE.as_secs_f64() / per_unit).ceil() as u64);
                self.stride = stride(began.elapsed().as_secs_f64() * self.units.0 as f64 / worked as f64);
                return Ok(());
            }
            self.units = Units(worked.checked_mul(2).ok_or(Wrong::NoWork { units: worked })?);
        }
    }

    /// Whether the row is timed in this round.
    pub(super) fn takes_part(&self, round: usize) -> bool {
        round.is_multiple_of(self.stride)
    }

    /// Takes a sample; afterwards as many frames are free as at first.
    pub(super) fn sample(&mut self) -> Result<(), Wrong> {
        let timed = self.timed()?;
        let each = timed.iter().map(|timed| timed.elapsed.as_secs_f64() * 1e9 / timed.operations as f64);
        self.samples.push(each.sum::<f64>() / timed.len() as f64);
        self.workload.ground().rest()
    }

    fn timed(&self) -> Result<Vec<Timed>, Wrong> {
        let threads = vec![self.units; usize::from(self.case.threads)];
        let timed = self.cpus.run(threads, |thread, units| self.workload.work(thread, units));
        timed.into_iter().map(|timed| timed.unwrap_or(Err(Wrong::Thread))).collect()
    }

    /// All threads hold at once what they take: nothing twice, and everything comes back.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let threads = vec![(); usize::from(self.case.threads)];
        let held = self.cpus.run(threads, |_, ()| self.workload.hold());
        let held: Vec<Vec<Pfn>> =
            held.into_iter().map(|held| held.unwrap_or(Err(Wrong::Thread))).collect::<Result<_, _>>()?;
        let alignment =
            if self.case.engine.kind() == EngineKind::Malloc { Order::ZERO } else { self.case.order };
        check_distinct(held.concat(), self.case.order, alignment)?;
        let released = self.cpus.run(held, |_, held| self.workload.ground().release(&held));
        released.into_iter().try_for_each(|released| released.unwrap_or(Err(Wrong::Thread)))?;
        self.workload.ground().rest()
    }

    /// Checks everything the engine knows of itself.
    pub(super) fn audit(&self) -> Result<(), Wrong> {
        self.workload.ground().audit()
    }

    /// The figures of all samples; `None` before the first.
    pub(super) fn figures(&self) -> Option<Figures> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max, &ns) = (sorted.first()?, sorted.last()?, sorted.get(sorted.len() / 2)?);
        Some(Figures { ns, min, max })
    }
}

/// Rounds from sample to sample of a row whose sample takes so many seconds, what it does off the clock included.
fn stride(sample: f64) -> usize {
    let samples = (ALL_SAMPLES.as_secs_f64() / sample) as usize;
    ROUNDS / samples.clamp(MIN_SAMPLES, ROUNDS)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicU64, Ordering};

    use zonal::{AllocError, FreeError};
    use zonal_linux::WordKind;

    use super::*;
    use crate::bench::engine::{Engine, Setup};
    use crate::bench::ground::Ground;
    use crate::bench::limit::{Limit, Step};
    use crate::bench::name::{BenchName, EngineName};
    use crate::bench::workload::Pair;

    /// How an engine goes wrong.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        /// Every run is the same one.
        Same,
        /// A frame is lost with every free.
        Loses,
        /// Allocations are refused.
        Refuses,
        /// Frees are refused.
        Keeps,
    }

    /// An engine that goes wrong.
    struct Broken {
        fault: Fault,
        next: AtomicU64,
        free: AtomicU64,
    }

    impl Engine for Broken {
        fn build(_: &Setup, _: &[Range<u64>]) -> Result<Self> {
            Ok(Self { fault: Fault::Same, next: AtomicU64::new(0), free: AtomicU64::new(1 << 40) })
        }

        fn alloc(&self) -> Result<Pfn, Wrong> {
            match self.fault {
                Fault::Same => Ok(Pfn::new(7)),
                Fault::Refuses => Err(AllocError::NoZone.into()),
                Fault::Loses | Fault::Keeps => Ok(Pfn::new(self.next.fetch_add(1, Ordering::Relaxed))),
            }
        }

        unsafe fn free(&self, pfn: Pfn) -> Result<(), Wrong> {
            if self.fault == Fault::Loses {
                self.free.fetch_sub(1, Ordering::Relaxed);
            }
            if self.fault == Fault::Keeps { Err(FreeError::Foreign { pfn }.into()) } else { Ok(()) }
        }

        fn free_frames(&self) -> Option<u64> {
            Some(self.free.load(Ordering::Relaxed))
        }

        fn audit(&self, _: u64, _: u64) -> Result<(), Wrong> {
            Ok(())
        }
    }

    fn sample(fault: Fault) -> Result<(), Wrong> {
        let case = Case {
            bench: BenchName::Pair,
            engine: EngineName::Zonal,
            threads: 2,
            cpus: 2,
            order: Order::ZERO,
        };
        let setup = Setup {
            cpus: 2,
            order: Order::ZERO,
            nodes: 1,
            bytes: 1 << 30,
            gfp: zonal::Gfp::KERNEL,
            tuning: None,
            words: WordKind::Locked,
        };
        let engine = Broken { fault, ..Broken::build(&setup, &[]).unwrap() };
        let ground = Ground::of(engine, 0, 1 << 18);
        let mut row = Row::of(case, Box::new(Pair::on(ground, Order::ZERO))).unwrap();
        row.sample().and_then(|()| row.check())
    }

    #[test]
    fn every_wrong_answer_is_caught() {
        assert!(matches!(sample(Fault::Same), Err(Wrong::Shared { .. })));
        assert!(matches!(sample(Fault::Loses), Err(Wrong::NotRestored { .. })));
        assert!(matches!(sample(Fault::Refuses), Err(Wrong::Refused(AllocError::NoZone))));
        assert!(matches!(sample(Fault::Keeps), Err(Wrong::FreeRefused(_))));
    }

    #[test]
    fn long_samples_are_few() {
        assert_eq!(stride(0.002), 1);
        assert_eq!(stride(0.006), ROUNDS / 50);
        assert_eq!(stride(10.0), ROUNDS / MIN_SAMPLES);
    }

    #[test]
    fn the_median_is_a_sample() {
        let case = crate::bench::plan::UNIT;
        let mut row = Row::of(case, Box::new(Limit::new(Step::Cas, 1).unwrap())).unwrap();
        assert!(row.figures().is_none());
        row.samples = vec![9.0, 1.0, 5.0];
        let Figures { ns, min, max } = row.figures().unwrap();
        assert_eq!((ns, min, max), (5.0, 1.0, 9.0));
    }
}
