//! Request flags with Linux's numbering, and what the allocator reads from them: zone and kind.
//!
//! Source: linux-facts 2.1 and 2.2 (v7.0 bits). Flags that steer reclaim are carried for the slow ladder.

use bitflags::bitflags;

use crate::topology::{Kind, ZoneKind};

bitflags! {
    /// Request flags (Linux: `gfp_t`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gfp: u32 {
        /// Zone at most DMA.
        const DMA = 1 << 0;
        /// Zone selector; with MOVABLE it selects the Movable zone.
        const HIGHMEM = 1 << 1;
        /// Zone at most DMA32.
        const DMA32 = 1 << 2;
        /// The content can be moved.
        const MOVABLE = 1 << 3;
        /// The content can be reclaimed by a shrinker.
        const RECLAIMABLE = 1 << 4;
        /// High priority: may use part of the reserve.
        const HIGH = 1 << 5;
        /// May start I/O.
        const IO = 1 << 6;
        /// May call into filesystems.
        const FS = 1 << 7;
        /// Zeroed frames.
        const ZERO = 1 << 8;
        /// May sleep in reclaim or compaction: the only "may block" bit.
        const DIRECT_RECLAIM = 1 << 10;
        /// May wake kswapd.
        const KSWAPD_RECLAIM = 1 << 11;
        /// Will be dirtied.
        const WRITE = 1 << 12;
        /// No failure report.
        const NOWARN = 1 << 13;
        /// Try hard, but fail rather than kill.
        const RETRY_MAYFAIL = 1 << 14;
        /// Never fail.
        const NOFAIL = 1 << 15;
        /// One light attempt.
        const NORETRY = 1 << 16;
        /// Ignore marks.
        const MEMALLOC = 1 << 17;
        /// Compound metadata.
        const COMP = 1 << 18;
        /// Never use reserves.
        const NOMEMALLOC = 1 << 19;
        /// Enforce the cpuset.
        const HARDWALL = 1 << 20;
        /// Only the given node.
        const THISNODE = 1 << 21;
        /// Charge to the memory cgroup.
        const ACCOUNT = 1 << 22;
        /// Zero the tags too.
        const ZEROTAGS = 1 << 23;
        /// Skip reclaim tracking.
        const NOLOCKDEP = 1 << 24;

        /// Both reclaim bits.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
    }
}

impl Gfp {
    /// From atomic context.
    pub const ATOMIC: Self = Self::HIGH.union(Self::KSWAPD_RECLAIM);
    /// May not wait, may wake kswapd.
    pub const NOWAIT: Self = Self::KSWAPD_RECLAIM.union(Self::NOWARN);
    /// The ordinary request of kernel code.
    pub const KERNEL: Self = Self::RECLAIM.union(Self::IO).union(Self::FS);
    /// No I/O.
    pub const NOIO: Self = Self::RECLAIM;
    /// No filesystem calls.
    pub const NOFS: Self = Self::RECLAIM.union(Self::IO);
    /// For user space.
    pub const USER: Self = Self::KERNEL.union(Self::HARDWALL);
    /// For user space, any zone up to Normal.
    pub const HIGHUSER: Self = Self::USER.union(Self::HIGHMEM);
    /// For user space, movable: may use the Movable zone.
    pub const HIGHUSER_MOVABLE: Self = Self::HIGHUSER.union(Self::MOVABLE);
    /// Kernel, charged.
    pub const KERNEL_ACCOUNT: Self = Self::KERNEL.union(Self::ACCOUNT);
    /// A huge page, no reclaim at all.
    pub const TRANSHUGE_LIGHT: Self = Self::HIGHUSER_MOVABLE
        .union(Self::COMP)
        .union(Self::NOMEMALLOC)
        .union(Self::NOWARN)
        .difference(Self::RECLAIM);
    /// A huge page, direct reclaim.
    pub const TRANSHUGE: Self = Self::TRANSHUGE_LIGHT.union(Self::DIRECT_RECLAIM);

    /// The bits that cannot be served: unknown ones, two zone selectors at once, two kinds at once; 0 if none.
    pub const fn forbidden(self) -> u32 {
        let unknown = self.bits() & !Self::all().bits();
        let zones = self.bits() & (Self::DMA.bits() | Self::DMA32.bits() | Self::HIGHMEM.bits());
        let kinds = self.bits() & (Self::MOVABLE.bits() | Self::RECLAIMABLE.bits());
        let two_zones = if zones.count_ones() > 1 { zones } else { 0 };
        let two_kinds = if kinds.count_ones() > 1 { kinds } else { 0 };
        unknown | two_zones | two_kinds
    }

    /// The highest zone allowed (linux-facts 2.2).
    pub const fn highest_zone(self) -> ZoneKind {
        if self.contains(Self::DMA) {
            ZoneKind::Dma
        } else if self.contains(Self::DMA32) {
            ZoneKind::Dma32
        } else if self.contains(Self::MOVABLE) && self.contains(Self::HIGHMEM) {
            ZoneKind::Movable
        } else {
            ZoneKind::Normal
        }
    }

    /// The kind of block asked for.
    pub const fn kind(self) -> Kind {
        if self.contains(Self::MOVABLE) {
            Kind::Movable
        } else if self.contains(Self::RECLAIMABLE) {
            Kind::Reclaimable
        } else {
            Kind::Unmovable
        }
    }
}
