//! A slot word: one group of 32 frames and which of them this CPU holds.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=31 | `mask`: frames of the group cached here | [`SlotWord::take`] down, [`SlotWord::put`] up, [`SlotWord::exchange`] whole, [`SlotWord::empty`] and [`SlotWord::close`] to 0 |
//! | 32..=63 | `group`, relative to the zone; `0xFF00_0000` = EMPTY, `0xFF80_0000 + epoch` = CLOSED, both with mask 0 | `exchange`, `close`, [`SlotWord::reopen`] |
//!
//! Every transition is one compare-exchange from the value read, but for a drain's, which is unconditional. All are about
//! state, not history: a word that has left a value and come back to it holds those frames again, so there is no ABA.
//! A closed word has no bits to take and a group that no frame has, so closing costs the hits nothing.
//!
//! A word of a group says more: its CPU's hint is set (see [`crate::zone::cached`]). Who fills an EMPTY word sets the hint,
//! who clears the hint makes the words EMPTY first; between the two, takes, puts and installs leave the hint alone.
//! Any CPU may do any of this to any CPU's words by a locked instruction. Where words are their CPU's own, that one takes,
//! puts and exchanges by a step of its own ([`crate::cache::hand`]), and others hold the words first ([`crate::cache::hold`]).

use crate::block::row::{run_mask, run_starts};
use crate::cache::hand::{Hand, Unchanged};
use crate::frame::{GroupIndex, Order};
use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicU64, Ordering, UnmodelledU64};

/// The first group number that is no group: a zone spans at most this many groups (510 TiB).
pub(crate) const MAX_GROUPS: u32 = 0xff00_0000;
const CLOSED: u32 = 0xff80_0000;
const EPOCH: u32 = 0x007f_ffff;

/// Which closing a closed word belongs to; wraps after 2^23.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch(pub(crate) u32);

impl Epoch {
    /// Whether this closing came after the other: the shorter way round the 2^23 numbers decides.
    const fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0) & EPOCH;
        ahead != 0 && ahead <= EPOCH / 2
    }
}

/// A plain copy of a slot word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(u64);

impl Slot {
    /// A slot that caches nothing and may be filled by who sets its CPU's hint.
    pub(crate) const EMPTY: Self = Self((MAX_GROUPS as u64) << 32);

    /// A slot that holds `mask` of `group`.
    #[inline]
    pub(crate) const fn new(group: GroupIndex, mask: u32) -> Self {
        Self((group.0 as u64) << 32 | mask as u64)
    }

    const fn closed(epoch: Epoch) -> Self {
        Self(((CLOSED | epoch.0 & EPOCH) as u64) << 32)
    }

    #[inline]
    pub(crate) const fn mask(self) -> u32 {
        self.0 as u32
    }

    /// The word as it is.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The group; meaningful only where the mask is not 0 or [`Slot::is_of`] holds.
    #[inline]
    pub(crate) const fn group(self) -> GroupIndex {
        GroupIndex((self.0 >> 32) as u32)
    }

    #[inline]
    pub(crate) const fn is_of(self, group: GroupIndex) -> bool {
        self.group().0 == group.0
    }

    /// Whether nothing may be put here.
    #[inline]
    pub(crate) const fn is_closed(self) -> bool {
        self.group().0 >= CLOSED
    }

    /// Of a group, not EMPTY and not closed: its CPU's hint is set.
    #[inline]
    pub(crate) const fn is_owned(self) -> bool {
        self.group().0 < MAX_GROUPS
    }

    /// The closing; meaningful only where the slot is closed.
    const fn epoch(self) -> Epoch {
        Epoch(self.group().0 & EPOCH)
    }

    /// Holds no frames and may be filled.
    #[inline]
    pub(crate) const fn is_fillable(self) -> bool {
        // The mask above the group: one comparison.
        self.0.rotate_right(u32::BITS) < CLOSED as u64
    }

