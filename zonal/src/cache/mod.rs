//! What one CPU caches of one zone: six slot words a kind, a word for a whole block, a credit and a tab.
//!
//! A hit is one locked step on one word of this CPU's, or one of the owner's, and touches no shared line. The cursors beside
//! the words are plain hints: any value is correct. Nothing here knows blocks: what must leave a word is handed back to the
//! caller.
//!
//! Invariant: a frame is in at most one slot word, and then its bit in the block's row is clear.

pub(crate) mod accounts;
pub(crate) mod age;
pub(crate) mod credit;
pub(crate) mod hand;
pub(crate) mod hold;
pub(crate) mod known;
pub(crate) mod moving;
pub(crate) mod room;
pub(crate) mod tab;
pub(crate) mod word;

use core::mem::offset_of;
use core::ptr;

use crate::cache::age::{Age, Look};
use crate::cache::credit::Credit;
use crate::cache::hand::{AnyHand, Hand, Locked, Once, Own};
use crate::cache::hold::{Barriers, Held, Hold};
use crate::cache::known::KnownGroups;
use crate::cache::moving::Moving;
use crate::cache::tab::Tab;
use crate::cache::word::{Put, SlotWord};
use crate::frame::{BLOCK_FRAMES, GroupIndex, Order};
use crate::mutant::{Mutant, planted};
use crate::own_words::{How, OwnWords};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::topology::Kind;

/// Slot words a kind.
pub(crate) const SLOTS: usize = 6;
/// Kinds.
const KINDS: usize = 3;
/// Slot words in all.
pub(crate) const WORDS: usize = SLOTS * KINDS;

/// One CPU's words for one zone and the hints beside them: seven cache lines, of which the first two have whose they are and Unmovable's.
#[repr(C, align(64))]
pub(crate) struct CpuCache {
    /// The CPU that owns the words, if one does, and others that are at work on them. First: a hit finds it without a sum.
    hold: Hold,
    /// Unmovable's, then Movable's, then Reclaimable's.
    words: [SlotWord; WORDS],
    /// Hint: the groups in the words.
    pub(crate) groups: KnownGroups,
    /// Hints, a kind: block of the last refill, where the next search starts.
    blocks: [AtomicU32; KINDS],
    /// Hint: the block that was last freed whole, where the next search for a whole one starts.
    freed_block: AtomicU32,
    /// Hint: bits 0..=31 the group that last missed on a free; above, the word that was looked at then, from its kind's first.
    missed: AtomicU64,
    /// Hints, a kind: the word to evict next, from the kind's first.
    turns: [AtomicU8; KINDS],
    /// Hints, a kind: refills since a free last asked for room.
    refills: [AtomicU8; KINDS],
    /// Hint: for how long the words have looked the same.
    pub(crate) age: Age,
    /// The CPU's place among the zone's caches.
    rank: u32,
    /// The block its searches start at first: before all others in its order.
    base: u32,
    /// The word of a whole block ([`crate::zone::kept`]).
    block: SlotWord,
    /// What it may claim of the zone without the zone's count.
    pub(crate) credit: Credit,
    /// Frames that it has freed along a block, and that no count has yet.
    pub(crate) tab: Tab,
    /// What it has on the move.
    pub(crate) moving: Moving,
    /// Hint: the block that a frame was last freed in past the words.
    freed_in: AtomicU32,
}

impl CpuCache {
    /// Where what outlives a process lies.
    pub(crate) const PLACES: [usize; 4] = [
        offset_of!(Self, words),
        offset_of!(Self, block),
        offset_of!(Self, credit),
        offset_of!(Self, moving),
    ];

    /// Empty words of the CPU at place `rank`, whose first search starts at `block`.
    /// They are those of CPU `owner`, if of any.
    pub(crate) fn new(rank: u32, block: u32, owner: Option<u32>) -> Self {
        Self {
            hold: Hold::new(owner),
            words: core::array::from_fn(|_| SlotWord::new()),
            groups: KnownGroups::none(),
            blocks: core::array::from_fn(|_| AtomicU32::new(block)),
            freed_block: AtomicU32::new(block),
            missed: AtomicU64::new(u64::from(u32::MAX)),
            turns: core::array::from_fn(|_| AtomicU8::new(0)),
            refills: core::array::from_fn(|_| AtomicU8::new(0)),
            age: Age::new(),
            rank,
            base: block,
            block: SlotWord::new(),
            credit: Credit::new(),
            tab: Tab::new(),
            moving: Moving::new(),
            freed_in: AtomicU32::new(u32::MAX),
        }
    }

