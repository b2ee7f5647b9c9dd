//! Machines and calls made of garbage: numbers near every edge, in any combination.
//!
//! The calls are for an allocator whose frees are checked: it must answer each with a value or an error, never panic.

use proptest::prelude::*;
use zonal::{
    Caching, Checking, Fallback, FrameRange, Gfp, Group, HotRange, Mark, MemoryRange, Naming, NodeId,
    OnlineType, Order, Pfn, Request, SECTION_FRAMES, ZoneId, ZoneKind,
};

use crate::support::{FakeCpu, Leaked, Setup, range};

/// A number: small, or near a limit of some kind.
fn number() -> impl Strategy<Value = u64> {
    let near = |middle: u64| (0u64..=1200).prop_map(move |off| middle.wrapping_add(off).wrapping_sub(600));
    prop_oneof![
        6 => 0u64..8192,
        2 => near(1 << 15),
        1 => near(1 << 20),
        1 => near(1 << 37),
        1 => near(1 << 40),
        1 => near(0),
        1 => any::<u64>(),
    ]
}

fn memory_range() -> impl Strategy<Value = MemoryRange> {
    let length = prop_oneof![8 => 0u64..3000, 1 => number()];
    (number(), length, 0u16..4, any::<bool>())
        .prop_map(|(start, frames, node, movable)| placed(start, start.wrapping_add(frames), node, movable))
}

fn placed(start: u64, end: u64, node: u16, movable: bool) -> MemoryRange {
    let range = MemoryRange::new(start, end, node);
    if movable { range.movable() } else { range }
}

/// Ranges one after the other, touching sometimes.
fn apart() -> impl Strategy<Value = Vec<MemoryRange>> {
    let gap = prop_oneof![2 => Just(0u64), 4 => 0u64..2000, 1 => number()];
    let ranges = prop::collection::vec((gap, 1u64..3000, 0u16..3, prop::bool::weighted(0.2)), 1..6);
    (number(), ranges).prop_map(|(base, ranges)| {
        let mut at = base % (1 << 39);
        let next = |(gap, frames, node, movable)| {
            let start = at + gap % (1 << 36);
            at = start + frames;
            placed(start, at, node, movable)
        };
        ranges.into_iter().map(next).collect()
    })
}

fn any_range() -> impl Strategy<Value = FrameRange> {
    prop_oneof![
        (number(), number()).prop_map(|(start, end)| range(start, end)),
        (0u64..20, 0u64..4).prop_map(|(block, blocks)| range(block * 512, (block + blocks) * 512)),
    ]
}

fn zone_kind() -> impl Strategy<Value = ZoneKind> {
    prop::sample::select(ZoneKind::ALL.to_vec())
}

fn mark() -> impl Strategy<Value = Mark> {
    (0u16..4, zone_kind(), number()).prop_map(|(node, zone, frames)| Mark {
        node: NodeId(node),
        zone,
        frames,
    })
}

fn caching() -> impl Strategy<Value = Caching> {
    prop::sample::select(vec![Caching::Off, Caching::Local, Caching::All])
}

/// A range of whole sections that is likely to be one that may be plugged in.
pub(crate) fn sections() -> impl Strategy<Value = FrameRange> {
    let near = (1u64..5, 0u64..3)
        .prop_map(|(first, count)| range(first * SECTION_FRAMES, (first + count) * SECTION_FRAMES));
    prop_oneof![4 => near, 1 => any_range()]
}

fn hotplug() -> impl Strategy<Value = Vec<HotRange>> {
    let range = (sections(), 0u16..4).prop_map(|(range, node)| HotRange { range, node: NodeId(node) });
    prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(range, 1..3)]
}

fn reserved() -> impl Strategy<Value = Vec<FrameRange>> {
    prop::collection::vec(any_range(), 0..4)
}

/// A machine that is nonsense in several ways at once, most likely.
fn nonsense() -> impl Strategy<Value = Setup> {
    let lists = (
        prop::collection::vec(memory_range(), 0..5),
        reserved(),
        prop::collection::vec(mark(), 0..3),
        prop::collection::vec((0u16..3).prop_map(NodeId), 0..5),
        prop::collection::vec(any::<u8>(), 0..10),
        hotplug(),
    );
    let numbers = (prop_oneof![0usize..4, any::<usize>()], number(), number());
    (lists, numbers, caching()).prop_map(
        |((memory, reserved, marks, cpus, distances, hotplug), (nodes, dma_end, dma32_end), caching)| Setup {
            memory,
            reserved,
            nodes,
            distances,
            cpus,
            marks,
            caching,
            own_words: None,
            own_rows: None,
            checking: Checking::Off,
            naming: Naming::Off,
            dma_end,
            dma32_end,
            hotplug,
        },
    )
}

