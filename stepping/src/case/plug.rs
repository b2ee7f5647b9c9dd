//! Rebuilds of the zonelists, and a section that comes and goes: nobody's frames are in the way but those that handlers take; frames
//! are that move, or that stay; somebody objects.

use std::sync::atomic::Ordering::Relaxed;

use zonal::{AutoMovable, BLOCK_FRAMES, OnlineType, Order, Pfn};

use super::{Case, KERNEL, MOVABLE, case, new, order, rare};
use crate::call::Call;
use crate::stage::{Ground, Stage, request};

/// The same with a section that may be plugged in.
const fn pluggable(case: Case) -> Case {
    Case { ground: Ground::PLUGGABLE, ..case }
}

pub(super) const CASES: &[Case] = &[
    case("rebuild", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Rebuild)
    }),
    pluggable(new("online", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Online(OnlineType::Movable))
    })),
    pluggable(new("offline", |stage| {
        online(stage, OnlineType::Kernel)?;
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Offline)
    })),
    pluggable(rare("add", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Add)
    })),
    pluggable(rare("remove", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Remove)
    })),
    pluggable(rare("online-of-what-is-not-there", |_| Some(Call::Online(OnlineType::Kernel)))),
    pluggable(rare("online-as-the-zones-are-that-is-objected-to", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.host.objects.store(true, Relaxed);
        Some(Call::Online(OnlineType::ContigZones))
    })),
    pluggable(rare("online-by-what-there-is-that-is-objected-to", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.host.objects.store(true, Relaxed);
        Some(Call::Online(OnlineType::AutoMovable(AutoMovable::default())))
    })),
    pluggable(rare("offline-that-is-objected-to", |stage| {
        online(stage, OnlineType::Movable)?;
        stage.host.objects.store(true, Relaxed);
        Some(Call::Offline)
    })),
    pluggable(rare("offline-of-all-that-is-free", |stage| {
        online(stage, OnlineType::Kernel)?;
        while stage.ledger.frames() < stage.blocks * BLOCK_FRAMES {
            let block = stage.take(Order::BLOCK, KERNEL)?;
            if block >= Stage::section().start {
                stage.give(block);
                break;
            }
        }
        Some(Call::Offline)
    })),
    pluggable(rare("offline-of-a-frame-that-moves", |stage| {
        online(stage, OnlineType::Kernel)?;
        let one = there(stage)?;
        stage.host.let_move(one);
        Some(Call::Offline)
    })),
    Case {
        ground: Ground::PLUGGABLE.checked(),
        ..rare("checked-offline-of-runs-that-move", |stage| {
            online(stage, OnlineType::Movable)?;
            // The zone of what is plugged in comes first for these.
            for by in [0, 3] {
                let run = stage.take(order(by), MOVABLE)?;
                stage.host.let_move(run);
            }
            Some(Call::Offline)
        })
    },
];

/// Plugs the section in.
fn online(stage: &Stage, to: OnlineType) -> Option<()> {
    stage.pages.add_memory(Stage::section()).ok()?;
    stage.pages.online_memory(Stage::section(), to).ok()?;
    stage.plugged.set(Stage::section().frames());
    Some(())
}

/// Takes a frame of the section.
fn there(stage: &Stage) -> Option<Pfn> {
    let pfn = Stage::section().start.add(700);
    stage.pages.alloc_at(&request(Order::ZERO, KERNEL), pfn).ok()?;
    stage.ledger.claim(pfn, Order::ZERO);
    Some(pfn)
}
