//! How a model is run: the bound, the stacks, and the cells that stand for what owners write to frames.

use core::cell::Cell as Plain;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use crate::platform::Platform;

/// Words of stack for a thread of a model: building an allocator needs more than loom's default.
const STACK: usize = 1 << 15;
/// Steps in one execution of a model.
const STEPS: usize = 50_000;

loom::thread_local! {
    static CPU: Plain<usize> = Plain::new(0);
}

/// A platform on which each thread of a model says which CPU it runs on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ModelCpu;

impl Platform for ModelCpu {
    fn cpu(&self) -> usize {
        CPU.with(Plain::get)
    }
}

/// Runs every interleaving of `scene`.
pub(super) fn exhaustively(scene: impl Fn() + Sync + Send + Copy + 'static) {
    check(None, scene);
}

/// Runs every interleaving of `scene` in which running threads are put aside at most `preemptions` times.
pub(super) fn bounded(preemptions: usize, scene: impl Fn() + Sync + Send + Copy + 'static) {
    check(Some(preemptions), scene);
}

fn check(preemptions: Option<usize>, scene: impl Fn() + Sync + Send + Copy + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = STEPS;
    builder.check(move || on_cpu(0, scene).join().expect("the scene ran"));
}

/// Starts `act` on a thread that says it runs on `cpu`.
pub(super) fn on_cpu<T: Send + 'static>(
    cpu: usize,
    act: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let act = move || {
        CPU.with(|own| own.set(cpu));
        act()
    };
    thread::Builder::new().stack_size(STACK).spawn(act).expect("a thread")
}

/// Runs `one` on this thread and `other` on another, of CPU 1; what both return.
pub(super) fn race<S: Send + Sync + 'static, A, B: Send + 'static>(
    shared: S,
    one: impl FnOnce(&S) -> A,
    other: impl FnOnce(&S) -> B + Send + 'static,
) -> (S, A, B) {
    let shared = Arc::new(shared);
    let theirs = Arc::clone(&shared);
    let thread = on_cpu(1, move || other(&theirs));
    let mine = one(&shared);
    let others = thread.join().expect("the other ran");
    let shared = Arc::into_inner(shared).expect("both are done");
    (shared, mine, others)
}

/// What an owner wrote to a frame: a cell that loom checks for races.
#[derive(Debug)]
pub(super) struct Content(UnsafeCell<u64>);

// SAFETY: loom orders or refuses every access to the cell (see `touch`), and a number may be used by any thread.
unsafe impl Sync for Content {}

impl Content {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Reads and writes, as an owner does; fails the model unless all that earlier owners did happened before.
    pub(super) fn touch(&self) -> u64 {
        self.0.with_mut(|content| {
            // SAFETY: loom fails the model before this closure runs if another thread's access is not ordered
            // before it, so the pointer is the only one in use.
            unsafe {
                *content += 1;
                *content
            }
        })
    }
}
