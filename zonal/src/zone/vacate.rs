//! Making a part of a block one's own, frame by frame: what is free in it is taken, what is used is moved elsewhere.
//!
//! Who does this has claimed the part's frames from the zone's count beforehand, as a request does: its *funds*. Each frame
//! of the part costs one of them, either by itself (it was free and is taken) or by the frame that its content is moved to.
//! Nothing here is a state of its own: frames of the part that were got are allocated, the others are what they were.
//!
//! Invariant: `funds + frames of the part owned + targets in hand = frames of the part` (less what an isolation of the block
//! took over), so a part that is owned has used up its funds to the frame.

use crate::block::bitmap::{lowest, row_and_mask};
use crate::frame::{BLOCK_FRAMES, FrameRange, Order, Pfn, ROW_FRAMES, ROWS};
use crate::mutant::{Mutant, planted};
use crate::topology::Kind;
use crate::zone::{Block, Zone};

/// An aligned part of a block, and what of it is in hand.
pub(crate) struct Part<'m> {
    pub(crate) block: Block<'m>,
    pub(crate) range: FrameRange,
    /// The part's frames, by row.
    mask: [u64; ROWS],
    /// Those that are the taker's already.
    owned: [u64; ROWS],
}

impl<'m> Part<'m> {
    /// The run of `order` (at most a block) at frame `offset` of the block.
    pub(crate) fn new(block: Block<'m>, offset: u64, order: Order) -> Self {
        let (first, mask) = row_and_mask(offset, order);
        let rows = first..first + order.frames().div_ceil(ROW_FRAMES) as usize;
        let mask = core::array::from_fn(|row| if rows.contains(&row) { mask } else { 0 });
        let start = block.start.add(offset);
        Self { block, range: FrameRange::new(start, start.add(order.frames())), mask, owned: [0; ROWS] }
    }

    /// Frames of it that are free now and not in hand.
    pub(crate) fn free(&self) -> u64 {
        let rows = self.mask.iter().zip(&self.owned).enumerate();
        rows.map(|(row, (mask, owned))| {
            u64::from((self.block.bitmap.row(row).load() & mask & !owned).count_ones())
        })
        .sum()
    }

    /// The part's frames that are not in hand yet.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Pfn> + use<'m> {
        let (mask, owned, start) = (self.mask, self.owned, self.block.start);
        (0..BLOCK_FRAMES).filter(move |&at| bit(&mask, at) && !bit(&owned, at)).map(move |at| start.add(at))
    }

    /// Whether the frame is in hand.
    pub(crate) fn owns(&self, pfn: Pfn) -> bool {
        bit(&self.owned, pfn.get() % BLOCK_FRAMES)
    }

    /// Whether the frame's bit is set now.
    pub(crate) fn is_free(&self, pfn: Pfn) -> bool {
        let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        self.block.bitmap.row(row).load() & mask != 0
    }

    /// The frame was its owner's, whose content was moved away: it is the taker's now.
    pub(crate) fn own(&mut self, pfn: Pfn) {
        let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        self.owned[row % ROWS] |= mask;
    }
}

fn bit(rows: &[u64; ROWS], at: u64) -> bool {
    rows[(at / ROW_FRAMES) as usize % ROWS] >> (at % ROW_FRAMES) & 1 == 1
}

impl<'m> Zone<'m> {
    /// Takes what is free of the part, as far as the funds and the block's count go.
    pub(crate) fn gather(&self, part: &mut Part<'m>, funds: &mut u64) {
        let want = part.free().min(*funds);
        if want == 0 {
            return;
        }
        let Some(claimed) = self.claim_block(part.block, want, 1, None) else { return };
        *funds -= claimed;
        let mut left = claimed as u32;
        for (row, (mask, owned)) in part.mask.iter().zip(&mut part.owned).enumerate() {
            let missing = mask & !*owned;
            let taken = part.block.bitmap.row(row).take_from(|free| lowest(free & missing, left));
            *owned |= taken;
            left -= taken.count_ones();
        }
        // Others took some of them since, with claims of their own: these are for frames elsewhere in the block.
        *funds += self.return_claim(part.block, u64::from(left));
    }

    /// Frees what is in hand of the part; its frames are funds again.
    pub(crate) fn give_back(&self, part: &Part<'m>, funds: &mut u64) {
        let (counted, _) = self.land_rows_uncounted(part.block, &part.owned);
        *funds += counted;
    }

    /// Turns a block whose frames are all in hand into one that is allocated whole, of this kind. (Frames freed by misuse
    /// meanwhile keep it from becoming whole: then it stays what merged frames are.)
    pub(crate) fn join(&self, block: Block<'m>, kind: Kind) {
        if block.entry.load().count() > 0 {
            return;
        }
        if !planted(Mutant::JoinKeepsRows) {
            (0..ROWS).for_each(|row| block.bitmap.row(row).fill());
        }
        if !block.entry.join(kind) {
            (0..ROWS).for_each(|row| block.bitmap.row(row).wipe());
        }
    }

    /// Takes a single frame of the block to move content to; it is paid for by the funds.
    pub(crate) fn take_target(&self, block: Block<'m>, retype: Option<Kind>, funds: &mut u64) -> Option<Pfn> {
        let spot = block.bitmap.choose_group(Order::ZERO).filter(|_| *funds > 0)?;
        *funds -= self.claim_block(block, 1, 1, retype)?;
        match block.bitmap.take_group(spot, Order::ZERO, 1) {
            Some((first, _)) => Some(block.start.add(spot.row as u64 * ROW_FRAMES + u64::from(first))),
            None => {
                *funds += self.return_claim(block, 1);
                None
            }
        }
    }

    /// Frees a frame taken by `take_target`; it is funds again.
    pub(crate) fn return_target(&self, pfn: Pfn, funds: &mut u64) {
        let Some(block) = self.block_of(pfn) else { return };
        let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, Order::ZERO);
        let (counted, _) = self.land_uncounted(block, row, mask);
        *funds += counted;
    }
}
