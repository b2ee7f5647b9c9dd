//! Requests that go up the ladder: what the low mark leaves, reclaim that gives a frame back or none, a run that is not there.

use zonal::{Order, Pfn};

use super::{Case, KERNEL, new, order};
use crate::call::Call;
use crate::host::Lent;
use crate::stage::{Stage, request};

pub(super) const CASES: &[Case] = &[
    new("alloc-of-what-reclaim-gives-back", |stage| {
        let held = all_singly(stage)?;
        stage.spare(held.0);
        Some(Call::AllocLent(request(Order::ZERO, KERNEL), held.1, Lent::Reclaim))
    }),
    new("alloc-that-reclaims-in-vain", |stage| {
        let held = all_singly(stage)?;
        stage.spare(held.0);
        Some(Call::Alloc(request(order(3), KERNEL), order(3)))
    }),
];

/// Takes everything, blocks and a last one by frames; two of those.
fn all_singly(stage: &Stage) -> Option<(Pfn, Pfn)> {
    let blocks = stage.hold_blocks();
    let frames = stage.split(*blocks.last()?, Order::ZERO);
    Some((*frames.get(3)?, *frames.get(200)?))
}
