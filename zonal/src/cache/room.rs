//! Which words take frames that none has yet, and how many at once.
//!
//! Rules, no protocol: all that is kept for them are hints, and whatever they say is right.

use crate::cache::word::{Slot, SlotWord};
use crate::cache::{CpuCache, SLOTS, after};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, GroupIndex};
use crate::sync::Ordering;
use crate::topology::Kind;

/// Groups of a block.
const BLOCK_GROUPS: u32 = (BLOCK_FRAMES / GROUP_FRAMES) as u32;
/// Words that are emptied with another, at most: the rest is kept for what the CPU takes next.
pub(crate) const BESIDE: usize = 3;
/// How often the groups of a refill double.
const DOUBLINGS: u8 = 4;
/// How many refills further back in that a refill is whose groups were not to be had.
const SETBACK: u8 = 3;

/// What to do with frames that no word has yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// This word holds nothing: fill it.
    Vacant(usize, Slot),
    /// This word's frames, if it still has any, go back to their block to make room.
    Evict(usize, Slot),
    /// Past the cache, straight to the row.
    None,
}

impl Room {
    /// The word with this number, if it has no frames or its whole group.
    #[inline]
    fn at_once(at: usize, slot: Slot) -> Option<Self> {
        match slot {
            slot if slot.is_fillable() => Some(Self::Vacant(at, slot)),
            slot if slot.is_whole() => Some(Self::Evict(at, slot)),
            _ => None,
        }
    }
}

impl CpuCache {
    /// A word that a refill may fill, or one to evict when all hold frames that do not serve it.
    pub(crate) fn room_for_refill(&self, kind: Kind) -> Room {
        match self.vacant(kind).next() {
            Some((at, _, slot)) => Room::Vacant(at, slot),
            None => self.evict(self.next_turn(kind)),
        }
    }

    /// How many words of the kind hold nothing, by a look at each.
    #[inline(always)]
    pub(crate) fn vacant_words(&self, kind: Kind) -> usize {
        self.words_of(kind).map(|(_, word)| usize::from(word.load().is_fillable())).sum()
    }

    /// The words of the kind that hold nothing, and what they say.
    pub(crate) fn vacant(&self, kind: Kind) -> impl Iterator<Item = (usize, &SlotWord, Slot)> {
        self.words_of(kind).map(|(at, word)| (at, word, word.load())).filter(|(.., slot)| slot.is_fillable())
    }

    /// How many groups a refill of single frames takes: one, but 2, then 4, then one for each word if there have been others
    /// before it since a free asked for room.
    pub(crate) fn batch(&self, kind: Kind) -> usize {
        let hint = &self.refills[kind as usize];
        let refills = hint.load(Ordering::Relaxed).min(DOUBLINGS); // Relaxed, both: a hint
        hint.store(refills + 1, Ordering::Relaxed);
        SLOTS.min(1 << refills.saturating_sub(1))
    }

    /// Whether the next refill takes a group for each word.
    #[inline(always)]
    pub(crate) fn takes_on(&self, kind: Kind) -> bool {
        self.refills[kind as usize].load(Ordering::Relaxed) >= DOUBLINGS // Relaxed: a hint
    }

    /// There was no room or no block for so many: fewer the next times, so that few refills try in vain.
    pub(crate) fn note_no_batch(&self, kind: Kind) {
        let hint = &self.refills[kind as usize]; // Relaxed, both: a hint
        hint.store(hint.load(Ordering::Relaxed).saturating_sub(SETBACK), Ordering::Relaxed);
    }

    /// A free has asked for room.
    #[inline(always)]
    pub(crate) fn note_freed(&self, kind: Kind) {
        self.refills[kind as usize].store(0, Ordering::Relaxed); // Relaxed: a hint
    }

