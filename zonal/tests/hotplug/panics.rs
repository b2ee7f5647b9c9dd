//! A platform that panics while memory comes or goes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zonal::RebuildStep;

use super::*;

/// Whoever rebuilds the lists for it stands in the middle of plugging.
#[test]
fn a_panic_of_the_platform_leaves_a_section_offline() {
    both(|allocator, tenants| {
        let at = sections(2, 1);
        assert_eq!(allocator.add_memory(at), Ok(()));
        for step in [RebuildStep::Begun, RebuildStep::Written, RebuildStep::Published] {
            tenants.told();
            tenants.panic_at(Some(step));
            let online = || allocator.online_memory(at, OnlineType::Movable);
            assert!(catch_unwind(AssertUnwindSafe(online)).is_err());
            tenants.panic_at(None);
            assert_eq!(steps(tenants), [MemoryStep::GoingOnline, MemoryStep::CancelOnline]);
            let movable = zone(allocator, 0, ZoneKind::Movable);
            assert_eq!((movable.managed, movable.present, movable.span.frames()), (0, 0, 0));
            assert!(is_foreign(allocator, at.start));
            assert_eq!(audited(allocator).managed, 8 * BLOCK);
            assert_eq!(allocator.online_memory(at, OnlineType::Movable), Ok(SECTION_FRAMES));
            let pfn = tenants.enter(FRAME, Temper::Movable).expect("much is free");
            assert!(at.contains(pfn) && tenants.leave(pfn));
            // Its memory has gone when the lists are made without its zone.
            tenants.panic_at(Some(step));
            assert!(catch_unwind(AssertUnwindSafe(|| offline(allocator, at))).is_err());
            tenants.panic_at(None);
            assert_eq!(audited(allocator).managed, 8 * BLOCK);
        }
        assert_eq!(allocator.online_memory(at, OnlineType::Kernel), Ok(SECTION_FRAMES));
    });
}

/// What somebody may use already stays, and so does its memory.
#[test]
fn a_panic_of_the_platform_leaves_a_section_online_that_is_handed_out_already() {
    both(|allocator, tenants| {
        let at = sections(2, 1);
        assert_eq!(allocator.add_memory(at), Ok(()));
        tenants.told();
        tenants.unisolate_before(FrameRange::new(at.start.add(3 * BLOCK), at.start.add(5 * BLOCK)));
        tenants.panic_at(Some(RebuildStep::Published));
        let online = || allocator.online_memory(at, OnlineType::Movable);
        assert!(catch_unwind(AssertUnwindSafe(online)).is_err());
        tenants.panic_at(None);
        assert_eq!(steps(tenants), [MemoryStep::GoingOnline, MemoryStep::Online]);
        assert_eq!(zone(allocator, 0, ZoneKind::Movable).free, SECTION_FRAMES, "all of it can be allocated");
        let pfn = tenants.enter(FRAME, Temper::Movable).expect("much is free");
        assert!(at.contains(pfn) && tenants.leave(pfn));
        assert_eq!(audited(allocator).isolated, 0);
        assert_eq!(offline(allocator, at), Ok(0));
    });
}
