//! Watermarks: how many frames a zone keeps free, and for whom. Figures and formulas only; no words.
//!
//! Source: linux-facts 2.6.

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

impl Marks {
    /// All four at `frames`.
    pub const fn at(frames: u64) -> Self {
        Self { min: frames, low: frames, high: frames, promo: frames }
    }
}
