//! Watermarks: how many frames a zone keeps free, and for whom. Figures and formulas only; no words, no machine.
//!
//! Source: linux-facts 2.6 and 3.2. Whole numbers, rounded down where Linux does; nothing overflows for memory that
//! 52 address bits reach, and no mark is higher than that. A node is written as the frames that its four zones manage,
//! lowest zone first, 0 for a zone it does not have.
//!
//! Invariants: `min <= low <= high <= promo`, each a step apart; a zone's protection is 0 up to its own kind and never
//! falls above it.

use crate::error::ConfigError;
use crate::frame::{BLOCK_FRAMES, FRAME_SIZE, MAX_FRAMES};
use crate::topology::ZoneKind;

/// KiB of a frame.
const FRAME_KBYTES: u64 = FRAME_SIZE / 1024;
/// Least and most of what is kept free where nothing else is said, in KiB.
const MIN_FREE: (u64, u64) = (128, 262_144);
/// Least and most of a Movable zone's min mark.
const MOVABLE_MIN: (u64, u64) = (32, 128);
/// What `watermark_scale_factor` and `watermark_boost_factor` are parts of.
const WHOLE: u64 = 10_000;

/// A zone's watermarks, in frames, each at or above the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// What ordinary requests leave, whatever happens; requests of a class that may go below leave a part of it.
    pub min: u64,
    /// Below it kswapd is woken, and caches are bypassed.
    pub low: u64,
    /// Up to it kswapd reclaims; above it caches are filled again.
    pub high: u64,
    /// Up to it the top memory tier is kept free for promotions.
    pub promo: u64,
}

/// All that a zone keeps free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) marks: Marks,
    /// What requests for each kind of zone leave besides.
    pub(crate) protection: [u64; 4],
    /// What the boost may come to.
    pub(crate) most_boost: u64,
}

impl Marks {
    /// All four at `frames`.
    pub const fn at(frames: u64) -> Self {
        Self { min: frames, low: frames, high: frames, promo: frames }
    }
}

/// The knobs that marks and the mixing of kinds follow from (Linux: `vm.*` of the same names, with the same defaults).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// What the min marks of all zones up to Normal add up to, in KiB; `None`: four times the square root of those
    /// zones' KiB, from 128 to 262144. Unlike Linux's it is not given up for a larger one when zones change; and what it is made of
    /// are all frames then, too, so that memory that comes and goes leaves the marks as they were ([`Watermarks::above_high`]).
    pub min_free_kbytes: Option<u64>,
    /// How far the marks are apart at least, in ten-thousandths of the zone: 1 to 3000.
    pub watermark_scale_factor: u16,
    /// How far all marks may rise after blocks were taken from another kind, in ten-thousandths of the high mark;
    /// 0: not at all.
    pub watermark_boost_factor: u32,
    /// For each kind of zone, which part of the memory above it is held back from requests that could use that, too:
    /// one frame in as many; 0: none.
    pub lowmem_reserve_ratio: [u32; 4],
    /// Whether kinds are kept apart as long as that goes, at the price of reclaim and of moves. A request that may wait takes frames
    /// of a block of another kind only when reclaim and compaction have brought none of its own; one that may not wait does in
    /// its last walk (it does not fail while memory is free above its mark). kswapd frees a little more, and kcompactd moves
    /// frames, until a node's high mark is free in whole blocks. A place that a request asks for counts more than kinds.
    pub defrag_mode: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            min_free_kbytes: None,
            watermark_scale_factor: 10,
            watermark_boost_factor: 15_000,
            lowmem_reserve_ratio: [256, 256, 32, 0],
            defrag_mode: false,
        }
    }
}

impl Tuning {
    /// Says what no machine can be tuned to.
    ///
    /// # Errors
    /// [`ConfigError::WatermarkScale`] and [`ConfigError::MinFree`] with the value.
    pub const fn check(&self) -> Result<(), ConfigError> {
        match self.min_free_kbytes {
            Some(kbytes) if kbytes > MAX_FRAMES * FRAME_KBYTES => Err(ConfigError::MinFree { kbytes }),
            _ if self.watermark_scale_factor == 0 || self.watermark_scale_factor > 3000 => {
                Err(ConfigError::WatermarkScale { factor: self.watermark_scale_factor })
            }
            _ => Ok(()),
        }
    }
}

