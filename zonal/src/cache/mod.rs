//! What one CPU caches of one zone: three lines of slot words, one a kind.
//!
//! A hit is one locked step on one word of this CPU's and touches no shared line. The cursors beside the words are
//! plain hints: any value is correct. Nothing here knows blocks: what must leave a word is handed back to the caller.
//!
//! Invariant: a frame is in at most one slot word, and then its bit in the block's row is clear.

pub(crate) mod word;

use crate::cache::word::{Put, Slot, SlotWord};
use crate::frame::{GroupIndex, Order};
use crate::sync::{AtomicU8, AtomicU32, Ordering};
use crate::topology::Kind;

/// Slot words a kind.
pub(crate) const SLOTS: usize = 6;

/// One kind's words and the hints beside them, one cache line.
#[repr(align(64))]
pub(crate) struct Line {
    slots: [SlotWord; SLOTS],
    /// Hint: block of the last refill, where the next search starts.
    block: AtomicU32,
    /// Hint: the group that last missed on a free.
    missed: AtomicU32,
    /// Hint: bit `group % 32` is set for each group in the slots.
    groups: AtomicU32,
    /// Hint: the slot that last had frames to give.
    giving: AtomicU8,
    /// Hint: the slot to evict next.
    turn: AtomicU8,
    /// Hint, used in the first line only: the line and the slot that last matched a free.
    taking: [AtomicU8; 2],
}

/// What to do with a free that no slot of the CPU matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room<'m> {
    /// This word holds nothing: fill it.
    Vacant(&'m SlotWord, Slot),
    /// This word's frames go back to their block to make room.
    Evict(&'m SlotWord, Slot),
    /// Past the cache, straight to the row.
    None,
}

/// One CPU's lines for one zone.
pub(crate) struct CpuCache {
    lines: [Line; 3],
}

impl PartialEq for SlotWord {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for SlotWord {}

impl core::fmt::Debug for SlotWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.load().fmt(f)
    }
}

impl Line {
    fn new(block: u32) -> Self {
        Self {
            slots: core::array::from_fn(|_| SlotWord::new()),
            block: AtomicU32::new(block),
            missed: AtomicU32::new(u32::MAX),
            groups: AtomicU32::new(0),
            giving: AtomicU8::new(0),
            turn: AtomicU8::new(0),
            taking: [AtomicU8::new(0), AtomicU8::new(0)],
        }
    }

    #[inline]
    fn take_hinted(&self, order: Order) -> Option<(GroupIndex, u32)> {
        let giving = usize::from(self.giving.load(Ordering::Relaxed)); // Relaxed: a hint
        self.slots.get(giving)?.take(order)
    }

    /// A word that a refill may fill, or one to evict when all hold frames that do not serve it.
    pub(crate) fn room_for_refill(&self) -> Room<'_> {
        for (at, word) in self.slots.iter().enumerate() {
            let slot = word.load();
            if slot.is_fillable() {
                self.giving.store(at as u8, Ordering::Relaxed); // Relaxed: a hint
                return Room::Vacant(word, slot);
            }
        }
        self.evict_at(self.next_turn())
    }

    /// Room for a freed group, by the rule: a slot without frames; one whose group is whole again; on the second
    /// miss in a row in the same group a slot in turn; else none. Looks at two slots, that of the last put and one
    /// in turn: what it misses now it finds some frees later.
    pub(crate) fn room_for_free(&self, group: GroupIndex, last: usize) -> Room<'_> {
        let turn = self.next_turn();
        for at in [last, turn] {
            let Some(word) = self.slots.get(at) else { continue };
            let slot = word.load();
            if slot.is_fillable() {
                return Room::Vacant(word, slot);
            }
            if slot.is_whole() {
                return Room::Evict(word, slot);
            }
        }
        // Relaxed, both: a hint only this CPU is likely to touch.
        if self.missed.load(Ordering::Relaxed) == group.0 {
            return self.evict_at(turn);
        }
        self.missed.store(group.0, Ordering::Relaxed);
        Room::None
    }

    #[inline]
    fn next_turn(&self) -> usize {
        let turn = usize::from(self.turn.load(Ordering::Relaxed)); // Relaxed: a hint
        let next = if turn + 1 < SLOTS { turn + 1 } else { 0 };
        self.turn.store(next as u8, Ordering::Relaxed);
        next
    }

    fn evict_at(&self, at: usize) -> Room<'_> {
        let word = &self.slots[at % SLOTS];
        let slot = word.load();
        if slot.is_closed() { Room::None } else { Room::Evict(word, slot) }
    }

    /// Whether the group may be in a slot. Wrong answers are allowed: then a free goes another way.
    #[inline]
    fn may_hold(&self, group: GroupIndex) -> bool {
        self.groups.load(Ordering::Relaxed) >> (group.0 % 32) & 1 == 1 // Relaxed: a hint
    }

    /// Renews the hint that tells which groups are in the slots; after each install.
    pub(crate) fn note_groups(&self) {
        let bits = self.slots.iter().fold(0, |bits, slot| bits | 1 << (slot.load().group().0 % 32));
        self.groups.store(bits, Ordering::Relaxed); // Relaxed: a hint
    }

    /// Where the next search for a block starts.
    #[inline]
    pub(crate) fn start_block(&self) -> usize {
        self.block.load(Ordering::Relaxed) as usize // Relaxed: a hint
    }

    /// Remembers the block that served.
    #[inline]
    pub(crate) fn remember_block(&self, block: u32) {
        self.block.store(block, Ordering::Relaxed); // Relaxed: a hint
    }
}

