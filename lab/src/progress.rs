//! How far the work is, on stderr: a bar on a terminal, a line every quarter elsewhere.

use std::io::{self, IsTerminal, Read, Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines written where there is no terminal.
const LINES: usize = 4;

/// Bytes from which on reading is shown: at a few MiB of archive a second, shorter files are read before one wonders.
const LONG: u64 = 4 << 20;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Operations of a replay.
    Operations,
    /// Bytes of a file.
    Bytes,
    /// Time that was asked for.
    Seconds,
}

impl Unit {
    fn template(self) -> &'static str {
        match self {
            Self::Operations => "{bar:40} {percent:>3} %  {human_pos}/{human_len} operations  {elapsed}",
            Self::Seconds => "{bar:40} {percent:>3} %  {pos}/{len} s",
            Self::Bytes => "{bar:40} {percent:>3} %  {binary_bytes}/{binary_total_bytes} read  {elapsed}",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Operations => "operations replayed",
            Self::Bytes => "bytes read",
            Self::Seconds => "seconds over",
        }
    }
}

/// Progress towards a known number of steps. Shared by threads.
pub(crate) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Into a file or pipe.
    Lines {
        /// What a step is.
        unit: Unit,
        /// Steps in all.
        total: usize,
        /// Lines written so far.
        written: AtomicUsize,
    },
}

impl Progress {
    /// Nothing done of `total` steps.
    pub(crate) fn new(total: usize, unit: Unit) -> Self {
        if !stderr().is_terminal() {
            return Self::Lines { unit, total, written: AtomicUsize::new(0) };
        }
        let style = ProgressStyle::with_template(unit.template());
        let bar = ProgressBar::new(total as u64);
        Self::Bar(style.map_or(bar.clone(), |style| bar.with_style(style)))
    }

    /// Progress through a file of `length` bytes, if it is long enough to be worth telling.
    pub(crate) fn of_file(length: u64) -> Option<Self> {
        (length >= LONG).then(|| Self::new(length as usize, Unit::Bytes))
    }

    /// `done` steps are done.
    pub(crate) fn reach(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines { unit, total, written } => {
                let due = done * LINES / (*total).max(1);
                if written.fetch_max(due, Ordering::Relaxed) < due {
                    // Progress is a courtesy: who closed stderr does not want it.
                    let _ = writeln!(stderr(), "{done} of {total} {}", unit.done());
                }
            }
        }
    }

    /// The work is over.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A file that shows how far it was read.
pub(crate) struct Watched<R> {
    file: R,
    read: usize,
    progress: Option<Progress>,
}

impl<R: Read> Watched<R> {
    /// A file of this length; none is known of a pipe, and none shown.
    pub(crate) fn new(file: R, length: Option<u64>) -> Self {
        Self { file, read: 0, progress: length.and_then(Progress::of_file) }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read += read;
        if let Some(progress) = &self.progress {
            progress.reach(self.read);
        }
        Ok(read)
    }
}
