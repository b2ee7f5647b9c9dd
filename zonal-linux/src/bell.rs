//! What a daemon's thread sleeps on: a futex that anybody may ring in any context.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | 0 | rung since the listener last listened | [`Bell::ring`] |
//! | 1 | nobody rang since | [`Bell::sleep_unless`] |
//!
//! Ringing is one exchange and, if somebody listens, one system call that does not fail: no lock, no heap, no waiting, and
//! `errno` stays as it is. So a signal handler may ring, which of `Thread::unpark` and of condition variables nobody
//! promises; and unlike an eventfd the word cannot overflow, block, or be out of descriptors.
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

impl Bell {
    /// Wakes the listener, or keeps it from falling asleep. Any context.
    pub(crate) fn ring(&self) {
        // Release: what the ringer left for the listener; partner: `sleep_unless`.
        if self.0.swap(RUNG, Ordering::Release) == LISTENING {
            // Fails for a bad address only.
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }

    /// Sleeps until somebody rings, or for no reason, unless there is something to do: it looks once a ring is heard.
    pub(crate) fn sleep_unless(&self, something_to_do: impl FnOnce() -> bool) {
        // Acquire: partner: `ring`.
        self.0.swap(LISTENING, Ordering::Acquire);
        if !something_to_do() {
            // Rung already, interrupted by a signal, woken: all the same to the caller.
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, LISTENING, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_ring_at_the_last_look_is_heard() {
        let (awake, wakes) = mpsc::channel();
        thread::spawn(move || {
            let bell = Bell::default();
            bell.sleep_unless(|| {
                bell.ring();
                false
            });
            awake.send(()).unwrap();
        });
        wakes.recv_timeout(Duration::from_secs(20)).expect("it sleeps on a ring");
    }

    #[test]
    fn it_sleeps_while_nobody_rings() {
        let (bell, looks, stop) = (Bell::default(), AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    looks.fetch_add(1, Ordering::Relaxed);
                    bell.sleep_unless(|| stop.load(Ordering::Relaxed));
                }
            });
            bell.ring();
            thread::sleep(Duration::from_millis(50));
            stop.store(true, Ordering::Relaxed);
            bell.ring();
        });
        assert!(looks.into_inner() < 100, "a thread that sleeps does not look");
    }

    #[test]
    fn what_is_left_before_ringing_is_found() {
        const EACH: u64 = 20_000;
        let (bell, left, mut taken) = (Bell::default(), AtomicU64::new(0), 0);
        thread::scope(|scope| {
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
            while taken < 2 * EACH {
                bell.sleep_unless(|| left.load(Ordering::Relaxed) > 0);
                taken += left.swap(0, Ordering::Relaxed);
            }
        });
        assert_eq!(taken, 2 * EACH);
    }
}