    /// Holds its whole group.
    #[inline]
    pub(crate) const fn is_whole(self) -> bool {
        self.mask() == u32::MAX
    }

    /// The lowest frame of the mask, which is the lowest bit of the word, and the slot without it.
    #[inline]
    pub(crate) const fn without_frame(self) -> Option<(u32, Self)> {
        if self.mask() == 0 {
            None
        } else {
            Some((self.mask().trailing_zeros(), Self(self.0 & (self.0 - 1))))
        }
    }

    /// The first frame of the lowest aligned run of `order` (at most a group) in the group, and the slot without it.
    #[inline]
    const fn without_run(self, order: Order) -> Option<(u32, Self)> {
        let starts = run_starts(self.mask() as u64, order);
        let first = starts.trailing_zeros();
        if starts == 0 { None } else { Some((first, Self(self.0 & !(run_mask(order) << first)))) }
    }
}

/// What a put came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// The frames are cached here now.
    Kept,
    /// The word holds another group, or is closed.
    OtherGroup,
    /// At least one of the frames is cached here already: a double free. Nothing changed.
    AlreadyHere,
}

/// The word, and beside it a hint: what a locked step on it was last seen to leave. The next hit expects that, and so need not wait
/// for the step before it has looked the word up: it costs the processor 9 ns for 11. Any value is correct: a step succeeds
/// only if the word is what was expected, and who is told that nothing is here, or another group, goes on to who looks at the
/// word itself.
#[repr(C, align(16))]
pub(crate) struct SlotWord {
    word: AtomicU64,
    seen: UnmodelledU64,
}

