//! A word that its CPU owns, against others that hold it. What the kernel does is modelled: a sequence is restarted by every
//! barrier on its CPU that comes before its store.

use std::sync::Arc;

use loom::sync::Mutex;

use crate::block::row::Row;
use crate::cache::hand::{Hand, Locked, Unchanged};
use crate::cache::hold::{Barriers, Held, Hold};
use crate::cache::word::{Put, Slot, SlotWord};
use crate::frame::{GroupIndex, Order};
use crate::models::explore::{Content, bounded, on_cpu, race};
use crate::sync::{AtomicU64, Ordering};

const GROUP: GroupIndex = GroupIndex(7);

/// The word, its CPU, the row behind it, and what is in the group's first frame.
struct Owned {
    word: SlotWord,
    hold: Hold,
    /// Barriers that the CPU has passed.
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

    fn owner(&self) -> Sequence<'_> {
        Sequence { hold: &self.hold, barriers: &self.barriers }
    }

    /// Holds the word from another CPU.
    fn held(&self) -> Held<'_> {
        let barrier = || {
            *self.barriers.lock().expect("nobody panics") += 1;
            true
        };
        self.hold.hold(Barriers::Allowed, barrier).expect("a barrier can be passed")
    }

    /// Takes a frame as the owner.
    fn take(&self) -> u32 {
        self.word.take(self.owner(), Order::ZERO).map_or(0, |(_, first)| 1 << first)
    }

    /// Empties the word from another CPU: what it held.
    fn drain(&self) -> u32 {
        let _held = self.held();
        self.word.empty().mask()
    }
}

/// The owner's hand.
#[derive(Clone, Copy)]
struct Sequence<'c> {
    hold: &'c Hold,
    barriers: &'c Mutex<u32>,
}

impl Sequence<'_> {
    fn barriers(&self) -> u32 {
        *self.barriers.lock().expect("nobody panics")
    }

    /// The last instruction, unless a barrier has been passed since the first.
    fn commit<T>(&self, begun: u32, act: impl FnOnce() -> T) -> Option<T> {
        let passed = self.barriers.lock().expect("nobody panics");
        (*passed == begun).then(act)
    }
}

impl Hand for Sequence<'_> {
    fn change(self, word: &AtomicU64, from: u64, to: u64, success: Ordering) -> Result<(), Unchanged> {
        for _ in 0..2 {
            let begun = self.barriers();
            if self.hold.word().load(Ordering::Acquire) != 0 {
                match self.commit(begun, || Locked.change(word, from, to, success)) {
                    Some(changed) => return changed,
                    None => continue,
                }
            }
            let now = word.load(Ordering::Acquire);
            if now != from {
                return Err(Unchanged::Is(now));
            }
            if self.commit(begun, || word.store(to, Ordering::Release)).is_some() {
                return Ok(());
            }
        }
        Err(Unchanged::NotNow)
    }

    fn exchange(self, word: &AtomicU64, from: u64, to: u64) -> bool {
        self.commit(self.barriers(), || Locked.exchange(word, from, to)) == Some(true)
    }
}

/// A drain takes all that the word holds but what its owner takes.
#[test]
fn loom_hold_a_drain_and_its_owner_share_no_frame() {
    bounded(3, || {
        let (owned, taken, drained) = race(Owned::with(0b11), Owned::take, Owned::drain);
        assert_eq!((taken & drained, taken | drained | owned.word.load().mask()), (0, 0b11));
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
