//! A word that its CPU owns, against others that hold it. A barrier waits for the call that a pinned owner is in.

mod hands;

use std::sync::Arc;

use loom::sync::{Mutex, MutexGuard};

use crate::block::entry::Entry;
use crate::block::row::Row;
use crate::cache::hand::{Hand, Locked};
use crate::cache::hold::{Barriers, Held, Hold};
use crate::cache::word::{Epoch, Put, Slot, SlotWord};
use crate::frame::{BLOCK_FRAMES, GroupIndex, Order, ZoneId};
use crate::models::explore::{Content, bounded, on_cpu, race};
use crate::mutant::{Mutant, planted};
use crate::sync::Ordering;
use crate::topology::Kind;
use hands::{Interrupt, Moved, Pinned, Sequence};

const GROUP: GroupIndex = GroupIndex(7);
const EPOCH: Epoch = Epoch(1);

/// The word, its CPU, the row behind it, and what is in the group's first frame.
struct Owned {
    word: SlotWord,
    hold: Hold,
    /// Barriers that the CPU has passed; locked while it is in a call that it does not leave.
    barriers: Mutex<u32>,
    row: Row,
    first: Content,
}

impl Owned {
    fn with(mask: u32) -> Self {
        let word = SlotWord::new();
        assert!(word.exchange(Locked, Slot::EMPTY, Slot::new(GROUP, mask)));
        let (hold, barriers) = (Hold::new(Some(0)), Mutex::new(0));
        Self { word, hold, barriers, row: Row::new(0), first: Content::new() }
    }

    /// The owner's hand, by sequences that only barriers restart.
    fn owner(&self) -> Sequence<'_> {
        Sequence { owned: self, interrupt: None }
    }

    fn passed(&self) -> MutexGuard<'_, u32> {
        self.barriers.lock().expect("nobody panics")
    }

    /// Has the CPU pass a barrier: it is in no call, and in no sequence that it goes on with.
    fn barrier(&self) -> bool {
        *self.passed() += 1;
        true
    }

    /// Holds the word from another CPU.
    fn held(&self) -> Held<'_> {
        self.hold.hold(Barriers::Allowed, || self.barrier()).expect("a barrier can be passed")
    }

    /// Takes a frame by this hand.
    fn take_by(&self, hand: impl Hand) -> u32 {
        self.word.take(hand, Order::ZERO).map_or(0, |(_, first)| 1 << first)
    }

    /// Takes a frame as the owner.
    fn take(&self) -> u32 {
        self.take_by(self.owner())
    }

    /// Takes a frame as a pinned owner, in a call.
    fn take_pinned(&self, interrupt: Option<&Interrupt<'_>>) -> u32 {
        let _call = self.passed();
        self.take_by(Pinned { owned: self, interrupt })
    }

    /// Empties the word from another CPU: what it held.
    fn drain(&self) -> u32 {
        let _held = self.held();
        self.word.empty().mask()
    }

    /// The same, beside one who is ready, if there is one.
    fn drain_beside(&self) -> u32 {
        let held = self.hold.hold(Barriers::Forbidden, || self.barrier());
        held.map_or(0, |_held| self.word.empty().mask())
    }
}

/// Each of these frames is in one of these hands, or still in the word.
fn shared_out(owned: &Owned, hands: &[u32], all: u32) {
    let left = owned.word.load().mask();
    let together = hands.iter().fold(left, |together, hand| together | hand);
    let frames: u32 = hands.iter().map(|hand| hand.count_ones()).sum();
    assert_eq!((together, frames + left.count_ones()), (all, all.count_ones()), "{hands:?} and {left:b}");
}

/// A drain takes all that the word holds but what its owner takes.
#[test]
fn loom_hold_a_drain_and_its_owner_share_no_frame() {
    bounded(3, || {
        let (owned, taken, drained) = race(Owned::with(0b11), Owned::take, Owned::drain);
        shared_out(&owned, &[taken, drained], 0b11);
        assert_eq!(owned.word.load().mask(), 0, "a drain empties the word");
    });
}

/// A free by the owner's hand, drained into the row by another and taken from there, carries what its owner wrote.
#[test]
fn loom_hold_a_drained_frame_carries_its_content() {
    bounded(3, || {
        let free = |owned: &Owned| {
            owned.first.touch();
            owned.word.put(owned.owner(), GROUP, 1)
        };
        let (owned, put, ()) = race(Owned::with(0b10), free, |owned| {
            owned.row.put(u64::from(owned.drain()));
            if owned.row.take_exact(1) {
                owned.first.touch();
            }
        });
        let kept = (owned.word.load().mask() & 1) + (owned.row.load() & 1) as u32;
        assert!(put != Put::AlreadyHere && kept <= 1);
    });
}

