//! What is built of a memory map, frame by frame next to a plain reading of the map: zones, nodes, holes and reserved frames
//! begin and end in the middle of sections.

mod support;

use support::{Setup, audited, built, zone_kind};
use zonal::{Caching, Order, Pfn, Request, SECTION_FRAMES, ZoneKind};
use zonal_testkit::{BLOCK, Machine, Memory};

const DMA_END: u64 = 8 * BLOCK;
const DMA32_END: u64 = SECTION_FRAMES + 40 * BLOCK;
/// Where the second node begins, in the middle of a block: the block is the first one's.
const SECOND: u64 = 2 * SECTION_FRAMES + 20 * BLOCK + 100;
/// Sections from the first to the last.
const SECTIONS: u64 = 8;

fn machine() -> Machine {
    let (hole, movable) = (5 * SECTION_FRAMES + 7 * BLOCK + 3, 6 * SECTION_FRAMES + 3 * BLOCK);
    let apart = 3 * SECTION_FRAMES + 10 * BLOCK;
    let middle = SECTION_FRAMES / 2;
    Machine {
        memory: vec![
            Memory::of(0, 0..SECOND),
            Memory::of(1, SECOND..hole),
            Memory::of(1, movable..SECTIONS * SECTION_FRAMES).movable(),
        ],
        reserved: vec![0..3, middle..middle + 1, apart..apart + 20 * BLOCK],
        dma_end: DMA_END,
        dma32_end: DMA32_END,
        ..Machine::equal_nodes(2, 1, 0, BLOCK)
    }
}

/// Whether the frame is there and not reserved.
fn is_usable(machine: &Machine, pfn: u64) -> bool {
    let is_reserved = machine.reserved.iter().any(|frames| frames.contains(&pfn));
    !is_reserved && machine.memory.iter().any(|memory| memory.frames.contains(&pfn))
}

/// The node and the zone of a block: those of the first range that has frames of it.
fn zone_of(machine: &Machine, block: u64) -> Option<(u16, ZoneKind)> {
    let meets = |memory: &&Memory| memory.frames.start < block + BLOCK && block < memory.frames.end;
    let memory = machine.memory.iter().find(meets)?;
    Some((memory.node, zone_kind(machine.class_of(memory, block))))
}

#[test]
fn every_frame_is_had_of_the_zone_the_map_says() {
    let machine = machine();
    let (allocator, _) = built(&Setup::of(&machine).caching(Caching::Off));
    audited(&allocator);
    let request = Request::order(Order::ZERO).nowait();
    let mut left: Vec<_> = allocator.zones().map(|zone| zone.managed).collect();
    for pfn in 0..SECTIONS * SECTION_FRAMES {
        let usable = is_usable(&machine, pfn);
        assert_eq!(allocator.alloc_at(&request, Pfn::new(pfn)).is_ok(), usable, "frame {pfn}");
        if usable {
            let id = allocator.zone_of(Pfn::new(pfn)).expect("it was had");
            let zone = allocator.zones().nth(usize::from(id.0)).expect("it has a number");
            assert_eq!(Some((zone.node.0, zone.kind)), zone_of(&machine, pfn / BLOCK * BLOCK), "frame {pfn}");
            left[usize::from(id.0)] -= 1;
        }
    }
    assert_eq!(left, [0; 5], "DMA, DMA32, Normal; Normal, Movable");
    assert!(allocator.zones().all(|zone| zone.free == 0));
    audited(&allocator);
}
