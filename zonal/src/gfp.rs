//! Request flags with Linux's names and numbers, which zone and kind they stand for, and how Linux writes them.
//!
//! Source: linux-facts 2.1 and 2.2 (v7.0 bits), 5.5 (text). How urgent a request is follows in [`crate::request`].
//! Invariant: the low four bits name exactly one zone, unless they are [`Gfp::forbidden`].

use core::fmt;

use bitflags::{Flags, bitflags};

use crate::topology::{Kind, ZoneKind};

bitflags! {
    /// Request flags (Linux: `gfp_t`). `Gfp::X` is Linux's `__GFP_X`, or its `GFP_X` where there is one: a zone bit alone is
    /// both.
    ///
    /// What the allocator does not act on is carried for reports and the platform: COMP, ACCOUNT, ZEROTAGS, NOLOCKDEP,
    /// NO_OBJ_EXT.
    ///
    /// ```
    /// use zonal::{Gfp, Scope};
    /// let gfp = Gfp::KERNEL | Gfp::ZERO;
    /// assert_eq!(gfp.to_string(), "0xdc0(GFP_KERNEL|__GFP_ZERO)");
    /// assert_eq!(gfp.within(Scope::NOFS), Gfp::NOFS | Gfp::ZERO);
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gfp: u32 {
        /// Zone at most DMA (Linux: `GFP_DMA`).
        const DMA = 1 << 0;
        /// Zone selector; with MOVABLE it selects the Movable zone.
        const HIGHMEM = 1 << 1;
        /// Zone at most DMA32 (Linux: `GFP_DMA32`).
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
        /// Will be dirtied: dirty frames are to be spread over nodes.
        const WRITE = 1 << 12;
        /// No failure report.
        const NOWARN = 1 << 13;
        /// Try hard, but fail rather than kill.
        const RETRY_MAYFAIL = 1 << 14;
        /// Never fail; one that may not wait does all the same.
        const NOFAIL = 1 << 15;
        /// One light attempt; beats RETRY_MAYFAIL.
        const NORETRY = 1 << 16;
        /// Below all marks.
        const MEMALLOC = 1 << 17;
        /// Compound metadata.
        const COMP = 1 << 18;
        /// Never use reserves, whoever asks; beats MEMALLOC.
        const NOMEMALLOC = 1 << 19;
        /// Keep to the cpuset, whatever happens.
        const HARDWALL = 1 << 20;
        /// Only the given node.
        const THISNODE = 1 << 21;
        /// Charge to the memory cgroup.
        const ACCOUNT = 1 << 22;
        /// Zero the tags too.
        const ZEROTAGS = 1 << 23;
        /// Skip reclaim tracking.
        const NOLOCKDEP = 1 << 24;
        /// No extensions of slab objects.
        const NO_OBJ_EXT = 1 << 25;

        /// Both reclaim bits.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
    }
}

bitflags! {
    /// What a task must not do for a while, whatever its requests say (Linux: `memalloc_noio_save` and the like).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Scope: u8 {
        /// No I/O, and so no filesystem calls.
        const NOIO = 1 << 0;
        /// No filesystem calls.
        const NOFS = 1 << 1;
        /// What is allocated will be pinned: nothing that must stay movable.
        const PIN = 1 << 2;
        /// Nothing to wait for yet, and nobody to wake.
        const BOOT = 1 << 3;
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

    /// What is left of the flags in these scopes.
    #[must_use]
    pub const fn within(self, scope: Scope) -> Self {
        let mut left = self;
        if scope.contains(Scope::BOOT) {
            left = left.difference(Self::RECLAIM.union(Self::IO).union(Self::FS));
        }
        if scope.contains(Scope::NOIO) {
            left = left.difference(Self::IO.union(Self::FS));
        }
        if scope.contains(Scope::NOFS) {
            left = left.difference(Self::FS);
        }
        if scope.contains(Scope::PIN) {
            left = left.difference(Self::MOVABLE);
        }
        left
    }

    /// The flags as Linux writes them, without their number: `GFP_KERNEL|__GFP_ZERO`; nothing for no flags.
    pub const fn names(self) -> impl fmt::Display {
        Names(self)
    }

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

/// As in Linux's reports: the number, and the names of what it holds (`0x820(GFP_ATOMIC)`).
impl fmt::Display for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}({})", self.bits(), Names(*self))
    }
}

/// What has a name of its own, in the order Linux looks for it (since 6.10); each takes its bits from what follows.
const COMPOSITES: [(&str, Gfp); 14] = [
    ("GFP_TRANSHUGE", Gfp::TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", Gfp::TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", Gfp::HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", Gfp::HIGHUSER),
    ("GFP_USER", Gfp::USER),
    ("GFP_KERNEL_ACCOUNT", Gfp::KERNEL_ACCOUNT),
    ("GFP_KERNEL", Gfp::KERNEL),
    ("GFP_NOFS", Gfp::NOFS),
    ("GFP_ATOMIC", Gfp::ATOMIC),
    ("GFP_NOIO", Gfp::NOIO),
    ("GFP_NOWAIT", Gfp::NOWAIT),
    ("GFP_DMA", Gfp::DMA),
    ("GFP_DMA32", Gfp::DMA32),
    ("__GFP_RECLAIM", Gfp::RECLAIM),
];

/// The names in flags: composites, then single bits from the lowest, then what has no name as a number.
struct Names(Gfp);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let composites = COMPOSITES.iter().map(|&(name, gfp)| ("", name, gfp));
        let single = Gfp::FLAGS.iter().map(|flag| ("__GFP_", flag.name(), *flag.value()));
        let (mut left, mut separator) = (self.0, "");
        for (prefix, name, gfp) in composites.chain(single) {
            if left.contains(gfp) {
                write!(f, "{separator}{prefix}{name}")?;
                (left, separator) = (left.difference(gfp), "|");
            }
        }
        if left.is_empty() { Ok(()) } else { write!(f, "{separator}{:#x}", left.bits()) }
    }
}

#[cfg(test)]
mod tests;
