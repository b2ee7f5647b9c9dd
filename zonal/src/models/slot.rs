//! A slot word, alone and with the row behind it.

use crate::block::row::Row;
use crate::cache::hand::Locked;
use crate::cache::word::{Epoch, Put, Slot, SlotWord};
use crate::frame::{GroupIndex, Order};
use crate::models::explore::{Content, bounded, exhaustively, race};

const GROUP: GroupIndex = GroupIndex(7);

/// A word that holds `mask` of the group.
fn holding(mask: u32) -> SlotWord {
    let word = SlotWord::new();
    assert!(word.exchange(Locked, Slot::EMPTY, Slot::new(GROUP, mask)));
    word
}

/// A word, the row behind it, and what is in the group's first frame, which is in neither.
struct Cached {
    word: SlotWord,
    row: Row,
    first: Content,
}

impl Cached {
    fn with(mask: u32) -> Self {
        Self { word: holding(mask), row: Row::new(0), first: Content::new() }
    }

    /// Frees the first frame as the cache does.
    fn free_first(&self) -> Put {
        self.first.touch();
        self.word.put(Locked, GROUP, 1)
    }

    /// The first frame is out of the word: its content is seen by who took it.
    fn land(&self, slot: Slot) {
        if slot.mask() & 1 == 1 {
            self.first.touch();
        }
        self.row.put(u64::from(slot.mask()));
    }
}

#[test]
fn loom_slot_frames_are_taken_once() {
    exhaustively(|| {
        let (word, one, run) = race(
            holding(0b111),
            |word| word.take(Locked, Order::ZERO),
            |word| word.take(Locked, Order::from_raw(1)),
        );
        assert!(one.is_some());
        // The single frame may break the only run of two.
        let left = 3 - one.map_or(0, |_| 1) - run.map_or(0, |_| 2);
        assert_eq!(word.load().mask().count_ones(), left);
    });
}

#[test]
fn loom_slot_a_take_sees_what_the_last_owner_wrote() {
    exhaustively(|| {
        let (cached, put, taken) = race(Cached::with(0), Cached::free_first, |cached| {
            let taken = cached.word.take(Locked, Order::ZERO).is_some();
            if taken {
                cached.first.touch();
            }
            taken
        });
        assert_eq!(put, Put::Kept);
        assert_eq!(cached.word.load().mask(), u32::from(!taken));
    });
}

/// As above with another frame in the word, so that the free is a put and not an install.
#[test]
fn loom_slot_a_take_sees_what_was_put_beside_another_frame() {
    exhaustively(|| {
        let (cached, put, taken) = race(Cached::with(0b10), Cached::free_first, |cached| {
            let taken = cached.word.take(Locked, Order::ZERO).map(|(_, first)| first);
            if taken == Some(0) {
                cached.first.touch();
            }
            taken
        });
        assert!(put == Put::Kept && taken.is_some());
        assert_eq!(cached.word.load().mask().count_ones(), 1);
    });
}

#[test]
fn loom_slot_a_double_free_is_seen() {
    exhaustively(|| {
        let put = |word: &SlotWord| word.put(Locked, GROUP, 1) == Put::AlreadyHere;
        let (_, a, b) = race(holding(0b10), put, put);
        assert!(a != b);
    });
}

/// A drain takes all that the word holds in one step: what is put or taken meanwhile is in one place afterwards.
#[test]
fn loom_slot_a_drain_loses_nothing_and_doubles_nothing() {
    exhaustively(|| {
        let drain = |cached: &Cached| {
            let slot = cached.word.empty();
            cached.land(slot);
            slot.mask()
        };
        let (cached, put, drained) = race(Cached::with(0b10), Cached::free_first, drain);
        assert_eq!(put, Put::Kept);
        assert_eq!(cached.word.load().mask() | drained, 0b11);
        assert_eq!(u64::from(drained), cached.row.load());

        let (cached, taken, drained) =
            race(Cached::with(0b11), |cached| cached.word.take(Locked, Order::ZERO), drain);
        let taken = taken.map_or(0, |(_, first)| 1 << first);
        assert_eq!((taken ^ drained, cached.word.load().mask()), (0b11, 0), "each frame in one hand");
    });
}

