//! A repeatable stream of numbers (SplitMix64), so that a failing run is named by its seed alone.

/// The stream.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, or 0 if the limit is 0. (The slight bias of a remainder does not matter to a test.)
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits().checked_rem(limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Seeded;

    #[test]
    fn a_seed_names_one_stream() {
        let stream = |seed| {
            let mut numbers = Seeded::new(seed);
            [numbers.bits(), numbers.bits(), numbers.bits()]
        };
        assert_eq!(stream(7), stream(7));
        assert_ne!(stream(7), stream(8));
    }

    #[test]
    fn below_stays_below() {
        let mut numbers = Seeded::new(1);
        assert!((0..1000).all(|_| numbers.below(17) < 17));
        assert_eq!(numbers.below(0), 0);
    }
}