    /// Room for a freed group, by the rule: a word without frames; one whose group is whole again; on the second
    /// miss in a row in the same group a word in turn; else none. Looks at two words, that of the last put and one in turn: what
    /// it misses now it finds some frees later.
    #[inline(always)]
    pub(crate) fn room_for_free(&self, kind: Kind, group: GroupIndex, last: Option<&SlotWord>) -> Room {
        self.note_freed(kind);
        // Mostly it holds some of its group.
        if let Some(word) = last
            && let slot = word.load()
            && (slot.is_fillable() || slot.is_whole())
            && let Some(room) = self.room_at_last(kind, word, slot)
        {
            return room;
        }
        // Relaxed, all: a hint only this CPU is likely to touch.
        let missed = self.missed.load(Ordering::Relaxed);
        let turn = after((missed >> 32) as usize);
        let at = Self::first_word(kind) + turn;
        if let Some(room) = self.words.get(at).and_then(|word| Room::at_once(at, word.load())) {
            self.missed.store((turn as u64) << 32 | u64::from(u32::MAX), Ordering::Relaxed);
            return room;
        }
        self.missed.store((turn as u64) << 32 | u64::from(group.0), Ordering::Relaxed);
        if missed as u32 == group.0 { self.evict(at) } else { Room::None }
    }

    #[inline(always)]
    pub(crate) fn misses(&self, group: GroupIndex) -> bool {
        let missed = self.missed.load(Ordering::Relaxed);
        self.missed.store(missed & !u64::from(u32::MAX) | u64::from(group.0), Ordering::Relaxed);
        missed as u32 != group.0
    }

    /// Room in the word of the last put, or beside it if it is whole; `None` if it is not the kind's.
    #[inline(never)]
    fn room_at_last(&self, kind: Kind, word: &SlotWord, slot: Slot) -> Option<Room> {
        let at = self.place(word);
        let room = Room::at_once(at, slot).filter(|_| at.wrapping_sub(Self::first_word(kind)) < SLOTS)?;
        Some(if slot.is_whole() { self.room_behind(kind, at).unwrap_or(room) } else { room })
    }

    /// The first of the kind's words behind this one, which is whole, that holds nothing; else the first that is whole.
    #[inline(never)]
    fn room_behind(&self, kind: Kind, at: usize) -> Option<Room> {
        let first = Self::first_word(kind);
        let words = (1..SLOTS).map(|step| first + at.wrapping_sub(first).wrapping_add(step) % SLOTS);
        let mut rooms = words.filter_map(|at| Room::at_once(at, self.words.get(at)?.load()));
        let mut whole = None;
        let vacant = rooms.find(|&room| {
            whole = whole.or(Some(room));
            matches!(room, Room::Vacant(..))
        });
        vacant.or(whole)
    }

    /// Other words of the same kind as word `at` that hold whole groups of the same block as `group`: some of them.
    pub(crate) fn whole_beside(&self, at: usize, group: GroupIndex) -> [Option<(usize, Slot)>; BESIDE] {
        let block = |group: GroupIndex| group.0 / BLOCK_GROUPS;
        let same = |slot: &Slot| slot.is_whole() && block(slot.group()) == block(group);
        let words = self.words_of(Self::kind_of(at)).map(|(other, word)| (other, word.load()));
        let mut beside = words.filter(|(other, slot)| *other != at && same(slot));
        core::array::from_fn(|_| beside.next())
    }

    #[inline]
    fn next_turn(&self, kind: Kind) -> usize {
        let hint = &self.turns[kind as usize];
        let turn = usize::from(hint.load(Ordering::Relaxed)); // Relaxed: a hint
        let next = after(turn);
        hint.store(next as u8, Ordering::Relaxed);
        Self::first_word(kind) + next
    }

    #[inline(never)]
    fn evict(&self, at: usize) -> Room {
        let slot = self.words.get(at).map(SlotWord::load);
        slot.filter(|slot| !slot.is_closed()).map_or(Room::None, |slot| Room::Evict(at, slot))
    }
}
