//! A check, how it is run, and what comes of it.
//!
//! Invariant: a check ends. Its loops are bounded by the frames of its machine; an allocator that panics is caught, and
//! one that never returns is left behind in its thread. (One that aborts takes the process with it.)

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::subject::{Build, No};

/// How long a check may take before its allocator is taken to hang: far more than any needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What can be relied on when a check is run twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeats {
    /// The same answer every time.
    Always,
    /// Threads race: what holds always holds, what is broken may pass by luck.
    Races,
    /// A clock is read, and compared with far more than its noise.
    Clock,
}

/// A hole or a promise, as a check that any allocator can be run through.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, in words joined by `-`.
    pub name: &'static str,
    /// The promises it is about (P2, P5, ...), and who has or had the hole.
    pub origin: &'static str,
    /// What must be so, in one sentence.
    pub says: &'static str,
    /// What can be relied on when it is run twice.
    pub repeats: Repeats,
    pub(super) run: fn(&Build) -> Result<(), Fault>,
}

/// What came of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is so.
    Holds,
    /// It is not, with the values that show it.
    Broken(String),
    /// The allocator has no such call.
    Unsupported(&'static str),
    /// The allocator panicked, with its message.
    Crashed(String),
    /// The allocator did not return for so long.
    Hung(Duration),
}

/// Why a check does not hold.
#[derive(Debug)]
pub(super) enum Fault {
    Broken(String),
    Unsupported(&'static str),
}

impl Check {
    /// Runs it on allocators built by `build`, in a thread of its own.
    pub fn run(&self, build: &Build) -> Verdict {
        self.run_within(build, PATIENCE)
    }

    /// The same with another limit to what a check may take.
    pub fn run_within(&self, build: &Build, patience: Duration) -> Verdict {
        let (sender, receiver) = sync_channel(1);
        let (run, build) = (self.run, Arc::clone(build));
        thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&build)));
            // Nobody listens any more if it took too long.
            let _ = sender.send(match outcome {
                Ok(Ok(())) => Verdict::Holds,
                Ok(Err(Fault::Broken(values))) => Verdict::Broken(values),
                Ok(Err(Fault::Unsupported(why))) => Verdict::Unsupported(why),
                Err(panic) => Verdict::Crashed(message(panic.as_ref())),
            });
        });
        match receiver.recv_timeout(patience) {
            Ok(verdict) => verdict,
            Err(RecvTimeoutError::Timeout) => Verdict::Hung(patience),
            Err(RecvTimeoutError::Disconnected) => Verdict::Crashed("its thread is gone".to_owned()),
        }
    }
}

impl Verdict {
    /// One word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken(_) => "broken",
            Self::Unsupported(_) => "unsupported",
            Self::Crashed(_) => "crashed",
            Self::Hung(_) => "hung",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Holds => f.write_str(word),
            Self::Broken(values) | Self::Crashed(values) => write!(f, "{word}: {values}"),
            Self::Unsupported(why) => write!(f, "{word}: {why}"),
            Self::Hung(patience) => write!(f, "{word}: no answer in {} s", patience.as_secs()),
        }
    }
}

impl Fault {
    /// The same fault, and what came before it.
    pub(super) fn after(self, what: &str) -> Self {
        match self {
            Self::Broken(values) => Self::Broken(format!("{what}, {values}")),
            unsupported => unsupported,
        }
    }
}

/// A refusal where there is no reason for one.
impl From<No> for Fault {
    fn from(no: No) -> Self {
        match no {
            No::Refused(reason) => Self::Broken(format!("refused: {reason}")),
            No::Unsupported(why) => Self::Unsupported(why),
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}
