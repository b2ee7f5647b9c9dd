//! The knobs that marks follow from, as they were set last: words, so that marks can be made anew when zones change.
//!
//! | word | bits | meaning |
//! |---|---|---|
//! | 0 | 0 | 1: there are knobs |
//! | 0 | 1..=16 | `watermark_scale_factor` |
//! | 0 | 17 | `defrag_mode` |
//! | 0 | 32..=63 | `watermark_boost_factor` |
//! | 1 | | `min_free_kbytes` + 1; 0: `None` |
//! | 2, 3 | 0..=31, 32..=63 | `lowmem_reserve_ratio`, lowest zone first |
//!
//! Relaxed, all, and no step of a protocol goes by them: who sets them while another does leaves some of each; who reads
//! meanwhile sees some of the old.

use crate::mutant::{Mutant, planted};
use crate::sync::{Ordering, UnmodelledU64};
use crate::watermark::Tuning;

const THERE: u64 = 1;
const DEFRAG: u64 = 1 << 17;

/// The words.
pub(crate) struct LiveTuning([UnmodelledU64; 4]);

impl LiveTuning {
    pub(crate) fn new(tuning: Option<Tuning>) -> Self {
        let live = Self([const { 0 }; 4].map(UnmodelledU64::new));
        tuning.into_iter().for_each(|tuning| live.set(tuning));
        live
    }

    pub(crate) fn set(&self, tuning: Tuning) {
        let [dma, dma32, normal, movable] = tuning.lowmem_reserve_ratio.map(u64::from);
        let factors =
            u64::from(tuning.watermark_scale_factor) << 1 | u64::from(tuning.watermark_boost_factor) << 32;
        let least = tuning.min_free_kbytes.map_or(0, |kbytes| kbytes + 1);
        let defrag = if tuning.defrag_mode { DEFRAG } else { 0 };
        let words = [THERE | factors | defrag, least, dma | dma32 << 32, normal | movable << 32];
        self.0.iter().zip(words).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    /// The knobs; `None` if marks follow from none.
    pub(crate) fn get(&self) -> Option<Tuning> {
        let [factors, least, low, high] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        (factors & THERE != 0).then_some(Tuning {
            min_free_kbytes: least.checked_sub(1),
            watermark_scale_factor: (factors >> 1) as u16,
            watermark_boost_factor: (factors >> 32) as u32,
            lowmem_reserve_ratio: [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32],
            defrag_mode: factors & DEFRAG != 0,
        })
    }

    /// Whether requests keep kinds apart as long as they can: one load.
    #[inline]
    pub(crate) fn keeps_apart(&self) -> bool {
        self.0[0].load(Ordering::Relaxed) & DEFRAG != 0 && !planted(Mutant::DefragIgnored)
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_read() {
        assert_eq!(LiveTuning::new(None).get(), None);
        let odd = Tuning {
            min_free_kbytes: Some(0),
            watermark_scale_factor: 3000,
            watermark_boost_factor: u32::MAX,
            lowmem_reserve_ratio: [1, u32::MAX, 0, 7],
            defrag_mode: true,
        };
        for tuning in [Tuning::default(), odd, Tuning { min_free_kbytes: Some(1 << 42), ..odd }] {
            let live = LiveTuning::new(Some(tuning));
            assert_eq!((live.get(), live.keeps_apart()), (Some(tuning), tuning.defrag_mode));
        }
        assert!(!LiveTuning::new(None).keeps_apart());
    }
}
