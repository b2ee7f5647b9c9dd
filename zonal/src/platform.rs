//! What the embedder gives the allocator. The core owns no threads, clock, memory or statics.

use crate::frame::Pfn;

/// The embedder's side. Every method says in which contexts it is called.
pub trait Platform {
    /// The CPU this code runs on. Only a hint: any value is correct, a good one is fast; a number outside the
    /// table is taken modulo the number of CPUs. Called in any context (task, IRQ, NMI, signal handler), at the
    /// start of every operation; must not block or allocate.
    fn cpu(&self) -> usize;

    /// Fills frames `first..first + frames` with zeroes and returns true, or returns false if the platform cannot
    /// reach them. Called in the requester's context, outside every protocol step, for requests with
    /// [`crate::Gfp::ZERO`] only: the core itself never touches a frame.
    fn zero(&self, first: Pfn, frames: u64) -> bool {
        let _ = (first, frames);
        false
    }
}

impl<P: Platform + ?Sized> Platform for &P {
    #[inline]
    fn cpu(&self) -> usize {
        (**self).cpu()
    }

    fn zero(&self, first: Pfn, frames: u64) -> bool {
        (**self).zero(first, frames)
    }
}

/// A platform of one CPU that reaches no frame: enough for a unikernel's first boot, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneCpu;

impl Platform for OneCpu {
    #[inline]
    fn cpu(&self) -> usize {
        0
    }
}
