//! A description looked through: all that is wrong with it and what is odd about it, each with its line.
//!
//! Builds the machine's allocator without frames, and allocates nothing. Invariant: a description is refused if and only
//! if [`Machine::from_toml`] or the allocator refuses it.

mod mistakes;
mod oddities;

use zonal::{Checking, Naming};

use crate::built::PoolError;
use crate::machine::description::describe;
use crate::machine::place::Document;
use crate::machine::{Machine, MachineError};
use crate::meminfo;
use crate::memory::MemoryError;
use crate::simulation::{CpuSource, Simulation};

/// Something to know about a line of a description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong or odd there.
    pub text: String,
}

/// What a look through a description finds.
pub enum Review {
    /// An allocator can be built for the machine.
    Sound {
        /// The machine.
        machine: Box<Machine>,
        /// An allocator for it, but one that does not check frees.
        simulation: Box<Simulation>,
        /// What may not be meant, in the order of lines.
        oddities: Vec<Remark>,
    },
    /// It cannot, for these mistakes, in the order of lines. There is at least one.
    Refused(Vec<Remark>),
}

impl Review {
    /// Looks through a description.
    ///
    /// # Errors
    /// [`PoolError`] where the machine is too large for its metadata to be had here.
    pub fn of(text: &str) -> Result<Self, PoolError> {
        let document = Document::of(text);
        let described = match describe(text) {
            Ok(described) => described,
            Err(errors) => return Ok(Self::refused(errors.iter().map(|error| read_error(&document, error)))),
        };
        let mistakes = mistakes::find(&described, &document);
        if !mistakes.is_empty() {
            return Ok(Self::refused(mistakes));
        }
        let described = match described.divided() {
            Ok(divided) => divided,
            Err(error) => return Ok(Self::refused([read_error(&document, &error)])),
        };
        match build(&described.machine) {
            Ok(simulation) => {
                let mut oddities = oddities::find(&described, &document, simulation.allocator());
                oddities.sort_by_key(|oddity| oddity.line);
                let simulation = Box::new(simulation);
                Ok(Self::Sound { machine: Box::new(described.machine), simulation, oddities })
            }
            Err(PoolError::Config(error)) => {
                Ok(Self::refused(mistakes::of_build(&described, &document, error)?))
            }
            Err(error) => Err(error),
        }
    }

    fn refused(mistakes: impl IntoIterator<Item = Remark>) -> Self {
        let mut mistakes: Vec<Remark> = mistakes.into_iter().collect();
        mistakes.sort_by_key(|mistake| mistake.line);
        Self::Refused(mistakes)
    }
}

/// The machine's allocator without frames and notes, if there is memory for its metadata.
fn build(machine: &Machine) -> Result<Simulation, PoolError> {
    let machine = machine.clone().with_checking(Checking::Off).with_naming(Naming::Off);
    let asked = zonal::metadata_size(&machine.config())? as u64;
    match meminfo::available() {
        Some(available) if available < asked => Err(MemoryError::Short { asked, available }.into()),
        _ => Simulation::build(&machine, CpuSource::Played),
    }
}

/// What was found while the text was read.
fn read_error(document: &Document<'_>, error: &MachineError) -> Remark {
    match error {
        MachineError::Toml(error) => {
            let line = error.span().map_or(1, |span| document.line_at(span.start));
            Remark { line, text: error.message().replace('\n', "; ") }
        }
        MachineError::Value { key, .. } => document.remark(key, error.to_string()),
        MachineError::Config(refusal) => {
            document.remark(&mistakes::key(refusal, &[], document), error.to_string())
        }
        MachineError::Movable(_) | MachineError::Read { .. } | MachineError::Sysfs { .. } => {
            document.remark("", error.to_string())
        }
    }
}

impl Document<'_> {
    fn remark(&self, key: &str, text: String) -> Remark {
        Remark { line: self.line(key), text }
    }
}
