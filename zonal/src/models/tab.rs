//! A tab, what a CPU has on the move by its own word, and the hint that leads to both.

use std::vec::Vec;

use crate::block::bitmap::Bitmap;
use crate::block::entry::{Claim, Entry, Raise};
use crate::cache::CpuCache;
use crate::cache::credit::Added;
use crate::cache::hand::Locked;
use crate::cache::tab::Noted;
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{GroupIndex, ZoneId};
use crate::hint::{HintTree, words_for};
use crate::models::desk::{Desk, Gone, Sequence};
use crate::models::explore::{bounded, exhaustively, race};
use crate::sync::{AtomicU64, Ordering, load_barrier};
use crate::topology::Kind;
use crate::zone::count::ZoneCount;

/// A CPU's cache, two blocks' counts, and the tree that hints its credit.
struct Shop {
    desk: Desk,
    cache: CpuCache,
    hints: HintTree<'static>,
    counts: [AtomicU64; 2],
}

impl Shop {
    /// With a credit that is hinted and empty, and a tab of block 0.
    fn new() -> Self {
        // A few words an execution are not given back: the tree may borrow them for ever.
        let words: Vec<AtomicU64> = (0..words_for(1)).map(|_| AtomicU64::new(0)).collect();
        let shop = Self {
            desk: Desk::new(),
            cache: CpuCache::new(0, 0, Some(0)),
            hints: HintTree::new(words.leak(), 1),
            counts: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        shop.hints.set(0);
        let Added::Unhinted(epoch) = shop.cache.credit.add(1, 8) else { panic!("nobody hinted it") };
        shop.cache.credit.note_hinted(epoch);
        assert!(shop.cache.credit.collect(1));
        shop.cache.tab.open(shop.hand(), 0);
        shop
    }

    fn hand(&self) -> Sequence<'_> {
        Sequence(&self.desk)
    }

    /// As the owner: frees a frame of a block whose bit is set.
    fn free(&self, block: u32) {
        match self.cache.note(self.hand(), block) {
            Noted::Hinted => {}
            Noted::Unhinted => {
                while self.cache.tab.frames() > 0 && !self.cache.credit.is_hinted() {
                    self.settle();
                }
            }
            Noted::No => self.count(1, block),
        }
    }

    fn count(&self, frames: u64, block: u32) {
        self.counts[block as usize].fetch_add(frames, Ordering::SeqCst);
    }

    fn settle(&self) {
        self.cache
            .tab
            .settle(self.cache.tab.frames())
            .into_iter()
            .for_each(|(frames, block)| self.count(frames, block));
    }

    /// As the owner: goes on to another block.
    fn turn_over(&self, block: u32) {
        self.settle();
        self.cache.tab.open(self.hand(), block);
    }

    /// Holds the CPU's words and gives the hint up if it leads to nothing.
    fn unhint(&self) {
        let held = self.desk.held();
        if self.cache.credit.is_hinted_empty() {
            self.hints.clear(0, || !self.cache.unhint_credit(&held));
        }
    }

    fn assert_hinted(&self) {
        let is_known = self.hints.is_set(0);
        assert!(self.cache.credited() == 0 || is_known, "frames without a hint");
    }

    fn assert_counted(&self, frames: [u64; 2]) {
        self.settle();
        assert_eq!(self.counts.each_ref().map(|count| count.load(Ordering::SeqCst)), frames);
    }
}

/// Each frame is counted once, in its own block, whoever settles.
#[test]
fn loom_tab_frames_are_counted_in_their_block() {
    bounded(3, || {
        let (shop, ..) = race(
            Shop::new(),
            |shop| {
                shop.free(0);
                shop.free(0);
                shop.turn_over(1);
                shop.free(1);
            },
            |shop| {
                shop.settle();
                shop.settle();
            },
        );
        shop.assert_counted([2, 1]);
    });
}

/// Two who settle at once do not count the same frames.
#[test]
fn loom_tab_frames_are_counted_once() {
    exhaustively(|| {
        let shop = Shop::new();
        shop.free(0);
        let (shop, ..) = race(
            shop,
            |shop| {
                shop.settle();
                shop.free(0);
            },
            Shop::settle,
        );
        shop.assert_counted([2, 0]);
    });
}

