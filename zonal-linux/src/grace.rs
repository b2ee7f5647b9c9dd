//! Grace periods of a process ([`zonal::Grace`]), with a seat for each thread that comes.
//!
//! The lock is for new seats alone: readers, and who looks whether a period is over, never take it, so a thread that stops
//! while it has it keeps newcomers waiting and nobody else. (A membarrier in the place of the readers' fences would make them
//! cheaper, and each grace period a system call with an interrupt of every CPU.) In a child of `fork` sections of other threads
//! never end: it makes a new one.
//!
//! Invariant: seats are in `periods` and in `seats`, and stay until both go.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use zonal::{Reader, Seat};

/// Readers, and the grace periods that they hold up.
#[derive(Default)]
pub struct Grace {
    periods: zonal::Grace<'static>,
    seats: Mutex<Vec<Owned>>,
}

/// A seat on the heap.
struct Owned(NonNull<Seat>);

// SAFETY: it is the only owner of what it points to, which any thread may drop.
unsafe impl Send for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made of a box in `Grace::reader`. Whoever has a reference to it borrows the `Grace` that goes.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl fmt::Debug for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grace").field("periods", &self.periods).finish_non_exhaustive()
    }
}

impl Grace {
    /// A reader for one thread and the handlers that interrupt it. Task context.
    pub fn reader(&self) -> Reader<'_> {
        self.periods.reader().unwrap_or_else(|| {
            let mut seat = NonNull::from(Box::leak(Box::default()));
            self.seats.lock().unwrap_or_else(PoisonError::into_inner).push(Owned(seat)); // whole at every step
            // SAFETY: nobody else uses a seat that is in no list yet; it stays as long as `periods`, which nobody outside sees.
            self.periods.add(unsafe { seat.as_mut() })
        })
    }

    /// As [`zonal::Grace::start`].
    pub fn start(&self) -> u64 {
        self.periods.start()
    }

    /// As [`zonal::Grace::is_over`].
    pub fn is_over(&self, period: u64) -> bool {
        self.periods.is_over(period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_holds_nothing_up_and_leaves_its_seat() {
        let grace = Grace::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let one = scope.spawn(|| grace.reader().read(|| grace.start()));
                assert!(grace.is_over(one.join().expect("it read")));
            }
        });
        assert_eq!(grace.seats.lock().expect("nobody panics").len(), 1, "one after the other on one seat");
        let [first, second] = [grace.reader(), grace.reader()];
        let period = first.read(|| second.read(|| grace.start()));
        assert!(grace.is_over(period));
        assert_eq!(grace.seats.lock().expect("nobody panics").len(), 2);
    }

    #[test]
    fn whether_a_period_is_over_can_be_asked_while_somebody_stands_in_the_door() {
        let grace = Grace::default();
        let reader = grace.reader();
        let _stopped = grace.seats.lock().expect("nobody panics");
        let period = reader.read(|| grace.start());
        assert!(grace.is_over(period));
    }
}
