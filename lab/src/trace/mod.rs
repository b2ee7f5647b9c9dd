//! Recordings of a kernel's page allocator, each entry handed to the caller in the order of time.
//!
//! Callers first: this file, `text` and `perf` (the two kinds of recording), `accounts` (is a text all there), `line`
//! (one line of it), `at` (where and when that was), `flags`, `source` (archives), `event`, `fault`. Invariant: `Ok` means that the whole recording was
//! read and every kmem event in it understood.

mod accounts;
mod at;
mod event;
mod fault;
mod flags;
mod line;
mod perf;
mod source;
mod text;

use std::path::{Path, PathBuf};

pub(crate) use at::At;
pub(crate) use event::{Event, Run};
pub(crate) use fault::Fault;
use fault::{Place, Reason};
use source::Source;

/// Where a recording is.
#[derive(Clone, Debug)]
pub(crate) enum Recording {
    /// In a file.
    File(PathBuf),
    /// In the program, under a name.
    Bundled(&'static str, &'static [u8]),
}

impl Recording {
    fn name(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Bundled(name, _) => Path::new(name),
        }
    }
}

/// What is known when a recording was read to its end.
struct End {
    /// Events the tracer lost.
    lost: u64,
    /// Where the recording ends.
    place: Place,
}

/// A reason and the place it was met at.
struct Misplaced(Place, Reason);

/// Hands every entry of the recording to `each`; returns how many events the tracer lost.
pub(crate) fn read(recording: &Recording, mut each: impl FnMut(Event)) -> Result<u64, Fault> {
    read_lines(recording, |_, event| each(event))
}

/// The same with what each entry says of its CPU and its time, if it says that: text does.
pub(crate) fn read_placed(
    recording: &Recording,
    mut each: impl FnMut(Option<At>, Event),
) -> Result<u64, Fault> {
    read_lines(recording, |line, event| each(At::of(line), event))
}

fn read_lines(recording: &Recording, mut each: impl FnMut(&[u8], Event)) -> Result<u64, Fault> {
    let mut kmem = 0u64;
    let mut each = |line: &[u8], event| {
        kmem += u64::from(event != Event::Foreign);
        each(line, event);
    };
    let end = source(recording).and_then(|source| match source {
        Source::Text(mut text) => text::read(&mut *text, &mut each),
        Source::PerfData(file) => perf::read(&file, &mut |event| each(&[], event)),
    });
    let fault = |Misplaced(place, reason)| Fault::new(recording.name(), place, reason);
    let End { lost, place } = end.map_err(fault)?;
    if kmem == 0 {
        return Err(fault(Misplaced(place, Reason::NoEvent)));
    }
    Ok(lost)
}

fn source(recording: &Recording) -> Result<Source, Misplaced> {
    match recording {
        Recording::File(path) => source::open(path),
        Recording::Bundled(_, bytes) => source::open_bytes(bytes),
    }
    .map_err(|reason| Misplaced(Place::Line(0), reason))
}