/// The owner takes what another has put into the word, without a lock once that is over, and sees what was written there.
#[test]
fn loom_hold_the_owner_sees_what_others_put() {
    bounded(3, || {
        race(
            Owned::with(0),
            |owned| {
                if owned.take() == 1 {
                    owned.first.touch();
                }
            },
            |owned| {
                let _held = owned.held();
                owned.first.touch();
                assert_eq!(owned.word.put(Locked, GROUP, 1), Put::Kept);
            },
        );
    });
}

/// Two from elsewhere, of whom one may find the other at it: whoever joins has a barrier behind him.
#[test]
fn loom_hold_who_joins_shares_no_frame_with_the_owner() {
    bounded(3, || {
        let (_, (taken, drained), stolen) = race(
            Arc::new(Owned::with(0b1)),
            |owned| {
                let theirs = Arc::clone(owned);
                let drainer = on_cpu(2, move || theirs.drain());
                (owned.take(), drainer.join().expect("the drainer ran"))
            },
            |owned| {
                let _held = owned.held();
                owned.word.take(Locked, Order::ZERO).map_or(0, |(_, first)| 1 << first)
            },
        );
        assert_eq!(taken + drained + stolen, 1, "the frame is in one hand");
    });
}

/// Whose barrier is refused changes nothing, and is no holder any more.
#[test]
fn loom_hold_who_is_refused_a_barrier_leaves_the_word_alone() {
    bounded(3, || {
        let refused = |owned: &Owned| {
            let held = owned.hold.hold(Barriers::Allowed, || false);
            held.map_or(0, |_held| owned.word.empty().mask())
        };
        let (owned, taken, drained) = race(Owned::with(0b111), |owned| owned.take() | owned.take(), refused);
        assert_eq!(drained, 0, "nothing was to be changed");
        shared_out(&owned, &[taken], 0b111);
        assert_eq!(owned.hold.word().load(Ordering::Relaxed), 0, "nobody holds the word");
    });
}

/// Words that are kept held can be drained without a barrier; who lets go of them does not for who is at work beside him.
#[test]
fn loom_hold_who_lets_go_does_so_for_nobody_else() {
    bounded(3, || {
        let owned = Owned::with(0b1);
        owned.held().keep();
        let (owned, (taken, ()), drained) = race(
            Arc::new(owned),
            |owned| {
                let theirs = Arc::clone(owned);
                let keeper = on_cpu(2, move || theirs.hold.release());
                (owned.take(), keeper.join().expect("the keeper ran"))
            },
            // In two steps, as who forgets a group does: the owner must not come in between without a lock.
            |owned| {
                let held = owned.hold.hold(Barriers::Forbidden, || false);
                held.and_then(|_held| owned.word.forget(Locked, GROUP)).map_or(0, Slot::mask)
            },
        );
        shared_out(&owned, &[taken, drained], 0b1);
        assert_eq!(owned.hold.word().load(Ordering::Relaxed), 0, "nobody holds the word");
    });
}

/// Whoever may have no barrier passed joins those who keep words held.
#[test]
fn loom_hold_kept_words_are_everybodys() {
    bounded(3, || {
        let owned = Owned::with(0b11);
        owned.held().keep();
        let (owned, taken, drained) = race(owned, Owned::take, Owned::drain_beside);
        shared_out(&owned, &[taken, drained], 0b11);
        assert_eq!(owned.word.load().mask(), 0, "no barrier was needed");
    });
}

/// A reopening holds nothing: it changes words that are closed, which owners do not.
#[test]
fn loom_hold_a_reopening_needs_no_holder() {
    bounded(3, || {
        let owned = Owned::with(0);
        let held = owned.held();
        assert_eq!(owned.word.close(EPOCH).mask(), 0);
        drop(held);
        let open = |owned: &Owned| owned.word.reopen(EPOCH);
        let (owned, (installed, taken), ()) = race(
            owned,
            |owned| {
                open(owned);
                let installed = owned.word.exchange(owned.owner(), Slot::EMPTY, Slot::new(GROUP, 0b11));
                (installed, owned.take())
            },
            open,
        );
        assert!(installed && taken == 0b1, "the word is open, and the owner's");
        shared_out(&owned, &[taken], 0b11);
    });
}

