//! A block's entry, alone and with the rows behind it.

use crate::block::bitmap::Bitmap;
use crate::block::entry::{Claim, Entry, Raise};
use crate::frame::{BLOCK_FRAMES, BlockIndex, Pfn, ROWS, ZoneId};
use crate::models::explore::{Content, exhaustively, race};
use crate::topology::Kind;
use crate::zone::Block;

const ZONE: ZoneId = ZoneId(0);

/// A block and what is in its first frame.
struct OneBlock {
    entry: Entry,
    bitmap: Bitmap,
    first: Content,
}

impl OneBlock {
    /// Wholly free.
    fn free() -> Self {
        Self {
            entry: Entry::new(ZONE, Kind::Movable, BLOCK_FRAMES),
            bitmap: Bitmap::new(|_| u64::MAX),
            first: Content::new(),
        }
    }

    /// Wholly free but for the first frame.
    fn without_first() -> Self {
        let block = Self::free();
        assert!(block.claim_first(), "a free block has a first frame");
        block
    }

    /// Allocated as one.
    fn whole() -> Self {
        let block = Self::free();
        assert!(block.entry.take_whole(ZONE, Kind::Movable));
        block
    }

    fn as_block(&self) -> Block<'_> {
        Block { index: BlockIndex(0), start: Pfn::new(0), entry: &self.entry, bitmap: &self.bitmap }
    }

    fn free_first(&self) -> Raise {
        self.first.touch();
        self.bitmap.row(0).put(1);
        self.entry.raise(1)
    }

    /// Claims all that is free if it is the whole block, and takes the first frame.
    fn claim_first(&self) -> bool {
        if self.entry.claim(ZONE, 1, 1, None) == Claim::Refused {
            return false;
        }
        assert!(self.bitmap.row(0).take_exact(1), "a claim always finds its frame");
        self.first.touch();
        true
    }
}

fn claimed(claim: Claim) -> u64 {
    match claim {
        Claim::Got(frames, _) => frames,
        Claim::Refused => 0,
    }
}

#[test]
fn loom_entry_claims_never_exceed_the_count() {
    exhaustively(|| {
        let claim = |entry: &Entry| claimed(entry.claim(ZONE, 2, 1, None));
        let (entry, a, b) = race(Entry::new(ZONE, Kind::Movable, 3), claim, claim);
        assert_eq!(a + b, 3);
        assert_eq!(entry.load().count(), 0);
    });
}

#[test]
fn loom_entry_claims_and_raises_add_up() {
    exhaustively(|| {
        let entry = Entry::new(ZONE, Kind::Movable, 4);
        assert_eq!(claimed(entry.claim(ZONE, 2, 2, None)), 2);
        let (entry, raised, taken) = race(
            entry,
            |entry| entry.raise(2),
            |entry| claimed(entry.claim(ZONE, 3, 1, Some(Kind::Unmovable))),
        );
        assert!(matches!(raised, Raise::Done(_)));
        assert!((2..=3).contains(&taken));
        assert_eq!(entry.load().count(), 4 - taken);
        assert_eq!(entry.load().kind(), Kind::Unmovable);
    });
}

/// A claim that saw a raise finds the bits set before it: without either ordering the row still looks taken.
#[test]
fn loom_entry_a_claim_finds_the_bits_of_the_raise() {
    exhaustively(|| {
        let block = OneBlock {
            entry: Entry::new(ZONE, Kind::Movable, 1),
            bitmap: Bitmap::new(|row| u64::from(row == 0)),
            first: Content::new(),
        };
        assert!(block.claim_first());
        let (block, _, again) =
            race(block, |block| assert!(matches!(block.free_first(), Raise::Done(_))), OneBlock::claim_first);
        assert_eq!(block.entry.load().count(), u64::from(!again));
        assert_eq!(block.bitmap.popcount(), u64::from(!again));
    });
}

#[test]
fn loom_entry_is_taken_whole_or_claimed_from() {
    exhaustively(|| {
        let (block, whole, claimed) = race(
            OneBlock::free(),
            |block| block.entry.take_whole(ZONE, Kind::Movable),
            OneBlock::claim_first,
        );
        assert!(whole != claimed, "one of them is served, not both");
        assert_eq!(block.entry.load().is_whole(), whole);
    });
}

#[test]
fn loom_entry_is_taken_whole_once() {
    exhaustively(|| {
        let (_, whole, tentative) = race(
            OneBlock::free(),
            |block| block.entry.take_whole(ZONE, Kind::Movable),
            |block| {
                let got = block.entry.take_tentative(ZONE, Kind::Movable);
                if got {
                    block.entry.commit();
                }
                got
            },
        );
        assert!(whole != tentative);
    });
}

