//! `zonal machine check`: each description, sound or with its mistakes; a file that is none is one mistake.

use std::fmt;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use serde::Serialize;
use zonal_linux::{Machine, Remark, Review};

use super::refusal;
use crate::output::{Format, Verdict, print_json};

/// Something found in a file.
#[derive(Serialize)]
pub(super) struct Finding {
    #[serde(skip)]
    file: String,
    /// Where; nowhere in a file that could not be looked through.
    line: Option<usize>,
    text: String,
}

/// What is found in a file, as programs read it.
#[derive(Serialize)]
struct Outcome {
    file: String,
    sound: bool,
    nodes: Option<usize>,
    cpus: Option<usize>,
    bytes: Option<u64>,
    pluggable_bytes: Option<u64>,
    zones: Option<usize>,
    mistakes: Vec<Finding>,
    oddities: Vec<Finding>,
}

/// Looks through all files, and fails if one is not sound.
pub(super) fn run(files: &[PathBuf], format: Format) -> Result<Verdict> {
    let mut mistakes = Vec::new();
    for file in files {
        let outcome = Outcome::of(file);
        outcome.print(format)?;
        mistakes.extend(outcome.mistakes);
    }
    if mistakes.is_empty() { Ok(Verdict::Holds) } else { Err(refusal(mistakes)) }
}

impl Finding {
    pub(super) fn of(file: &Path, remark: Remark) -> Self {
        Self { file: file.display().to_string(), line: Some(remark.line), text: remark.text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

impl Outcome {
    fn of(path: &Path) -> Self {
        let findings =
            |remarks: Vec<Remark>| remarks.into_iter().map(|remark| Finding::of(path, remark)).collect();
        match review(path) {
            Ok(Review::Sound { machine, simulation, oddities }) => {
                let zones = simulation.allocator().zones().filter(|zone| zone.present > 0).count();
                Self::sound(path, &machine, zones, findings(oddities))
            }
            Ok(Review::Refused(mistakes)) => Self::refused(path, findings(mistakes)),
            Err(error) => {
                let file = path.display().to_string();
                Self::refused(path, vec![Finding { file, line: None, text: format!("{error:#}") }])
            }
        }
    }

    fn sound(path: &Path, machine: &Machine, zones: usize, oddities: Vec<Finding>) -> Self {
        Self {
            file: path.display().to_string(),
            sound: true,
            nodes: Some(machine.nodes()),
            cpus: Some(machine.cpus().len()),
            bytes: Some(machine.bytes()),
            pluggable_bytes: Some(machine.pluggable_bytes()),
            zones: Some(zones),
            mistakes: Vec::new(),
            oddities,
        }
    }

    fn refused(path: &Path, mistakes: Vec<Finding>) -> Self {
        let file = path.display().to_string();
        let (nodes, cpus, bytes, pluggable_bytes, zones) = (None, None, None, None, None);
        let oddities = Vec::new();
        Self { file, sound: false, nodes, cpus, bytes, pluggable_bytes, zones, mistakes, oddities }
    }

    fn print(&self, format: Format) -> Result<()> {
        if format == Format::Json {
            return print_json(self);
        }
        let mut out = stdout().lock();
        if let (Some(nodes), Some(cpus), Some(bytes), Some(zones)) =
            (self.nodes, self.cpus, self.bytes, self.zones)
        {
            let (file, memory) = (&self.file, ByteSize(bytes));
            write!(out, "{file}: sound; nodes {nodes}, CPUs {cpus}, zones {zones}, memory {memory}")?;
            match self.pluggable_bytes {
                None | Some(0) => writeln!(out)?,
                Some(bytes) => writeln!(out, " ({} may be plugged in)", ByteSize(bytes))?,
            }
        }
        Ok(self.oddities.iter().try_for_each(|oddity| writeln!(out, "odd: {oddity}"))?)
    }
}

fn review(path: &Path) -> Result<Review> {
    let text = std::fs::read_to_string(path).context("cannot be read")?;
    Ok(Review::of(&text)?)
}
