//! Grace periods of a process: its readers say when they look at what others may free later, and a number tells whether all
//! have left who may have seen something.
//!
//! Each reader has a word: 0, or the epoch in which its section began. A grace period is the next epoch; it is over for
//! who finds no word below it. Coming costs a store and a full fence (some 20 cycles to 40), leaving a store; nothing is shared by
//! readers but the epoch, which they only read. (A membarrier in the place of the readers' fences would make them cheaper, and
//! each grace period a system call with an interrupt of every CPU.) Nobody waits for a grace period: it is looked at.
//!
//! | interrupted for ever | others see |
//! |---|---|
//! | in a section | grace periods that do not end, as with every kind of them |
//! | between the epoch read and the word stored | nothing: it has read nothing yet |
//! | anywhere else | nothing |

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The epoch of who is not reading.
const AWAY: u64 = 0;

/// A line of its own for each reader.
#[derive(Default)]
#[repr(align(64))]
struct Word(AtomicU64);

/// Readers, and the grace periods that they hold up.
pub struct Grace {
    epoch: AtomicU64,
    readers: Mutex<Vec<Arc<Word>>>,
}

impl Default for Grace {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(AWAY + 1), readers: Mutex::default() }
    }
}

impl fmt::Debug for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readers = self.readers().len();
        f.debug_struct("Grace").field("epoch", &self.epoch).field("readers", &readers).finish()
    }
}

impl Grace {
    /// A reader for one thread and the handlers that interrupt it. Task context.
    pub fn reader(&self) -> Reader<'_> {
        let word = Arc::<Word>::default();
        self.readers().push(Arc::clone(&word));
        Reader { grace: self, word, own: PhantomData }
    }

    /// Names a grace period that begins now. Whoever took something out of sight before it may free it when the period
    /// [`Grace::is_over`]. Any context; one locked operation on a line that all readers read.
    pub fn start(&self) -> u64 {
        // SeqCst: with the fence, pairs with that of `Reader::enter`: a reader whose word `is_over` does not see there comes
        // to see what was done before this.
        let begun = self.epoch.fetch_add(1, SeqCst) + 1;
        fence(SeqCst);
        begun
    }

    /// Whether nobody reads any more who came before. Task context: a load for each reader, under a lock that readers never
    /// take. What was over is over no more while somebody reads who then was about to come, and saw nothing of what went.
    pub fn is_over(&self, period: u64) -> bool {
        // Acquire: pairs with the Release of leaving: what was read was read before it is freed.
        let epochs = |word: &Arc<Word>| word.0.load(Acquire);
        self.readers().iter().map(epochs).all(|epoch| epoch == AWAY || epoch >= period)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Arc<Word>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner) // a list of words, whole at every step
    }
}

/// A thread that reads now and then. Not to be shared by threads: whoever comes first would leave for both.
pub struct Reader<'g> {
    grace: &'g Grace,
    word: Arc<Word>,
    own: PhantomData<*const ()>,
}

// SAFETY: a word is atomic, and the thread that has the reader is the one that uses it.
unsafe impl Send for Reader<'_> {}

impl Reader<'_> {
    /// Reads: while `look` runs nothing is freed that it can come by. Any context on the reader's thread, also within another
    /// section, or in a handler that interrupts this at any instruction.
    pub fn read<R>(&self, look: impl FnOnce() -> R) -> R {
        let _section = self.enter();
        look()
    }

    fn enter(&self) -> Section<'_> {
        let word = &self.word.0;
        // Relaxed: this thread's word. A handler that comes in between leaves it as it found it.
        let before = word.load(Relaxed);
        if before == AWAY {
            // An older epoch than there is by now holds up more than it must.
            word.store(self.grace.epoch.load(Relaxed), Relaxed);
        }
        // Also for who finds the word set: the section around it may not have come to its own fence. Pairs with that of `start`.
        fence(SeqCst);
        Section { word, before }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.grace.readers().retain(|word| !Arc::ptr_eq(word, &self.word));
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("since", &self.word.0).finish_non_exhaustive()
    }
}

/// Ends, also in a panic, by putting back what was there.
struct Section<'r> {
    word: &'r AtomicU64,
    before: u64,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.word.store(self.before, Release); // pairs with the Acquire of `is_over`
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_over_when_who_came_before_has_left() {
        let grace = Grace::default();
        let [first, second] = [grace.reader(), grace.reader()];
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
    fn who_is_gone_holds_nothing_up_and_a_panic_leaves() {
        let grace = Grace::default();
        let reader = grace.reader();
        let panics = std::panic::AssertUnwindSafe(|| reader.read(|| panic!("in a section")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(grace.is_over(grace.start()));
        drop(reader);
        assert_eq!(grace.readers().len(), 0);
    }
}
