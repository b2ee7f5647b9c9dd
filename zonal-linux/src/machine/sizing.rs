//! `kernelcore` and `movablecore` of a description: how much of its memory is set aside for movable content.
//!
//! They divide memory that is given as one. Invariant: each range of a divided description has the key of the range that it
//! was a part of.

use bytesize::ByteSize;
use serde::Deserialize;
use zonal::{Amount, MovableSizing, Placement};

use super::MachineError;
use super::description::Described;
use super::tables::frames;

/// An amount of memory as it is written: bytes, or a percentage.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a size, or a percentage such as \"25%\"")]
pub(super) enum AmountText {
    Percent(Percentage),
    Bytes(ByteSize),
}

/// A text that ends in a percent sign.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Percentage(String);

impl TryFrom<String> for Percentage {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.strip_suffix('%').map(|number| Self(number.trim().to_owned())).ok_or("no percentage")
    }
}

impl AmountText {
    /// What it says; `key` is where.
    pub(super) fn read(&self, key: &str) -> Result<Amount, MachineError> {
        match self {
            Self::Bytes(bytes) => Ok(Amount::Frames(frames(key, *bytes)?)),
            Self::Percent(Percentage(number)) => {
                let percent = number.parse().ok().filter(|&percent| percent <= 100).map(Amount::Percent);
                let refused = || MachineError::value(key, format!("{number}%"), "not 0% to 100%");
                percent.ok_or_else(refused)
            }
        }
    }
}

impl Described {
    /// The range that keeps its memory from being divided, if one is movable already.
    pub(super) fn undivided(&self) -> Result<(), MachineError> {
        let mut ranges = self.machine.memory().iter().zip(&self.memory);
        let movable = ranges.find(|(range, _)| range.placement == Placement::Movable);
        match movable.filter(|_| self.sizing != MovableSizing::default()) {
            Some((range, key)) => {
                let start = format!("{:?}", range.range.start);
                let reason = "movable already: `kernelcore` and `movablecore` divide memory themselves";
                Err(MachineError::value(key, start, reason))
            }
            None => Ok(()),
        }
    }

    /// The description with its memory divided as it asks for. Its ranges are known not to overlap.
    pub(crate) fn divided(self) -> Result<Self, MachineError> {
        if self.sizing == MovableSizing::default() {
            return Ok(self);
        }
        let before = self.machine.memory().to_vec();
        let machine = self.machine.with_movable(self.sizing)?;
        let key = |start| {
            let mut known = before.iter().zip(&self.memory);
            known.find(|(range, _)| range.range.contains(start)).map_or("node", |(_, key)| key).to_owned()
        };
        let memory = machine.memory().iter().map(|range| key(range.range.start)).collect();
        Ok(Self { machine, memory, ..self })
    }
}
