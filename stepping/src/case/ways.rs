//! Other ways to ask and to free: in checked mode, within a cpuset and by a policy, below a limit, near the mark.

use zonal::{Context, Cpuset, Gfp, Mempolicy, NodeId, NodeMask, Order};

use super::{Case, GROUP, KERNEL, alloc, new, order};
use crate::call::Call;
use crate::stage::{Ground, Stage, request};

const ZERO: Order = Order::ZERO;

/// The same in checked mode.
const fn checked(case: Case) -> Case {
    Case { ground: Ground::CHECKED, ..case }
}

pub(super) const CASES: &[Case] = &[
    checked(new("checked-alloc", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(alloc(0, KERNEL))
    })),
    checked(new("checked-refill", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        held.into_iter().skip(30).for_each(|pfn| stage.spare(pfn));
        Some(alloc(0, KERNEL))
    })),
    checked(new("checked-free", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Free(*held.last()?, ZERO))
    })),
    checked(new("checked-free-9", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.get(1)?);
        Some(Call::Free(*blocks.first()?, Order::BLOCK))
    })),
    checked(new("checked-nolock", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::AllocNolock(order(2), None))
    })),
    checked(new("checked-bulk", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::AllocBulk(request(ZERO, KERNEL), 40))
    })),
    new("alloc-in-a-cpuset", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::AllocIn(context()?, request(ZERO, KERNEL), ZERO))
    }),
    new("alloc-in-a-cpuset-that-is-refused", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.first()?);
        Some(Call::AllocIn(context()?, request(ZERO, KERNEL), ZERO))
    }),
    new("alloc-below-a-limit", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        let below = request(order(4), KERNEL).below(stage.block(2).start);
        Some(Call::Alloc(below, order(4)))
    }),
    new("alloc-of-an-aligned-run", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Alloc(request(order(2), KERNEL).aligned(order(7)), order(2)))
    }),
    Case {
        ground: Ground::marked(200),
        ..new("atomic-run-near-the-mark", |stage| {
            short(stage)?;
            Some(alloc(2, Gfp::ATOMIC))
        })
    },
    Case {
        ground: Ground::marked(200),
        ..new("alloc-that-tries-hard-near-the-mark", |stage| {
            short(stage)?;
            Some(alloc(0, KERNEL.union(Gfp::RETRY_MAYFAIL)))
        })
    },
];

/// A task of a set that holds the only node, bound to it.
fn context() -> Option<&'static Context<'static>> {
    let nodes = NodeMask::EMPTY.with(NodeId(0)).ok()?;
    let cpuset: &'static Cpuset<'static> = Box::leak(Box::new(Cpuset::root(nodes).ok()?));
    let policy: &'static Mempolicy<'static> = Box::leak(Box::new(Mempolicy::bind(nodes).ok()?));
    Some(Box::leak(Box::new(Context { cpuset: Some(cpuset), policy: Some(policy), ..Context::default() })))
}

/// Takes all that is above the mark.
fn short(stage: &Stage) -> Option<()> {
    (0..3).try_for_each(|_| stage.take(Order::BLOCK, KERNEL).map(drop))?;
    while stage.pages.zones().any(|zone| zone.free + zone.cached > stage.mark) {
        stage.take(ZERO, KERNEL)?;
    }
    Some(())
}
