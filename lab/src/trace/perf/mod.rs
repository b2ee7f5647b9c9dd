//! perf.data, the file of `perf record`: its samples decoded and put into the order of time.
//!
//! `tracepoint_perf` reads records and samples, `tracepoint_decode` the fields that the recording itself describes; here
//! are the rules for what may be wrong (this file), what a sample means to us (`layout`, `gfp`), and the order (`rounds`).
//! Events stand in the file ring buffer by ring buffer; they are held until their round is over, so memory is bounded by
//! two rounds of `perf record`, and by the whole file only if it has none. (The library's order of time sorts each round
//! alone, and keeps the whole file.) Records that `perf record -z` compressed are refused: the library does not open
//! them. What `perf record -o -` wrote has no end mark: cut between two records, it looks whole.
//!
//! Against `perf script`'s text of the same file: the samples are the same, in the same order. Lost events are always
//! in perf.data; in the text only if it was made with `--show-lost-events`, and from perf 6.1 without the last ones.
//!
//! Invariant: `Ok` means that the records fill the data section, and that every sample of a tracepoint was decoded.

mod contained;
mod gfp;
mod layout;
mod rounds;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use tracepoint_decode::{PerfEventAttrType, PerfEventBytes, PerfEventHeaderType};
use tracepoint_perf::{PerfDataFileError, PerfDataFileEventOrder, PerfDataFileReader};

use super::accounts::Accounts;
use super::event::{Event, Loss};
use super::fault::{PerfDataFault, Place, Reason};
use super::{End, Misplaced};
use crate::progress::Progress;
use layout::Layout;
use rounds::Rounds;

/// `PERF_RECORD_COMPRESSED2`, newer than the library.
const COMPRESSED2: PerfEventHeaderType = PerfEventHeaderType(83);
/// Where the size of the data is in the file's header.
const DATA_SIZE: u64 = 48;
/// Where the number of events is in a `PERF_RECORD_LOST`, behind header and id.
const LOST: usize = 16;
/// Where it is in a `PERF_RECORD_LOST_SAMPLES`.
const LOST_SAMPLES: usize = 8;

/// Hands every sample of the file to `each`, in the order of time; returns how many events the tracer lost.
pub(super) fn read(file: &File, each: &mut dyn FnMut(Event)) -> Result<End, Misplaced> {
    let at = |position, reason| Misplaced(Place::Byte(position), reason);
    let length = file.metadata().map_err(|error| at(0, Reason::Unreadable(error)))?.len();
    let mut reader = PerfDataFileReader::new();
    // The library opens by name; this one stands for the file that is open, whatever became of its own name.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    library(|| reader.open_file(&name, PerfDataFileEventOrder::File), header_fault(file, length))
        .map_err(|reason| at(0, reason))?;
    let mut position = reader.data_begin_file_pos();
    if reader.data_end_file_pos() == position {
        return Err(at(0, PerfDataFault::Unended { length }.into()));
    }
    let end = reader.data_end_file_pos().min(length);
    let progress = Progress::of_file(end);
    let mut samples = Samples::default();
    while library(|| reader.move_next_event(), PerfDataFault::Record)
        .map_err(|reason| at(position, reason))?
    {
        let record = reader.current_event();
        samples.record(&reader, &record, each).map_err(|reason| at(position, reason))?;
        position += record.data.len() as u64;
        progress.iter().for_each(|progress| progress.reach(position as usize));
    }
    if position < end {
        // Only what was written to a pipe ends where it likes: here in the middle of a record's header.
        return Err(at(position, PerfDataFault::Record.into()));
    }
    samples.rounds.finish(each);
    let lost = samples.accounts.end().map_err(|reason| at(position, reason))?;
    Ok(End { lost, place: Place::Byte(position) })
}

