//! How far the work is, on stderr: a bar on a terminal, a line every quarter elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines written where there is no terminal.
const LINES: usize = 4;

/// Progress towards a known number of steps. Shared by threads.
pub(crate) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Into a file or pipe.
    Lines {
        /// Steps in all.
        total: usize,
        /// Lines written so far.
        written: AtomicUsize,
    },
}

impl Progress {
    /// Nothing done of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        if !stderr().is_terminal() {
            return Self::Lines { total, written: AtomicUsize::new(0) };
        }
        let style = ProgressStyle::with_template(
            "{bar:40} {percent:>3} %  {human_pos}/{human_len} operations  {elapsed}",
        );
        let bar = ProgressBar::new(total as u64);
        Self::Bar(style.map_or(bar.clone(), |style| bar.with_style(style)))
    }

    /// `done` steps are done.
    pub(crate) fn reach(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines { total, written } => {
                let due = done * LINES / (*total).max(1);
                if written.fetch_max(due, Ordering::Relaxed) < due {
                    // Progress is a courtesy: who closed stderr does not want it.
                    let _ = writeln!(stderr(), "{done} of {total} operations replayed");
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
