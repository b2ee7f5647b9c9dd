//! Interrupts every operation of the page allocator at every one of its instructions, on x86-64 Linux.
//!
//! A [`case`] brings a tiny allocator to a state and names one call. The call is run one instruction at a time by the trap
//! flag (`zonal_testkit::stepper`); at each instruction the process forks for each handler, and in the child it allocates,
//! frees, drains or whatever the [`interruption`] says, the call then runs to its end, and the [`judge`] counts every frame. The
//! parent goes on to the next instruction. In one more run for each case a handler allocates, frees and drains at
//! *every* instruction. There are no threads and no clock: what is found is found again by the same program.
//!
//! Invariant, for each child: frames handed out and not freed are held exactly once, the audit is clean, and after all of it
//! went back every frame is free and every block can be had.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod call;
mod case;
mod child;
mod coverage;
mod entry;
mod host;
mod interruption;
mod judge;
mod ledger;
mod report;
mod seen;
mod stage;
mod trial;
mod uncovered;
mod violation;

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use zonal_testkit::stepper::Window;

pub use coverage::Function;
pub use report::Report;
pub use uncovered::Uncovered;

use crate::coverage::Coverage;
use crate::interruption::Interruption;
use crate::trial::Known;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// No new case is begun after this.
    pub limit: Option<Duration>,
    /// Only this case; all of them if none is named.
    pub case: Option<String>,
    /// Only this handler; all of them if none is named.
    pub handler: Option<String>,
    /// Whether to end with the first round that broke a promise.
    pub until_broken: bool,
    /// Interrupts at every so many instructions: 1 is at each.
    pub stride: NonZeroU64,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: None, case: None, handler: None, until_broken: false, stride: NonZeroU64::MIN }
    }
}

/// Why nothing was stepped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such case or handler.
    #[error("there is no case or handler {name:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A child, a pipe or the program's own code could not be had.
    #[error("stepping: {0}")]
    System(#[from] io::Error),
    /// The program's symbols could not be read.
    #[error("the program's symbols: {0}")]
    Symbols(#[from] object::Error),
    /// A tiny allocator could not be built.
    #[error("the stage: {0}")]
    Stage(#[from] zonal::ConfigError),
}

/// The names of the cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    case::all().map(|case| case.name)
}

/// The names of the handlers.
pub fn handlers() -> impl Iterator<Item = &'static str> {
    Interruption::all().map(Interruption::name)
}

/// Runs the cases, each with every interruption, and says what was found and how much of the code was interrupted.
///
/// # Errors
/// See [`Error`]. A broken promise is no error: it stands in the report.
pub fn run(options: &Options) -> Result<Report, Error> {
    let start = Instant::now();
    check(options.case.as_ref(), cases())?;
    check(options.handler.as_ref(), handlers())?;
    let is_chosen = |wanted: &Option<String>, name| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let chosen: Vec<_> = case::all().filter(|case| is_chosen(&options.case, case.name)).collect();
    let window = Window::of_program()?;
    let mut report = Report::default();
    let mut coverage = Coverage::default();
    // Those that matter most first, so that a limit leaves every case looked at by them.
    for together in Interruption::PASSES {
        let handlers: Vec<_> =
            together.iter().copied().filter(|handler| is_chosen(&options.handler, handler.name())).collect();
        let mut known = Known::default();
        for case in &chosen {
            let is_late = options.limit.is_some_and(|limit| start.elapsed() > limit);
            if is_late || (options.until_broken && !report.holds()) {
                report.cut = true;
                break;
            }
            let handlers: Vec<_> =
                handlers.iter().copied().filter(|&handler| case.visits.has(handler)).collect();
            if handlers.is_empty() {
                continue;
            }
            let found = trial::run(case, &handlers, options.stride, &mut known, &window)?;
            coverage.add(&found.addresses);
            report.add(found);
        }
    }
    report.functions = coverage.functions(&window)?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn check(name: Option<&String>, known: impl Iterator<Item = &'static str>) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let known: Vec<_> = known.collect();
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    Err(Error::Unknown { name: name.clone(), known: known.join(", ") })
}