impl SlotWord {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(Slot::EMPTY.0), seen: UnmodelledU64::new(Slot::EMPTY.0) }
    }

    /// What the hand expects the word to be: what was last seen there, or what it is now.
    #[inline(always)]
    pub(crate) fn expected(&self, hand: impl Hand) -> Slot {
        match hand.guess(&self.seen) {
            Some(seen) => Slot(seen),
            None => self.load(),
        }
    }

    /// The word now. SeqCst: whoever cleared a CPU's hint re-reads its words, and whoever isolated a block goes through them;
    /// partner: the SeqCst `exchange`, whose callers then load the hint of an EMPTY word, or the block's entry. (A put is
    /// into a word of a group: no hint is owed.) Everything else acts by compare-exchange.
    #[inline]
    pub(crate) fn load(&self) -> Slot {
        Slot(self.word.load(Ordering::SeqCst))
    }

    /// Whether the word is of the group: a look before a `put`, which looks again.
    #[inline]
    pub(crate) fn is_of_now(&self, group: GroupIndex) -> bool {
        Slot(self.word.load(Ordering::Relaxed)).is_of(group) // Relaxed: `put` decides
    }

    /// Takes an aligned run of `order`: the group and the run's first frame in it. One locked step on a hit, or one of the
    /// owner's.
    #[inline]
    #[must_use]
    pub(crate) fn take(&self, hand: impl Hand, order: Order) -> Option<(GroupIndex, u32)> {
        if order == Order::ZERO {
            return self.take_with(hand, Slot::without_frame);
        }
        let taken = self.take_run(hand, order)?;
        Some((taken.group(), taken.mask()))
    }

    /// A copy for each order, so that the search for its runs is a handful of instructions. The group and the run's first
    /// frame in place of the mask, in one word: that comes back in registers.
    #[inline(never)]
    fn take_run(&self, hand: impl Hand, order: Order) -> Option<Slot> {
        let (group, first) = match order.get() {
            1 => self.take_with(hand, |slot| slot.without_run(Order::from_raw(1))),
            2 => self.take_with(hand, |slot| slot.without_run(Order::from_raw(2))),
            3 => self.take_with(hand, |slot| slot.without_run(Order::from_raw(3))),
            4 => self.take_with(hand, |slot| slot.without_run(Order::from_raw(4))),
            _ => self.take_with(hand, |slot| slot.without_run(Order::GROUP)),
        }?;
        Some(Slot::new(group, first))
    }

    /// Takes what `without` leaves out: the first frame of it, and the slot that is left. `None` also where the hand may not
    /// change the word.
    #[inline]
    fn take_with(
        &self,
        hand: impl Hand,
        without: impl Fn(Slot) -> Option<(u32, Slot)>,
    ) -> Option<(GroupIndex, u32)> {
        // Acquire: what the frames' last owner wrote; partner: the Release half of `put`.
        let acquire = ordering_unless(Mutant::TakeRelaxed, Ordering::Acquire);
        if let Some(seen) = hand.guess(&self.seen).map(Slot) {
            let (first, left) = without(seen)?;
            if hand.change(&self.word, seen.0, left.0, acquire).is_ok() {
                hand.note(&self.seen, left.0);
                return Some((seen.group(), first));
            }
        }
        let mut slot = Slot(self.word.load(Ordering::Relaxed)); // Relaxed: the change decides
        loop {
            let Some((first, left)) = without(slot) else {
                hand.note(&self.seen, slot.0);
                return None;
            };
            match hand.change(&self.word, slot.0, left.0, acquire) {
                Ok(()) => {
                    hand.note(&self.seen, left.0);
                    return Some((slot.group(), first));
                }
                Err(Unchanged::Is(now)) => slot = Slot(now),
                Err(Unchanged::NotNow) => return None,
            }
        }
    }

    /// Puts `mask` back if the word is of `group`. One locked step on a hit, or one of the owner's. A word that the hand may
    /// not change counts as another group's.
    #[inline]
    pub(crate) fn put(&self, hand: impl Hand, group: GroupIndex, mask: u32) -> Put {
        // Release: what the owner wrote; partner: the Acquire of `take` and `empty`.
        let release = ordering_unless(Mutant::PutRelaxed, Ordering::Release);
        if let Some(seen) = hand.guess(&self.seen).map(Slot) {
            if !seen.is_of(group) {
                return Put::OtherGroup;
            }
            let with = seen.0 | u64::from(mask);
            if seen.mask() & mask != 0 && planted(Mutant::GuessBelieved) {
                return Put::AlreadyHere;
            }
            // A frame that seems to be here is looked for in the word.
            if seen.mask() & mask == 0 && hand.change(&self.word, seen.0, with, release).is_ok() {
                hand.note(&self.seen, with);
                return Put::Kept;
            }
        }
        let mut slot = Slot(self.word.load(Ordering::Relaxed)); // Relaxed: the change decides
        loop {
            if !slot.is_of(group) {
                hand.note(&self.seen, slot.0);
                return Put::OtherGroup;
            }
            if slot.mask() & mask != 0 {
                return Put::AlreadyHere;
            }
            let with = slot.0 | u64::from(mask);
            match hand.change(&self.word, slot.0, with, release) {
                Ok(()) => {
                    hand.note(&self.seen, with);
                    return Put::Kept;
                }
                Err(Unchanged::Is(now)) => slot = Slot(now),
                Err(Unchanged::NotNow) => return Put::OtherGroup,
            }
        }
    }

    /// Replaces exactly `from` by `to`: an install into a fillable word, an eviction out of a full one.
    #[inline]
    #[must_use]
    pub(crate) fn exchange(&self, hand: impl Hand, from: Slot, to: Slot) -> bool {
        if planted(Mutant::InstallIgnoresClose) {
            self.word.store(to.0, Ordering::SeqCst);
            return true;
        }
        // AcqRel: takes what `put` released, hands on what the installer acquired from the rows. SeqCst: see `load`.
        let exchanged = hand.exchange(&self.word, from.0, to.0);
        if exchanged {
            hand.note(&self.seen, to.0);
        }
        exchanged
    }

    /// As `exchange` of a word of a group, to which no hint is owed: an owner's step is a plain one, and orders nothing with
    /// what is read next. So who isolates or poisons has owners pass a barrier before it goes through their words.
    #[inline(always)]
    #[must_use]
    pub(crate) fn refill(&self, hand: impl Hand, from: Slot, to: Slot) -> bool {
        if planted(Mutant::InstallIgnoresClose) {
            self.word.store(to.0, Ordering::SeqCst);
            return true;
        }
        // AcqRel, and SeqCst by anybody's hand: as `exchange`.
        let changed = hand.change(&self.word, from.0, to.0, Ordering::SeqCst).is_ok();
        // Relaxed: what is noted is a hint.
        hand.note(&self.seen, if changed { to.0 } else { self.word.load(Ordering::Relaxed) });
        changed
    }

    /// Takes everything if that is what the word was seen to hold; the group stays.
    #[must_use]
    pub(crate) fn take_all(&self, hand: impl Hand, from: Slot) -> bool {
        // Acquire: as `take`.
        hand.change(&self.word, from.0, Slot::new(from.group(), 0).0, Ordering::Acquire).is_ok()
    }

    /// Takes everything in one step, whoever else is at work; the group stays, a closed word stays closed.
    pub(crate) fn empty(&self) -> Slot {
        if planted(Mutant::DrainPlain) {
            let slot = self.load();
            (0..8).for_each(|_| core::hint::spin_loop());
            self.word.store(slot.0 & !u64::from(u32::MAX), Ordering::SeqCst);
            return slot;
        }
        // Acquire: what the frames' last owners wrote; partner: `put`. Release: nothing, but the word's history goes on.
        Slot(self.word.fetch_and(!u64::from(u32::MAX), Ordering::AcqRel))
    }

    /// Takes everything if the word is of `group`, and the group too: no free finds it here any more. `None`: the hand may not
    /// change the word. Retries only after another's step on this word.
    pub(crate) fn forget(&self, hand: impl Hand, group: GroupIndex) -> Option<Slot> {
        let mut slot = self.load();
        while slot.is_of(group) {
            // AcqRel: as `empty`.
            match hand.change(&self.word, slot.0, Slot::EMPTY.0, Ordering::AcqRel) {
                Ok(()) => return Some(slot),
                Err(Unchanged::Is(now)) => slot = Slot(now),
                Err(Unchanged::NotNow) => return None,
            }
        }
        Some(Slot::EMPTY)
    }

    /// Gives up a group of which no frame is here: who fills the word next sets its CPU's hint.
    pub(crate) fn disown(&self) {
        let slot = self.load();
        if slot.mask() == 0 && slot.is_owned() {
            // SeqCst: before the clear of the CPU's hint. A failure means that the word may hold frames: the clearer looks
            // again after the clear.
            let _ = self.word.compare_exchange(slot.0, Slot::EMPTY.0, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// Takes everything and lets nothing in before [`SlotWord::reopen`] with the same epoch. A word closed in a later
    /// epoch stays so: a closer that slept must not undo it. Retries only after another's step on this word.
    pub(crate) fn close(&self, epoch: Epoch) -> Slot {
        let mut slot = self.load();
        loop {
            if slot.is_closed() && slot.epoch().is_after(epoch) {
                return Slot::EMPTY;
            }
            // AcqRel: as `empty`.
            let closed = Slot::closed(epoch).0;
            match self.word.compare_exchange(slot.0, closed, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return slot,
                Err(now) => slot = Slot(now),
            }
        }
    }

    /// Opens a word closed in `epoch`; one closed again since stays closed.
    pub(crate) fn reopen(&self, epoch: Epoch) {
        if planted(Mutant::ReopenBlind) {
            return self.word.store(Slot::EMPTY.0, Ordering::Relaxed);
        }
        // Relaxed: hands on no frames. A failure means a later close or an earlier reopen: nothing to do.
        let _ = self.word.compare_exchange(
            Slot::closed(epoch).0,
            Slot::EMPTY.0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}
