//! Why a recording is refused: file, line, reason. Every fault is the input's, never the program's.

use std::path::{Path, PathBuf};

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {reason}", file.display())]
pub(crate) struct Fault {
    file: PathBuf,
    line: u64,
    reason: Box<Reason>,
}

impl Fault {
    /// What is wrong at a line; a file that is no text at all is wrong from its first.
    pub(crate) fn new(file: &Path, line: u64, reason: Reason) -> Self {
        Self { file: file.to_owned(), line: line.max(1), reason: Box::new(reason) }
    }
}

/// What is wrong, with the value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The archive ends before its end mark.
    #[error("the archive is cut: its data ends before its end mark")]
    CutArchive,
    /// The archive does not decode.
    #[error("the archive is corrupt: {0}")]
    CorruptArchive(std::io::Error),
    /// Archives in archives, deeper than anybody means.
    #[error("more than {0} archives inside each other")]
    NestedArchives(usize),
    /// A format this program knows by its magic but does not read.
    #[error("this is {0}, which is not read; give perf script, ftrace or trace-cmd text, plain or .xz")]
    Unsupported(&'static str),
    /// A line no tracer writes.
    #[error("the line is longer than {0} bytes: this is no trace text")]
    LongLine(usize),
    /// The text holds nothing to replay.
    #[error("no kmem event in the text")]
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
    /// A line that does not parse.
    #[error("{0}")]
    Line(#[from] LineFault),
}

/// What is wrong with one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LineFault {
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
