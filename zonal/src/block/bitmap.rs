//! A block's bitmap: 8 rows, one cache line; which run to take, and taking it.
//!
//! Whoever takes bits here holds a claim on the block's entry for at least as many frames. Small requests take from
//! the fullest place that serves them, so that long runs survive.

use crate::block::row::{Row, group_mask, run_mask, run_starts};
use crate::frame::{GROUP_FRAMES, Order, ROW_FRAMES, ROWS};
use crate::mutant::{Mutant, planted};

/// A place in a block: half `half` of row `row`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupSpot {
    pub(crate) row: usize,
    pub(crate) half: u32,
    /// The group's free frames when it was looked at.
    pub(crate) frames: u32,
}

/// 512 frames, bit set = free.
#[repr(C, align(64))]
pub(crate) struct Bitmap {
    rows: [Row; ROWS],
}

impl Bitmap {
    /// A bitmap whose row `i` has the free bits `free(i)`.
    pub(crate) fn new(free: impl Fn(usize) -> u64) -> Self {
        Self { rows: core::array::from_fn(|i| Row::new(free(i))) }
    }

    /// The row, wrapping at the block's end so that no index can be out of range.
    #[inline]
    pub(crate) fn row(&self, index: usize) -> &Row {
        &self.rows[index % ROWS]
    }

    /// Free bits set now, taken or not taken by pending claims.
    pub(crate) fn popcount(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.load().count_ones())).sum()
    }

    /// The group to take a run of `order` (at most a group) from: the best filled one that is not whole, else a
    /// whole one, best one whose row is broken already.
    pub(crate) fn choose_group(&self, order: Order) -> Option<GroupSpot> {
        let mut best = (0, None);
        for (row, word) in self.rows.iter().enumerate() {
            let free = word.load();
            if free == u64::MAX {
                if best.0 == 0 {
                    best = (1, Some(GroupSpot { row, half: 0, frames: GROUP_FRAMES as u32 }));
                }
                continue;
            }
            for half in 0..2 {
                let group = free & group_mask(half);
                if group == 0 || (order > Order::ZERO && run_starts(group, order) == 0) {
                    continue;
                }
                let frames = count(group);
                let score = if frames == GROUP_FRAMES as u32 { 2 } else { 2 + frames };
                if score > best.0 {
                    best = (score, Some(GroupSpot { row, half, frames }));
                }
            }
        }
        best.1
    }

    /// Takes up to `claimed` frames of the group, among them a run of `order`; the run's first bit in the row and the
    /// mask taken, or `None` if the run is gone.
    pub(crate) fn take_group(&self, spot: GroupSpot, order: Order, claimed: u32) -> Option<(u32, u64)> {
        let group = group_mask(spot.half);
        let choose = |free: u64| {
            let free = free & group;
            let starts = run_starts(free, order);
            if starts == 0 {
                return 0;
            }
            let run = run_mask(order) << starts.trailing_zeros();
            if count(free) <= claimed {
                return free;
            }
            run | lowest(free & !run, claimed.saturating_sub(run.count_ones()))
        };
        let taken = self.row(spot.row).take_from(choose);
        // Every mask `choose` returns has a run of the order; the lowest one is as good as any.
        (taken != 0).then(|| (run_starts(taken, order).trailing_zeros(), taken))
    }

    /// Takes single frames by the row, from rows that are broken already before whole ones: up to `claimed` in at most
    /// `groups` groups. Gives `took` each row with the mask taken; returns how many frames that were.
    #[inline(always)]
    pub(crate) fn take_scattered(
        &self,
        claimed: u32,
        mut groups: usize,
        mut took: impl FnMut(usize, u64),
    ) -> u32 {
        let mut left = claimed;
        let mut rows = self.rows_to_take(claimed);
        // The next row is looked at before one is taken: a load behind a locked instruction waits for it.
        let mut next = self.first_of(rows);
        while rows != 0 && left > 0 && groups > 0 {
            let (row, seen) = next;
            rows &= rows - 1;
            next = self.first_of(rows);
            let taken = self.row(row).take_from_seen(seen, |free| chosen(free, left, groups));
            if taken != 0 {
                let is_frame = taken & (taken - 1) == 0;
                left -= if is_frame { 1 } else { count(taken) };
                groups -= if is_frame { 1 } else { groups_of(taken) };
                took(row, taken);
            }
        }
        claimed - left
    }

    /// The row of the lowest of these bits, and what is free there.
    #[inline(always)]
    fn first_of(&self, rows: u32) -> (usize, u64) {
        let row = rows.trailing_zeros() as usize % ROWS;
        (row, self.row(row).load())
    }

    /// One bit for each row with free frames: the broken ones, then the whole ones, which who claimed so few does not ask for.
    /// Without branches, as which rows have any is as good as random where frames lie scattered.
    #[inline(always)]
    fn rows_to_take(&self, claimed: u32) -> u32 {
        let those = |is: fn(u64) -> bool| {
            self.rows.iter().rev().fold(0, |rows, row| rows << 1 | u32::from(is(row.load())))
        };
        let free = those(|row| row != 0);
        let whole = if u64::from(claimed) < ROW_FRAMES { 0 } else { those(|row| row == u64::MAX) };
        free & !whole | whole << ROWS
    }

    /// The first run of `order` (row to half a block) whose rows are all free now.
    pub(crate) fn find_rows(&self, order: Order) -> Option<usize> {
        let rows = rows_of(order);
        (0..ROWS).step_by(rows).find(|&first| (first..first + rows).all(|i| self.row(i).load() == u64::MAX))
    }

    /// Takes the rows of a run of `order` (row to half a block) from row `first`, or none of them.
    #[must_use]
    pub(crate) fn take_rows(&self, first: usize, order: Order) -> bool {
        for taken in 0..rows_of(order) {
            if !self.row(first + taken).take_exact(u64::MAX) {
                if !planted(Mutant::RolledBackRowsKept) {
                    (0..taken).for_each(|i| {
                        self.row(first + i).put(u64::MAX);
                    });
                }
                return false;
            }
        }
        true
    }

    /// Whether an aligned run of `order` (at most half a block) is free now.
    pub(crate) fn has_run(&self, order: Order) -> bool {
        if order > Order::ROW {
            return self.find_rows(order).is_some();
        }
        self.rows.iter().any(|row| run_starts(row.load(), order) != 0)
    }
}

