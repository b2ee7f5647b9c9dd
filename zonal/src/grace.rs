//! Grace periods without a lock: readers say when they look at what others may free later, and a number tells whether all
//! have left who may have seen something.
//!
//! Each reader has a [`Seat`]. A grace period is the next epoch; it is over for who finds no seat with an earlier one.
//! Coming costs a store and a full fence (some 20 cycles to 40), leaving a store; nothing is shared by readers but the epoch,
//! which they only read. Nobody waits for a grace period: it is looked at. It never frees, and never takes a seat out again.
//!
//! | word | meaning | who writes it |
//! |---|---|---|
//! | epoch | the last grace period named | who names the next: + 1 |
//! | seats | the seat that was added last | who adds one |
//! | a seat's since | 0: nobody looks; else the epoch in which its reader came | its reader |
//! | a seat's state | taken (at first) <-> vacant | who has it; who takes it |
//!
//! | interrupted for ever | others see |
//! |---|---|
//! | in a section | grace periods that do not end, as with every kind of them |
//! | between the epoch read and the word stored | nothing: it has read nothing yet |
//! | anywhere else | nothing |

use core::iter;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};

/// The epoch of who is not reading.
const AWAY: u64 = 0;

/// States of a seat.
const TAKEN: u8 = 0;
const VACANT: u8 = 1;

/// Where a reader writes down since when it looks: a line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Seat {
    since: AtomicU64,
    state: AtomicU8,
    /// The one that was added before.
    next: AtomicPtr<Seat>,
}

impl Default for Seat {
    fn default() -> Self {
        Self::new()
    }
}

impl Seat {
    /// A seat in no list.
    #[must_use]
    pub fn new() -> Self {
        Self { since: AtomicU64::new(AWAY), state: AtomicU8::new(TAKEN), next: AtomicPtr::new(null_mut()) }
    }

