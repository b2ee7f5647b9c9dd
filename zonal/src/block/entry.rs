//! A block's entry: the one word that says how many of its frames may be claimed, and by whom it is used.
//!
//! | bits | field | changed by |
//! |---|---|---|
//! | 0..=9 | `count`: frames that may still be claimed | [`Entry::claim`] down, [`Entry::raise`] up, the whole-block transitions |
//! | 10..=19 | `managed`: frames of the block that exist and are not reserved; 0: nobody's block | construction, [`Entry::plug`], [`Entry::unplug`] |
//! | 20..=21 | `kind` | a claim that retypes, [`Entry::take_whole`], [`Entry::retype_whole`], [`Entry::join`] |
//! | 22 | `whole`: allocated as one run of order 9 or part of a larger one; the rows' bits mean nothing | [`Entry::take_whole`], [`Entry::commit`], [`Entry::join`]; [`Entry::put_whole`], [`Entry::split`] |
//! | 23 | `tentative`: taken towards a run of order 10 or more, not yet committed: in flight | [`Entry::take_tentative`]; [`Entry::commit`], [`Entry::abandon`] |
//! | 24 | `isolated`: not claimable, its count is not in the zone's | [`Entry::isolate`], [`Entry::unisolate`] |
//! | 25 | `reserved`: kept for long atomic requests, its count is in the zone's reserve | [`Entry::reserve`], [`Entry::release`] |
//! | 26 | `vacating`: a compaction makes frames of the block its own; other compactions keep out, and it stays its zone's | [`Entry::begin_vacating`], [`Entry::end_vacating`] |
//! | 27 | `poisoned`: frames of the block stand in the table of poisoned frames | [`Entry::flag_poisoned`], [`Entry::unflag_poisoned`]; [`Entry::unplug`] |
//! | 32..=47 | `zone`: the zone it belongs to; every claim compares it | construction, [`Entry::plug`], [`Entry::unplug`] |
//!
//! Claim first: no row is touched without a claim, so `count <= popcount(rows)` and the difference is the claims whose
//! holders have not taken their bits (or are giving them back). A free sets bits first and raises the count after.
//! A block with holes never reaches a count of 512, so it is never taken whole.

pub(crate) use crate::block::snapshot::Snapshot;
use crate::block::snapshot::{
    COUNT, ISOLATED, KIND, KIND_SHIFT, MANAGED_SHIFT, POISONED, RESERVED, TENTATIVE, VACATING, WHOLE,
    ZONE_SHIFT,
};
use crate::frame::{BLOCK_FRAMES, NO_ZONE, ZoneId};
use crate::mutant::{Mutant, ordering_unless, planted};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::Kind;

/// What a claim came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// This many frames are the caller's to take from the rows; the entry as it was left.
    Got(u64, Snapshot),
    /// Nothing was claimed; the entry as it was seen.
    Refused,
}

/// What a raise came to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Raise {
    /// The count was raised; the entry as it was left.
    Done(Snapshot),
    /// The block is taken whole (or would hold more frames than exist): the caller's frames were not its to free.
    Refused,
}

/// The word.
#[repr(transparent)]
pub(crate) struct Entry(AtomicU64);

impl Entry {
    /// An entry of a block with `managed` frames, all free.
    pub(crate) fn new(zone: ZoneId, kind: Kind, managed: u64) -> Self {
        Self::with_free(zone, kind, managed, managed)
    }

    /// The same with only `free` of them free.
    pub(crate) fn with_free(zone: ZoneId, kind: Kind, managed: u64, free: u64) -> Self {
        Self(AtomicU64::new(free & COUNT | Self::fixed(zone, kind, managed)))
    }

