//! Taking frames out of a zone's blocks: claim the zone's count, claim the block's, take the bits.
//!
//! What can be taken is looked for first and claimed after, so that a request which finds nothing holds nothing; a
//! claim whose run was lost is given back at once. All of it is covered by the transit word, so that a request about
//! to fail sees that frames are on the move.

use crate::block::bitmap::GroupSpot;
use crate::block::entry::Claim;
use crate::block::row::run_mask;
use crate::cache::CpuCache;
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, GroupIndex, Order, Pfn, ROW_FRAMES};
use crate::mutant::{Mutant, planted};
use crate::topology::Kind;
use crate::zone::search::{Missed, Offer};
use crate::zone::{Block, Want, Zone};

/// Looks a holder of a claim takes at the rows before it gives the claim back. It always finds a frame, unless
/// misuse has broken the block's count: then it must not look for ever.
const LOOKS: usize = 64;

/// Frames taken out of one group. The taker calls [`Zone::arrived`] when they are where they can be found.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenGroup {
    pub(crate) block: u32,
    pub(crate) group: GroupIndex,
    /// First frame of the run asked for, in the group.
    pub(crate) first: u32,
    /// All frames taken, the run among them.
    pub(crate) mask: u32,
    in_transit: u64,
}

/// Why a zone did not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    /// Its count does not allow the order above the floor.
    AtMark,
    /// No block has such a run.
    NoRun,
}

impl From<Missed> for Miss {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Stopped => Self::AtMark,
            Missed::NotFound => Self::NoRun,
        }
    }
}

impl<'m> Zone<'m> {
    /// Takes a run (at most a group) and, where the zone stays above the floor, the rest of its group, at
    /// most `most` frames in all.
    #[inline(always)]
    pub(crate) fn take_group(
        &self,
        cache: Option<&CpuCache>,
        want: Want,
        start: usize,
        most: u64,
    ) -> Result<TakenGroup, Miss> {
        let uncredited = cache.is_none_or(|cache| cache.credit.frames() == 0);
        if uncredited && !self.count.spares(want.frames(), want.floor) {
            return Err(Miss::AtMark); // no claim can succeed
        }
        // Mostly the block of the last refill, or one hinted beside it, has more. If not, nothing was claimed.
        if let Some((block, _)) = self.near(want.kind, want.order, start)
            && let Offer::Taken(taken) = self.offer_group(cache, block, None, (want, most))
        {
            return Ok(taken);
        }
        self.search_group(cache, want, start, most)
    }

    #[inline(never)]
    fn search_group(
        &self,
        cache: Option<&CpuCache>,
        want: Want,
        start: usize,
        most: u64,
    ) -> Result<TakenGroup, Miss> {
        let offer = |block, retype| self.offer_group(cache, block, retype, (want, most));
        self.search(want, start, offer).map_err(Miss::from)
    }

    #[inline(always)]
    fn offer_group(
        &self,
        cache: Option<&CpuCache>,
        block: Block<'m>,
        retype: Option<Kind>,
        (Want { order, floor, .. }, most): (Want, u64),
    ) -> Offer<TakenGroup> {
        let run = order.frames();
        let Some(spot) = block.bitmap.choose_group(order) else { return Offer::Next };
        let frames = u64::from(spot.frames).min(most).max(run);
        self.count.enter(frames);
        let offer = match self.claim(cache, (frames, run), floor) {
            Ok(counted) => self.take_spot(block, spot, order, retype, (frames, counted)),
            Err(_) => Offer::Stop,
        };
        if !matches!(offer, Offer::Taken(_)) {
            self.count.leave(frames);
        }
        offer
    }

    /// With `counted` of `want` frames claimed from the zone: takes the spot's, and gives the zone back what is left.
    #[inline(always)]
    fn take_spot(
        &self,
        block: Block<'m>,
        spot: GroupSpot,
        order: Order,
        retype: Option<Kind>,
        (want, counted): (u64, u64),
    ) -> Offer<TakenGroup> {
        let (taken, spare) = self.take_counted_spot(block, spot, order, retype, counted);
        if spare > 0 {
            self.count.raise(spare);
        }
        taken.map_or(Offer::Next, |taken| Offer::Taken(TakenGroup { in_transit: want, ..taken }))
    }