    /// Whether it was vacant, and is the caller's now.
    fn take(&self) -> bool {
        // Acquire: pairs with the Release of who left: what it read is behind what the next one says here.
        self.state.compare_exchange(VACANT, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// Readers' seats, and the grace periods that they hold up. As many readers at once as there are seats.
#[derive(Debug)]
pub struct Grace<'s> {
    epoch: AtomicU64,
    seats: AtomicPtr<Seat>,
    /// Invariant: a seat lent for less may not get in.
    lent: PhantomData<fn(&'s Seat) -> &'s Seat>,
}

impl Default for Grace<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'s> Grace<'s> {
    /// Without a seat.
    #[must_use]
    pub fn new() -> Self {
        Self { epoch: AtomicU64::new(AWAY + 1), seats: AtomicPtr::new(null_mut()), lent: PhantomData }
    }

    /// A reader on a new seat, which stays here. Any context; retries when others add theirs.
    pub fn add(&self, seat: &'s mut Seat) -> Reader<'_> {
        let seat = &*seat;
        let mut first = self.seats.load(Ordering::Relaxed); // Relaxed: only compared, and written into the seat
        loop {
            seat.next.store(first, Ordering::Relaxed); // Relaxed: published by the exchange
            let new = NonNull::from(seat).as_ptr();
            // Release: pairs with the Acquire of who walks the list.
            match self.seats.compare_exchange(first, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Reader { epoch: &self.epoch, seat, own: PhantomData },
                Err(now) => first = now,
            }
        }
    }

    /// A reader on a seat that another has left; `None` if there is none. Any context; a look at each seat.
    pub fn reader(&self) -> Option<Reader<'_>> {
        let seat = self.seats().find(|seat| seat.take())?;
        Some(Reader { epoch: &self.epoch, seat, own: PhantomData })
    }

    /// Names a grace period that begins now. Whoever took something out of sight before it may free it when the period
    /// [`Grace::is_over`]. Any context; one locked operation on a line that all readers read.
    pub fn start(&self) -> u64 {
        // SeqCst: with the fence, pairs with that of `Reader::enter`: a reader that `is_over` does not see comes to see what
        // was done before this. Release of the exchange: so does a reader that comes in this epoch.
        let begun = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        if !planted(Mutant::GraceUnfenced) {
            fence(Ordering::SeqCst);
        }
        begun
    }

    /// Whether nobody reads any more who came before. Any context; a load for each seat. What was over is over no more while
    /// somebody reads who then was about to come, and saw nothing of what went.
    pub fn is_over(&self, period: u64) -> bool {
        // Acquire: pairs with the Release of leaving, and of coming back: what was read was read before it is freed.
        let ordering = ordering_unless(Mutant::GraceLeftUnseen, Ordering::Acquire);
        self.seats().map(|seat| seat.since.load(ordering)).all(|since| since == AWAY || since >= period)
    }

    /// Those there are.
    fn seats(&self) -> impl Iterator<Item = &Seat> {
        // Acquire: pairs with the Release of who put the first there, and so with those of all who came before.
        let first = self.seats.load(Ordering::Acquire);
        // SAFETY: what is in the list was lent for longer than this lives. Nothing writes `next` once it is there.
        let seat = |at: *mut Seat| NonNull::new(at).map(|seat| unsafe { seat.as_ref() });
        iter::successors(seat(first), move |one| seat(one.next.load(Ordering::Relaxed)))
    }
}

/// A thread that reads now and then. Not to be shared by threads: whoever comes first would leave for both.
#[derive(Debug)]
pub struct Reader<'g> {
    epoch: &'g AtomicU64,
    seat: &'g Seat,
    own: PhantomData<*const ()>,
}

// SAFETY: a seat is atomic, and the thread that has the reader is the one that uses it.
unsafe impl Send for Reader<'_> {}

impl Reader<'_> {
    /// Reads: while `look` runs nothing is freed that it can come by. Any context on the reader's thread, also within another
    /// section, or in a handler that interrupts this at any instruction.
    pub fn read<R>(&self, look: impl FnOnce() -> R) -> R {
        let _section = self.enter();
        look()
    }

    fn enter(&self) -> Section<'_> {
        let since = &self.seat.since;
        // Relaxed: this thread's word. A handler that comes in between leaves it as it found it.
        let before = since.load(Ordering::Relaxed);
        if before == AWAY {
            // Release: who finds this epoch here, and not the 0 before it, has to see the sections before this ended. Relaxed:
            // an older epoch than there is by now holds up more than it must; a newer one is acquired by the fence.
            let ordering = ordering_unless(Mutant::GraceBackRelaxed, Ordering::Release);
            since.store(self.epoch.load(Ordering::Relaxed), ordering);
        }
        // Also for who finds the word set: the section around it may not have come to its own fence. Pairs with that of `start`.
        fence(Ordering::SeqCst);
        Section { since, before }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of `Seat::take`.
        let ordering = ordering_unless(Mutant::GraceSeatRelaxed, Ordering::Release);
        self.seat.state.store(VACANT, ordering);
    }
}

/// Ends, also in a panic, by putting back what was there.
struct Section<'r> {
    since: &'r AtomicU64,
    before: u64,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.since.store(self.before, Ordering::Release); // pairs with the Acquire of `is_over`
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_over_when_who_came_before_has_left() {
        let mut seats = [Seat::new(), Seat::new()];
        let grace = Grace::new();
        let [first, second] = seats.each_mut().map(|seat| grace.add(seat));
        let early = first.read(|| {
            let early = grace.start();
            assert!(!grace.is_over(early));
            second.read(|| assert!(!grace.is_over(early), "the first still reads"));
            first.read(|| ());
            assert!(!grace.is_over(early), "a section within another ends with that");
            early
        });
        assert!(grace.is_over(early));
        first.read(|| {
            assert!(grace.is_over(early), "it came later");
            assert!(!grace.is_over(grace.start()));
        });
    }

    #[test]
    fn a_seat_that_is_left_is_the_next_readers() {
        let mut seat = Seat::new();
        let grace = Grace::new();
        assert!(grace.reader().is_none());
        let reader = grace.add(&mut seat);
        assert!(grace.reader().is_none(), "it is taken");
        drop(reader);
        let again = grace.reader().expect("it was left");
        assert!(grace.reader().is_none(), "it is taken again");
        again.read(|| assert!(!grace.is_over(grace.start()), "it is in the list"));
    }

    #[test]
    fn a_panic_leaves() {
        let mut seat = Seat::new();
        let grace = Grace::new();
        let reader = grace.add(&mut seat);
        let panics = std::panic::AssertUnwindSafe(|| reader.read(|| panic!("in a section")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(grace.is_over(grace.start()));
    }
}
