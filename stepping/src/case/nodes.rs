//! Two nodes of two blocks and a CPU each, of which either CPU caches both: lists of more than one zone, sets and policies.

use zonal::{Context, Cpuset, Gfp, Mempolicy, NodeId, NodeMask, Order, Pfn};

use super::{Case, GROUP, KERNEL, alloc, order, rare};
use crate::call::Call;
use crate::stage::{BLOCKS, Ground, Stage, request};

const ZERO: Order = Order::ZERO;

/// The same on two nodes.
const fn on_nodes(case: Case) -> Case {
    Case { ground: Ground::NODES, ..case }
}

pub(super) const CASES: &[Case] = &[
    on_nodes(rare("rebuild-for-two-nodes", |stage| {
        some(stage)?;
        Some(Call::Rebuild)
    })),
    on_nodes(rare("rebuild-while-a-node-is-full", |stage| {
        // Handlers that take go up the ladder, along the lists.
        exhaust_first(stage)?;
        stage.spares.take();
        Some(Call::Rebuild)
    })),
    on_nodes(rare("alloc-of-another-node", |stage| {
        exhaust_first(stage)?;
        Some(alloc(0, KERNEL))
    })),
    on_nodes(rare("alloc-of-this-node-only", |stage| {
        exhaust_first(stage)?;
        let only = request(ZERO, KERNEL.union(Gfp::NORETRY)).node(NodeId(0)).this_node();
        Some(Call::Alloc(only, ZERO))
    })),
    on_nodes(rare("alloc-of-a-node-that-does-not-exist", |stage| {
        some(stage)?;
        Some(Call::Alloc(request(ZERO, KERNEL).node(NodeId(7)), ZERO))
    })),
    on_nodes(rare("alloc-to-be-written", |stage| {
        some(stage)?;
        stage.host.dirty.store(true, std::sync::atomic::Ordering::Relaxed);
        stage.pages.drain_all();
        Some(Call::Alloc(request(Order::BLOCK, KERNEL).to_be_written(), Order::BLOCK))
    })),
    on_nodes(rare("nolock-of-another-node", |stage| {
        exhaust_first(stage)?;
        Some(Call::AllocNolock(ZERO, None))
    })),
    on_nodes(rare("nolock-of-a-named-node", |stage| {
        some(stage)?;
        Some(Call::AllocNolock(order(3), Some(NodeId(1))))
    })),
    on_nodes(rare("nolock-of-a-node-that-does-not-exist", |stage| {
        some(stage)?;
        Some(Call::AllocNolock(ZERO, Some(NodeId(7))))
    })),
    on_nodes(rare("nolock-in-a-cpuset", |stage| {
        exhaust_first(stage)?;
        Some(Call::AllocNolockIn(within(None)?, ZERO))
    })),
    on_nodes(rare("alloc-in-a-set-within-a-set", |stage| {
        exhaust_first(stage)?;
        Some(Call::AllocIn(within(None)?, request(ZERO, KERNEL), ZERO))
    })),
    on_nodes(rare("alloc-by-turns", |stage| {
        some(stage)?;
        Some(Call::AllocIn(within(Some(Mempolicy::interleave(both()?).ok()?))?, request(ZERO, KERNEL), ZERO))
    })),
    on_nodes(rare("alloc-by-weighted-turns", |stage| {
        some(stage)?;
        let policy = Mempolicy::weighted_interleave(both()?, &[1, 3]).ok()?;
        Some(Call::AllocIn(within(Some(policy))?, request(order(3), KERNEL), order(3)))
    })),
    on_nodes(rare("alloc-of-a-preferred-node", |stage| {
        exhaust_first(stage)?;
        let policy = Mempolicy::preferred_many(NodeMask::EMPTY.with(NodeId(0)).ok()?).ok()?;
        Some(Call::AllocIn(within(Some(policy))?, request(ZERO, Gfp::ATOMIC), ZERO))
    })),
    on_nodes(rare("bulk-by-turns", |stage| {
        some(stage)?;
        let policy = Mempolicy::weighted_interleave(both()?, &[1, 3]).ok()?;
        Some(Call::AllocBulkIn(within(Some(policy))?, request(ZERO, KERNEL), 70))
    })),
    on_nodes(rare("drain-of-a-zone", |stage| {
        some(stage)?;
        Some(Call::DrainZone)
    })),
    on_nodes(rare("drain-of-everything", |stage| {
        some(stage)?;
        stage.on_cpu(1, || stage.hold(GROUP / 2, KERNEL));
        Some(Call::DrainAll)
    })),
    on_nodes(rare("pass-over-idle-words", |stage| {
        exhaust_first(stage)?;
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.give(pfn));
        (0..3).for_each(|_| {
            stage.pages.age_caches();
        });
        Some(Call::Age)
    })),
    on_nodes(rare("close-of-a-zone-that-another-node-s-cpu-caches", |stage| {
        some(stage)?;
        let one = stage.on_cpu(1, || stage.take(ZERO, KERNEL))?;
        stage.give(one);
        Some(Call::Close)
    })),
];

fn both() -> Option<NodeMask> {
    NodeMask::EMPTY.with(NodeId(0)).ok()?.with(NodeId(1)).ok()
}

/// A few frames, which handlers may free.
fn some(stage: &Stage) -> Option<()> {
    let held = stage.hold(4, KERNEL);
    held.iter().for_each(|&pfn| stage.spare(pfn));
    (held.len() == 4).then_some(())
}

/// Takes the first node whole; handlers may free a block of it.
fn exhaust_first(stage: &Stage) -> Option<()> {
    let blocks: Vec<Pfn> = (0..BLOCKS / 2).filter_map(|_| stage.take(Order::BLOCK, KERNEL)).collect();
    stage.spare(*blocks.first()?);
    (blocks.len() as u64 == BLOCKS / 2).then_some(())
}

/// A task of a set within one, which hold both nodes, by a policy.
fn within(policy: Option<Mempolicy<'static>>) -> Option<&'static Context<'static>> {
    let root: &'static Cpuset<'static> = Box::leak(Box::new(Cpuset::root(both()?).ok()?));
    let inner: &'static Cpuset<'static> = Box::leak(Box::new(Cpuset::inside(root, both()?).ok()?));
    let policy = policy.map(|policy| &*Box::leak(Box::new(policy)));
    Some(Box::leak(Box::new(Context { cpuset: Some(inner), policy, ..Context::default() })))
}
