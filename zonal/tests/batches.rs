//! A CPU that takes frame after frame has more at a time, and no frame that its requests must leave.

use std::mem::MaybeUninit;

use zonal::{
    Config, ConfigError, MemoryRange, NodeId, OneCpu, PageAllocator, Pfn, Request, Topology, Tuning,
    ZoneKind, metadata_size,
};

/// A DMA zone, and a Normal zone that is larger.
const MEMORY: [MemoryRange; 1] = [MemoryRange::new(0x200, 0x4000, 0)];
const DMA_END: Pfn = Pfn::new(0x1000);

#[test]
fn what_is_held_back_for_lower_zones_stays_however_many_are_taken() -> Result<(), ConfigError> {
    let topology =
        Topology { memory: &MEMORY, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    // As much as the zones above have is held back from their requests: all of the DMA zone.
    let tuning = Tuning { lowmem_reserve_ratio: [1; 4], ..Tuning::default() };
    let config =
        Config { tuning: Some(tuning), dma_end: DMA_END, dma32_end: DMA_END, ..Config::new(topology) };
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?];
    let pages = PageAllocator::new(&config, OneCpu, &mut metadata)?;
    let request = Request::order(zonal::Order::ZERO).nowait().wakes_nobody();
    let taken = std::iter::from_fn(|| pages.alloc_raw(&request).ok()).count() as u64;
    let zones: Vec<_> = pages.zones().collect();
    let left = |kind| zones.iter().find(|zone| zone.kind == kind).map(|zone| (zone.free, zone.managed));
    assert_eq!(left(ZoneKind::Dma), Some((0xe00, 0xe00)), "nothing was taken out of it");
    let normal = left(ZoneKind::Normal).map(|(free, managed)| managed - free);
    assert_eq!(normal, Some(taken), "all of them came from here");
    assert!(taken > 0x2000);
    Ok(())
}
