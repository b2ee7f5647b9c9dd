//! From where to where a zone reaches: over all that memory ranges name of it, be it reserved, as memory comes and goes.

mod support;

use support::{Setup, audited, built, range};
use zonal::{FrameRange, HotRange, OnlineType, SECTION_FRAMES, ZoneInfo};
use zonal_testkit::{BLOCK, Machine};

/// Memory from frame 0 to `end`, of which these ranges are reserved, and a section behind it that may be plugged in.
fn setup(end: u64, reserved: &[(u64, u64)]) -> (Setup, FrameRange) {
    let mut machine = Machine::one_node(1, &[(0, end)]);
    machine.reserved = reserved.iter().map(|&(start, end)| start..end).collect();
    let first = end.next_multiple_of(SECTION_FRAMES);
    let hot = HotRange::new(first, first + SECTION_FRAMES, 0);
    (Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&machine) }.hotplug(&[hot]), hot.range)
}

fn zone(zones: impl Iterator<Item = ZoneInfo>) -> (FrameRange, u64, u64) {
    let mut all = zones.map(|zone| (zone.span, zone.present, zone.managed));
    all.next().expect("one by address")
}

#[test]
fn a_zone_spans_what_it_has_be_it_reserved() {
    let far = 3 * SECTION_FRAMES;
    for (end, reserved, managed) in [
        (16 * BLOCK, vec![(0, 3 * BLOCK), (14 * BLOCK, 16 * BLOCK)], 11 * BLOCK),
        (16 * BLOCK, vec![], 16 * BLOCK),
        // Whole sections, of which the zone has no block.
        (far, vec![(0, 2 * SECTION_FRAMES)], SECTION_FRAMES),
        (far, vec![(SECTION_FRAMES + 7, far)], SECTION_FRAMES + 7),
    ] {
        let (setup, hot) = setup(end, &reserved);
        let (allocator, _) = built(&setup);
        let now = || zone(allocator.zones());
        assert_eq!(now(), (range(0, end), end, managed));
        for to in [OnlineType::Kernel, OnlineType::Movable] {
            assert_eq!(allocator.add_memory(hot), Ok(()));
            assert_eq!(allocator.online_memory(hot, to), Ok(SECTION_FRAMES));
            if to == OnlineType::Kernel {
                let more = SECTION_FRAMES;
                assert_eq!(now(), (range(0, hot.end.get()), end + more, managed + more));
            }
            assert!(allocator.offline_memory(hot, &mut |_| {}).is_ok());
            assert_eq!(now(), (range(0, end), end, managed));
            assert_eq!(allocator.remove_memory(hot), Ok(()));
        }
        audited(&allocator);
    }
}
