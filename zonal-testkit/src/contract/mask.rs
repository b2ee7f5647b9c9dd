//! The bits of a mask that decide something, in Linux's numbers, and the zones they select.

use crate::machine::Class;

/// Zone at most DMA.
pub const DMA: u32 = 1 << 0;
/// With [`MOVABLE`]: the Movable zone.
pub const HIGHMEM: u32 = 1 << 1;
/// Zone at most DMA32.
pub const DMA32: u32 = 1 << 2;
/// Movable content.
pub const MOVABLE: u32 = 1 << 3;
/// May use part of the min mark.
pub const HIGH: u32 = 1 << 5;
/// May call into filesystems.
pub const FS: u32 = 1 << 7;
/// May wait.
pub const DIRECT_RECLAIM: u32 = 1 << 10;
/// May wake kswapd.
pub const KSWAPD_RECLAIM: u32 = 1 << 11;
/// Tries hard, kills nobody.
pub const RETRY_MAYFAIL: u32 = 1 << 14;
/// Never fails.
pub const NOFAIL: u32 = 1 << 15;
/// One light pass.
pub const NORETRY: u32 = 1 << 16;
/// Below all marks.
pub const MEMALLOC: u32 = 1 << 17;
/// Never below the mark because of who asks.
pub const NOMEMALLOC: u32 = 1 << 19;
/// Only the node asked.
pub const THISNODE: u32 = 1 << 21;

/// The highest zone for each value of the four lowest bits; none where two selectors are named.
const ZONES: [Option<Class>; 16] = [
    Some(Class::Normal),  // nothing
    Some(Class::Dma),     // DMA
    Some(Class::Normal),  // HIGHMEM
    None,                 // HIGHMEM DMA
    Some(Class::Dma32),   // DMA32
    None,                 // DMA32 DMA
    None,                 // DMA32 HIGHMEM
    None,                 // DMA32 HIGHMEM DMA
    Some(Class::Normal),  // MOVABLE
    Some(Class::Dma),     // MOVABLE DMA
    Some(Class::Movable), // MOVABLE HIGHMEM
    None,                 // MOVABLE HIGHMEM DMA
    Some(Class::Dma32),   // MOVABLE DMA32
    None,                 // MOVABLE DMA32 DMA
    None,                 // MOVABLE DMA32 HIGHMEM
    None,                 // all four
];

/// The highest zone a mask allows; `None` if it is no mask.
pub fn highest_zone(mask: u32) -> Option<Class> {
    ZONES[(mask % 16) as usize]
}

/// Whether all of these bits are set.
pub(super) const fn has(mask: u32, bits: u32) -> bool {
    mask & bits == bits
}