/// A machine that is strange, but probably none to refuse.
fn strange() -> impl Strategy<Value = Setup> {
    let cpus = prop::collection::vec((0u16..3).prop_map(NodeId), 1..6);
    let marks = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(mark(), 1..3)];
    let checking = prop::sample::select(vec![Checking::Off, Checking::On]);
    let naming = prop::sample::select(vec![Naming::Off, Naming::On]);
    (apart(), reserved(), cpus, marks, (number(), number()), caching(), (checking, naming), hotplug())
        .prop_map(|(memory, reserved, cpus, marks, (one, other), caching, (checking, naming), hotplug)| {
            Setup {
                memory,
                reserved,
                nodes: 3,
                distances: vec![10, 11, 255, 20, 10, 30, 12, 20, 10],
                cpus,
                marks,
                caching,
                own_words: None,
                own_rows: None,
                checking,
                naming,
                dma_end: one.min(other),
                dma32_end: one.max(other),
                hotplug,
            }
        })
}

/// A machine and policy that nobody would build.
pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    prop_oneof![2 => strange(), 1 => nonsense()]
}

/// A call with numbers from anywhere.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Alloc(Request),
    AllocAt(Request, u64),
    AllocExact(Request, u64),
    AllocBulk(Request, u64, usize),
    Free(u64, Order),
    FreeExact(u64, u64),
    FreeBulk(Vec<Group>),
    Split(u64, Order, Order),
    MoveTo(usize),
    DrainCpu(usize),
    DrainZone(ZoneId),
    DrainRange(FrameRange),
    Close(ZoneId),
    Reopen(ZoneId),
    Isolate(FrameRange),
    Unisolate(FrameRange),
    Add(FrameRange),
    Online(FrameRange, OnlineType),
    Offline(FrameRange),
    Remove(FrameRange),
    Look(u64, ZoneId, NodeId),
}

fn order() -> impl Strategy<Value = Order> {
    (0u8..=18).prop_map(crate::support::order)
}

fn zone() -> impl Strategy<Value = ZoneId> {
    prop_oneof![3 => 0u16..7, 1 => any::<u16>()].prop_map(ZoneId)
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![3 => 0u16..3, 1 => any::<u16>()].prop_map(NodeId)
}

fn request() -> impl Strategy<Value = Request> {
    let place = (prop::option::of(node()), prop::option::of(number()), order());
    (order(), any::<u32>(), place).prop_map(|(order, bits, (node, below, align))| {
        let plain = Request::order(order).aligned(align);
        let placed = below.map_or(plain, |limit| plain.below(Pfn::new(limit)));
        let near = node.map_or(placed, |node| placed.node(node));
        // Nobody reclaims here: what must not fail would wait for ever.
        let gfp = Gfp::from_bits_retain(bits & 0x00ff_ffff).difference(Gfp::NOFAIL);
        near.gfp(gfp).unwrap_or(near)
    })
}

fn group() -> impl Strategy<Value = Group> {
    (number(), any::<u32>()).prop_map(|(base, mask)| Group { base: Pfn::new(base), mask })
}

