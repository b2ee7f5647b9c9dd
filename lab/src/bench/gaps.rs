//! What is left free in a zone that is nearly full, by a seed of its own: every engine finds the same.

use std::ops::Range;

use zonal::BLOCK_FRAMES;

/// One free frame in so many, where the zone is 99 % full.
const SPREAD: u64 = 100;

/// One frame of every hundred, by the throw of dice.
pub(super) fn spread(frames: u64) -> Vec<Range<u64>> {
    let mut dice = fastrand::Rng::with_seed(2);
    let frame = |hundred| hundred * SPREAD + dice.u64(..SPREAD);
    (0..frames / SPREAD).map(frame).map(|frame| frame..frame + 1).collect()
}

/// All but one frame of every block, by the throw of dice.
pub(super) fn one_taken_in_each_block(frames: u64) -> Vec<Range<u64>> {
    let mut dice = fastrand::Rng::with_seed(3);
    let around = |block| {
        let (start, end) = (block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES);
        let taken = dice.u64(start..end);
        [start..taken, taken + 1..end]
    };
    (0..frames / BLOCK_FRAMES).flat_map(around).filter(|range| !range.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(ranges: &[Range<u64>]) -> u64 {
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        ranges.iter().map(|range| range.end - range.start).sum()
    }

    #[test]
    fn as_much_is_free_as_is_said() {
        assert_eq!(frames(&spread(1 << 18)), (1 << 18) / 100);
        assert_eq!(frames(&one_taken_in_each_block(1 << 18)), 511 << 9);
    }
}