impl CpuCache {
    /// Empty lines whose first search starts at `block`.
    pub(crate) fn new(block: u32) -> Self {
        Self { lines: core::array::from_fn(|_| Line::new(block)) }
    }

    #[inline]
    pub(crate) fn line(&self, kind: Kind) -> &Line {
        &self.lines[kind as usize]
    }

    /// All words, by line.
    pub(crate) fn words(&self) -> impl Iterator<Item = &SlotWord> {
        self.lines.iter().flat_map(|line| &line.slots)
    }

    /// The slot of a kind's line that last matched a free; out of range if another line did.
    #[inline]
    pub(crate) fn last_put(&self, kind: Kind) -> usize {
        let [line, slot] = &self.lines[0].taking;
        // Relaxed, both: hints.
        if usize::from(line.load(Ordering::Relaxed)) == kind as usize {
            usize::from(slot.load(Ordering::Relaxed))
        } else {
            SLOTS
        }
    }

    /// Takes an aligned run of `order` (at most a group) of this kind from the word that last gave one.
    #[inline]
    pub(crate) fn take_hinted(&self, kind: Kind, order: Order) -> Option<(GroupIndex, u32)> {
        self.line(kind).take_hinted(order)
    }

    /// Takes an aligned run of `order` of this kind from any word, and remembers which.
    pub(crate) fn take_any_of(&self, kind: Kind, order: Order) -> Option<(GroupIndex, u32)> {
        let line = self.line(kind);
        line.slots.iter().enumerate().find_map(|(at, slot)| {
            let hit = slot.take(order)?;
            line.giving.store(at as u8, Ordering::Relaxed); // Relaxed: a hint
            Some(hit)
        })
    }

    /// Takes an aligned run of `order` of any kind.
    pub(crate) fn take_any(&self, order: Order) -> Option<(GroupIndex, u32)> {
        self.words().find_map(|word| word.take(order))
    }

    /// Puts frames where their group was put last, in a slot of any kind.
    #[inline]
    pub(crate) fn put_hinted(&self, group: GroupIndex, mask: u32) -> Put {
        let [line, slot] = &self.lines[0].taking;
        // Relaxed, both: hints.
        let (line, slot) = (line.load(Ordering::Relaxed), slot.load(Ordering::Relaxed));
        let word = self.lines.get(usize::from(line)).and_then(|line| line.slots.get(usize::from(slot)));
        word.map_or(Put::OtherGroup, |word| word.put(group, mask))
    }

    /// Puts frames where their group is cached already, and remembers where.
    pub(crate) fn put_elsewhere(&self, group: GroupIndex, mask: u32) -> Put {
        for (at, line) in self.lines.iter().enumerate() {
            if !line.may_hold(group) {
                continue;
            }
            for (slot, word) in line.slots.iter().enumerate() {
                if !word.is_of_now(group) {
                    continue;
                }
                match word.put(group, mask) {
                    Put::OtherGroup | Put::Vacant => {}
                    done => {
                        let [hinted_line, hinted_slot] = &self.lines[0].taking;
                        hinted_line.store(at as u8, Ordering::Relaxed); // Relaxed, both: hints
                        hinted_slot.store(slot as u8, Ordering::Relaxed);
                        return done;
                    }
                }
            }
        }
        Put::OtherGroup
    }

    /// Frames cached here now.
    pub(crate) fn frames(&self) -> u64 {
        self.words().map(|word| u64::from(word.load().mask().count_ones())).sum()
    }
}