/// Any call.
pub(crate) fn call() -> impl Strategy<Value = Call> {
    let takes = prop_oneof![
        request().prop_map(Call::Alloc),
        (request(), number()).prop_map(|(request, pfn)| Call::AllocAt(request, pfn)),
        (request(), number()).prop_map(|(request, frames)| Call::AllocExact(request, frames)),
        (request(), number(), 0usize..9)
            .prop_map(|(request, frames, out)| Call::AllocBulk(request, frames, out)),
    ];
    let gives = prop_oneof![
        4 => (number(), order()).prop_map(|(pfn, order)| Call::Free(pfn, order)),
        2 => (number(), number()).prop_map(|(pfn, frames)| Call::FreeExact(pfn, frames)),
        2 => prop::collection::vec(group(), 0..4).prop_map(Call::FreeBulk),
        2 => (number(), order(), order()).prop_map(|(pfn, from, to)| Call::Split(pfn, from, to)),
    ];
    let upkeep = prop_oneof![
        any::<usize>().prop_map(Call::MoveTo),
        any::<usize>().prop_map(Call::DrainCpu),
        zone().prop_map(Call::DrainZone),
        any_range().prop_map(Call::DrainRange),
        zone().prop_map(Call::Close),
        zone().prop_map(Call::Reopen),
        any_range().prop_map(Call::Isolate),
        any_range().prop_map(Call::Unisolate),
        (number(), zone(), node()).prop_map(|(pfn, zone, node)| Call::Look(pfn, zone, node)),
    ];
    let to = prop::sample::select(vec![
        OnlineType::Kernel,
        OnlineType::Movable,
        OnlineType::ContigZones,
        OnlineType::AutoMovable(Default::default()),
    ]);
    let plugs = prop_oneof![
        sections().prop_map(Call::Add),
        (sections(), to).prop_map(|(range, to)| Call::Online(range, to)),
        sections().prop_map(Call::Offline),
        sections().prop_map(Call::Remove),
    ];
    prop_oneof![3 => takes, 3 => gives, 2 => upkeep, 2 => plugs]
}

/// Makes the call; whether it is served is returned, and either is accepted.
pub(crate) fn make(allocator: &Leaked, cpu: &FakeCpu, call: Call) -> bool {
    match call {
        Call::Alloc(request) => allocator.alloc_raw(&request).is_ok(),
        Call::AllocAt(request, pfn) => allocator.alloc_at(&request, Pfn::new(pfn)).is_ok(),
        Call::AllocExact(request, frames) => allocator.alloc_exact(&request, frames).is_ok(),
        Call::AllocBulk(request, frames, groups) => {
            allocator.alloc_bulk(&request, frames, &mut vec![Group::EMPTY; groups]).is_ok()
        }
        // SAFETY: misuse is what is tested here, in the mode that detects it; no frame is touched.
        Call::Free(pfn, order) => unsafe { allocator.free_raw(Pfn::new(pfn), order) }.is_ok(),
        // SAFETY: as above.
        Call::FreeExact(pfn, frames) => unsafe { allocator.free_exact(Pfn::new(pfn), frames) }.is_ok(),
        // SAFETY: as above.
        Call::FreeBulk(groups) => unsafe { allocator.free_bulk(&groups) }.is_ok(),
        // SAFETY: as above.
        Call::Split(pfn, from, to) => unsafe { allocator.split_raw(Pfn::new(pfn), from, to) }.is_ok(),
        Call::MoveTo(number) => {
            cpu.move_to(number);
            true
        }
        Call::DrainCpu(number) => allocator.drain_cpu(number) > 0,
        Call::DrainZone(zone) => allocator.drain_zone(zone) > 0,
        Call::DrainRange(range) => allocator.drain_range(range) > 0,
        Call::Close(zone) => allocator.close_caches(zone) > 0,
        Call::Reopen(zone) => allocator.reopen_caches(zone),
        Call::Isolate(range) => allocator.isolate(range).is_ok(),
        Call::Unisolate(range) => allocator.unisolate(range).is_ok(),
        Call::Add(range) => allocator.add_memory(range).is_ok(),
        Call::Online(range, to) => allocator.online_memory(range, to).is_ok(),
        Call::Offline(range) => allocator.offline_memory(range, &mut |_| {}).is_ok(),
        Call::Remove(range) => allocator.remove_memory(range).is_ok(),
        Call::Look(pfn, zone, node) => look(allocator, pfn, zone, node),
    }
}

fn look(allocator: &Leaked, pfn: u64, zone: ZoneId, node: NodeId) -> bool {
    let named =
        allocator.zone_of(Pfn::new(pfn)).is_some_and(|zone| usize::from(zone.0) < allocator.zones().count());
    assert!(named || allocator.zone_of(Pfn::new(pfn)).is_none(), "a frame is in a zone that does not exist");
    assert!(allocator.blocks(zone).count() <= 64 * 4);
    assert!(allocator.free_runs(zone)[0] <= (14 + 2 * 64) * 512);
    assert!(allocator.zonelist(node, Fallback::Nodes).count() <= allocator.zones().count());
    named
}
