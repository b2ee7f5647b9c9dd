//! A block's entry, read: its fields and what they amount to. The table of its bits stands in [`crate::block::entry`].

use crate::frame::{BLOCK_FRAMES, ZoneId};
use crate::topology::Kind;

pub(in crate::block) const COUNT: u64 = 0x3ff;
pub(in crate::block) const MANAGED_SHIFT: u32 = 10;
pub(in crate::block) const KIND_SHIFT: u32 = 20;
pub(in crate::block) const KIND: u64 = 3 << KIND_SHIFT;
pub(in crate::block) const WHOLE: u64 = 1 << 22;
pub(in crate::block) const TENTATIVE: u64 = 1 << 23;
pub(in crate::block) const ISOLATED: u64 = 1 << 24;
pub(in crate::block) const RESERVED: u64 = 1 << 25;
pub(in crate::block) const VACATING: u64 = 1 << 26;
pub(in crate::block) const POISONED: u64 = 1 << 27;
pub(in crate::block) const ZONE_SHIFT: u32 = 32;

/// A plain copy of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot(pub(in crate::block) u64);

impl Snapshot {
    /// Frames that could be claimed if the block is not isolated.
    #[inline]
    pub(crate) const fn count(self) -> u64 {
        self.0 & COUNT
    }
    /// Frames of the block that exist.
    pub(crate) const fn managed(self) -> u64 {
        self.0 >> MANAGED_SHIFT & COUNT
    }
    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        Kind::from_bits(self.0 >> KIND_SHIFT)
    }
    /// Allocated as one (not tentative).
    pub(crate) const fn is_whole(self) -> bool {
        self.0 & (WHOLE | TENTATIVE) == WHOLE
    }
    pub(crate) const fn is_tentative(self) -> bool {
        self.0 & TENTATIVE != 0
    }
    #[inline]
    pub(crate) const fn is_isolated(self) -> bool {
        self.0 & ISOLATED != 0
    }
    /// A compaction is at work in it.
    pub(crate) const fn is_vacating(self) -> bool {
        self.0 & VACATING != 0
    }
    /// All its frames are free, and no compaction is at work in it.
    #[inline]
    pub(crate) const fn is_at_rest(self) -> bool {
        self.count() == self.managed() && !self.is_vacating()
    }
    /// Frames of it stand in the table of poisoned frames.
    pub(crate) const fn is_poisoned(self) -> bool {
        self.0 & POISONED != 0
    }
    /// Whether slot words may become words of its groups.
    pub(crate) const fn is_cacheable(self) -> bool {
        self.0 & (WHOLE | TENTATIVE | ISOLATED | RESERVED | POISONED) == 0
    }
    /// Whether frames of it may be freed on a tab: it holds some, and slot words may become words of them.
    #[inline]
    pub(crate) const fn takes_notes(self) -> bool {
        self.is_cacheable() && self.managed() > 0
    }
    /// Whether slot words must not stay words of its groups.
    pub(crate) const fn is_kept_out(self) -> bool {
        self.0 & (ISOLATED | POISONED) != 0
    }
    #[inline]
    pub(crate) const fn zone(self) -> ZoneId {
        ZoneId((self.0 >> ZONE_SHIFT) as u16)
    }
    /// Whether anybody may claim here.
    #[inline]
    pub(crate) const fn is_open(self) -> bool {
        self.0 & (WHOLE | TENTATIVE | ISOLATED | RESERVED) == 0
    }
    /// Whether it is kept for long atomic requests.
    #[inline]
    pub(crate) const fn is_reserved(self) -> bool {
        self.0 & RESERVED != 0
    }
    /// Whether parts of it may be freed: it is not taken whole.
    #[inline]
    pub(crate) const fn is_open_to_frees(self) -> bool {
        self.0 & (WHOLE | TENTATIVE) == 0
    }
    /// Whether bits may be set as they come: it is not taken whole, and none of its frames is poisoned.
    pub(crate) const fn takes_bits(self) -> bool {
        self.0 & (WHOLE | TENTATIVE | POISONED) == 0
    }
    /// Whether what is freed there is the zone's: it is neither isolated nor reserved, and none of its frames is poisoned.
    pub(crate) const fn is_ordinary(self) -> bool {
        self.0 & (ISOLATED | RESERVED | POISONED) == 0
    }
    /// Wholly free and claimable.
    #[inline]
    pub(crate) const fn is_free_block(self) -> bool {
        self.is_open() && self.count() == BLOCK_FRAMES
    }
    /// The same, and the zone's.
    #[inline]
    pub(crate) const fn is_free_block_of(self, zone: ZoneId) -> bool {
        const FIELDS: u64 = COUNT | WHOLE | TENTATIVE | ISOLATED | RESERVED | (u16::MAX as u64) << ZONE_SHIFT;
        self.0 & FIELDS == BLOCK_FRAMES | (zone.0 as u64) << ZONE_SHIFT
    }
}