    /// An entry of a block that is nobody's.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) const fn absent() -> Self {
        Self(AtomicU64::new(Self::fixed(NO_ZONE, Kind::Movable, 0)))
    }

    /// An entry of a block allocated whole.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) fn whole(zone: ZoneId, kind: Kind) -> Self {
        Self(AtomicU64::new(WHOLE | Self::fixed(zone, kind, BLOCK_FRAMES)))
    }

    const fn fixed(zone: ZoneId, kind: Kind, managed: u64) -> u64 {
        managed << MANAGED_SHIFT | (kind as u64) << KIND_SHIFT | (zone.0 as u64) << ZONE_SHIFT
    }

    /// The entry now. SeqCst: a searcher that has cleared a hint re-reads the entry after the clear; partner: the
    /// SeqCst raise in [`Entry::raise`] that precedes the freer's load of the hint.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::SeqCst))
    }

    /// Replaces the entry by `next(entry)` while that is `Some`; retries only after another's step on this block.
    #[inline]
    fn update(
        &self,
        success: Ordering,
        next: impl Fn(Snapshot) -> Option<u64>,
    ) -> Result<(u64, u64), Snapshot> {
        self.update_seen(Snapshot(self.0.load(Ordering::Relaxed)), success, next) // Relaxed: the exchange decides
    }

    /// The same of an entry that was seen a moment ago.
    #[inline(always)]
    fn update_seen(
        &self,
        Snapshot(mut now): Snapshot,
        success: Ordering,
        next: impl Fn(Snapshot) -> Option<u64>,
    ) -> Result<(u64, u64), Snapshot> {
        loop {
            let Some(new) = next(Snapshot(now)) else { return Err(Snapshot(now)) };
            match self.0.compare_exchange_weak(now, new, success, Ordering::Relaxed) {
                Ok(_) => return Ok((now, new)),
                Err(seen) => now = seen,
            }
        }
    }

    /// Claims between `least` and `want` frames if the block is open, of `zone`, and has that many; retypes it to
    /// `retype` in the same step.
    #[inline]
    pub(crate) fn claim(&self, zone: ZoneId, want: u64, least: u64, retype: Option<Kind>) -> Claim {
        // Acquire: the bits of the frees whose raises this count contains; partner: the Release half of `raise`.
        let acquire = ordering_unless(Mutant::ClaimRelaxed, Ordering::SeqCst);
        let outcome = self.update(acquire, |now| {
            let own = now.zone() == zone || planted(Mutant::ClaimIgnoresZone);
            if !now.is_open() || !own || now.count() < least {
                return None;
            }
            let left = now.0 - want.min(now.count());
            Some(retype.map_or(left, |kind| left & !KIND | (kind as u64) << KIND_SHIFT))
        });
        match outcome {
            Ok((old, new)) => Claim::Got((old & COUNT) - (new & COUNT), Snapshot(new)),
            Err(_) => Claim::Refused,
        }
    }

    /// Raises the count by frames whose bits the caller has set (a free), or whose claim it gives back.
    #[inline]
    pub(crate) fn raise(&self, frames: u64) -> Raise {
        self.raise_seen(Snapshot(self.0.load(Ordering::Relaxed)), frames) // Relaxed: the exchange decides
    }

    /// The same of an entry that was seen a moment ago.
    #[inline(always)]
    pub(crate) fn raise_seen(&self, seen: Snapshot, frames: u64) -> Raise {
        // Release: the bits; partner: `claim`. SeqCst: ordered before the freer's loads of the hints; partner: the
        // re-read in `HintTree::clear`.
        let release = ordering_unless(Mutant::RaiseRelaxed, Ordering::SeqCst);
        let outcome = self.update_seen(seen, release, |now| {
            let whole = now.0 & (WHOLE | TENTATIVE) != 0;
            (!whole && now.count() + frames <= now.managed()).then(|| now.0 + frames)
        });
        outcome.map_or(Raise::Refused, |(_, new)| Raise::Done(Snapshot(new)))
    }

    /// Takes the wholly free block in one step: count 512 becomes `whole`, the bits stay as they are.
    #[inline]
    #[must_use]
    pub(crate) fn take_whole(&self, zone: ZoneId, kind: Kind) -> bool {
        self.take_free_block(zone, kind, WHOLE)
    }

    /// Takes the wholly free block as part of a longer run that is not complete yet.
    #[must_use]
    pub(crate) fn take_tentative(&self, zone: ZoneId, kind: Kind) -> bool {
        self.take_free_block(zone, kind, TENTATIVE)
    }

    #[inline]
    fn take_free_block(&self, zone: ZoneId, kind: Kind, flag: u64) -> bool {
        // Acquire: what the last owners wrote to the frames; partners: the Release half of `raise`, `put_whole`,
        // `abandon` (a release sequence of exchanges reaches all of them). Release: after the `enter` of the transit
        // word; partner: the barrier of a walk about to fail (`slow.rs`).
        self.update(Ordering::AcqRel, |now| {
            let own = now.zone() == zone || planted(Mutant::ClaimIgnoresZone);
            (now.is_free_block() && own)
                .then_some(now.0 & !(COUNT | KIND) | flag | (kind as u64) << KIND_SHIFT)
        })
        .is_ok()
    }

    /// Turns a tentative block into an allocated one. Only the taker calls it.
    pub(crate) fn commit(&self) {
        // Relaxed: the taker acquired the frames in `take_tentative`, and nobody acts on the flag but to count.
        self.0.fetch_xor(WHOLE | TENTATIVE, Ordering::Relaxed);
    }

    /// Gives a tentative block back, wholly free. Only the taker calls it. The entry as it was left.
    pub(crate) fn abandon(&self) -> Raise {
        self.put_back(|now| now.is_tentative())
    }

    /// Frees a block allocated whole; refused if it is not, or a frame of it is poisoned: then it must be split.
    #[inline]
    pub(crate) fn put_whole(&self) -> Raise {
        self.put_back(|now| now.is_whole() && !now.is_poisoned())
    }

    #[inline]
    fn put_back(&self, holds: impl Fn(Snapshot) -> bool) -> Raise {
        // Release: what the owner wrote to the frames; partner: `claim`, `take_free_block`. SeqCst: as in `raise`.
        let outcome = self.update(Ordering::SeqCst, |now| {
            holds(now).then_some(now.0 & !(WHOLE | TENTATIVE) | BLOCK_FRAMES)
        });
        outcome.map_or(Raise::Refused, |(_, new)| Raise::Done(Snapshot(new)))
    }

    /// Turns a whole block whose rows its owner has wiped into one with count 0, whose frames are freed singly.
    #[must_use]
    pub(crate) fn split(&self) -> bool {
        // Release: the wiped rows; partner: the Acquire of `claim` on a count that frees of the parts raised.
        self.update(Ordering::Release, |now| now.is_whole().then_some(now.0 & !WHOLE)).is_ok()
    }

    /// Gives a whole block to content of another kind. Only its owner calls it.
    pub(crate) fn retype_whole(&self, kind: Kind) {
        // Relaxed: as `reserve`; nobody acts on the kind of a block that is allocated.
        let _ = self.update(Ordering::Relaxed, |now| {
            now.is_whole().then_some(now.0 & !KIND | (kind as u64) << KIND_SHIFT)
        });
    }

    /// Keeps a block for atomic requests if it is as it was seen still.
    pub(crate) fn reserve(&self, seen: Snapshot) -> bool {
        // Relaxed: it publishes nothing and acts on the count alone; an exchange does not break what others released here.
        let same = |now: Snapshot| now == seen || planted(Mutant::KeptUnseen);
        self.update(Ordering::Relaxed, |now| (same(now) && now.is_open()).then_some(now.0 | RESERVED)).is_ok()
    }

    /// Gives up a reserved block to `kind` if it is as it was seen still. The entry as it was left.
    pub(crate) fn release(&self, seen: Snapshot, kind: Kind) -> Raise {
        // As `unisolate`: hints are made from the bits next.
        let outcome = self.update(Ordering::SeqCst, |now| {
            (now == seen && now.is_reserved())
                .then_some(now.0 & !(RESERVED | KIND) | (kind as u64) << KIND_SHIFT)
        });
        outcome.map_or(Raise::Refused, |(_, new)| Raise::Done(Snapshot(new)))
    }

    /// Claims `frames` of a reserved block of `zone`.
    #[must_use]
    pub(crate) fn claim_reserved(&self, zone: ZoneId, frames: u64) -> bool {
        self.claim_under(RESERVED, zone, frames)
    }

    /// Claims `frames` of an isolated block of `zone`: they are not in the zone's count.
    #[must_use]
    pub(crate) fn claim_isolated(&self, zone: ZoneId, frames: u64) -> bool {
        self.claim_under(ISOLATED, zone, frames)
    }

    fn claim_under(&self, flag: u64, zone: ZoneId, frames: u64) -> bool {
        // Acquire: as `claim`.
        self.update(Ordering::SeqCst, |now| {
            let own = now.zone() == zone || planted(Mutant::ClaimIgnoresZone);
            let open = own && now.0 & flag != 0 && now.is_open_to_frees();
            (open && now.count() >= frames).then(|| now.0 - frames)
        })
        .is_ok()
    }

    /// Keeps other compactions out of an open block of `zone`, and the block in its zone; false if one is at work there.
    #[must_use]
    pub(crate) fn begin_vacating(&self, zone: ZoneId) -> bool {
        // Relaxed, here and in `end_vacating`: it is about this word alone, so this orders nothing; an exchange does not
        // break what others released here.
        self.update(Ordering::Relaxed, |now| {
            (now.is_open() && now.zone() == zone && !now.is_vacating()).then_some(now.0 | VACATING)
        })
        .is_ok()
    }

    /// Lets other compactions in again. Only who kept them out calls it.
    pub(crate) fn end_vacating(&self) {
        self.0.fetch_and(!VACATING, Ordering::Relaxed);
    }

    /// Turns a block all of whose frames are the caller's, and whose rows it has filled, into a whole one; refused if a
    /// frame of it is free, or the block has been reserved.
    #[must_use]
    pub(crate) fn join(&self, kind: Kind) -> bool {
        // Release: the filled rows; partner: the Acquire of `claim` on a count that `put_whole` gave back.
        self.update(Ordering::Release, |now| {
            let open = now.is_open_to_frees() && !now.is_reserved();
            let all = open && now.count() == 0 && now.managed() == BLOCK_FRAMES;
            all.then_some(now.0 & !KIND | WHOLE | (kind as u64) << KIND_SHIFT)
        })
        .is_ok()
    }

    /// Isolates a block of `zone` whose count is `count` still; refused if it changed, is isolated already, or reserved.
    pub(crate) fn isolate(&self, zone: ZoneId, count: u64) -> Result<(), Snapshot> {
        // SeqCst: before the words are gone through; partner: the load of the entry after an install. It publishes nothing
        // and acts on the count alone; an exchange does not break what others released here.
        self.update(Ordering::SeqCst, |now| {
            let plain = !now.is_isolated() && !now.is_tentative() && !now.is_reserved();
            (plain && now.count() == count && now.zone() == zone).then_some(now.0 | ISOLATED)
        })
        .map(|_| ())
    }

    /// Makes a block of nobody's the zone's, with so many frames, all free, and isolated; its rows say so. False if it is
    /// somebody's.
    #[must_use]
    pub(crate) fn plug(&self, zone: ZoneId, managed: u64) -> bool {
        let fresh = ISOLATED | managed | Self::fixed(zone, Kind::Movable, managed);
        // Release: the filled rows; partner: the Acquire of `claim`, by way of `unisolate`.
        self.update(Ordering::SeqCst, |now| (now.managed() == 0).then_some(fresh)).is_ok()
    }

    /// Makes the zone's block nobody's, if it is isolated and free but for `out` poisoned frames, and no compaction is at work
    /// there: what that moves out of the block would be another zone's.
    #[must_use]
    pub(crate) fn unplug(&self, zone: ZoneId, out: u64) -> bool {
        let absent = Self::fixed(NO_ZONE, Kind::Movable, 0);
        // Acquire: what its last owners wrote to the frames, which the system takes back next; partner: `raise`.
        self.update(Ordering::SeqCst, |now| {
            let all = now.count() + out == now.managed();
            let free = now.is_open_to_frees() && all || planted(Mutant::UnplugUsed);
            let at_rest = !now.is_vacating() || planted(Mutant::UnplugVacating);
            (free && at_rest && now.is_isolated() && now.zone() == zone).then_some(now.0 & VACATING | absent)
        })
        .is_ok()
    }

    /// Says that frames of the block stand in the table of poisoned frames.
    pub(crate) fn flag_poisoned(&self) {
        // Release: the table's word; Acquire: the bits of raises before; partner, both: `raise`. SeqCst: as in `isolate`.
        self.0.fetch_or(POISONED, Ordering::SeqCst);
    }

    /// Says that none does any more.
    pub(crate) fn unflag_poisoned(&self) {
        // Relaxed: who sees the flag still finds nothing in the table.
        self.0.fetch_and(!POISONED, Ordering::Relaxed);
    }

    /// Ends the isolation of a block of `zone`. The entry as it was left: its count is what the zone's count must be raised
    /// by.
    pub(crate) fn unisolate(&self, zone: ZoneId) -> Raise {
        // Acquire: the bits of what was freed meanwhile, which the hints are made from; partner: `raise`. SeqCst: as
        // there, hints are looked at next.
        let outcome = self.update(Ordering::SeqCst, |now| {
            let own = now.zone() == zone || planted(Mutant::ClaimIgnoresZone);
            (own && now.is_isolated()).then_some(now.0 & !ISOLATED)
        });
        outcome.map_or(Raise::Refused, |(_, new)| Raise::Done(Snapshot(new)))
    }
}
