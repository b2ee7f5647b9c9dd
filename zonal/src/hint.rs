//! Hint trees: 64-ary trees of "maybe" bits that find a usable index in a few bit scans, whatever the number.
//!
//! | word | meaning | set by | cleared by |
//! |---|---|---|---|
//! | level 0, bit `i` | index `i` may be usable | [`HintTree::set`] after the index became usable | [`HintTree::clear`] by a searcher that saw it is not |
//! | level `n`, bit `i` | word `i` of level `n - 1` may have a bit | `set`, after the bit below | `clear`, after it saw that word empty |
//! | guard, bits 0..=31 | clears in progress | `clear` | `clear` |
//! | guard, bits 32..=63 | clears completed (wraps) | `clear` | never |
//!
//! A set bit promises nothing. Invariant at quiescence: every usable index has its bit, and each non-empty word its
//! parent's. In motion: `usable(i)` implies its bits are set, or the operation that made it usable has not
//! returned, or a clear is in progress. So a search that finds nothing between two equal readings of the guard with
//! no clear in progress has seen that nothing was usable ([`HintTree::settled`]); nobody is waited for: a caller that
//! reads otherwise scans what the hints stand for.
//!
//! Store-then-load pairs, all SeqCst: a setter makes the index usable, then loads the bit; a clearer clears the bit,
//! then looks at the index again. One of the two sees the other. The same holds a level up.

use crate::mutant::{Mutant, planted};
use crate::sync::{AtomicU64, Ordering, store_load_barrier};

/// Levels enough for 2^31 indices.
const MAX_LEVELS: usize = 6;
const FAN: usize = 64;
const CLEARING: u64 = 1;
const CLEARED: u64 = 1 << 32;

/// Words needed for the levels of a tree over `len` indices.
pub(crate) const fn words_for(len: usize) -> usize {
    let mut total = 0;
    let mut words = len.div_ceil(FAN);
    loop {
        total += words;
        if words <= 1 {
            return total;
        }
        words = words.div_ceil(FAN);
    }
}

/// A reading of the guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(u64);

/// A tree over indices `0..len`.
pub(crate) struct HintTree<'m> {
    /// The words of each level, level 0 first; unused ones are empty.
    words: [&'m [AtomicU64]; MAX_LEVELS],
    levels: usize,
    /// The one word of the top level.
    root: Option<&'m AtomicU64>,
    len: usize,
    guard: AtomicU64,
}

impl<'m> HintTree<'m> {
    /// A tree over `len` indices in [`words_for`]`(len)` words, all clear.
    pub(crate) fn new(mut words: &'m [AtomicU64], len: usize) -> Self {
        let mut tree =
            Self { words: [&[]; MAX_LEVELS], levels: 0, root: None, len, guard: AtomicU64::new(0) };
        let mut count = len.div_ceil(FAN);
        for level in &mut tree.words {
            (*level, words) = words.split_at(count.min(words.len()));
            tree.levels += 1;
            tree.root = level.first();
            if count <= 1 {
                break;
            }
            count = count.div_ceil(FAN);
        }
        tree
    }