/// What a header that cannot be opened means. `perf record` writes the size of the data when it ends.
fn header_fault(file: &File, length: u64) -> PerfDataFault {
    let mut size = [0; size_of::<u64>()];
    match file.read_exact_at(&mut size, DATA_SIZE) {
        Ok(()) if size == [0; size_of::<u64>()] => PerfDataFault::Unended { length },
        _ => PerfDataFault::Sections { length },
    }
}

/// Calls the library. Its errors are the system's own, or else this fault of the file.
fn library<T>(call: impl FnOnce() -> io::Result<T>, fault: PerfDataFault) -> Result<T, Reason> {
    match contained::call(call) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) if error.raw_os_error().is_some() => Err(Reason::Unreadable(error)),
        Ok(Err(_)) => Err(fault.into()),
        Err(contained::Panicked) => Err(PerfDataFault::Description.into()),
    }
}

/// The samples so far.
#[derive(Default)]
struct Samples {
    rounds: Rounds,
    layouts: HashMap<u64, Layout>,
    accounts: Accounts,
}

impl Samples {
    fn record(
        &mut self,
        reader: &PerfDataFileReader,
        record: &PerfEventBytes<'_>,
        each: &mut dyn FnMut(Event),
    ) -> Result<(), Reason> {
        match record.header.ty {
            PerfEventHeaderType::Sample => self.sample(reader, record)?,
            PerfEventHeaderType::FinishedRound => self.rounds.next(each),
            PerfEventHeaderType::Lost => self.accounts.loss(Loss::Counted(number(reader, record, LOST)?)),
            PerfEventHeaderType::LostSamples => {
                self.accounts.loss(Loss::Recounted(number(reader, record, LOST_SAMPLES)?));
            }
            PerfEventHeaderType::Compressed | COMPRESSED2 => {
                return Err(Reason::Unsupported("a compressed record (perf record -z)"));
            }
            _ => {}
        }
        Ok(())
    }

    fn sample(&mut self, reader: &PerfDataFileReader, record: &PerfEventBytes<'_>) -> Result<(), Reason> {
        let sample = contained::call(|| reader.get_sample_event_info(record))
            .map_err(|contained::Panicked| PerfDataFault::Sample)?
            .map_err(sample_fault)?;
        let attributes = sample.event_desc.attr();
        if attributes.attr_type != PerfEventAttrType::Tracepoint {
            self.rounds.push(sample.time, Event::Foreign);
            return Ok(());
        }
        let id = attributes.config;
        let layout = match self.layouts.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let format = sample.event_desc.format_arc().ok_or(PerfDataFault::NoFormat { id })?;
                new.insert(Layout::of(format))
            }
        };
        let event = layout.decode(sample.raw_data(), reader.byte_reader())?;
        self.rounds.push(sample.time, event);
        Ok(())
    }
}

/// The number at this place of a record.
fn number(
    reader: &PerfDataFileReader,
    record: &PerfEventBytes<'_>,
    place: usize,
) -> Result<u64, PerfDataFault> {
    let bytes = record.data.get(place..place + size_of::<u64>()).ok_or(PerfDataFault::Record)?;
    Ok(reader.byte_reader().read_u64(bytes))
}

fn sample_fault(error: PerfDataFileError) -> PerfDataFault {
    match error {
        PerfDataFileError::NoData => PerfDataFault::NoId,
        PerfDataFileError::IdNotFound => PerfDataFault::UnknownId,
        PerfDataFileError::InvalidData | PerfDataFileError::NotSupported => PerfDataFault::Sample,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{self, Recording};
    use std::path::Path;

    fn events(name: &str) -> Vec<Event> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/data").join(name);
        let mut events = Vec::new();
        assert_eq!(trace::read(&Recording::File(path), |event| events.push(event)).unwrap(), 0);
        events
    }

    #[test]
    fn the_same_events_as_in_the_text() {
        let text = events("copy-files-start.perf-script.txt.xz");
        assert_eq!(text.len(), 8000);
        assert!(events("copy-files-start.perf.data.xz") == text, "an event, a flag or the order differs");
    }
}