/// The last frame freed makes the block whole again; whoever takes it so sees what that frame's owner wrote.
#[test]
fn loom_entry_take_whole_sees_what_single_owners_wrote() {
    exhaustively(|| {
        let take = |block: &OneBlock| {
            let got = block.entry.take_whole(ZONE, Kind::Movable);
            if got {
                block.first.touch();
            }
            got
        };
        let (block, _, got) = race(
            OneBlock::without_first(),
            |block| assert!(matches!(block.free_first(), Raise::Done(_))),
            take,
        );
        assert_eq!(block.entry.load().is_whole(), got);
    });
}

/// A block freed as one is claimed from, and taken whole, by who sees what its owner wrote.
#[test]
fn loom_entry_put_whole_hands_on_what_its_owner_wrote() {
    exhaustively(|| {
        let put = |block: &OneBlock| {
            block.first.touch();
            assert!(matches!(block.entry.put_whole(), Raise::Done(_)));
        };
        race(OneBlock::whole(), put, OneBlock::claim_first);
        race(OneBlock::whole(), put, |block| {
            if block.entry.take_whole(ZONE, Kind::Movable) {
                block.first.touch();
            }
        });
    });
}

#[test]
fn loom_entry_abandon_hands_on_what_was_acquired() {
    exhaustively(|| {
        let block = OneBlock::free();
        assert!(block.entry.take_tentative(ZONE, Kind::Movable));
        let (block, _, got) = race(
            block,
            |block| {
                block.first.touch();
                assert!(matches!(block.entry.abandon(), Raise::Done(_)));
            },
            OneBlock::claim_first,
        );
        assert_eq!(block.entry.load().count(), BLOCK_FRAMES - u64::from(got));
    });
}

#[test]
fn loom_entry_is_put_back_whole_once() {
    exhaustively(|| {
        let put = |block: &OneBlock| matches!(block.entry.put_whole(), Raise::Done(_));
        let (block, a, b) = race(OneBlock::whole(), put, put);
        assert!(a != b, "the second free of a block is refused");
        assert!(block.entry.load().is_free_block());
    });
}

/// Who sees a split block's entry open sees its rows wiped: no bit of the time when it was whole shows.
#[test]
fn loom_entry_a_split_block_never_shows_old_bits() {
    exhaustively(|| {
        let look = |block: &OneBlock| {
            if block.entry.load().is_open_to_frees() {
                assert_eq!(block.bitmap.popcount(), 0, "bits from before the split");
            }
        };
        let (block, ..) = race(OneBlock::whole(), |block| block.as_block().split(), look);
        assert!(block.entry.load().is_open());
        assert_eq!((block.entry.load().count(), block.bitmap.popcount()), (0, 0));
    });
}

/// A part freed after a split is claimed by who finds exactly that part.
#[test]
fn loom_entry_a_split_block_gives_the_freed_part_only() {
    exhaustively(|| {
        let take = |block: &OneBlock| {
            let got = block.entry.claim(ZONE, BLOCK_FRAMES, 1, None) != Claim::Refused;
            if got {
                let masks: u64 = (0..ROWS).map(|row| block.bitmap.row(row).take_from(|free| free)).sum();
                assert_eq!(masks, 1);
                block.first.touch();
            }
            got
        };
        let free = |block: &OneBlock| {
            block.as_block().split();
            assert!(matches!(block.free_first(), Raise::Done(_)));
        };
        let (block, _, got) = race(OneBlock::whole(), free, take);
        assert_eq!(block.entry.load().count(), u64::from(!got));
    });
}

#[test]
fn loom_entry_is_isolated_at_its_count_or_claimed_from() {
    exhaustively(|| {
        let (block, isolated, claimed) = race(
            OneBlock::free(),
            |block| block.entry.isolate(ZONE, BLOCK_FRAMES).is_ok(),
            OneBlock::claim_first,
        );
        assert!(isolated != claimed, "an isolated block gives nothing, a claimed one has another count");
        let entry = block.entry.load();
        assert_eq!((entry.is_isolated(), entry.count()), (isolated, BLOCK_FRAMES - u64::from(claimed)));
    });
}

#[test]
fn loom_entry_unisolation_shows_what_was_freed_meanwhile() {
    exhaustively(|| {
        let block = OneBlock::without_first();
        assert!(block.entry.isolate(ZONE, BLOCK_FRAMES - 1).is_ok());
        let free = |block: &OneBlock| match block.free_first() {
            Raise::Done(after) => after.is_isolated(),
            Raise::Refused => panic!("an isolated block takes frees"),
        };
        let open = |block: &OneBlock| match block.entry.unisolate(ZONE) {
            Raise::Done(after) => {
                // What it counts it finds, to hint it.
                assert!(after.count() < BLOCK_FRAMES || block.bitmap.row(0).load() & 1 == 1);
                after.count()
            }
            Raise::Refused => panic!("it was isolated"),
        };
        let (block, landed_isolated, counted) = race(block, free, open);
        // Each freed frame is counted once: by who freed it, or by who ended the isolation.
        assert_eq!(counted + u64::from(!landed_isolated), BLOCK_FRAMES);
        assert_eq!(block.entry.load().count(), BLOCK_FRAMES);
    });
}
