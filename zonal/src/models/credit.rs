//! A credit, its hint, and whoever collects it.

use std::sync::Arc;
use std::vec::Vec;

use crate::block::entry::{Claim, Entry, Raise};
use crate::cache::credit::{Added, Credit};
use crate::cache::hand::Locked;
use crate::cache::hold::Held;
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{GroupIndex, ZoneId};
use crate::hint::{HintTree, words_for};
use crate::models::desk::{Desk, Sequence};
use crate::models::explore::{bounded, exhaustively, on_cpu, race};
use crate::sync::{AtomicU64, Ordering, load_barrier};
use crate::topology::Kind;
use crate::zone::count::ZoneCount;

const MOST: u64 = 8;

/// A credit, the tree that hints it, and the zone's count.
struct Bank {
    credit: Credit,
    hints: HintTree<'static>,
    count: AtomicU64,
}

impl Bank {
    fn new() -> Self {
        // A few words an execution are not given back: the tree may borrow them for ever.
        let words: Vec<AtomicU64> = (0..words_for(1)).map(|_| AtomicU64::new(0)).collect();
        Self { credit: Credit::new(), hints: HintTree::new(words.leak(), 1), count: AtomicU64::new(0) }
    }

    /// A bank whose credit was used and collected before: hinted, without frames.
    fn used() -> Self {
        let bank = Self::new();
        bank.add(1);
        bank.collect();
        bank
    }

    fn add(&self, frames: u64) {
        match self.credit.add(frames, MOST) {
            Added::Hinted => {}
            Added::Unhinted(epoch) => {
                self.hints.set(0);
                self.credit.note_hinted(epoch);
            }
            Added::Full => {
                self.count.fetch_add(frames, Ordering::SeqCst);
            }
        }
    }

    fn collect(&self) -> u64 {
        let frames = self.credit.frames();
        let collected = if frames > 0 && self.credit.collect(frames) { frames } else { 0 };
        self.count.fetch_add(collected, Ordering::SeqCst);
        collected
    }

    /// As a request about to fail: collects what the hint leads to, and clears the hint where it leads to nothing.
    fn look(&self) -> u64 {
        let collected = if self.hints.next(0).is_some() { self.collect() } else { 0 };
        if collected == 0 && self.credit.is_hinted_empty() {
            self.hints.clear(0, || !self.credit.unhint(&Held::EVERYBODYS));
        }
        collected
    }

    /// Nothing is lost, and what is there is hinted.
    fn assert_whole(&self, frames: u64) {
        assert_eq!(self.credit.frames() + self.count.load(Ordering::SeqCst), frames);
        self.assert_hinted();
        // The next free relies on what the word says of the hint.
        self.add(1);
        self.assert_hinted();
    }

    fn assert_hinted(&self) {
        assert!(self.credit.frames() == 0 || self.hints.is_set(0), "frames without a hint");
    }
}

/// Frames are spent once, by the owner or by whoever collects.
#[test]
fn loom_credit_adds_up() {
    exhaustively(|| {
        let bank = Bank::new();
        bank.add(3);
        let (bank, spent, _) = race(
            bank,
            |bank| {
                bank.add(1);
                if bank.credit.spend(2) { 2 } else { 0 }
            },
            Bank::collect,
        );
        bank.assert_whole(4 - spent);
    });
}

/// No more is held than allowed, whoever adds.
#[test]
fn loom_credit_holds_no_more_than_allowed() {
    exhaustively(|| {
        let (bank, ..) = race(Bank::new(), |bank| bank.add(5), |bank| bank.add(5));
        assert!(bank.credit.frames() <= MOST);
        bank.assert_whole(10);
    });
}

/// A free into an empty credit against a search that gives up its hint. At most 3 preemptions.
#[test]
fn loom_credit_an_add_against_the_clear_of_its_hint() {
    bounded(3, || {
        let (bank, ..) = race(Bank::used(), |bank| bank.add(1), Bank::look);
        bank.assert_whole(2);
    });
}

/// A search that finds no hint, with no clear in progress, is right about what was freed before it.
#[test]
fn loom_credit_a_settled_search_missed_nothing() {
    bounded(3, || {
        let (bank, ..) = race(
            Bank::used(),
            |bank| {
                bank.add(1);
                let stamp = bank.hints.stamp();
                let found = bank.hints.next(0).is_some();
                assert!(
                    found || bank.credit.frames() == 0 || !bank.hints.settled(stamp),
                    "a free that returned is hidden"
                );
            },
            Bank::look,
        );
        bank.assert_whole(2);
    });
}

/// One sets the hint and sleeps; another does all of it, it is collected, and the hint is given up: the sleeper must not
/// say then that it is set. At most 3 preemptions.
#[test]
fn loom_credit_a_late_note_is_not_believed() {
    bounded(3, || {
        let (bank, ..) = race(
            Bank::new(),
            |bank| bank.add(1),
            |bank| {
                bank.add(1);
                bank.look();
                bank.look();
            },
        );
        bank.assert_whole(2);
    });
}

/// A bank whose CPU owns its words: it adds by restartable sequences, which barriers restart.
struct OwnBank {
    bank: Bank,
    desk: Desk,
}

impl OwnBank {
    /// Used before, and by its owner: hinted, without frames.
    fn used() -> Self {
        let own = Self { bank: Bank::used(), desk: Desk::new() };
        own.add(1);
        own.bank.collect();
        own
    }

