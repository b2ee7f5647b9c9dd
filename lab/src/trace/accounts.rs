//! Whether the input is all there: entries counted against what headers promise, and what the tracer says it lost.
//!
//! A header speaks for the lines up to the next header. Entries that were overwritten before the header was written,
//! and entries dropped while the text was (a LOST line, which the header still promises), were lost by the tracer and
//! not by the file: the input is complete. The same losses are counted twice by `perf record`, but once here. Invariant: a section passes if and only if
//! `entries + lost in it >= promised`.

use super::event::{Entries, Loss};
use super::fault::Reason;

/// What is known about the text so far.
#[derive(Default, Debug)]
pub(crate) struct Accounts {
    lost: u64,
    /// The same losses, counted again.
    recounted: u64,
    section: Option<Section>,
}

/// The lines of one header.
#[derive(Debug)]
struct Section {
    line: u64,
    promised: u64,
    entries: u64,
    dropped: u64,
    loses_unknown: bool,
}

impl Accounts {
    /// An entry went by.
    pub(crate) fn entry(&mut self) {
        if let Some(section) = &mut self.section {
            section.entries += 1;
        }
    }

    /// The tracer says that it dropped events here.
    pub(crate) fn loss(&mut self, loss: Loss) {
        let events = match loss {
            Loss::Counted(events) => events,
            Loss::Unknown => 1,
            Loss::Recounted(events) => {
                self.recounted = self.recounted.saturating_add(events);
                return;
            }
        };
        self.lost = self.lost.saturating_add(events);
        if let Some(section) = &mut self.section {
            section.dropped = section.dropped.saturating_add(events);
            section.loses_unknown |= loss == Loss::Unknown;
        }
    }

    /// A header went by: the section before it must be complete.
    pub(crate) fn header(&mut self, line: u64, entries: Entries) -> Result<(), Reason> {
        self.close()?;
        self.lost = self.lost.saturating_add(entries.written.saturating_sub(entries.in_buffer));
        let promised = entries.in_buffer;
        self.section = Some(Section { line, promised, entries: 0, dropped: 0, loses_unknown: false });
        Ok(())
    }

    /// The text ends: how many events the tracer lost.
    pub(crate) fn end(mut self) -> Result<u64, Reason> {
        self.close()?;
        Ok(self.lost.max(self.recounted))
    }

    fn close(&mut self) -> Result<(), Reason> {
        let Some(section) = self.section.take() else { return Ok(()) };
        let there = section.entries.saturating_add(section.dropped);
        if there >= section.promised || section.loses_unknown {
            return Ok(());
        }
        Err(Reason::Truncated { header: section.line, promised: section.promised, found: section.entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(in_buffer: u64, written: u64, entries: u64, losses: &[Loss]) -> Result<u64, String> {
        let mut accounts = Accounts::default();
        accounts.header(2, Entries { in_buffer, written }).unwrap();
        (0..entries).for_each(|_| accounts.entry());
        losses.iter().for_each(|&loss| accounts.loss(loss));
        accounts.end().map_err(|reason| reason.to_string())
    }

    #[test]
    fn overruns_are_complete_and_missing_entries_are_not() {
        assert_eq!(accounts(3, 10, 3, &[]), Ok(7));
        assert_eq!(accounts(3, 3, 4, &[]), Ok(0));
        let truncated = "truncated: the header in line 2 promises 3 entries, 2 are there";
        assert_eq!(accounts(3, 10, 2, &[]), Err(truncated.to_owned()));
    }

    #[test]
    fn what_the_tracer_dropped_is_not_missing() {
        assert_eq!(accounts(3, 3, 1, &[Loss::Counted(2)]), Ok(2));
        assert_eq!(accounts(9, 9, 1, &[Loss::Unknown]), Ok(1));
        assert!(accounts(9, 9, 1, &[Loss::Counted(2)]).is_err());
    }

    #[test]
    fn what_is_counted_twice_was_lost_once() {
        let losses = |sum: [u64; 2], recounted: [u64; 2]| {
            let mut accounts = Accounts::default();
            sum.into_iter().for_each(|events| accounts.loss(Loss::Counted(events)));
            recounted.into_iter().for_each(|events| accounts.loss(Loss::Recounted(events)));
            accounts.end().unwrap()
        };
        assert_eq!(losses([3, 4], [0, 0]), 7);
        assert_eq!(losses([3, 4], [5, 2]), 7);
        assert_eq!(losses([3, 4], [5, 6]), 11);
    }

    #[test]
    fn each_header_speaks_for_its_own_lines() {
        let mut accounts = Accounts::default();
        accounts.entry();
        accounts.loss(Loss::Counted(5));
        accounts.header(3, Entries { in_buffer: 1, written: 2 }).unwrap();
        accounts.entry();
        accounts.header(6, Entries { in_buffer: 2, written: 2 }).unwrap();
        accounts.entry();
        assert!(accounts.header(9, Entries { in_buffer: 0, written: 0 }).is_err());
    }
}