    /// With `counted` frames claimed from the zone: claims them from the block and takes the spot's bits. What was
    /// taken, and how many of the counted frames are still the zone's.
    #[inline(always)]
    fn take_counted_spot(
        &self,
        block: Block<'m>,
        spot: GroupSpot,
        order: Order,
        retype: Option<Kind>,
        counted: u64,
    ) -> (Option<TakenGroup>, u64) {
        let Some(claimed) = self.claim_block(block, counted, order.frames(), retype) else {
            return (None, counted);
        };
        let Some((spot, first, mask)) = take_claimed(block, spot, order, claimed) else {
            if planted(Mutant::LostRunKept) {
                return (None, 0);
            }
            return (None, counted - claimed + self.return_claim(block, claimed));
        };
        let spare = claimed - u64::from(mask.count_ones());
        let shift = spot.half * GROUP_FRAMES as u32;
        let taken = TakenGroup {
            block: block.index.0,
            group: self.group_of(block.start.add(spot.row as u64 * ROW_FRAMES + u64::from(shift))),
            first: first - shift,
            mask: (mask >> shift) as u32,
            in_transit: 0,
        };
        (Some(taken), counted - claimed + self.return_claim(block, spare))
    }

    /// Takes up to `frames` single frames in at most `room` groups, a block after the other, and gives each group to
    /// `push`; the zone is counted once, each block once and each row once. Returns the frames taken: none if the zone
    /// cannot spare that many at once.
    pub(crate) fn take_many(
        &self,
        want: Want,
        mut start: usize,
        frames: u64,
        mut room: usize,
        mut push: impl FnMut(u32, GroupIndex, u32),
    ) -> u64 {
        self.count.enter(frames);
        let Ok(mut left) = self.count.claim(frames, frames, want.floor) else {
            self.count.leave(frames);
            return 0;
        };
        let mut taken = 0;
        while room > 0 && left > 0 {
            let found = self.search(want, start, |block, retype| {
                let Some(claimed) = self.claim_block(block, left, 1, retype) else { return Offer::Next };
                let here = take_scattered(block, claimed as u32, room, |row, half, mask| {
                    let frame = row as u64 * ROW_FRAMES + half * GROUP_FRAMES;
                    push(block.index.0, self.group_of(block.start.add(frame)), mask);
                    room -= 1;
                });
                taken += u64::from(here);
                left -= claimed - self.return_claim(block, claimed - u64::from(here));
                if here > 0 { Offer::Taken(block.index) } else { Offer::Next }
            });
            let Ok(block) = found else { break };
            start = block.0 as usize;
        }
        if left > 0 {
            self.count.raise(left);
        }
        self.count.leave(frames);
        taken
    }

    /// Claims between `least` and `want` frames of the block, retyping it if told so.
    pub(crate) fn claim_block(
        &self,
        block: Block<'m>,
        want: u64,
        least: u64,
        retype: Option<Kind>,
    ) -> Option<u64> {
        if planted(Mutant::BitsBeforeCount) {
            return Some(want);
        }
        if let Some(kind) = retype {
            self.hint_retyped(block, kind);
        }
        match block.entry.claim(self.id, want, least, retype) {
            Claim::Got(frames, after) => {
                // Whether told to retype or not: a block that was wholly free was in no kind's tree. A retyped block is
                // hinted even if nothing is left: a free under way may have completed a run for the old kind.
                let was_free = after.count() + frames == BLOCK_FRAMES;
                if retype.is_some() || (after.count() > 0 && was_free) {
                    self.hint_retyped(block, after.kind());
                }
                Some(frames)
            }
            Claim::Refused => None,
        }
    }

    /// The frames of a taken group have arrived in a slot word or at the caller.
    #[inline]
    pub(crate) fn arrived(&self, taken: &TakenGroup) {
        self.count.leave(taken.in_transit);
    }