    /// How the CPU itself makes a hit, if CPUs own their words by `how`.
    #[inline(always)]
    pub(crate) fn once(&self, how: How) -> Once<'_> {
        Once(Own { how, hold: &self.hold })
    }

    /// How the CPU itself changes its words, if CPUs own theirs by `words`.
    pub(crate) fn hand(&self, words: Option<OwnWords>) -> AnyHand<'_> {
        match words.filter(|_| self.is_owned()) {
            None => AnyHand::Locked,
            Some(words) => AnyHand::Own(Own { how: words.how, hold: &self.hold }),
        }
    }

    /// The CPU that owns the words, if one does.
    pub(crate) fn owner(&self) -> Option<usize> {
        self.hold.owner().map(|owner| owner as usize)
    }

    /// Whether a CPU owns the words.
    pub(crate) fn is_owned(&self) -> bool {
        self.hold.owner().is_some()
    }

    /// Makes the words everybody's for as long as the answer lives. `None`: nobody holds them, and the owner cannot be made to
    /// pass a barrier now.
    pub(crate) fn held(&self, words: Option<OwnWords>, barriers: Barriers) -> Option<Held<'_>> {
        match words.zip(self.hold.owner()) {
            None => Some(Held::EVERYBODYS),
            Some(_) if planted(Mutant::WordsUnheld) => Some(Held::EVERYBODYS),
            Some((words, owner)) => self.hold.hold(barriers, || (words.barrier)(owner as usize)),
        }
    }

    /// Holds the words while nobody uses them yet, until [`CpuCache::let_go`].
    pub(crate) fn hold_from_the_start(&self) {
        if self.is_owned() {
            self.hold.begin_ready();
        }
    }

    /// Ends what was kept by [`Held::keep`].
    pub(crate) fn let_go(&self) {
        if self.is_owned() {
            self.hold.release();
        }
    }

    /// The CPU's place among the zone's caches.
    pub(crate) fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The word with this number, if there is one.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> Option<&SlotWord> {
        self.words.get(at)
    }

    /// The number of a word of these; out of range if it is none.
    #[inline]
    pub(crate) fn place(&self, word: &SlotWord) -> usize {
        let bytes = ptr::from_ref(word).addr().wrapping_sub(self.words.as_ptr().addr());
        bytes / size_of::<SlotWord>()
    }

    /// A kind's first word.
    pub(crate) fn first_word_of(&self, kind: Kind) -> &SlotWord {
        &self.words[Self::first_word(kind)]
    }

    /// The word of a whole block.
    #[inline]
    pub(crate) fn block_word(&self) -> &SlotWord {
        &self.block
    }

    /// All words of groups.
    pub(crate) fn words(&self) -> impl Iterator<Item = &SlotWord> {
        self.words.iter()
    }

    /// A kind's words, with their numbers.
    pub(crate) fn words_of(&self, kind: Kind) -> impl Iterator<Item = (usize, &SlotWord)> {
        let first = Self::first_word(kind);
        (first..).zip(self.words.get(first..first + SLOTS).unwrap_or_default())
    }

    /// The number of a kind's first word.
    pub(crate) const fn first_word(kind: Kind) -> usize {
        kind as usize * SLOTS
    }

    /// The kind's word behind that one, the first behind the last.
    #[inline(always)]
    pub(crate) fn word_behind(&self, kind: Kind, word: &SlotWord) -> Option<&SlotWord> {
        let (first, behind) = (Self::first_word(kind), self.place(word) + 1);
        self.word(if behind < first + SLOTS { behind } else { first })
    }

    /// The kind of the word with this number.
    pub(crate) const fn kind_of(at: usize) -> Kind {
        match at / SLOTS {
            0 => Kind::Unmovable,
            1 => Kind::Movable,
            _ => Kind::Reclaimable,
        }
    }

    /// Takes an aligned run of `order` of this kind from any word: the word's number, the run's group and first frame.
    pub(crate) fn take_of(
        &self,
        words: Option<OwnWords>,
        kind: Kind,
        order: Order,
    ) -> Option<(usize, (GroupIndex, u32))> {
        match self.hand(words) {
            _ if !self.holds_any(kind) => None,
            AnyHand::Locked => self.take_of_by(Locked, kind, order),
            AnyHand::Own(own) => self.take_of_by(own, kind, order),
        }
    }

    /// Whether a word of the kind holds frames, as a look at each tells.
    #[inline(always)]
    fn holds_any(&self, kind: Kind) -> bool {
        self.words_of(kind).fold(0, |masks, (_, word)| masks | word.load().mask()) != 0
    }

    #[inline]
    fn take_of_by(&self, hand: impl Hand, kind: Kind, order: Order) -> Option<(usize, (GroupIndex, u32))> {
        self.words_of(kind).find_map(|(at, word)| Some((at, word.take(hand, order)?)))
    }

    /// Takes an aligned run of `order` of any kind, by whatever hand.
    pub(crate) fn take_any(&self, hand: impl Hand, order: Order) -> Option<(GroupIndex, u32)> {
        self.words().find_map(|word| word.take(hand, order))
    }

    /// Puts frames where their group is cached already, in a word of any kind: what that came to, and where. `last` is the word
    /// that last matched a free, of whichever cache: a hit may have guessed wrongly what it is of.
    #[inline(always)]
    pub(crate) fn put(
        &self,
        words: Option<OwnWords>,
        last: Option<&SlotWord>,
        (group, mask): (GroupIndex, u32),
    ) -> (Put, usize) {
        if let Some(word) = last.filter(|word| word.is_of_now(group))
            && let at = self.place(word)
            && at < WORDS
            && let done @ (Put::Kept | Put::AlreadyHere) = word.put(self.hand(words), group, mask)
        {
            return (done, at);
        }
        if self.groups.may_have(group) { self.put_held(words, group, mask) } else { (Put::OtherGroup, WORDS) }
    }

    #[inline(never)]
    fn put_held(&self, words: Option<OwnWords>, group: GroupIndex, mask: u32) -> (Put, usize) {
        for (at, word) in self.words.iter().enumerate().filter(|(_, word)| word.is_of_now(group)) {
            match word.put(self.hand(words), group, mask) {
                Put::OtherGroup => {}
                done => return (done, at),
            }
        }
        (Put::OtherGroup, WORDS)
    }

    /// Renews the hint that tells which groups are in the words; after each install.
    pub(crate) fn note_groups(&self) {
        self.groups.renew(self.words.iter().map(|word| word.load().group()));
    }

    /// The same where a word left the group `from` for the group `to`.
    #[inline]
    pub(crate) fn note_group(&self, from: GroupIndex, to: GroupIndex) {
        self.groups.exchange(from, to);
    }

    /// Whether the CPU's hint must be set: a word is of a group.
    pub(crate) fn is_owner(&self) -> bool {
        self.words().chain([&self.block]).any(|word| word.load().is_owned())
    }

    /// Gives up the groups of which no frame is here: their CPU's hint may be cleared. By whoever holds the words.
    pub(crate) fn disown(&self) {
        self.words().chain([&self.block]).for_each(SlotWord::disown);
    }

    /// Where the next search for a block starts.
    #[inline]
    pub(crate) fn start_block(&self, kind: Kind) -> usize {
        self.blocks[kind as usize].load(Ordering::Relaxed) as usize // Relaxed: a hint
    }

    /// Remembers the block that served.
    #[inline]
    pub(crate) fn remember_block(&self, kind: Kind, block: u32) {
        self.blocks[kind as usize].store(block, Ordering::Relaxed); // Relaxed: a hint
    }

    /// Where the next search starts if frames of this block are free: there, if it comes before. So blocks fill up from
    /// this CPU's first on, and those behind empty and become whole.
    #[inline]
    pub(crate) fn prefer_block(&self, kind: Kind, block: u32) {
        let hint = &self.blocks[kind as usize]; // Relaxed, both: a hint
        if block.wrapping_sub(self.base) < hint.load(Ordering::Relaxed).wrapping_sub(self.base) {
            hint.store(block, Ordering::Relaxed);
        }
    }

    /// Where the next search for a whole block starts.
    #[inline]
    pub(crate) fn freed_block(&self) -> usize {
        self.freed_block.load(Ordering::Relaxed) as usize // Relaxed: a hint
    }

    /// Remembers the block that a frame was freed in past the words; whether the one before was the same.
    #[inline(always)]
    pub(crate) fn frees_on_in(&self, block: u32) -> bool {
        let before = self.freed_in.load(Ordering::Relaxed);
        self.freed_in.store(block, Ordering::Relaxed);
        before == block
    }

    /// Remembers the block that was freed whole.
    #[inline]
    pub(crate) fn remember_freed_block(&self, block: u32) {
        self.freed_block.store(block, Ordering::Relaxed); // Relaxed: a hint
    }

    /// What a pass of the upkeep sees: the words, and the frames taken so far.
    pub(crate) fn look(&self, taken: u64) -> Look {
        Look::of(self.words().chain([&self.block]).map(|word| word.load().bits()).chain([taken]))
    }

    /// The first word with frames of each kind that has one.
    pub(crate) fn first_with_frames(&self) -> impl Iterator<Item = &SlotWord> {
        self.words.chunks(SLOTS).filter_map(|words| words.iter().find(|word| word.load().mask() != 0))
    }

    /// Whether a word holds frames: a look at each, and no more where none does.
    pub(crate) fn holds_frames(&self) -> bool {
        let together = self.words().fold(0, |masks, word| masks | word.load().mask());
        together != 0
    }

    /// Frames in the words of groups now.
    pub(crate) fn in_words(&self) -> u64 {
        self.words().map(|word| u64::from(word.load().mask().count_ones())).sum()
    }

    /// Frames cached here now.
    pub(crate) fn frames(&self) -> u64 {
        self.in_words() + if self.block.load().mask() == 0 { 0 } else { BLOCK_FRAMES }
    }
}

/// The word after this one, from the kind's first.
pub(in crate::cache) const fn after(turn: usize) -> usize {
    if turn + 1 < SLOTS { turn + 1 } else { 0 }
}
