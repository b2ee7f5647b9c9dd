//! A set of nodes that is read by everybody and changed by one at a time: two buffers, and a word that says which counts.
//!
//! | bits of the word | field | changed by |
//! |---|---|---|
//! | 0 | which buffer counts | [`Published::replace`], its last step |
//! | 1 | busy: somebody writes the other one | `replace`: set by its first step, cleared by its last step |
//! | 2..=6 | words of the buffer in use; those behind count as 0 | the last step |
//! | 7..=63 | generation | the last step, by one |
//!
//! Nobody waits: a writer that finds another one at work is refused, a reader reads on. Invariant: a buffer is written only
//! after the word has ceased to name it. So who reads the same generation before and after has read that set; who reads it
//! while it changes twice may see words of two sets, and sees by the generation that he may. Each node alone is always as it
//! is in a set that counted during the call, or that was about to.

use crate::frame::NodeId;
use crate::mutant::{Mutant, planted};
use crate::policy::nodemask::{NodeMask, WORD_NODES, WORDS};
use crate::sync::{AtomicU64, Ordering, load_barrier};

const INDEX: u64 = 1;
const BUSY: u64 = 2;
const USED_SHIFT: u32 = 2;
const USED: u64 = 0x1f << USED_SHIFT;
const GENERATION_SHIFT: u32 = 7;

/// The word and its buffers.
pub(crate) struct Published {
    head: AtomicU64,
    buffers: [[AtomicU64; WORDS]; 2],
}

/// Somebody else is publishing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy;

impl Published {
    pub(crate) fn new(mask: &NodeMask) -> Self {
        let first = mask.words().map(AtomicU64::new);
        let second = core::array::from_fn(|_| AtomicU64::new(0));
        Self { head: AtomicU64::new((mask.used() as u64) << USED_SHIFT), buffers: [first, second] }
    }

    /// How often it has been published. Two equal readings with an acquire fence or load between: nothing was meanwhile.
    pub(crate) fn generation(&self) -> u64 {
        // Acquire: the set that it names; partner: the last step of `replace`.
        self.head.load(Ordering::Acquire) >> GENERATION_SHIFT
    }

    /// Whether the node is in the set that counts. Two loads.
    #[inline]
    pub(crate) fn has(&self, node: NodeId) -> bool {
        let head = self.head.load(Ordering::Acquire); // as in `generation`
        let at = usize::from(node.0) / WORD_NODES;
        self.word(head, at) >> (usize::from(node.0) % WORD_NODES) & 1 == 1
    }

    /// The set that counts, read word by word: all of one set if the generation is the same before and after.
    pub(crate) fn load(&self) -> NodeMask {
        let head = self.head.load(Ordering::Acquire); // as in `generation`
        let used = ((head & USED) >> USED_SHIFT) as usize;
        let mut words = [0; WORDS];
        words.iter_mut().enumerate().take(used).for_each(|(at, word)| *word = self.word(head, at));
        NodeMask::from_words(words)
    }

    #[inline]
    fn word(&self, head: u64, at: usize) -> u64 {
        if at as u64 >= (head & USED) >> USED_SHIFT {
            return 0;
        }
        // Acquire: a word of the next set but one comes with the generation that ended this one; partner: the stores of
        // `replace`, whose first step came after that generation.
        self.buffers[(head & INDEX) as usize].get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Puts another set in its place.
    ///
    /// # Errors
    /// [`Busy`] if somebody else does; nothing has changed then.
    pub(crate) fn publish(&self, mask: &NodeMask) -> Result<(), Busy> {
        self.replace(|_| *mask)
    }

    /// Puts what `next` makes of the set in its place; nobody else changes it meanwhile.
    ///
    /// # Errors
    /// As [`Published::publish`].
    pub(crate) fn replace(&self, next: impl FnOnce(&Self) -> NodeMask) -> Result<(), Busy> {
        // Acquire: the writer before has done with both buffers; partner: its last step. (No load before it: loom would not
        // see then that readers' loads race with it.)
        let head = self.head.fetch_or(BUSY, Ordering::Acquire);
        if head & BUSY != 0 {
            return Err(Busy);
        }
        let mask = next(self);
        let other = if planted(Mutant::MaskInPlace) { head & INDEX } else { head & INDEX ^ 1 };
        let used = mask.used();
        for (place, word) in self.buffers[other as usize].iter().zip(mask.words()).take(used) {
            place.store(*word, Ordering::Release); // Release: partner: the load in `word`
        }
        let generation = (head >> GENERATION_SHIFT) + u64::from(!planted(Mutant::GenerationKept));
        let next = generation << GENERATION_SHIFT | (used as u64) << USED_SHIFT | other;
        // Release: partner: every load of the word. A swap, for loom alone: it takes a store for older than what another one,
        // who was refused, wrote back before it.
        self.head.swap(next, Ordering::Release);
        Ok(())
    }
}

/// Looks until nothing has been published meanwhile, a few times; `None` if something was each time.
pub(crate) fn steadily<T>(generation: impl Fn() -> u64, look: impl Fn() -> T) -> Option<T> {
    /// Each one in vain is a step that a writer has completed.
    const TRIES: usize = 4;
    (0..TRIES).find_map(|_| {
        let before = generation();
        let seen = look();
        load_barrier(); // what was looked at stays before the second reading
        (generation() == before || planted(Mutant::MovesMixed)).then_some(seen)
    })
}
