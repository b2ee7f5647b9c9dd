//! A zone's count and its transit word.

use crate::block::entry::{Claim, Entry, Raise};
use crate::block::row::Row;
use crate::cache::hand::Locked;
use crate::cache::word::{Slot, SlotWord};
use crate::frame::{GroupIndex, Order, ZoneId};
use crate::models::explore::{exhaustively, race};
use crate::sync::load_barrier;
use crate::topology::Kind;
use crate::zone::count::ZoneCount;

const GROUP: GroupIndex = GroupIndex(0);

#[test]
fn loom_count_claims_keep_the_floor() {
    exhaustively(|| {
        let claim = |count: &ZoneCount| count.claim(3, 1, 2).unwrap_or(0);
        let (count, a, b) = race(ZoneCount::new(6), claim, claim);
        assert_eq!(count.free(), 6 - a - b);
        assert!(count.free() >= 2);
        assert!(a > 0 && b > 0, "both could be served");
    });
}

#[test]
fn loom_count_claims_and_raises_add_up() {
    exhaustively(|| {
        let (count, _, claimed) =
            race(ZoneCount::new(1), |count| count.raise(2), |count| count.claim(2, 2, 0).unwrap_or(0));
        assert_eq!(count.free(), 3 - claimed);
    });
}

#[test]
fn loom_count_transit_adds_up() {
    exhaustively(|| {
        let go = |count: &ZoneCount| {
            count.enter(32);
            assert!(count.transit().frames() >= 32);
            count.leave(32);
        };
        let (count, ..) = race(ZoneCount::new(0), go, go);
        assert_eq!((count.transit().frames(), count.transit().moves()), (0, 2));
    });
}

/// A zone's words around one frame.
struct Moving {
    count: ZoneCount,
    word: SlotWord,
    row: Row,
}

impl Moving {
    fn new(count: u64, row: u64) -> Self {
        Self { count: ZoneCount::new(count), word: SlotWord::new(), row: Row::new(row) }
    }

    /// Looks by `look` between two readings of the transit word, as a walk about to fail does.
    fn walk(&self, look: impl Fn(&Self) -> bool) {
        let before = self.count.transit();
        let seen = look(self);
        load_barrier();
        let after = self.count.transit();
        let still = before.frames() == 0 && after == before;
        assert!(seen || !still, "a frame passed unseen");
    }

    fn look_in_row_and_word(&self) -> bool {
        self.row.take_exact(1) || self.word.take(Locked, Order::ZERO).is_some()
    }
}

/// A frame on its way from a word to the row is seen in one of them, or in the transit word.
#[test]
fn loom_count_a_drained_frame_is_never_invisible() {
    exhaustively(|| {
        let moving = Moving::new(0, 0);
        assert!(moving.word.exchange(Locked, Slot::EMPTY, Slot::new(GROUP, 1)));
        race(
            moving,
            |moving| moving.walk(Moving::look_in_row_and_word),
            |moving| {
                moving.count.enter(32);
                moving.row.put(u64::from(moving.word.empty().mask()));
                moving.count.leave(32);
            },
        );
    });
}

/// A frame on its way from the row to a word is seen in one of them, or in the transit word.
#[test]
fn loom_count_a_refilled_frame_is_never_invisible() {
    exhaustively(|| {
        race(
            Moving::new(0, 1),
            |moving| moving.walk(Moving::look_in_row_and_word),
            |moving| {
                moving.count.enter(1);
                let taken = moving.row.take_from(|free| free) as u32;
                if taken != 0 {
                    assert!(moving.word.exchange(Locked, Slot::EMPTY, Slot::new(GROUP, taken)));
                }
                moving.count.leave(1);
            },
        );
    });
}

/// A claim on the count that is given back is seen in the transit word by who could not claim meanwhile.
#[test]
fn loom_count_a_claim_given_back_is_never_invisible() {
    exhaustively(|| {
        race(
            Moving::new(1, 0),
            |moving| moving.walk(|moving| moving.count.claim(1, 1, 0).is_ok()),
            |moving| {
                moving.count.enter(1);
                if moving.count.claim(1, 1, 0).is_ok() {
                    moving.count.raise(1);
                }
                moving.count.leave(1);
            },
        );
    });
}

/// Who claims on the count finds the frames in the block whose free raised it.
#[test]
fn loom_count_a_claim_finds_the_block_that_was_raised() {
    exhaustively(|| {
        let full = Entry::new(ZoneId(0), Kind::Movable, 2);
        assert!(matches!(full.claim(ZoneId(0), 2, 2, None), Claim::Got(..)));
        race(
            (ZoneCount::new(0), full),
            |(count, entry)| {
                assert!(matches!(entry.raise(1), Raise::Done(_)));
                count.raise(1);
            },
            |(count, entry)| {
                let claimed = count.claim(1, 1, 0).is_ok();
                assert!(!claimed || entry.claim(ZoneId(0), 1, 1, None) != Claim::Refused);
            },
        );
    });
}
