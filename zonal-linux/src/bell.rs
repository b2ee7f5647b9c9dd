//! What a daemon's thread sleeps on: a futex that anybody may ring in any context.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | 0 | rung since the listener last listened | [`Bell::ring`] |
//! | 1 | nobody rang since | [`Bell::listen`] |
//!
//! Ringing is one exchange and, if somebody listens, one system call: no lock, no heap, no waiting, and not even `errno` is
//! touched (rustix makes the call itself). So a signal handler may ring, which of `Thread::unpark` and of condition
//! variables nobody promises; and unlike an eventfd the word cannot overflow, block, or be out of descriptors.
//!
//! Invariant: no ring is lost. The two exchanges on the word have an order. A ring before the listening makes what the
//! ringer did before visible to what the listener looks at afterwards; a ring after it finds 1, puts 0, and the kernel
//! puts nobody to sleep on a word that is not 1.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

const RUNG: u32 = 0;
const LISTENING: u32 = 1;

/// A bell with one listener.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicU32);

/// The listener listens: a look for work that found none may be followed by sleep.
#[must_use]
pub(crate) struct Listening<'b>(&'b Bell);

impl Bell {
    /// Wakes the listener, or keeps it from falling asleep. Any context.
    pub(crate) fn ring(&self) {
        // Release: what the ringer left for the listener; partner: `listen`.
        if self.0.swap(RUNG, Ordering::Release) == LISTENING {
            // Fails for a bad address only.
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }

    /// From now on a ring is heard, by [`Listening::sleep`] at the latest.
    pub(crate) fn listen(&self) -> Listening<'_> {
        // Acquire: partner: `ring`.
        self.0.swap(LISTENING, Ordering::Acquire);
        Listening(self)
    }
}

impl Listening<'_> {
    /// Sleeps until somebody rings, or for no reason: the caller looks and listens again.
    pub(crate) fn sleep(self) {
        // Rung already, interrupted by a signal, woken: all the same to the caller.
        let _ = futex::wait(&self.0.0, futex::Flags::PRIVATE, LISTENING, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    #[test]
    fn what_is_left_before_ringing_is_found() {
        const EACH: u64 = 20_000;
        let (bell, left, done) = (Bell::default(), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut taken = 0;
                while taken < 2 * EACH {
                    let listening = bell.listen();
                    match left.swap(0, Ordering::Relaxed) {
                        0 => listening.sleep(),
                        found => {
                            taken += found;
                            done.store(taken, Ordering::Relaxed);
                        }
                    }
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    for at in 0..EACH {
                        left.fetch_add(1, Ordering::Relaxed);
                        bell.ring();
                        // Now and then everything comes to rest, so that the next ring is one that must wake.
                        while at % 64 == 0 && left.load(Ordering::Relaxed) > 0 {
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 2 * EACH);
    }
}