/// Has an owner put a frame of a block into its word, by a plain store, and look whether the block has been flagged; who flags it has the
/// owner's CPU pass a barrier then, and looks at the word. It is not the block's any more.
fn installs_against(flag: fn(&Entry)) {
    const OTHER: GroupIndex = GroupIndex(9);
    bounded(3, move || {
        let entry = Entry::with_free(ZoneId(0), Kind::Movable, BLOCK_FRAMES, 0);
        let ((_, owned), own, isolator) = race(
            (entry, Owned::with(0)),
            |(entry, owned)| {
                let (empty, full) = (Slot::new(GROUP, 0), Slot::new(OTHER, 1));
                let installed = owned.word.refill(owned.owner(), empty, full);
                if !installed || !entry.load().is_kept_out() {
                    return 0;
                }
                // As the owner; if it may not, as anybody, as [`crate::zone::Zone::expel_now`] does.
                owned.word.forget(owned.owner(), OTHER).map_or(0, Slot::mask)
            },
            move |(entry, owned)| {
                flag(entry);
                if planted(Mutant::LooksUnbarred) && !owned.word.load().is_of(OTHER) {
                    return 0;
                }
                let _held = owned.held();
                owned.word.forget(Locked, OTHER).map_or(0, Slot::mask)
            },
        );
        let left = owned.word.load();
        assert!(!left.is_of(OTHER), "what is freed next would be put there");
        assert!(own + isolator <= 1, "the frame lands once");
    });
}

#[test]
fn loom_hold_an_owner_installs_against_an_isolation() {
    installs_against(|entry| assert_eq!(entry.isolate(ZoneId(0), 0), Ok(())));
}

#[test]
fn loom_hold_an_owner_installs_against_poisoning() {
    installs_against(Entry::flag_poisoned);
}

/// An owner that is interrupted at any point of its tries, once or each time, by who takes on the same CPU, while another
/// drains: it begins anew, or goes past the word.
#[test]
fn loom_hold_an_interrupted_owner_begins_anew() {
    for (first, times) in [(0, 1), (1, 1), (2, 1), (0, 9)] {
        bounded(2, move || {
            let act = move |owned: &Owned| {
                let interrupt = Interrupt::new(owned, Owned::take, (first, times));
                let taken = owned.take_by(Sequence { owned, interrupt: Some(&interrupt) });
                (taken, interrupt.taken.get())
            };
            let (owned, (taken, theirs), drained) = race(Owned::with(0b1111), act, Owned::drain);
            shared_out(&owned, &[taken, theirs, drained], 0b1111);
            assert_eq!(owned.word.load().mask(), 0, "a drain empties the word");
        });
    }
}

/// Who was moved away in a sequence goes past the word: the next thread on the owner's CPU locks nothing.
#[test]
fn loom_hold_who_was_moved_goes_past_the_word() {
    bounded(3, || {
        let (owned, taken, stale) = race(Owned::with(0b1), Owned::take, |owned| owned.take_by(Moved));
        shared_out(&owned, &[taken, stale], 0b1);
        assert_eq!((taken, stale), (0b1, 0));
    });
}

/// A pinned owner's compare-exchange locks nothing: a drain waits for the call that it is in.
#[test]
fn loom_hold_a_drain_and_a_pinned_owner_share_no_frame() {
    bounded(3, || {
        let take = |owned: &Owned| owned.take_pinned(None) | owned.take_pinned(None);
        let (owned, taken, drained) = race(Owned::with(0b111), take, Owned::drain);
        shared_out(&owned, &[taken, drained], 0b111);
        assert_eq!(owned.word.load().mask(), 0, "a drain empties the word");
    });
}

/// An interrupt between any two instructions of a pinned owner, in the same call, while another drains.
#[test]
fn loom_hold_an_interrupted_pinned_owner_tries_again() {
    for first in 0..3 {
        bounded(2, move || {
            let act = move |owned: &Owned| {
                let handler = |owned: &Owned| owned.take_by(Pinned { owned, interrupt: None });
                let interrupt = Interrupt::new(owned, handler, (first, 1));
                let taken = owned.take_pinned(Some(&interrupt));
                (taken, interrupt.taken.get())
            };
            let (owned, (taken, theirs), drained) = race(Owned::with(0b111), act, Owned::drain);
            shared_out(&owned, &[taken, theirs, drained], 0b111);
            assert_eq!(owned.word.load().mask(), 0, "a drain empties the word");
        });
    }
}

/// Words that no CPU owns are changed from elsewhere without a barrier, so a pinned hand locks there.
#[test]
fn loom_hold_a_pinned_hand_locks_everybodys_words() {
    bounded(3, || {
        let everybodys = Owned { hold: Hold::new(None), ..Owned::with(0b11) };
        let take = |owned: &Owned| owned.take_pinned(None);
        let (owned, taken, drained) = race(everybodys, take, |owned| owned.word.empty().mask());
        shared_out(&owned, &[taken, drained], 0b11);
    });
}
