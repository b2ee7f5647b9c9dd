//! A hint tree of two levels: over 128 indices, of which 70 and 71 share a word that is not the first.

use std::vec::Vec;

use crate::hint::{HintTree, words_for};
use crate::models::explore::{bounded, exhaustively, race};
use crate::sync::{AtomicU64, Ordering};

const LEN: usize = 128;
const INDEX: usize = 70;
const BESIDE: usize = 71;

/// A tree and whether 70 and 71 are usable.
struct Hinted {
    tree: HintTree<'static>,
    usable: [AtomicU64; 2],
}

impl Hinted {
    fn new() -> Self {
        // A few words an execution are not given back: the tree may borrow them for ever.
        let words: Vec<AtomicU64> = (0..words_for(LEN)).map(|_| AtomicU64::new(0)).collect();
        Self { tree: HintTree::new(words.leak(), LEN), usable: [AtomicU64::new(0), AtomicU64::new(0)] }
    }

    fn is_usable(&self, index: usize) -> bool {
        self.usable[index - INDEX].load(Ordering::SeqCst) == 1
    }

    /// Makes an index usable and hints it.
    fn offer(&self, index: usize) {
        self.usable[index - INDEX].swap(1, Ordering::SeqCst);
        self.tree.set(index);
    }

    /// Clears an index that is not usable, as a searcher does.
    fn clear(&self, index: usize) {
        if !self.is_usable(index) {
            self.tree.clear(index, || self.is_usable(index));
        }
    }

    /// Clears both if they are not usable, as a searcher does that leaves their word.
    fn sweep(&self) {
        self.tree.sweep(INDEX, |index| self.is_usable(index));
    }

    /// Every usable index is found; no clear is in progress.
    fn assert_settled(&self) {
        for index in [INDEX, BESIDE] {
            assert!(!self.is_usable(index) || self.tree.is_set(index), "the hint of {index} is lost");
        }
        let first = [INDEX, BESIDE].into_iter().find(|&index| self.is_usable(index));
        let found = self.tree.search(0);
        assert!(found <= first || first.is_none());
        assert!(self.tree.settled(self.tree.stamp()));
    }
}

/// A clear that meets the setter of the same index; the bit and its parent are there afterwards.
#[test]
fn loom_hint_clear_against_set_of_the_same_index() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.tree.set(INDEX);
        let (hinted, ..) = race(hinted, |hinted| hinted.offer(INDEX), |hinted| hinted.clear(INDEX));
        hinted.assert_settled();
    });
}

/// A clear that empties the word meets a setter beside it: the parent's bit survives.
#[test]
fn loom_hint_clear_of_the_last_bit_against_set_beside_it() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.tree.set(BESIDE);
        let (hinted, ..) = race(hinted, |hinted| hinted.offer(INDEX), |hinted| hinted.clear(BESIDE));
        hinted.assert_settled();
    });
}

/// A sweep of two stale bits, which empties their word, meets the setter of one of them.
#[test]
fn loom_hint_a_sweep_against_set_of_an_index_of_it() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.tree.set(INDEX);
        hinted.tree.set(BESIDE);
        let (hinted, ..) = race(hinted, |hinted| hinted.offer(BESIDE), Hinted::sweep);
        hinted.assert_settled();
        assert!(!hinted.tree.is_set(INDEX), "it was stale, and nobody made it usable");
    });
}

/// A sweep that empties the word meets a setter beside it: the parent's bit survives.
#[test]
fn loom_hint_a_sweep_of_the_last_bit_against_set_beside_it() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.tree.set(BESIDE);
        let (hinted, ..) = race(hinted, |hinted| hinted.offer(INDEX), Hinted::sweep);
        hinted.assert_settled();
    });
}

/// Two sweeps of the same word, between which an index of it is offered.
#[test]
fn loom_hint_sweeps_meet() {
    bounded(2, || {
        let hinted = Hinted::new();
        hinted.tree.set(INDEX);
        hinted.tree.set(BESIDE);
        let (hinted, ..) = race(hinted, Hinted::sweep, |hinted| {
            hinted.sweep();
            hinted.offer(INDEX);
        });
        hinted.assert_settled();
    });
}

/// A search that meets a sweep of what is usable by then finds it, or is told not to trust what it found.
#[test]
fn loom_hint_a_search_settled_beside_a_sweep_missed_nothing() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.tree.set(INDEX);
        let (hinted, ..) = race(
            hinted,
            |hinted| {
                hinted.offer(INDEX);
                let stamp = hinted.tree.stamp();
                let found = hinted.tree.search(0);
                assert!(
                    found.is_some() || !hinted.tree.settled(stamp),
                    "an empty search was wrong and trusted"
                );
            },
            Hinted::sweep,
        );
        hinted.assert_settled();
    });
}

/// When a setter returns, its index can be found from the root, though another setter is between the two levels.
#[test]
fn loom_hint_a_setter_returns_when_the_parent_is_set() {
    exhaustively(|| {
        let offer = |hinted: &Hinted| {
            hinted.offer(INDEX);
            assert!(hinted.tree.is_set(INDEX), "the setter returned before its index could be found");
        };
        let (hinted, ..) = race(Hinted::new(), offer, offer);
        hinted.assert_settled();
    });
}

/// A search that meets a clear of a usable index finds it, or is told not to trust what it found.
#[test]
fn loom_hint_a_settled_search_missed_nothing() {
    bounded(3, || {
        let hinted = Hinted::new();
        hinted.offer(INDEX);
        let (hinted, ..) = race(
            hinted,
            |hinted| {
                let stamp = hinted.tree.stamp();
                let found = hinted.tree.search(0);
                assert!(
                    found.is_some() || !hinted.tree.settled(stamp),
                    "an empty search was wrong and trusted"
                );
            },
            // It saw the index unusable, before.
            |hinted| hinted.tree.clear(INDEX, || hinted.is_usable(INDEX)),
        );
        hinted.assert_settled();
    });
}

/// Two clears, one of which finds its index usable again.
#[test]
fn loom_hint_clears_meet_at_the_parent() {
    bounded(2, || {
        let hinted = Hinted::new();
        hinted.tree.set(INDEX);
        hinted.tree.set(BESIDE);
        let (hinted, ..) = race(
            hinted,
            |hinted| hinted.clear(BESIDE),
            |hinted| {
                hinted.clear(INDEX);
                hinted.offer(INDEX);
            },
        );
        hinted.assert_settled();
    });
}

/// The same in a tree of one level, where a search has no parent to tell it that a bit was cleared for a moment.
#[test]
fn loom_hint_a_settled_search_of_one_level_missed_nothing() {
    exhaustively(|| {
        let words: Vec<AtomicU64> = (0..words_for(1)).map(|_| AtomicU64::new(0)).collect();
        let tree = HintTree::new(words.leak(), 1);
        tree.set(0);
        race(
            tree,
            |tree| {
                let stamp = tree.stamp();
                let found = tree.search(0);
                assert!(found.is_some() || !tree.settled(stamp), "an empty search was wrong and trusted");
            },
            // It saw the index unusable, before.
            |tree| tree.clear(0, || true),
        );
    });
}