    /// Takes a run from a row to half a block.
    #[inline(never)]
    pub(crate) fn take_rows(&self, cache: Option<&CpuCache>, want: Want, start: usize) -> Result<Pfn, Miss> {
        let (order, run) = (want.order, want.frames());
        self.search(want, start, |block, retype| {
            let Some(first) = block.bitmap.find_rows(order) else { return Offer::Next };
            self.count.enter(run);
            let offer = match self.claim(cache, (run, run), want.floor) {
                Err(_) => Offer::Stop,
                Ok(_) if self.take_counted(block, order, retype, || block.bitmap.take_rows(first, order)) => {
                    Offer::Taken(block.start.add(first as u64 * ROW_FRAMES))
                }
                Ok(_) => Offer::Next,
            };
            self.count.leave(run);
            offer
        })
        .map_err(Miss::from)
    }

    /// With a run's frames claimed from the zone: claims them from the block and takes the bits by `take`, or gives
    /// both claims back.
    fn take_counted(
        &self,
        block: Block<'m>,
        order: Order,
        retype: Option<Kind>,
        take: impl Fn() -> bool,
    ) -> bool {
        let run = order.frames();
        if self.claim_block(block, run, run, retype).is_none() {
            self.count.raise(run);
            return false;
        }
        let taken = take();
        if !taken && !planted(Mutant::LostRunKept) {
            let returned = self.return_claim(block, run);
            self.count.raise(returned);
        }
        taken
    }

    /// Takes exactly the wanted run (below a block) at frame `offset` of the block, or nothing.
    pub(crate) fn take_run_at(&self, block: Block<'m>, offset: u64, want: Want) -> Result<(), Miss> {
        let (order, run) = (want.order, want.frames());
        let row = (offset / ROW_FRAMES) as usize;
        let take = || {
            if order >= Order::ROW {
                return block.bitmap.take_rows(row, order);
            }
            block.bitmap.row(row).take_exact(run_mask(order) << (offset % ROW_FRAMES))
        };
        // A wholly free block that is broken up keeps its kind, but its hints change: a retype to the same.
        let entry = block.entry.load();
        let retype = entry.is_free_block().then(|| entry.kind());
        self.count.enter(run);
        let taken = match self.count.claim(run, run, want.floor) {
            Err(_) => Err(Miss::AtMark),
            Ok(_) if self.take_counted(block, order, retype, take) => Ok(()),
            Ok(_) => Err(Miss::NoRun),
        };
        self.count.leave(run);
        taken
    }
}

/// Takes `claimed` single frames of the block, fewer if they do not fit in `room` groups: the claim says that they are
/// there. Gives each group to `took`: row, half, mask in the group. Returns how many frames were taken.
#[inline(always)]
pub(in crate::zone) fn take_scattered(
    block: Block<'_>,
    claimed: u32,
    mut room: usize,
    mut took: impl FnMut(usize, u64, u32),
) -> u32 {
    let mut taken = 0;
    for _ in 0..LOOKS {
        taken += block.bitmap.take_scattered(claimed - taken, room, |row, mask| {
            let (lower, upper) = (mask as u32, (mask >> GROUP_FRAMES) as u32);
            // Mostly one of them is all there is, and which is as good as random.
            took(row, u64::from(lower == 0), if lower == 0 { upper } else { lower });
            room -= 1;
            if lower != 0 && upper != 0 {
                took(row, 1, upper);
                room -= 1;
            }
        });
        if taken == claimed || room == 0 {
            break;
        }
    }
    taken
}

/// Takes a run of `order` and up to `claimed` frames in all from the spot, or, for single frames, from any group of
/// the block: the claim says that there is one. The spot, the run's first bit in its row, the mask in the row.
fn take_claimed(
    block: Block<'_>,
    spot: GroupSpot,
    order: Order,
    claimed: u64,
) -> Option<(GroupSpot, u32, u64)> {
    let claimed = claimed as u32;
    let mut spot = Some(spot);
    for _ in 0..LOOKS {
        let taken = spot.and_then(|at| Some((at, block.bitmap.take_group(at, order, claimed)?)));
        if let Some((at, (first, mask))) = taken {
            return Some((at, first, mask));
        }
        if order != Order::ZERO {
            return None;
        }
        spot = block.bitmap.choose_group(order);
    }
    None
}
