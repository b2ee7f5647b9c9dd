//! The nolock pair: hits, a refill, what other CPUs cache, a refusal.

use zonal::Order;

use super::{Case, GROUP, KERNEL, case, leave, long, new, order};
use crate::call::Call;
use crate::stage::Ground;

const ZERO: Order = Order::ZERO;

pub(super) const CASES: &[Case] = &[
    case("nolock-hit", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::AllocNolock(ZERO, None))
    }),
    new("nolock-refill", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        held.into_iter().skip(30).for_each(|pfn| stage.spare(pfn));
        Some(Call::AllocNolock(ZERO, None))
    }),
    long("nolock-of-what-another-cpu-caches", |stage| {
        leave(stage, 64, 3)?;
        let one = stage.on_cpu(1, || stage.take(ZERO, KERNEL))?;
        stage.spare(one);
        Some(Call::AllocNolock(ZERO, None))
    }),
    case("nolock-that-is-refused", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.first()?);
        Some(Call::AllocNolock(ZERO, None))
    }),
    Case {
        ground: Ground::marked(100),
        ..new("nolock-near-the-mark", |stage| {
            // Down to a few frames above the mark, which no fast walk would take.
            while stage.pages.zones().any(|zone| zone.free + zone.cached > 104) {
                stage.take(if stage.ledger.frames() < 3 * 512 { Order::BLOCK } else { ZERO }, KERNEL)?;
            }
            Some(Call::AllocNolock(ZERO, None))
        })
    },
    new("nolock-9", |stage| {
        let held = stage.take(Order::BLOCK, KERNEL)?;
        stage.spare(held);
        Some(Call::AllocNolock(Order::BLOCK, None))
    }),
    new("nolock-free", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::FreeNolock(*held.last()?, ZERO))
    }),
    new("nolock-free-3", |stage| {
        let (one, other) = (stage.take(order(3), KERNEL)?, stage.take(order(3), KERNEL)?);
        stage.pages.drain_all();
        stage.spare(other);
        Some(Call::FreeNolock(one, order(3)))
    }),
];
