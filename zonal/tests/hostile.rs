//! Garbage in any combination: machines are refused or served, calls answered; nothing panics, nothing is lost.

#[path = "support/garbage.rs"]
mod garbage;
mod support;

use garbage::{call, setup};
use proptest::prelude::*;
use support::{FakeCpu, Setup, audited, built, lent, order};
use zonal::{FrameRange, Gfp, HotRange, OnlineType, Order, PageAllocator, Pfn, Request, SECTION_FRAMES};
use zonal_testkit::{BLOCK, Machine};

const FRAME: Request = Request::order(Order::ZERO);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_machines_are_refused_or_served(setup in setup()) {
        let Ok(bytes) = zonal::metadata_size(&setup.config()) else { return Ok(()) };
        if bytes > 4 << 20 {
            return Ok(());
        }
        let cpu = FakeCpu::default();
        let mut memory = lent(bytes);
        let Ok(allocator) = PageAllocator::new(&setup.config(), &cpu, &mut memory) else { return Ok(()) };
        let before = audited(&allocator).managed;
        for hot in &setup.hotplug {
            prop_assert_eq!(allocator.add_memory(hot.range), Ok(()));
            let online = allocator.online_memory(hot.range, OnlineType::Movable);
            prop_assert_eq!(online, Ok(hot.range.frames()));
        }
        let plugged: u64 = setup.hotplug.iter().map(|hot| hot.range.frames()).sum();
        prop_assert_eq!(audited(&allocator).managed, before + plugged);
        let request = FRAME.gfp(Gfp::HIGHUSER_MOVABLE).expect("the flags are good ones");
        for by in [0, 3, 9, 18].map(order) {
            drop(allocator.alloc(&request.with_order(by)));
        }
        let summary = audited(&allocator);
        prop_assert_eq!((summary.allocated, summary.free + summary.cached), (0, summary.managed));
        for hot in &setup.hotplug {
            let offline = allocator.offline_memory(hot.range, &mut |_| {});
            prop_assert!(offline.is_ok(), "{:?}", offline);
        }
        prop_assert_eq!(audited(&allocator).managed, before);
    }

    #[test]
    fn garbage_calls_only_lead_to_errors(calls in prop::collection::vec(call(), 1..60)) {
        let hot = [HotRange::new(2 * SECTION_FRAMES, 4 * SECTION_FRAMES, 1)];
        let (allocator, cpu) = built(&Setup::of(&Machine::two_nodes()).hotplug(&hot).checked());
        for call in calls {
            garbage::make(&allocator, cpu, call);
            audited(&allocator);
        }
        let whole = FrameRange::new(Pfn::new(0), Pfn::new(u64::MAX));
        prop_assert!(allocator.drain_range(whole) <= (14 + 2 * 64) * BLOCK);
        prop_assert_eq!(audited(&allocator).cached, 0);
    }
}