    /// As the owner: past the sequence as anybody does.
    fn add(&self, frames: u64) {
        match self.bank.credit.add_own(Sequence(&self.desk), frames, MOST) {
            Some(Added::Hinted) => {}
            Some(Added::Unhinted(epoch)) => {
                self.bank.hints.set(0);
                self.bank.credit.note_hinted(epoch);
            }
            Some(Added::Full) | None => self.bank.add(frames),
        }
    }

    /// Holds the CPU's words and gives the hint up if it leads to nothing.
    fn unhint(&self) {
        let held = self.desk.held();
        if self.bank.credit.is_hinted_empty() {
            self.bank.hints.clear(0, || !self.bank.credit.unhint(&held));
        }
    }
}

/// An owner's free into an empty credit against who holds its words and gives up its hint.
#[test]
fn loom_credit_an_owners_add_against_the_clear_of_its_hint() {
    bounded(3, || {
        let (own, ..) = race(OwnBank::used(), |own| own.add(1), OwnBank::unhint);
        own.bank.assert_hinted();
        own.add(1);
        own.bank.assert_hinted();
        assert_eq!(own.bank.credit.frames() + own.bank.count.load(Ordering::SeqCst), 4);
    });
}

/// What an owner adds is taken once, by whoever takes it.
#[test]
fn loom_credit_an_owners_frames_add_up() {
    exhaustively(|| {
        let own = OwnBank::used();
        own.add(2);
        let (own, spent, taken) = race(
            own,
            |own| {
                own.add(1);
                if own.bank.credit.spend(2) { 2 } else { 0 }
            },
            |own| own.bank.collect() + if own.bank.credit.spend(1) { 1 } else { 0 },
        );
        let (left, counted) = (own.bank.credit.frames(), own.bank.count.load(Ordering::SeqCst));
        let collected = counted - 2; // before the race
        assert_eq!(left + collected + spent + (taken - collected), 3, "{left} {spent} {taken}");
    });
}

/// Who sees that everything was taken has seen what its owner had added for it.
#[test]
fn loom_credit_nobody_spends_what_another_took() {
    exhaustively(|| {
        let own = OwnBank::used();
        own.add(2);
        let (own, spent, other) = race(
            own,
            |own| {
                own.add(1);
                if own.bank.credit.spend(3) { 3 } else { 0 }
            },
            |own| if own.bank.credit.spend(1) { 1 } else { 0 },
        );
        let left = own.bank.credit.frames();
        assert_eq!(left + spent + other, 3, "left {left}, spent {spent} and {other}");
    });
}

/// Who spends what an owner added finds the frames in the block whose free that was.
#[test]
fn loom_credit_a_claim_finds_the_block_that_an_owner_raised() {
    exhaustively(|| {
        let funded = Funded::new();
        race(
            (OwnBank::used(), funded),
            |(own, funded)| {
                assert!(matches!(funded.entry.raise(1), Raise::Done(_)));
                own.add(1);
            },
            |(own, funded)| {
                if own.bank.credit.spend(1) {
                    funded.assert_found();
                }
            },
        );
    });
}

/// A credit, the block whose frees are in it, and the zone's count.
struct Funded {
    credit: Credit,
    entry: Entry,
    count: ZoneCount,
}

impl Funded {
    /// A block of two frames, both allocated.
    fn new() -> Self {
        let entry = Entry::new(ZoneId(0), Kind::Movable, 2);
        assert!(matches!(entry.claim(ZoneId(0), 2, 2, None), Claim::Got(..)));
        Self { credit: Credit::new(), entry, count: ZoneCount::new(0) }
    }

    fn free(&self) {
        assert!(matches!(self.entry.raise(1), Raise::Done(_)));
        let _ = self.credit.add(1, MOST);
    }

    fn assert_found(&self) {
        let found = self.entry.claim(ZoneId(0), 1, 1, None) != Claim::Refused;
        assert!(found, "a claim on the credit finds no frame");
    }
}

/// Who spends a credit finds the frames in the block whose free filled it.
#[test]
fn loom_credit_a_claim_finds_the_block_that_was_raised() {
    exhaustively(|| {
        race(Funded::new(), Funded::free, |funded| {
            if funded.credit.spend(1) {
                funded.assert_found();
            }
        });
    });
}

/// So does who claims on the count what another collected.
#[test]
fn loom_credit_a_collected_claim_finds_the_block_that_was_raised() {
    exhaustively(|| {
        let funded = Arc::new(Funded::new());
        let (freeing, collecting) = (Arc::clone(&funded), Arc::clone(&funded));
        let freer = on_cpu(1, move || freeing.free());
        let collector = on_cpu(2, move || {
            let frames = collecting.credit.frames();
            if frames > 0 && collecting.credit.collect(frames) {
                collecting.count.raise(frames);
            }
        });
        if funded.count.claim(1, 1, 0).is_ok() {
            funded.assert_found();
        }
        freer.join().expect("it ran");
        collector.join().expect("it ran");
    });
}

/// Frames on their way from a credit into a word are seen in one of them, or in the transit word.
#[test]
fn loom_credit_a_claim_is_never_invisible() {
    exhaustively(|| {
        let funded = Funded::new();
        funded.free();
        race(
            (funded, SlotWord::new()),
            |(funded, word)| {
                let before = funded.count.transit();
                let seen = funded.credit.frames() > 0 || word.load().mask() != 0;
                load_barrier();
                let after = funded.count.transit();
                let still = before.frames() == 0 && after == before;
                assert!(seen || !still, "a frame passed unseen");
            },
            |(funded, word)| {
                funded.count.enter(1);
                if funded.credit.spend(1) {
                    assert!(word.exchange(Locked, Slot::EMPTY, Slot::new(GroupIndex(0), 1)));
                }
                funded.count.leave(1);
            },
        );
    });
}
