//! Why a recording is refused: file, place, reason. Every fault is the input's or the machine's, never the
//! program's.

use std::fmt;
use std::path::{Path, PathBuf};

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{}:{place}: {reason}", file.display())]
pub(crate) struct Fault {
    file: PathBuf,
    place: Place,
    reason: Box<Reason>,
}

impl Fault {
    /// What is wrong at a place; a file that is no text at all is wrong from its first line.
    pub(crate) fn new(file: &Path, place: Place, reason: Reason) -> Self {
        Self { file: file.to_owned(), place, reason: Box::new(reason) }
    }
}

/// Where in a recording, unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Line of a text, from 1; 0 if not even that was reached.
    Line(u64),
    /// Offset in perf.data at which the record (or the file) begins.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{}", (*line).max(1)),
            Self::Byte(offset) => write!(f, "byte {offset}"),
        }
    }
}

/// What is wrong, with the value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// A packed perf.data finds no room.
    #[error("cannot be unpacked into a temporary file: {0}")]
    NoRoom(std::io::Error),
    /// The archive ends before its end mark.
    #[error("the archive is cut: its data ends before its end mark")]
    CutArchive,
    /// The archive does not decode.
    #[error("the archive is corrupt: {0}")]
    CorruptArchive(std::io::Error),
    /// Archives in archives, deeper than anybody means.
    #[error("more than {0} archives inside each other")]
    NestedArchives(usize),
    /// An archive that unpacks to far more than any recording does.
    #[error("it unpacks to more than {0} bytes, which no recording of its length does")]
    UnpacksTooFar(u64),
    /// A format this program knows by its mark but does not read.
    #[error(
        "this is {0}, which is not read; give perf.data, perf script, ftrace or trace-cmd text, plain, .gz, .xz or .zst"
    )]
    Unsupported(&'static str),
    /// A line no tracer writes.
    #[error("the line is longer than {0} bytes: this is no trace text")]
    LongLine(usize),
    /// The recording holds nothing to replay.
    #[error("no kmem event in the recording")]
    NoEvent,
    /// Fewer entries than promised.
    #[error("truncated: the header in line {header} promises {promised} entries, {found} are there")]
    Truncated {
        /// The line of the header.
        header: u64,
        /// Its first number.
        promised: u64,
        /// Entries found after it.
        found: u64,
    },
    /// An event that cannot be understood.
    #[error(transparent)]
    Event(#[from] EventFault),
    /// perf.data that cannot be understood.
    #[error(transparent)]
    PerfData(#[from] PerfDataFault),
}

/// What is wrong with a file of `perf record`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PerfDataFault {
    /// A section lies outside the file.
    #[error("cut or damaged: the header of perf.data names sections that its {length} bytes do not hold")]
    Sections {
        /// The file's length.
        length: u64,
    },
    /// `perf record` was killed.
    #[error("perf record did not end properly: by its header, the {length} bytes of perf.data hold no data")]
    Unended {
        /// The file's length.
        length: u64,
    },
    /// A record that is not whole.
    #[error("cut or damaged: no whole record begins here")]
    Record,
    /// A description of fields that is no text.
    #[error("damaged: the description of an event's fields is no text")]
    Description,
    /// A sample without what is needed to tell its event.
    #[error("the sample does not say which event it is of: perf record a second event beside it")]
    NoId,
    /// A sample of an event that the header does not name.
    #[error("the sample is of no event that the header names")]
    UnknownId,
    /// A sample that does not hold its fields.
    #[error("the sample does not hold the fields that its event has")]
    Sample,
    /// A tracepoint whose fields are not described.
    #[error("the recording does not describe the fields of tracepoint {id}")]
    NoFormat {
        /// The tracepoint's number.
        id: u64,
    },
    /// A sample whose id and data name different events.
    #[error("{event}: common_type={found} is another event's, its own is {expected}")]
    OtherType {
        /// The event by the sample's id.
        event: String,
        /// Its number.
        expected: u32,
        /// The number in the sample's data.
        found: u64,
    },
}

/// What is wrong with one event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum EventFault {
    /// A field is not there.
    #[error("{event} has no {field}")]
    Missing {
        /// The event.
        event: String,
        /// The field.
        field: &'static str,
    },
    /// A field's value is no number of its kind.
    #[error("{event}: {field}={value} is not a number")]
    NotANumber {
        /// The event.
        event: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// An order that no allocator serves.
    #[error("{event}: {field}={value} is outside 0..=18")]
    Order {
        /// The event.
        event: String,
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// A frame beyond the physical space.
    #[error("{event}: pfn={value} with order {order} ends above 52 address bits")]
    PfnTooHigh {
        /// The event.
        event: String,
        /// The field's value.
        value: String,
        /// The run's order.
        order: u8,
    },
    /// A header without two numbers.
    #[error("the header's entries-in-buffer/entries-written are no two numbers: {0}")]
    Header(String),
}
