//! What is done beside requests: marks, bad frames, names of owners. And words that their CPUs own, as pinned ones.

use zonal::{Marks, Order, Owner, Pfn, Tuning};

use super::{Case, GROUP, KERNEL, WORDS, alloc, case, fill_words, order, rare};
use crate::call::Call;
use crate::stage::{Ground, Stage};

const ZERO: Order = Order::ZERO;

/// The same with names.
const fn named(case: Case) -> Case {
    Case { ground: Ground::NAMED, ..case }
}

/// The same with words that CPUs own. Handlers drain, close and isolate what they may: a barrier would have to wait for the call.
const fn pinned(case: Case) -> Case {
    Case { ground: Ground::PINNED, ..case }
}

pub(super) const CASES: &[Case] = &[
    rare("set-tuning", |stage| {
        some(stage);
        Some(Call::Tune(Tuning::default()))
    }),
    rare("set-marks", |stage| {
        some(stage);
        Some(Call::SetMarks(Marks::at(64)))
    }),
    rare("poison-of-a-free-frame", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Poison(held.first()?.add(40)))
    }),
    rare("poison-of-a-cached-frame", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.give(*held.first()?);
        stage.spare(*held.get(1)?);
        Some(Call::Poison(*held.first()?))
    }),
    rare("poison-of-a-frame-in-use", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Poison(*held.first()?))
    }),
    rare("free-of-a-poisoned-frame", |stage| {
        let held = stage.hold(4, KERNEL);
        let bad = *held.first()?;
        stage.poisoned.set(Some(bad));
        stage.pages.poison(bad).ok()?;
        stage.spare(*held.get(1)?);
        Some(Call::Free(bad, ZERO))
    }),
    rare("heal", |stage| {
        let held = stage.hold(4, KERNEL);
        let bad = held.first()?.add(40);
        stage.pages.poison(bad).ok()?;
        stage.spare(*held.first()?);
        Some(Call::Unpoison(bad))
    }),
    named(rare("name", |stage| {
        some(stage);
        let run = stage.take(order(3), KERNEL)?;
        Some(Call::Name(run, order(3), Owner::new(7)?))
    })),
    named(rare("named-alloc", |stage| {
        some(stage);
        Some(alloc(0, KERNEL))
    })),
    named(rare("named-free", |stage| {
        some(stage);
        let run = stage.take(order(3), KERNEL)?;
        stage.pages.set_owner(run, order(3), Owner::new(7)?).ok()?;
        Some(Call::Free(run, order(3)))
    })),
    pinned(case("pinned-hit", |stage| {
        some(stage);
        Some(alloc(0, KERNEL))
    })),
    pinned(case("pinned-free-hit", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Free(*held.last()?, ZERO))
    })),
    pinned(rare("pinned-run-hit", |stage| {
        some(stage);
        Some(alloc(2, KERNEL))
    })),
    pinned(rare("pinned-refill", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        held.into_iter().skip(30).for_each(|pfn| stage.spare(pfn));
        Some(alloc(0, KERNEL))
    })),
    pinned(rare("pinned-free-that-evicts", |stage| {
        let (beside, others) = fill_words(stage)?;
        stage.give(*others.first()?);
        beside.into_iter().take(WORDS).for_each(|pfn| stage.spare(pfn));
        Some(Call::Free(*others.get(1)?, ZERO))
    })),
    pinned(case("pinned-free-on-a-tab", |stage| {
        let (block, _) = note_frames(stage)?;
        Some(Call::Free(*block.get(NOTED)?, ZERO))
    })),
    pinned(case("pinned-free-that-turns-a-tab", |stage| {
        let (_, next) = note_frames(stage)?;
        Some(Call::Free(*next.first()?, ZERO))
    })),
    pinned(case("pinned-drain-of-a-tab", |stage| {
        note_frames(stage)?;
        Some(Call::DrainAll)
    })),
    pinned(rare("pinned-nolock", |stage| {
        some(stage);
        Some(Call::AllocNolock(ZERO, None))
    })),
    pinned(rare("pinned-block-that-is-not-there", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.first()?);
        let one = *blocks.get(2)?;
        stage.on_cpu(1, || stage.split(one, ZERO).into_iter().for_each(|pfn| stage.give(pfn)));
        Some(alloc(9, zonal::Gfp::ATOMIC))
    })),
];

/// A few frames, which handlers may free.
fn some(stage: &Stage) {
    stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
}

/// Frames that are freed beforehand, of which the last are on the CPU's tab.
const NOTED: usize = 4;

/// Frees frames along a block past the words, so that the CPU has some on its tab: frames of that block, each of a row of its own, and
/// of another one.
fn note_frames(stage: &Stage) -> Option<(Vec<Pfn>, Vec<Pfn>)> {
    let frames = || {
        let block = stage.take(Order::BLOCK, KERNEL)?;
        Some(stage.split(block, ZERO).into_iter().step_by(64).collect::<Vec<_>>())
    };
    let (block, next) = (frames()?, frames()?);
    // A frame in each word first, so that those have no room.
    frames()?.iter().for_each(|&pfn| stage.give(pfn));
    block.iter().take(NOTED).for_each(|&pfn| stage.give(pfn));
    stage.spare(*block.last()?);
    Some((block, next))
}
