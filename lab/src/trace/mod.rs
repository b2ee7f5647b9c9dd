//! Recordings of a kernel's page allocator, as text: read line by line, each entry handed to the caller in order.
//!
//! Callers first: this file, `accounts` (is it all there), `line` (one line), `flags`, `source` (archives), `event`,
//! `fault`. Never holds more than a line and the decoders' buffers. Invariant: `Ok` means that the whole text was read,
//! every kmem line understood and every promised entry seen.

mod accounts;
mod event;
mod fault;
mod flags;
mod line;
mod source;

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use accounts::Accounts;
use event::Line;
pub(crate) use event::{Event, Run};
pub(crate) use fault::Fault;
use fault::Reason;

/// The longest line taken for text.
const LONGEST_LINE: usize = 64 << 10;

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

/// Hands every entry of the recording to `each`; returns how many events the tracer lost.
pub(crate) fn read(recording: &Recording, mut each: impl FnMut(Event)) -> Result<u64, Fault> {
    let file = recording.name();
    let fault = |line, reason| Fault::new(file, line, reason);
    let mut text = match recording {
        Recording::File(path) => source::open(path),
        Recording::Bundled(_, bytes) => source::open_bytes(bytes),
    }
    .map_err(|reason| fault(0, reason))?;
    let mut accounts = Accounts::default();
    let mut line = Vec::with_capacity(1 << 10);
    let (mut number, mut kmem) = (0, 0u64);
    while next_line(&mut text, &mut line).map_err(|reason| fault(number + 1, reason))? {
        number += 1;
        match line::parse(&line).map_err(|reason| fault(number, reason.into()))? {
            Line::Nothing => {}
            Line::Lost(loss) => accounts.loss(loss),
            Line::Header(entries) => {
                accounts.header(number, entries).map_err(|reason| fault(number, reason))?
            }
            Line::Event(event) => {
                accounts.entry();
                kmem += u64::from(event != Event::Foreign);
                each(event);
            }
        }
    }
    let lost = accounts.end().map_err(|reason| fault(number, reason))?;
    if kmem == 0 {
        return Err(fault(number, Reason::NoEvent));
    }
    Ok(lost)
}

/// Reads the next line into `line`, without its end; false at the end of the text.
fn next_line(text: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, Reason> {
    line.clear();
    let read = text.take(LONGEST_LINE as u64 + 1).read_until(b'\n', line).map_err(source::read_fault)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read > LONGEST_LINE {
        return Err(Reason::LongLine(LONGEST_LINE));
    }
    Ok(read > 0)
}
