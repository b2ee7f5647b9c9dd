//! Requests said by calls and by Linux's flags: what means the same is the same request.

use proptest::prelude::*;
use proptest::sample::subsequence;
use zonal::{AllocError, Effort, Gfp, NodeId, Order, Request, Reserves, Scope, Urgency, ZoneKind};
use zonal_testkit::Class;
use zonal_testkit::contract::{self, Asker, Failure, Level};

/// A call and the flags that stand for it.
#[derive(Clone, Copy, Debug)]
struct Said {
    call: fn(Request) -> Request,
    /// Flags that it takes away before it adds its own.
    without: Gfp,
    with: Gfp,
}

const fn said(call: fn(Request) -> Request, without: Gfp, with: Gfp) -> Said {
    Said { call, without, with }
}

const ZONES: Gfp = Gfp::DMA.union(Gfp::DMA32).union(Gfp::HIGHMEM);
const KINDS: Gfp = Gfp::MOVABLE.union(Gfp::RECLAIMABLE);
const RESERVES: Gfp = Gfp::HIGH.union(Gfp::MEMALLOC).union(Gfp::NOMEMALLOC);
const EFFORTS: Gfp = Gfp::NORETRY.union(Gfp::RETRY_MAYFAIL).union(Gfp::NOFAIL);
const NOTHING: Gfp = Gfp::empty();

/// Every call that says something of the flags.
const CALLS: [Said; 28] = [
    said(|r| r.zones_up_to(ZoneKind::Dma), ZONES, Gfp::DMA),
    said(|r| r.zones_up_to(ZoneKind::Dma32), ZONES, Gfp::DMA32),
    said(|r| r.zones_up_to(ZoneKind::Normal), ZONES, NOTHING),
    said(|r| r.zones_up_to(ZoneKind::Movable), ZONES, Gfp::HIGHMEM),
    said(Request::movable, KINDS, Gfp::MOVABLE),
    said(Request::reclaimable, KINDS, Gfp::RECLAIMABLE),
    said(Request::zeroed, NOTHING, Gfp::ZERO),
    said(Request::atomic, Gfp::KERNEL.union(RESERVES), Gfp::ATOMIC),
    said(Request::nowait, Gfp::KERNEL.union(RESERVES), Gfp::NOWAIT),
    said(Request::wakes_nobody, Gfp::KSWAPD_RECLAIM, NOTHING),
    said(|r| r.within(Scope::NOIO), Gfp::IO.union(Gfp::FS), NOTHING),
    said(|r| r.within(Scope::NOFS), Gfp::FS, NOTHING),
    said(|r| r.within(Scope::PIN), Gfp::MOVABLE, NOTHING),
    said(|r| r.within(Scope::BOOT), Gfp::KERNEL, NOTHING),
    said(|r| r.reserves(Reserves::None), RESERVES, Gfp::NOMEMALLOC),
    said(|r| r.reserves(Reserves::Half), RESERVES, Gfp::HIGH.union(Gfp::NOMEMALLOC)),
    said(|r| r.reserves(Reserves::Ordinary), RESERVES, NOTHING),
    said(|r| r.reserves(Reserves::High), RESERVES, Gfp::HIGH),
    said(|r| r.reserves(Reserves::All), RESERVES, Gfp::MEMALLOC),
    said(Request::try_once, EFFORTS, Gfp::NORETRY),
    said(Request::try_hard, EFFORTS, Gfp::RETRY_MAYFAIL),
    said(Request::never_fail, EFFORTS, Gfp::NOFAIL),
    said(Request::silent, NOTHING, Gfp::NOWARN),
    said(Request::this_node, NOTHING, Gfp::THISNODE),
    said(Request::hardwall, NOTHING, Gfp::HARDWALL),
    said(Request::to_be_written, NOTHING, Gfp::WRITE),
    said(Request::charged, NOTHING, Gfp::ACCOUNT),
    said(Request::compound, NOTHING, Gfp::COMP),
];

fn order() -> impl Strategy<Value = Order> {
    (0..=18u8).prop_filter_map("an order", Order::new)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_and_flags_that_mean_the_same_make_the_same_request(
        order in order(),
        node in proptest::option::of(any::<u16>()),
        calls in subsequence(CALLS.to_vec(), 0..8).prop_shuffle(),
    ) {
        let placed = |request: Request| node.map_or(request, |node| request.node(NodeId(node)));
        let by_calls = calls.iter().fold(placed(Request::order(order)), |request, said| (said.call)(request));
        let flags = |gfp: Gfp, said: &Said| gfp.difference(said.without).union(said.with);
        let gfp = calls.iter().fold(Gfp::KERNEL, flags);
        prop_assert_eq!(gfp.forbidden(), 0);
        prop_assert_eq!(Request::order(order).gfp(gfp).map(placed), Ok(by_calls));
        prop_assert_eq!(by_calls.flags(), gfp);
    }
}