/// A frame put in a word, drained into the row by another and taken from there carries what its owner wrote.
#[test]
fn loom_slot_a_drained_frame_carries_its_content() {
    exhaustively(|| {
        let _ = race(Cached::with(0), Cached::free_first, |cached| {
            cached.row.put(u64::from(cached.word.empty().mask()));
            if cached.row.take_exact(1) {
                cached.first.touch();
            }
        });
    });
}

/// Three hands: freed here, drained there, taken from the row by a third. At most 3 preemptions.
#[test]
fn loom_slot_a_frame_carries_its_content_through_three_hands() {
    bounded(3, || {
        race(
            std::sync::Arc::new(Cached::with(0)),
            |cached| {
                let theirs = std::sync::Arc::clone(cached);
                let drainer = crate::models::explore::on_cpu(1, move || {
                    theirs.row.put(u64::from(theirs.word.empty().mask()));
                });
                let _ = cached.free_first();
                drainer.join().expect("the drainer ran");
            },
            |cached| {
                if cached.row.take_exact(1) {
                    cached.first.touch();
                }
            },
        );
    });
}

#[test]
fn loom_slot_an_eviction_takes_what_it_saw_or_nothing() {
    exhaustively(|| {
        let evict = |cached: &Cached| {
            let from = cached.word.load();
            let evicted = cached.word.exchange(Locked, from, Slot::new(GroupIndex(9), 0b100));
            if evicted {
                cached.land(from);
            }
            evicted
        };
        let (cached, put, evicted) = race(Cached::with(0b10), Cached::free_first, evict);
        let kept = put == Put::Kept;
        let slot = cached.word.load();
        assert_eq!(slot.is_of(GROUP), !evicted);
        let here = if evicted { 0 } else { slot.mask() };
        assert_eq!(u64::from(here) | cached.row.load(), if kept { 0b11 } else { 0b10 });
    });
}

/// A refiller that read the word empty before it was closed does not fill it.
#[test]
fn loom_slot_an_install_never_opens_a_closed_word() {
    exhaustively(|| {
        let install = |word: &SlotWord| {
            let slot = word.load();
            slot.is_fillable() && word.exchange(Locked, slot, Slot::new(GROUP, 0b1))
        };
        let (word, installed, closed) = race(SlotWord::new(), install, |word| word.close(Epoch(1)));
        assert!(word.load().is_closed() && word.load().mask() == 0);
        assert_eq!(closed.mask(), u32::from(installed), "what was installed was swept out");
    });
}

#[test]
fn loom_slot_closing_against_a_put_loses_nothing() {
    exhaustively(|| {
        let close = |cached: &Cached| {
            let slot = cached.word.close(Epoch(1));
            cached.land(slot);
        };
        let (cached, put, _) = race(Cached::with(0b10), Cached::free_first, close);
        let kept = put == Put::Kept;
        assert_eq!(cached.row.load(), if kept { 0b11 } else { 0b10 });
    });
}

#[test]
fn loom_slot_reopening_minds_the_epoch() {
    exhaustively(|| {
        let word = SlotWord::new();
        assert_eq!(word.close(Epoch(1)).mask(), 0);
        let (word, ..) = race(word, |word| word.reopen(Epoch(1)), |word| word.close(Epoch(2)));
        assert!(word.load().is_closed(), "the later closing holds");
        word.reopen(Epoch(2));
        assert_eq!(word.load(), Slot::EMPTY);
    });
}

/// Of two closings the later one stays, whichever comes last to the word, so that its reopening opens the word.
#[test]
fn loom_slot_a_late_closer_keeps_the_later_epoch() {
    exhaustively(|| {
        let (word, ..) = race(holding(0b1), |word| word.close(Epoch(1)), |word| word.close(Epoch(2)));
        word.reopen(Epoch(1));
        assert!(word.load().is_closed());
        word.reopen(Epoch(2));
        assert_eq!(word.load(), Slot::EMPTY);
    });
}

#[test]
fn loom_slot_forgetting_loses_nothing() {
    exhaustively(|| {
        let forget = |cached: &Cached| cached.land(cached.word.forget(Locked, GROUP).unwrap());
        let (cached, put, _) = race(Cached::with(0b10), Cached::free_first, forget);
        let kept = put == Put::Kept;
        assert_eq!(cached.row.load(), if kept { 0b11 } else { 0b10 });
        assert_eq!(cached.word.load(), Slot::EMPTY);
    });
}