/// A free on the tab against who holds the CPU's words and gives the hint up.
#[test]
fn loom_tab_a_note_against_the_clear_of_its_hint() {
    bounded(3, || {
        let (shop, ..) = race(Shop::new(), |shop| shop.free(0), Shop::unhint);
        shop.assert_hinted();
        shop.free(0);
        shop.assert_hinted();
        shop.assert_counted([2, 0]);
    });
}

/// While a CPU has frames on the move by its own word, its credit is hinted.
#[test]
fn loom_tab_a_move_against_the_clear_of_its_hint() {
    bounded(3, || {
        let (_, ..) = race(
            Shop::new(),
            |shop| {
                if shop.cache.announce(shop.hand(), 1) {
                    assert!(!shop.hints.is_clear(), "on the move without a hint, or a clear of it");
                    shop.cache.moving.leave(shop.hand(), 1);
                }
                assert_eq!(shop.cache.moving.transit().frames(), 0);
            },
            Shop::unhint,
        );
    });
}

/// Who settles a tab finds the bits of its frames, and who claims what was settled takes them.
#[test]
fn loom_tab_a_claim_finds_the_bits_of_what_was_noted() {
    exhaustively(|| {
        let entry = Entry::new(ZoneId(0), Kind::Movable, 2);
        assert!(matches!(entry.claim(ZoneId(0), 2, 2, None), Claim::Got(..)));
        race(
            (Shop::new(), entry, Bitmap::new(|_| 0)),
            |(shop, _, bitmap)| {
                assert!(bitmap.row(0).put_exact(0, 1));
                let _ = shop.cache.note(shop.hand(), 0);
            },
            |(shop, entry, bitmap)| {
                if let Some((frames, _)) = shop.cache.tab.settle(1) {
                    assert!(matches!(entry.raise(frames), Raise::Done(_)));
                    assert!(matches!(entry.claim(ZoneId(0), 1, 1, None), Claim::Got(..)));
                    assert!(bitmap.row(0).take_exact(1), "a claim finds no frame");
                }
            },
        );
    });
}

/// Frames that the CPU moves from a row into a word are seen in one of them, or on the move.
#[test]
fn loom_tab_a_move_is_never_invisible() {
    exhaustively(|| {
        race(
            (Shop::new(), Bitmap::new(|row| u64::from(row == 0)), SlotWord::new(), ZoneCount::new(0)),
            |(shop, bitmap, word, count)| {
                let announced = shop.cache.moving.enter(shop.hand(), 1);
                if !announced {
                    count.enter(1);
                }
                assert!(bitmap.row(0).take_exact(1));
                assert!(word.exchange(Locked, Slot::EMPTY, Slot::new(GroupIndex(0), 1)));
                match announced {
                    true => shop.cache.moving.leave(shop.hand(), 1),
                    false => count.leave(1),
                }
            },
            |(shop, bitmap, word, count)| {
                let look = || count.transit().and(shop.cache.moving.transit());
                let before = look();
                let seen = bitmap.row(0).load() != 0 || word.load().mask() != 0;
                load_barrier();
                let after = look();
                assert!(seen || before.frames() > 0 || after != before, "a frame passed unseen");
            },
        );
    });
}

/// What a thread that has left the CPU had on the move there arrives all the same, whatever that CPU does meanwhile.
#[test]
fn loom_tab_a_move_ends_elsewhere() {
    exhaustively(|| {
        let shop = Shop::new();
        assert!(shop.cache.moving.enter(shop.hand(), 3));
        let (shop, ..) = race(
            shop,
            |shop| {
                assert!(shop.cache.moving.enter(shop.hand(), 5));
                assert!(shop.cache.moving.transit().frames() >= 5);
                shop.cache.moving.leave(shop.hand(), 5);
            },
            |shop| shop.cache.moving.leave(Gone, 3),
        );
        assert_eq!((shop.cache.moving.transit().frames(), shop.cache.moving.transit().moves()), (0, 2));
    });
}