/// TRANSHUGE_LIGHT is missing: it allows I/O to a request that may not wait for it, which no call says.
#[test]
fn linux_s_composites_can_be_said_by_calls() {
    let kernel = Request::order(Order::BLOCK);
    let user = kernel.hardwall();
    let movable = user.movable().zones_up_to(ZoneKind::Movable);
    let composites = [
        (Gfp::KERNEL, kernel),
        (Gfp::ATOMIC, kernel.atomic()),
        (Gfp::NOWAIT, kernel.nowait()),
        (Gfp::NOIO, kernel.within(Scope::NOIO)),
        (Gfp::NOFS, kernel.within(Scope::NOFS)),
        (Gfp::USER, user),
        (Gfp::HIGHUSER, user.zones_up_to(ZoneKind::Movable)),
        (Gfp::HIGHUSER_MOVABLE, movable),
        (Gfp::KERNEL_ACCOUNT, kernel.charged()),
        (Gfp::TRANSHUGE, movable.compound().reserves(Reserves::None).silent().wakes_nobody()),
        (NOTHING, kernel.within(Scope::BOOT)),
        (Gfp::DMA, kernel.within(Scope::BOOT).zones_up_to(ZoneKind::Dma)),
        (Gfp::DMA32, kernel.within(Scope::BOOT).zones_up_to(ZoneKind::Dma32)),
    ];
    for (gfp, request) in composites {
        assert_eq!(kernel.gfp(gfp), Ok(request), "{gfp}");
    }
}

#[test]
fn forbidden_flags_make_no_request() {
    for bits in 0..16 {
        let gfp = Gfp::from_bits_retain(bits) | Gfp::KERNEL;
        let made = Request::order(Order::ZERO).gfp(gfp);
        match gfp.forbidden() {
            0 => assert_eq!(made.map(|request| request.flags()), Ok(gfp)),
            bits => assert_eq!(made, Err(AllocError::ForbiddenFlags { bits })),
        }
    }
}

#[test]
fn the_testkit_s_table_selects_the_same_zones() {
    for bits in 0..16 {
        let gfp = Gfp::from_bits_retain(bits) | Gfp::KERNEL;
        let zone = (gfp.forbidden() == 0).then(|| match gfp.highest_zone() {
            ZoneKind::Dma => Class::Dma,
            ZoneKind::Dma32 => Class::Dma32,
            ZoneKind::Normal => Class::Normal,
            ZoneKind::Movable => Class::Movable,
        });
        assert_eq!(zone, contract::highest_zone(gfp.bits()), "{gfp}");
    }
}

/// What the testkit says of a mask with nothing but an ordinary task behind it follows from its urgency, too.
#[test]
fn the_testkit_s_reading_of_a_mask_agrees_with_its_urgency() {
    let flags = [Gfp::DIRECT_RECLAIM, Gfp::HIGH, Gfp::MEMALLOC, Gfp::NOMEMALLOC];
    let flags = flags.into_iter().chain([Gfp::NORETRY, Gfp::RETRY_MAYFAIL, Gfp::NOFAIL]);
    let flags: Vec<Gfp> = flags.collect();
    for picked in 0..1u32 << flags.len() {
        let gfp = flags.iter().zip(0..).filter(|&(_, bit)| picked >> bit & 1 != 0);
        let gfp = gfp.fold(NOTHING, |mask, (&flag, _)| mask | flag);
        for order in [0, 3, 4] {
            let urgency = Request::order(Order::ZERO).gfp(gfp).map(|request| request.urgency());
            let Ok(Urgency { waits, reserves, effort, never_fails, .. }) = urgency else {
                panic!("{gfp} is forbidden")
            };
            let failure = match effort {
                _ if !waits => Failure::AtOnce,
                _ if never_fails => Failure::Never,
                Effort::Once => Failure::AfterOneLightPass,
                Effort::Hard => Failure::WithoutProgress,
                Effort::Usual if order > 3 => Failure::AfterOnePass,
                Effort::Usual => Failure::WithoutVictim,
            };
            assert_eq!(
                contract::failure(gfp.bits(), order, Asker::default()),
                failure,
                "{gfp} order {order}"
            );
            let zone = contract::ZoneNow { marks: [800, 900, 1000], ..contract::ZoneNow::default() };
            let grants = contract::grants(gfp.bits(), order, Asker::default());
            let Some(last) = grants.last() else { panic!("no test at all") };
            let floor = if last.no_watermarks { 0 } else { zone.floor(*last, Class::Normal, order) };
            let expected = match reserves {
                Reserves::None | Reserves::Ordinary => 800,
                Reserves::High if !waits => 300,
                Reserves::Half | Reserves::High => 400,
                Reserves::All => 0,
            };
            assert_eq!((last.level, floor), (Level::Min, expected), "{gfp} order {order}");
        }
    }
}
