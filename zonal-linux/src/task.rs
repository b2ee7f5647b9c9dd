//! Who a thread acts as: what Linux keeps in a task's flags.
//!
//! One byte a thread, which only that thread and its signal handlers touch. Invariant: a role ends where the call that gave
//! it ends, so that a handler leaves the byte as it found it.

use std::sync::atomic::{AtomicU8, Ordering};

use zonal::{Running, Task, WaitContext};

/// What a thread is for a while, besides a task like any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It frees memory: its requests may go below every mark, and never reclaim. Shrinkers and the callback for
    /// memory that has run out have this role anyway.
    Memalloc,
    /// It is being killed for its memory: half of the min mark is its.
    OomVictim,
    /// It is a real-time task: half of the min mark is its, too.
    Realtime,
    /// It is a signal handler: what the thread was when it was interrupted does not count. In checked mode
    /// ([`zonal::Checking::On`]) requests that may sleep there are told of ([`crate::PoolPlan::on_report`]).
    Interrupt,
}

/// Bits of the byte.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const MEMALLOC: Self = Self(1 << 0);
    const OOM_VICTIM: Self = Self(1 << 1);
    const REALTIME: Self = Self(1 << 2);
    const INTERRUPT: Self = Self(1 << 3);
    /// Something registered is being called.
    pub(crate) const CALLED: Self = Self(1 << 4);
    /// The thread is a pool's own.
    pub(crate) const DAEMON: Self = Self(1 << 5);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this thread has one of them.
    pub(crate) fn are_here(self) -> bool {
        here() & self.0 != 0
    }
}

impl From<Role> for Flags {
    fn from(role: Role) -> Self {
        match role {
            Role::Memalloc => Self::MEMALLOC,
            Role::OomVictim => Self::OOM_VICTIM,
            Role::Realtime => Self::REALTIME,
            Role::Interrupt => Self::INTERRUPT,
        }
    }
}

thread_local! {
    /// Constant at first and without a destructor, so that reading it initialises nothing: a signal handler may. Relaxed
    /// wherever it is used: a handler runs on the thread it interrupts.
    static FLAGS: AtomicU8 = const { AtomicU8::new(0) };
}

fn here() -> u8 {
    FLAGS.with(|flags| flags.load(Ordering::Relaxed))
}

/// Does something in a role. Any context: a handler that allocates does so in `acting_as(Role::Interrupt, ...)`.
pub fn acting_as<R>(role: Role, work: impl FnOnce() -> R) -> R {
    with(role.into(), work)
}

/// Does something with more flags; they end with it, even if it panics.
pub(crate) fn with<R>(more: Flags, work: impl FnOnce() -> R) -> R {
    let _before = Before(FLAGS.with(|flags| flags.fetch_or(more.0, Ordering::Relaxed)));
    work()
}

/// This thread, as the allocator asks.
pub(crate) fn current() -> Task {
    let has = |flags: Flags| here() & flags.0 != 0;
    Task {
        memalloc: has(Flags::MEMALLOC),
        oom_victim: has(Flags::OOM_VICTIM),
        realtime: has(Flags::REALTIME),
        interrupt: has(Flags::INTERRUPT),
    }
}

/// Where this thread is, as checked mode asks: what a signal handler waits for may be what it has interrupted, but it may wake
/// daemons ([`crate::bell`]), as a hard interrupt of an ordinary kernel may.
pub(crate) fn wait_context() -> WaitContext {
    let in_handler = Flags::INTERRUPT.are_here();
    let running = if in_handler { Running::HardInterrupt } else { Running::Task };
    WaitContext { running, ..WaitContext::default() }
}

/// What the flags go back to.
struct Before(u8);

impl Drop for Before {
    fn drop(&mut self) {
        FLAGS.with(|flags| flags.store(self.0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use zonal::Wait;

    use super::*;

    #[test]
    fn roles_add_up_and_end_with_their_call() {
        let memalloc = Task { memalloc: true, ..Task::default() };
        acting_as(Role::Memalloc, || {
            assert_eq!(current(), memalloc);
            let both = acting_as(Role::Interrupt, current);
            assert_eq!(both, Task { interrupt: true, ..memalloc });
            let ended = std::panic::catch_unwind(|| acting_as(Role::Realtime, || panic!("in a role")));
            assert!(ended.is_err());
            assert_eq!(current(), memalloc);
            assert_eq!(std::thread::spawn(current).join().unwrap(), Task::default(), "another thread's");
            assert!(acting_as(Role::OomVictim, current).oom_victim);
            assert_eq!(wait_context().allows(), Wait::Sleep);
            assert_eq!(acting_as(Role::Interrupt, wait_context).allows(), Wait::Lock);
        });
        assert_eq!(current(), Task::default());
    }
}
