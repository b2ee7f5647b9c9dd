//! Who this thread plays: a CPU, a task; and how far its last request had to climb. What a storm's platform answers from.
//!
//! Invariant: after `ask` has returned, [`climb`] is that request's and no earlier one's.

use std::cell::Cell;

use zonal::{Climb, Task};

/// An ordinary task.
pub(super) const ORDINARY: Task =
    Task { memalloc: false, oom_victim: false, realtime: false, interrupt: false };

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static TASK: Cell<Task> = const { Cell::new(ORDINARY) };
    static CLIMB: Cell<Climb> = const { Cell::new(Climb { walks: 0, reclaims: 0, pauses: 0, kills: 0, restarts: 0 }) };
}

/// From now on this thread runs on this CPU.
pub(super) fn play_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// The CPU played.
#[inline]
pub(super) fn cpu() -> usize {
    CPU.get()
}

/// The task played.
pub(super) fn task() -> Task {
    TASK.get()
}

/// Plays a task while `body` asks for frames.
pub(super) fn ask<R>(task: Task, body: impl FnOnce() -> R) -> R {
    let before = TASK.replace(task);
    CLIMB.set(Climb::default());
    let result = body();
    TASK.set(before);
    result
}

/// Does something in the middle of a request, which knows nothing of it.
pub(super) fn interrupting<R>(body: impl FnOnce() -> R) -> R {
    let before = CLIMB.get();
    let result = body();
    CLIMB.set(before);
    result
}

/// A request has come down.
pub(super) fn note(climb: &Climb) {
    CLIMB.set(*climb);
}

/// How far the last request went; nowhere if its first zone served it.
pub(super) fn climb() -> Climb {
    CLIMB.get()
}