/// Number of bits of a row or part of it. Whole groups and rows are common, and counting is a dozen instructions where
/// the machine has none for it.
#[inline]
pub(crate) fn count(bits: u64) -> u32 {
    if bits == u64::MAX {
        ROW_FRAMES as u32
    } else if bits == group_mask(0) || bits == group_mask(1) {
        GROUP_FRAMES as u32
    } else {
        bits.count_ones()
    }
}

/// The free frames of a row to take, `most` at most, in at most `groups` groups; neither is 0.
#[inline(always)]
fn chosen(free: u64, most: u32, groups: usize) -> u64 {
    if free & free.wrapping_sub(1) == 0 {
        return free; // mostly, where frames lie scattered: there is one
    }
    let within = if groups > 1 || free as u32 == 0 { free } else { free & group_mask(0) };
    if count(within) <= most { within } else { lowest(within, most) }
}

/// How many of a row's groups the bits touch.
#[inline]
fn groups_of(bits: u64) -> usize {
    usize::from(bits & group_mask(0) != 0) + usize::from(bits & group_mask(1) != 0)
}

/// Rows in a run of an order from a row to half a block.
const fn rows_of(order: Order) -> usize {
    1 << (order.get() - Order::ROW.get())
}

/// The lowest `n` set bits, fewer if there are not so many.
pub(crate) fn lowest(mut bits: u64, n: u32) -> u64 {
    let mut chosen = 0;
    for _ in 0..n {
        let bit = bits & bits.wrapping_neg();
        chosen |= bit;
        bits ^= bit;
    }
    chosen
}

/// The row and the mask of a run of `order` (at most a row) at frame `offset` of its block.
#[inline]
pub(crate) fn row_and_mask(offset: u64, order: Order) -> (usize, u64) {
    ((offset / 64) as usize, run_mask(order) << (offset % 64))
}

const _: () = assert!(GROUP_FRAMES * 2 == 64);

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    fn block(rows: [u64; ROWS]) -> Bitmap {
        Bitmap::new(|row| rows[row])
    }

    fn choose(rows: [u64; ROWS], order: u8) -> Option<(usize, u32, u32)> {
        let spot = block(rows).choose_group(Order::from_raw(order))?;
        Some((spot.row, spot.half, spot.frames))
    }

    #[test]
    fn a_group_is_taken_from_the_fullest_that_is_not_whole() {
        assert_eq!(choose([0; ROWS], 0), None);
        assert_eq!(choose([0, 1, 3 << 40, 7, 7 << 32, 0, 0, 0], 0), Some((3, 0, 3)), "the first of equals");
        assert_eq!(choose([u64::MAX, u64::from(u32::MAX), 0, 0, 0, 0, 0, 1], 0), Some((7, 0, 1)));
        assert_eq!(choose([u64::MAX, u64::MAX << 32, 0, 0, 0, 0, 0, 0], 0), Some((1, 1, 32)), "a broken row");
        assert_eq!(choose([0, u64::MAX, u64::MAX, 0, 0, 0, 0, 0], 0), Some((1, 0, 32)));
    }

    #[test]
    fn a_run_counts_where_it_is_aligned() {
        assert_eq!(choose([0b0110, 0b0011, 0, 0, 0, 0, 0, 0], 1), Some((1, 0, 2)));
        assert_eq!(choose([u64::MAX >> 1, 0b1111, 0, 0, 0, 0, 0, 0], 2), Some((0, 1, 31)));
        assert_eq!(choose([u64::MAX >> 1, 0b1111, 0, 0, 0, 0, 0, 0], 5), Some((0, 0, 32)));
        assert_eq!(choose([0x7fff_ffff, 0, 0, 0, 0, 0, 0, 0], 5), None);
    }
}