/// What a [`Tuning`] makes of a machine: its nodes are added up once, then each zone's figures can be asked for.
///
/// ```
/// use zonal::{Tuning, Watermarks, ZoneKind};
/// let node = [3840, 759_296, 3_342_336, 0]; // 16 GiB from address 0 on
/// let watermarks = Watermarks::new(Tuning::default(), [node]);
/// assert_eq!(watermarks.min_free_kbytes(), 16_209);
/// assert_eq!(watermarks.marks(ZoneKind::Dma, 3840).min, 3);
/// assert_eq!(watermarks.protection(ZoneKind::Dma, node), [0, 2966, 16_022, 16_022]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    tuning: Tuning,
    /// Frames of all zones up to Normal.
    lowmem: u64,
    min_free_kbytes: u64,
}

impl Watermarks {
    /// For the machine of these nodes whose zones have no marks yet.
    pub fn new(tuning: Tuning, nodes: impl IntoIterator<Item = [u64; 4]>) -> Self {
        let lowmem = nodes.into_iter().map(|[dma, dma32, normal, _]| dma + dma32 + normal).sum();
        Self { tuning, lowmem, min_free_kbytes: 0 }.above_high(lowmem)
    }

    /// The same for zones that have marks: only the frames above their high marks (in zones up to Normal) count for
    /// [`Watermarks::min_free_kbytes`], unless the tuning says how many those are.
    #[must_use]
    pub fn above_high(self, frames: u64) -> Self {
        let usual = (16 * FRAME_KBYTES * frames).isqrt().clamp(MIN_FREE.0, MIN_FREE.1);
        Self { min_free_kbytes: self.tuning.min_free_kbytes.unwrap_or(usual), ..self }
    }

    /// What the min marks add up to, but for what rounding takes and Movable zones have.
    pub const fn min_free_kbytes(&self) -> u64 {
        self.min_free_kbytes
    }

    /// The marks of a zone that manages so many frames.
    pub fn marks(&self, kind: ZoneKind, managed: u64) -> Marks {
        let share = match self.lowmem {
            0 => 0,
            lowmem => scaled(self.min_free_kbytes / FRAME_KBYTES, managed, lowmem),
        };
        let min = match kind {
            ZoneKind::Movable => (managed / 1024).clamp(MOVABLE_MIN.0, MOVABLE_MIN.1),
            _ => share,
        };
        let factor = u64::from(self.tuning.watermark_scale_factor);
        let step = (share / 4).max(scaled(managed, factor, WHOLE));
        let level = |steps: u64| (min + steps * step).min(MAX_FRAMES);
        Marks { min, low: level(1), high: level(2), promo: level(3) }
    }

    /// What requests that may use each kind of zone leave in a node's zone besides the mark (Linux: lowmem_reserve):
    /// the higher zones' frames, divided by the zone's ratio.
    pub fn protection(&self, kind: ZoneKind, node: [u64; 4]) -> [u64; 4] {
        let ratio = u64::from(self.tuning.lowmem_reserve_ratio[kind as usize]);
        let ratio = if node[kind as usize] == 0 { 0 } else { ratio };
        let mut above = 0;
        ZoneKind::ALL.map(|upper| {
            above += if upper > kind { node[upper as usize] } else { 0 };
            above.checked_div(ratio).unwrap_or(0)
        })
    }

    /// All of it for a node's zone; `given` in place of the marks.
    pub(crate) fn levels(&self, kind: ZoneKind, node: [u64; 4], given: Option<Marks>) -> Levels {
        let managed = node[kind as usize];
        let marks = given.unwrap_or(self.marks(kind, managed));
        let protection = self.protection(kind, node);
        Levels { marks, protection, most_boost: self.most_boost(managed, marks.high) }
    }

    /// How many frames no request for Movable zones may have: each zone's high mark and its largest protection
    /// (Linux: totalreserve_pages).
    pub fn total_reserve(&self, nodes: impl IntoIterator<Item = [u64; 4]>) -> u64 {
        let reserve = |node: [u64; 4], kind: ZoneKind| {
            let managed = node[kind as usize];
            let largest = self.protection(kind, node).into_iter().max().unwrap_or(0);
            managed.min(largest + self.marks(kind, managed).high)
        };
        nodes.into_iter().flat_map(|node| ZoneKind::ALL.map(|kind| reserve(node, kind))).sum()
    }