    #[inline]
    fn word(&self, level: usize, index: usize) -> Option<&'m AtomicU64> {
        self.words.get(level)?.get(index)
    }

    /// Marks `index` usable. Loads one word a level; writes only where a bit is clear.
    #[inline(always)]
    pub(crate) fn set(&self, index: usize) {
        if planted(Mutant::ParentNotLoaded) || !self.is_set(index) {
            self.set_from(0, index);
        }
    }

    /// Marks `first + i` for each bit `i` that is set; all of them lie in one word.
    pub(crate) fn set_all(&self, first: usize, bits: u64) {
        if let Some(word) = self.word(0, first / FAN).filter(|_| bits != 0) {
            word.fetch_or(bits << (first % FAN), Ordering::SeqCst);
            self.set_from(1, first / FAN);
        }
    }

    #[inline(never)]
    fn set_from(&self, level: usize, mut index: usize) {
        for words in self.words.get(level..self.levels).unwrap_or(&[]) {
            let Some(word) = words.get(index / FAN) else { return };
            let bit = 1 << (index % FAN);
            store_load_barrier();
            // SeqCst load after the SeqCst step that made `index` usable; partner: the re-read in `clear_from`.
            if word.load(Ordering::SeqCst) & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            } else if planted(Mutant::ParentNotLoaded) {
                return;
            }
            index /= FAN;
        }
    }

    /// Clears the bit of an index that a searcher found unusable, and sets it again if `usable` says otherwise then.
    pub(crate) fn clear(&self, index: usize, usable: impl Fn() -> bool) {
        // SeqCst: the guard's readers compare it around their search; partner: `stamp`, `settled`.
        self.guard.fetch_add(CLEARING, Ordering::SeqCst);
        self.clear_from(0, index, usable);
        self.guard.fetch_add(CLEARED.wrapping_sub(CLEARING), Ordering::SeqCst);
    }

    fn clear_from(&self, level: usize, index: usize, usable: impl Fn() -> bool) {
        let Some(word) = self.word(level, index / FAN) else { return };
        let bit = 1 << (index % FAN);
        let before = word.fetch_and(!bit, Ordering::SeqCst);
        store_load_barrier();
        // Look again after the clear; partner: the setter's load of this word in `set_from`.
        if !planted(Mutant::HintNoReread) && usable() {
            self.set_from(level, index);
        } else if before & !bit == 0 && level + 1 < self.levels {
            self.clear_parents(level + 1, index / FAN);
        }
    }

    /// Clears the bits of all indices in `index`'s word that are not usable, as [`HintTree::clear`] would one by one: a look at
    /// each that is set, and one clear for all of them.
    #[inline(never)]
    pub(crate) fn sweep(&self, index: usize, usable: impl Fn(usize) -> bool) {
        let (first, Some(word)) = (index / FAN * FAN, self.word(0, index / FAN)) else { return };
        let among = |mut bits: u64, wanted: bool| {
            let mut found = 0;
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                found |= if usable(first + bit.trailing_zeros() as usize) == wanted { bit } else { 0 };
                bits ^= bit;
            }
            found
        };
        let stale = among(word.load(Ordering::Relaxed), false); // Relaxed: who finds too few clears fewer
        if stale == 0 {
            return;
        }
        // SeqCst, all: as in `clear` and `clear_from`.
        self.guard.fetch_add(CLEARING, Ordering::SeqCst);
        let before = word.fetch_and(!stale, Ordering::SeqCst);
        store_load_barrier();
        let again = if planted(Mutant::SweepNoReread) { 0 } else { among(stale, true) };
        if again != 0 {
            self.set_all(first, again);
        } else if before & !stale == 0 && self.levels > 1 {
            self.clear_parents(1, index / FAN);
        }
        self.guard.fetch_add(CLEARED.wrapping_sub(CLEARING), Ordering::SeqCst);
    }

    /// Clears the bits above word `index` of the level below `level`, as far as words are empty.
    fn clear_parents(&self, mut level: usize, mut index: usize) {
        while level < self.levels {
            let (Some(word), Some(below)) = (self.word(level, index / FAN), self.word(level - 1, index))
            else {
                return;
            };
            let bit = 1 << (index % FAN);
            let before = word.fetch_and(!bit, Ordering::SeqCst);
            store_load_barrier();
            if below.load(Ordering::SeqCst) != 0 {
                return self.set_from(level, index);
            }
            if before & !bit != 0 {
                return;
            }
            index /= FAN;
            level += 1;
        }
    }

    /// The first set index at or after `from`, else the first one at all.
    #[inline]
    pub(crate) fn search(&self, from: usize) -> Option<usize> {
        let from = if from < self.len { from } else { 0 };
        self.next(from).or_else(|| if from > 0 { self.next(0) } else { None })
    }

    /// The first set index at or after `from`.
    #[inline]
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let (mut level, mut index) = (0, from);
        while level < self.levels {
            // SeqCst: a search between two readings of the guard stands between them in the total order.
            let bits = self.word(level, index / FAN)?.load(Ordering::SeqCst) & (u64::MAX << (index % FAN));
            if bits == 0 {
                index = index / FAN + 1;
                level += 1;
                continue;
            }
            index = index / FAN * FAN + bits.trailing_zeros() as usize;
            if level == 0 {
                return Some(index);
            }
            let below = self.word(level - 1, index)?.load(Ordering::SeqCst);
            if below == 0 {
                // A parent whose child emptied: repair it as a clear would, then go on behind it.
                self.guard.fetch_add(CLEARING, Ordering::SeqCst);
                self.clear_parents(level, index);
                self.guard.fetch_add(CLEARED.wrapping_sub(CLEARING), Ordering::SeqCst);
                index += 1;
                continue;
            }
            // Down one level, to that word's first bit.
            level -= 1;
            index = index * FAN + below.trailing_zeros() as usize;
        }
        None
    }

    /// Whether no index is usable, by a look at the top alone: no bit is there, and no clear was in progress. An index
    /// made usable by an operation that has not returned may be missed.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.is_clear_since(self.stamp())
    }

    /// The same, and no clear was in progress at any time since `stamp`: nothing was usable and is not any more.
    #[inline(always)]
    pub(crate) fn is_clear_since(&self, stamp: Stamp) -> bool {
        // SeqCst: as in `next`.
        self.root.is_none_or(|root| root.load(Ordering::SeqCst) == 0) && self.settled(stamp)
    }

    /// The same as far as one look tells: bits that a clear in progress hides may be missed.
    #[inline(always)]
    pub(crate) fn seems_clear(&self) -> bool {
        self.root.is_none_or(|root| root.load(Ordering::Relaxed) == 0) // Relaxed: who asks looks again
    }

    /// The guard before a search.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(self.guard.load(Ordering::SeqCst))
    }

    /// Whether no clear was in progress at any time since `stamp`: a search that found nothing meanwhile was right.
    #[inline]
    pub(crate) fn settled(&self, stamp: Stamp) -> bool {
        stamp.0 as u32 == 0 && self.guard.load(Ordering::SeqCst) == stamp.0
    }

    /// Whether the bit of `index` and those above it are set.
    #[inline(always)]
    pub(crate) fn is_set(&self, mut index: usize) -> bool {
        // Levels above the top have no words: there the look ends.
        for words in &self.words {
            let Some(word) = words.get(index / FAN) else { return true };
            store_load_barrier();
            // SeqCst: as in `set_from`.
            if word.load(Ordering::SeqCst) >> (index % FAN) & 1 == 0 {
                return false;
            }
            index /= FAN;
        }
        true
    }

    /// The first set index at or after `from` in `from`'s own word: one load, and no repair of what it skips.
    #[inline]
    pub(crate) fn peek(&self, from: usize) -> Option<usize> {
        let bits = self.words[0].get(from / FAN)?.load(Ordering::SeqCst) & (u64::MAX << (from % FAN));
        if bits == 0 { None } else { Some(from / FAN * FAN + bits.trailing_zeros() as usize) }
    }

    /// The same behind `index`.
    #[inline]
    pub(crate) fn peek_behind(&self, index: usize) -> Option<usize> {
        if (index + 1).is_multiple_of(FAN) { None } else { self.peek(index + 1) }
    }
}
