//! Runs code one instruction at a time in its own process, by the processor's trap flag (x86-64 Linux only).
//!
//! With the flag set the processor traps after each instruction, the kernel makes a `SIGTRAP` of it, and the handler
//! sees the address that comes next. The kernel clears the flag for the handler, so what it calls runs at full speed, and
//! sets it again when the handler returns. [`trace`] counts what was executed; [`step`] lets other code interrupt at every
//! instruction. A step costs two crossings into the kernel. Counts repeat exactly: no clock is involved.
//!
//! Never changes the code it runs, and never calls anything in the middle of an instruction outside the [`Window`]:
//! there the C library may hold its locks.
//!
//! Invariant: the flag is set only between the beginning and the end of one `step` of the same thread.

mod trap;
mod window;

pub use trap::{Next, step};
pub use window::{Address, Window};

/// The instructions that `op` executed inside the window, in order, and what `op` returned.
///
/// # Errors
/// [`TooLong`] if there were more than `capacity`.
pub fn trace<R>(window: &Window, capacity: usize, op: impl FnOnce() -> R) -> Result<(R, Trace), TooLong> {
    let mut executed = Vec::with_capacity(capacity);
    let mut lost = 0u64;
    let record = |address| {
        if executed.len() < capacity {
            executed.push(address); // within the capacity: no call of the heap, which `op` may be in the middle of
        } else {
            lost += 1;
        }
        Next::Step
    };
    // SAFETY: the recording touches its own two variables only and calls nothing; it cannot panic.
    #[allow(unsafe_code, reason = "the one safe use of stepping that needs no vow of the caller's")]
    let result = unsafe { step(window, op, record) };
    if lost > 0 {
        return Err(TooLong { capacity, executed: capacity as u64 + lost });
    }
    let number =
        |is: &dyn Fn(Address) -> bool| executed.iter().filter(|&&address| is(address)).count() as u64;
    let locked = number(&|address| window.is_locked(address));
    let reads = number(&|address| window.reads(address));
    Ok((result, Trace { executed, locked, reads }))
}

/// What a piece of code executed.
#[derive(Clone, Debug)]
pub struct Trace {
    executed: Vec<Address>,
    locked: u64,
    reads: u64,
}

impl Trace {
    /// The instructions, in the order they were executed; a repeated string instruction once for each repetition.
    pub fn executed(&self) -> &[Address] {
        &self.executed
    }

    /// How many of them were locked read-modify-writes.
    pub fn locked(&self) -> u64 {
        self.locked
    }

    /// How many of them read memory other than the stack, a word each but for the rare wider ones.
    pub fn reads(&self) -> u64 {
        self.reads
    }
}

/// A trace was longer than there was room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong {
    /// Instructions there was room for.
    pub capacity: usize,
    /// Instructions executed.
    pub executed: u64,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} instructions were executed, there was room for {}", self.executed, self.capacity)
    }
}

impl std::error::Error for TooLong {}

#[cfg(test)]
mod tests;
