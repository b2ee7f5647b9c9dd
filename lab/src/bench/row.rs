//! A row while it is measured: its bench, how much work makes a sample, and the samples so far.

use std::time::Duration;

use anyhow::Result;
use zonal::Pfn;

use super::case::{BenchName, Case};
use super::engine::{Setup, Zonal};
use super::limit::{Limit, Step};
use super::threads::Cpus;
use super::workload::{Bulk, Hold, Pair, Phase, Timed, Units, Workload};
use super::wrong::{Wrong, check_distinct};

/// What a sample should take: less than a time slice, so that most samples are not interrupted by anybody.
const SAMPLE: Duration = Duration::from_millis(2);
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
    /// Nanoseconds an operation, the mean of the threads.
    samples: Vec<f64>,
}

impl Row {
    pub(super) fn build(case: Case) -> Result<Self> {
        let Case { threads, cpus, order, .. } = case;
        let setup = &Setup { threads, cpus, order };
        let workload: Box<dyn Workload> = match case.bench {
            BenchName::Cas => Box::new(Limit::new(Step::Cas, threads)?),
            BenchName::CasPair => Box::new(Limit::new(Step::CasPair, threads)?),
            BenchName::CpuPair => Box::new(Limit::new(Step::CpuPair, threads)?),
            BenchName::Pair => Box::new(Pair::<Zonal>::build(setup)?),
            BenchName::HoldAlloc => Box::new(Hold::<Zonal>::build(setup, Phase::Alloc)?),
            BenchName::HoldFree => Box::new(Hold::<Zonal>::build(setup, Phase::Free)?),
            BenchName::HoldFreeRandom => Box::new(Hold::<Zonal>::build(setup, Phase::FreeRandom)?),
            BenchName::Bulk => Box::new(Bulk::<Zonal>::build(setup)?),
            BenchName::BulkFrag => Box::new(Bulk::<Zonal>::build_half_filled(setup)?),
        };
        Self::of(case, workload)
    }

    fn of(case: Case, workload: Box<dyn Workload>) -> Result<Self> {
        Ok(Self { case, workload, cpus: Cpus::allowed()?, units: Units(1), samples: Vec::new() })
    }

    pub(super) fn case(&self) -> Case {
        self.case
    }

    /// Finds out how much work makes a sample.
    pub(super) fn warm_up(&mut self) -> Result<(), Wrong> {
        loop {
            let longest = self.timed()?.iter().map(|timed| timed.elapsed).max().unwrap_or_default();
            if longest >= TELLING {
                let per_unit = longest.as_secs_f64() / self.units.0 as f64;
                self.units = Units((SAMPLE.as_secs_f64() / per_unit).ceil() as u64);
                return Ok(());
            }
            self.units = Units(self.units.0 * 2);
        }
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
        check_distinct(held.concat(), self.case.order)?;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use zonal::{AllocError, FreeError, Order};

    use super::*;
    use crate::bench::case::EngineName;
    use crate::bench::engine::Engine;

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
        fn build(_: &Setup) -> Result<Self> {
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

        fn free_frames(&self) -> u64 {
            self.free.load(Ordering::Relaxed)
        }

        fn audit(&self, _: u64) -> Result<(), Wrong> {
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
        let setup = Setup { threads: 2, cpus: 2, order: Order::ZERO };
        let engine = Broken { fault, ..Broken::build(&setup).unwrap() };
        let mut row = Row::of(case, Box::new(Pair::on(engine, &setup))).unwrap();
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
    fn the_median_is_a_sample() {
        let case = crate::bench::plan::UNIT;
        let mut row = Row::of(case, Box::new(Limit::new(Step::Cas, 1).unwrap())).unwrap();
        assert!(row.figures().is_none());
        row.samples = vec![9.0, 1.0, 5.0];
        let Figures { ns, min, max } = row.figures().unwrap();
        assert_eq!((ns, min, max), (5.0, 1.0, 9.0));
    }
}