    /// How far the marks of a zone with this high mark may rise; 0: they stay.
    pub fn most_boost(&self, managed: u64, high: u64) -> u64 {
        match scaled(high, u64::from(self.tuning.watermark_boost_factor), WHOLE) {
            0 => 0,
            _ if managed < 4 * BLOCK_FRAMES => 0,
            most => most.max(BLOCK_FRAMES),
        }
    }
}

/// `frames * factor / divisor`, at most what memory can hold; the divisor is not 0.
fn scaled(frames: u64, factor: u64, divisor: u64) -> u64 {
    let exact = u128::from(frames) * u128::from(factor) / u128::from(divisor);
    u64::try_from(exact).unwrap_or(u64::MAX).min(MAX_FRAMES)
}

/// The figures of the per-CPU lists and counters that Linux would have for a zone. They stand in its texts (zoneinfo);
/// slot words have a size of their own, and the zone's count is exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pageset {
    /// Frames refilled or drained at once.
    pub batch: u64,
    /// Frames that a list keeps at least before it drains.
    pub high_min: u64,
    /// Frames that it may grow to.
    pub high_max: u64,
    /// By how much a CPU's part of a counter may differ from what was added to the zone's (vm stats threshold).
    pub stat_threshold: u64,
}

impl Pageset {
    /// For a zone that manages so many frames, with this low mark, near to `local` of `cpus` CPUs (none: to all).
    pub fn new(managed: u64, low: u64, local: usize, cpus: usize) -> Self {
        let large = (managed / 4096).clamp(1, 256 / FRAME_KBYTES);
        let batch = ((1 << bits((large + large / 2) / 2)) - 1).max(1);
        let near = if local == 0 { cpus } else { local }.max(1) as u64;
        let high = |total: u64| (total / near).max(4 * batch);
        let stat_threshold = (2 * bits(cpus as u64) * (1 + bits(managed >> 15))).min(125);
        Self { batch, high_min: high(low), high_max: high(managed / 8), stat_threshold }
    }

    /// Below which the zone's counter would have to be summed up over the CPUs, because what it lacks could hide that a
    /// mark was passed; `None` where it cannot.
    pub fn drift_mark(&self, marks: Marks, cpus: usize) -> Option<u64> {
        let drift = self.stat_threshold.saturating_mul(cpus as u64);
        (drift > marks.low.saturating_sub(marks.min)).then(|| marks.high.saturating_add(drift))
    }
}

