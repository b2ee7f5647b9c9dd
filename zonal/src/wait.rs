//! Where code runs, what it may wait for there, and what a request may wait for (Linux: PROVE_RAW_LOCK_NESTING's question).
//!
//! Only says what is so; [`crate::Config::checking`] has it looked at. Invariant: a request is in its place iff
//! `may wait for <= allowed`.
//!
//! | runs | ordinary kernel | real-time kernel |
//! |---|---|---|
//! | task | sleep | sleep |
//! | atomic: under a `spinlock_t`, in a softirq | locks | locks, which sleep there |
//! | raw-atomic: under a raw spinlock, interrupts or preemption off | locks | raw spinlocks |
//! | hard interrupt | locks | raw spinlocks |
//! | NMI | nothing | nothing |

use core::fmt;

use crate::frame::Order;
use crate::gfp::Gfp;

/// What code waits for at most, the least first (Linux: `LD_WAIT_*`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wait {
    /// For nobody.
    Nothing,
    /// For holders of raw spinlocks.
    Spin,
    /// For holders of locks that spin, and on a real-time kernel sleep.
    Lock,
    /// For anything.
    Sleep,
}

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Running {
    /// A task that holds no spinlock.
    #[default]
    Task,
    /// Code under a `spinlock_t`, or a softirq.
    Atomic,
    /// Code under a raw spinlock, or with interrupts or preemption off.
    RawAtomic,
    /// A hard interrupt's handler.
    HardInterrupt,
    /// A non-maskable interrupt's handler.
    Nmi,
}

/// What kind of kernel it runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preemption {
    /// Spinlocks spin.
    #[default]
    Ordinary,
    /// Spinlocks sleep, but for raw ones (Linux: PREEMPT_RT).
    RealTime,
}

/// Where code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WaitContext {
    /// What runs.
    pub running: Running,
    /// In which kind of kernel.
    pub preemption: Preemption,
}

impl WaitContext {
    /// What may be waited for there.
    pub const fn allows(self) -> Wait {
        match (self.running, self.preemption) {
            (Running::Task, _) => Wait::Sleep,
            (Running::Atomic, _) | (Running::RawAtomic | Running::HardInterrupt, Preemption::Ordinary) => {
                Wait::Lock
            }
            (Running::RawAtomic | Running::HardInterrupt, Preemption::RealTime) => Wait::Spin,
            (Running::Nmi, _) => Wait::Nothing,
        }
    }
}

/// A request was made where it might have to wait for what must not be waited for there, whether or not it had to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidWait {
    /// Where.
    pub context: WaitContext,
    /// The request's order.
    pub order: Order,
    /// Its flags.
    pub gfp: Gfp,
}

impl InvalidWait {
    /// What the request may wait for.
    pub const fn may_wait(&self) -> Wait {
        may_wait(self.gfp)
    }
}

/// What a request with these flags may wait for: in reclaim for anything, in waking kswapd for the lock of whom it wakes, else
/// for nobody.
pub(crate) const fn may_wait(gfp: Gfp) -> Wait {
    if gfp.contains(Gfp::DIRECT_RECLAIM) {
        Wait::Sleep
    } else if gfp.contains(Gfp::KSWAPD_RECLAIM) {
        Wait::Lock
    } else {
        Wait::Nothing
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no lock",
            Self::Spin => "raw spinlocks",
            Self::Lock => "spinlocks",
            Self::Sleep => "sleep",
        })
    }
}

impl fmt::Display for WaitContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.running {
            Running::Task => "task",
            Running::Atomic => "atomic",
            Running::RawAtomic => "raw-atomic",
            Running::HardInterrupt => "hardirq",
            Running::Nmi => "NMI",
        })?;
        f.write_str(match self.preemption {
            Preemption::Ordinary => " context",
            Preemption::RealTime => " context of a PREEMPT_RT kernel",
        })
    }
}

/// Both sides by name, as Linux heads such a report.
impl fmt::Display for InvalidWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (context, allows) = (self.context, self.context.allows());
        let way = match self.may_wait() {
            Wait::Sleep => "direct reclaim may sleep",
            Wait::Lock | Wait::Spin => "waking kswapd takes a spinlock",
            Wait::Nothing => "waits for nobody",
        };
        let (order, gfp) = (self.order, self.gfp);
        write!(f, "invalid wait context: order {order}, {gfp}: {way}; {context} allows {allows}")
    }
}
