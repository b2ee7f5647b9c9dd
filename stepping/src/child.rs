//! A child for each interruption: it goes on from the very instruction, and nothing of what it does comes back but a verdict.
//!
//! Forking is what makes interrupting every instruction cost as many steps as there are instructions, not their square.

use std::ffi::c_int;
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use crate::violation::Violation;

/// Seconds after which a child is taken to hang. Its work takes a few thousandths.
const PATIENCE: u32 = 5;
/// The longest message of a child: one write into a pipe is whole up to this.
const LONGEST: usize = 4096;
/// Before a message's text: the child's number, the text's length, the kind.
const HEAD: usize = 9;

/// How a child ends if nothing was wrong, and no request refused.
const SERVED: c_int = 0;
/// How a child ends if nothing was wrong, and a request refused rightly.
const REFUSED: c_int = 2;
/// How a child ends that has written a message.
const WROTE: c_int = 1;

/// What a child found.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Every promise was kept.
    Kept { refused: bool },
    /// One was not: its kind, and what it says.
    Broken(u8, String),
}

impl From<Violation> for Verdict {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation.kind(), violation.to_string())
    }
}

/// Where a process is after a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Parent(libc::pid_t),
    Child,
}

/// The way from children to their parent.
#[derive(Debug)]
pub(crate) struct Line {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Line {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer })
    }

    /// Splits the process in two.
    ///
    /// # Safety
    /// The child ends by [`Line::end`] and until then uses nothing that other threads of the parent may hold.
    pub(crate) unsafe fn fork() -> io::Result<Side> {
        // SAFETY: as the caller promises. The C library keeps its heap usable in the child.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: the signal's default ends this process, which is the child.
                unsafe {
                    libc::signal(libc::SIGALRM, libc::SIG_DFL);
                    libc::alarm(PATIENCE);
                }
                Ok(Side::Child)
            }
            child => Ok(Side::Parent(child)),
        }
    }

    /// In the child, whose number is `nth`: reports and ends.
    pub(crate) fn end(&self, nth: usize, verdict: Verdict) -> ! {
        let status = match verdict {
            Verdict::Kept { refused: false } => SERVED,
            Verdict::Kept { refused: true } => REFUSED,
            Verdict::Broken(kind, text) => {
                let text = text.as_bytes().get(..LONGEST - HEAD).unwrap_or(text.as_bytes());
                let mut message = (nth as u32).to_le_bytes().to_vec();
                message.extend((text.len() as u32).to_le_bytes());
                message.push(kind);
                message.extend(text);
                // A parent that cannot be told sees the status all the same, and waits for no message then.
                if (&self.writer).write_all(&message).is_ok() { WROTE } else { c_int::from(u8::MAX) }
            }
        };
        // SAFETY: ends the process without running what belongs to the parent (buffers, destructors, other tests).
        unsafe { libc::_exit(status) }
    }

    /// In the parent: waits for the child of this number and hears what it, or another that is done, has found: the number
    /// and the verdict. Every child that has been waited for is heard by the time that all are.
    pub(crate) fn hear(&self, (nth, child): (usize, libc::pid_t)) -> io::Result<(usize, Verdict)> {
        let mut status = 0;
        loop {
            // SAFETY: the status is on this stack.
            if unsafe { libc::waitpid(child, &raw mut status, 0) } == child {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM {
            return Ok((nth, Violation::Hung.into()));
        }
        match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
            Some(SERVED) => Ok((nth, Verdict::Kept { refused: false })),
            Some(REFUSED) => Ok((nth, Verdict::Kept { refused: true })),
            Some(WROTE) => self.read(),
            _ => Ok((nth, Violation::Died { status }.into())),
        }
    }

    fn read(&self) -> io::Result<(usize, Verdict)> {
        let (mut nth, mut length, mut kind) = ([0; 4], [0; 4], [0; 1]);
        (&self.reader).read_exact(&mut nth)?;
        (&self.reader).read_exact(&mut length)?;
        (&self.reader).read_exact(&mut kind)?;
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        (&self.reader).read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((u32::from_le_bytes(nth) as usize, Verdict::Broken(kind[0], text)))
    }
}