/// Bits that a number needs (Linux: fls).
const fn bits(number: u64) -> u64 {
    (u64::BITS - number.leading_zeros()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: ZoneKind = ZoneKind::Normal;

    fn one_normal_zone(managed: u64) -> Watermarks {
        Watermarks::new(Tuning::default(), [[0, 0, managed, 0]])
    }

    /// One Normal zone with 16 CPUs: managed, KiB, min, low, high, promo, most boost, batch, high_min, high_max, threshold.
    const GOLDEN: [[u64; 11]; 8] = [
        [16_384, 1024, 256, 320, 384, 448, 576, 3, 20, 128, 10],
        [65_536, 2048, 512, 640, 768, 896, 1152, 15, 60, 512, 30],
        [262_144, 4096, 1024, 1286, 1548, 1810, 2322, 63, 252, 2048, 50],
        [1_048_576, 8192, 2048, 3096, 4144, 5192, 6216, 63, 252, 8192, 70],
        [4_194_304, 16_384, 4096, 8290, 12_484, 16_678, 18_726, 63, 518, 32_768, 90],
        [16_777_216, 32_768, 8192, 24_969, 41_746, 58_523, 62_619, 63, 1560, 131_072, 110],
        [67_108_864, 65_536, 16_384, 83_492, 150_600, 217_708, 225_900, 63, 5218, 524_288, 125],
        [268_435_456, 131_072, 32_768, 301_203, 569_638, 838_073, 854_457, 63, 18_825, 2_097_152, 125],
    ];

    #[test]
    fn one_normal_zone_from_64_mib_to_a_tebibyte() {
        for row in GOLDEN {
            let watermarks = one_normal_zone(row[0]);
            let Marks { min, low, high, promo } = watermarks.marks(NORMAL, row[0]);
            let Pageset { batch, high_min, high_max, stat_threshold } = Pageset::new(row[0], low, 16, 16);
            let boost = watermarks.most_boost(row[0], high);
            let kbytes = watermarks.min_free_kbytes();
            let found =
                [row[0], kbytes, min, low, high, promo, boost, batch, high_min, high_max, stat_threshold];
            assert_eq!(found, row);
        }
    }

    #[test]
    fn lower_zones_are_protected_from_requests_for_higher_ones() {
        let node = [3840, 759_296, 3_342_336, 0];
        let protection = |kind| Watermarks::new(Tuning::default(), [node]).protection(kind, node);
        assert_eq!(protection(ZoneKind::Dma), [0, 2966, 16_022, 16_022]);
        assert_eq!(protection(ZoneKind::Dma32), [0, 0, 13_056, 13_056]);
        assert_eq!(protection(NORMAL), [0; 4]);
        assert_eq!(protection(ZoneKind::Movable), [0; 4]);
        let without = Tuning { lowmem_reserve_ratio: [0, 256, 32, 0], ..Tuning::default() };
        assert_eq!(Watermarks::new(without, [node]).protection(ZoneKind::Dma, node), [0; 4]);
        let movable = [0, 1000, 0, 6400];
        let watermarks = Watermarks::new(Tuning::default(), [movable]);
        assert_eq!(watermarks.protection(ZoneKind::Dma, movable), [0; 4], "the zone is empty");
        assert_eq!(watermarks.protection(ZoneKind::Dma32, movable), [0, 0, 0, 25]);
    }

    /// Figures that kernels printed.
    #[test]
    fn marks_in_the_field() {
        let tuning = Tuning { min_free_kbytes: Some(9903 * 4), ..Tuning::default() };
        let marks = Watermarks::new(tuning, [[0, 0, 751_344, 0]]).marks(NORMAL, 751_344);
        assert_eq!((marks.min, marks.low, marks.high), (9903, 12_378, 14_853));
        let figures = |managed, low| {
            let pageset = Pageset::new(managed, low, 2, 2);
            (pageset.batch, pageset.stat_threshold)
        };
        assert_eq!(figures(3840, 133), (1, 4));
        assert_eq!(figures(244_284, 8513), (63, 16));
    }

    #[test]
    fn zones_share_what_is_kept_free_by_their_size() {
        let nodes = [[3840, 759_296, 3_342_336, 0], [0, 0, 4_194_304, 1_048_576]];
        let watermarks = Watermarks::new(Tuning::default(), nodes);
        assert_eq!(watermarks.min_free_kbytes(), 23047);
        let marks = |kind, managed| watermarks.marks(kind, managed);
        let normal = [marks(NORMAL, 3_342_336).min, marks(NORMAL, 4_194_304).min];
        let low = [marks(ZoneKind::Dma, 3840).min, marks(ZoneKind::Dma32, 759_296).min];
        assert_eq!((low, normal), ([2, 527], [2319, 2911]));
        // A Movable zone keeps little, but its marks are as far apart as any zone's of its size.
        let movable = marks(ZoneKind::Movable, 1_048_576);
        assert_eq!(movable, Marks { min: 128, low: 1176, high: 2224, promo: 3272 });
        assert_eq!(marks(ZoneKind::Movable, 512).min, 32);
        // DMA is reserved whole, DMA32 and Normal by protection and high mark.
        let dma32 = 13_056 + marks(ZoneKind::Dma32, 759_296).high;
        let normal = marks(NORMAL, 3_342_336).high + 1_048_576 / 32 + marks(NORMAL, 4_194_304).high;
        assert_eq!(watermarks.total_reserve(nodes), 3840 + dma32 + normal + movable.high);
    }

    #[test]
    fn what_is_kept_free_is_bounded_unless_it_is_said() {
        assert_eq!(one_normal_zone(100).min_free_kbytes(), 128);
        assert_eq!(one_normal_zone(1 << 32).min_free_kbytes(), 262_144);
        assert_eq!(one_normal_zone(262_144).above_high(262_144 / 4).min_free_kbytes(), 2048);
        let said = |kbytes| Tuning { min_free_kbytes: Some(kbytes), ..Tuning::default() };
        for kbytes in [0, 40, 1 << 30] {
            let watermarks = Watermarks::new(said(kbytes), [[0, 0, 1 << 20, 0]]);
            assert_eq!(watermarks.above_high(1).min_free_kbytes(), kbytes);
            assert_eq!(watermarks.marks(NORMAL, 1 << 20).min, kbytes / 4);
        }
    }

    #[test]
    fn small_zones_and_zones_without_marks_are_not_boosted() {
        let most = |managed, high| one_normal_zone(managed).most_boost(managed, high);
        assert_eq!(most(4 * BLOCK_FRAMES - 1, 1000), 0);
        assert_eq!(most(4 * BLOCK_FRAMES, 1000), 1500);
        assert_eq!(most(4 * BLOCK_FRAMES, 10), BLOCK_FRAMES);
        assert_eq!(most(4 * BLOCK_FRAMES, 0), 0);
        let off = Tuning { watermark_boost_factor: 0, ..Tuning::default() };
        assert_eq!(Watermarks::new(off, [[0, 0, 1 << 20, 0]]).most_boost(1 << 20, 1000), 0);
    }

    #[test]
    fn a_counter_that_cannot_hide_a_mark_has_no_drift_mark() {
        let pageset = Pageset::new(262_144, 1286, 16, 16);
        let marks = one_normal_zone(262_144).marks(NORMAL, 262_144);
        assert_eq!(pageset.drift_mark(marks, 16), Some(1548 + 16 * 50));
        assert_eq!(pageset.drift_mark(marks, 5), None);
    }

    #[test]
    fn nothing_overflows() {
        let most = Tuning {
            min_free_kbytes: Some(MAX_FRAMES * 4),
            watermark_scale_factor: 3000,
            watermark_boost_factor: u32::MAX,
            lowmem_reserve_ratio: [1; 4],
            defrag_mode: false,
        };
        assert_eq!(most.check(), Ok(()));
        let node = [1, 0, 0, MAX_FRAMES];
        let watermarks = Watermarks::new(most, [node, [0, 0, MAX_FRAMES, 0]]);
        let marks = watermarks.marks(NORMAL, MAX_FRAMES);
        assert_eq!((marks.min, marks.promo), (MAX_FRAMES - 1, MAX_FRAMES));
        let step = MAX_FRAMES * 3 / 10;
        let movable = Watermarks::new(most, [node]).marks(ZoneKind::Movable, MAX_FRAMES);
        assert_eq!((movable.high, movable.promo), (128 + 2 * step, 128 + 3 * step));
        assert_eq!(watermarks.most_boost(MAX_FRAMES, MAX_FRAMES), MAX_FRAMES);
        assert_eq!(watermarks.protection(ZoneKind::Dma, node), [0, 0, 0, MAX_FRAMES]);
        assert_eq!(watermarks.total_reserve([node]), 1 + movable.high);
        let movable_only = Watermarks::new(Tuning::default(), [[0, 0, 0, 4096]]);
        assert_eq!(
            movable_only.marks(ZoneKind::Movable, 4096),
            Marks { min: 32, low: 36, high: 40, promo: 44 }
        );
        assert_eq!(Pageset::new(MAX_FRAMES, MAX_FRAMES, 0, 0).stat_threshold, 0);
    }

    #[test]
    fn bad_values_are_refused() {
        let scale = |factor| Tuning { watermark_scale_factor: factor, ..Tuning::default() }.check();
        assert_eq!((scale(1), scale(3000)), (Ok(()), Ok(())));
        for factor in [0, 3001] {
            assert_eq!(scale(factor), Err(ConfigError::WatermarkScale { factor }));
        }
        let kbytes = MAX_FRAMES * 4 + 1;
        let tuning = Tuning { min_free_kbytes: Some(kbytes), ..Tuning::default() };
        assert_eq!(tuning.check(), Err(ConfigError::MinFree { kbytes }));
    }
}
