//! States that are rarer: what other kinds and other CPUs have, runs that only compaction could make, frames nobody can zero.

use zonal::Order;

use super::{Case, GROUP, KERNEL, MOVABLE, alloc, new, order};
use crate::call::Call;
use crate::stage::{Stage, request};

pub(super) const CASES: &[Case] = &[
    new("alloc-6-of-another-kind", |stage| {
        broken_block(stage, order(6))?;
        Some(alloc(6, MOVABLE))
    }),
    new("alloc-3-of-what-another-cpu-caches", |stage| {
        super::leave(stage, 64, 5)?;
        let one = stage.on_cpu(1, || stage.take(Order::ZERO, KERNEL))?;
        stage.spare(one);
        Some(alloc(3, KERNEL))
    }),
    new("alloc-9-of-another-cpu-s-credit", |stage| {
        let blocks = stage.hold_blocks();
        stage.on_cpu(1, || blocks.iter().take(2).for_each(|&pfn| stage.give(pfn)));
        stage.spare(*blocks.last()?);
        Some(alloc(9, KERNEL))
    }),
    new("alloc-0-of-another-cpu-s-credit", |stage| {
        let blocks = stage.hold_blocks();
        let one = *blocks.first()?;
        stage.on_cpu(1, || stage.give(one));
        stage.spare(*blocks.last()?);
        Some(alloc(0, MOVABLE))
    }),
    new("alloc-9-that-only-compaction-could-make", |stage| {
        broken_block(stage, Order::ZERO)?;
        Some(alloc(9, KERNEL))
    }),
    new("alloc-that-nobody-can-zero", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Alloc(request(Order::GROUP, KERNEL).zeroed(), Order::GROUP))
    }),
    new("bulk-of-another-kind", |stage| {
        broken_block(stage, order(3))?;
        Some(Call::AllocBulk(request(Order::ZERO, MOVABLE), 100))
    }),
    new("isolate-what-another-cpu-caches", |stage| {
        let blocks = stage.hold_blocks();
        let one = *blocks.first()?;
        stage.on_cpu(1, || stage.give(one));
        let held = stage.on_cpu(1, || stage.hold(GROUP / 2, KERNEL));
        stage.spare(*held.first()?);
        Some(Call::Isolate(stage.block(0)))
    }),
    new("free-of-the-last-run-of-a-block", |stage| {
        let blocks = stage.hold_blocks();
        let runs = stage.split(*blocks.first()?, order(6));
        runs.iter().skip(1).for_each(|&pfn| stage.give(pfn));
        stage.spare(*blocks.last()?);
        Some(Call::Free(*runs.first()?, order(6)))
    }),
];

/// Takes everything, and gives back every other run of a block that was split so.
pub(super) fn broken_block(stage: &Stage, to: Order) -> Option<()> {
    let blocks = stage.hold_blocks();
    let runs = stage.split(*blocks.get(1)?, to);
    runs.iter().step_by(2).for_each(|&pfn| stage.give(pfn));
    runs.iter().skip(1).step_by(2).take(2).for_each(|&pfn| stage.spare(pfn));
    Some(())
}
