//! A recording as text: read line by line, each entry handed to the caller in order.
//!
//! Never holds more than a line and the decoders' buffers. Invariant: `Ok` means that the whole text was read, every
//! kmem line understood and every promised entry seen.

use std::io::{BufRead, Read};

use super::accounts::Accounts;
use super::event::{Event, Line};
use super::fault::{Place, Reason};
use super::{End, Misplaced, line, source};

/// The longest line taken for text.
const LONGEST_LINE: usize = 64 << 10;

/// Hands every entry of the text to `each`, and the line it stands in; returns how many events the tracer lost.
pub(super) fn read(text: &mut dyn BufRead, each: &mut dyn FnMut(&[u8], Event)) -> Result<End, Misplaced> {
    let mut accounts = Accounts::default();
    let mut line = Vec::with_capacity(1 << 10);
    let mut number = 0;
    let at = |number, reason| Misplaced(Place::Line(number), reason);
    while next_line(text, &mut line).map_err(|reason| at(number + 1, reason))? {
        number += 1;
        match line::parse(&line).map_err(|reason| at(number, reason.into()))? {
            Line::Nothing => {}
            Line::Lost(loss) => accounts.loss(loss),
            Line::Header(entries) => accounts.header(number, entries).map_err(|reason| at(number, reason))?,
            Line::Event(event) => {
                accounts.entry();
                each(&line, event);
            }
        }
    }
    let lost = accounts.end().map_err(|reason| at(number, reason))?;
    Ok(End { lost, place: Place::Line(number) })
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
