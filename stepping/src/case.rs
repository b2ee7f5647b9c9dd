//! The cases: what the allocator looks like, and the call that is interrupted there.
//!
//! A case holds frames by the stage's ledger and names spares among them, best such that share a word, a row or a block
//! with what the call works on.

mod ladder;
mod making;
mod nodes;
mod nolock;
mod plug;
mod states;
mod upkeep;
mod ways;

use zonal::{GROUP_FRAMES, Gfp, Group, Order, Pfn};

use crate::call::Call;
use crate::interruption::Interruption;
use crate::stage::{Ground, Stage, request};

/// Slot words of a CPU for one kind.
const WORDS: usize = 6;
const GROUP: usize = GROUP_FRAMES as usize;
pub(crate) const KERNEL: Gfp = Gfp::KERNEL;
const MOVABLE: Gfp = Gfp::HIGHUSER_MOVABLE;

/// At which of a call's instructions there is a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visits {
    /// At all of them, by the handlers that every operation must bear, and by those that take more; by others where they have not
    /// been yet.
    Each,
    /// At all of them by the handlers that every operation must bear; by others where they have not been yet: it is long.
    Long,
    /// Where this handler has not been yet, in this case or one before: the call goes through its loops by the thousand, or
    /// much of it is others', too.
    New,
    /// The same, and only the handlers that every operation must bear: it is rare.
    Rare,
}

/// A state and a call; `None` if the state could not be reached, which the trial reports.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ground: Ground,
    pub(crate) visits: Visits,
    pub(crate) prepare: fn(&Stage) -> Option<Call>,
}

const fn case(name: &'static str, prepare: fn(&Stage) -> Option<Call>) -> Case {
    Case { name, ground: Ground::PLAIN, visits: Visits::Each, prepare }
}

const fn long(name: &'static str, prepare: fn(&Stage) -> Option<Call>) -> Case {
    Case { visits: Visits::Long, ..case(name, prepare) }
}

const fn new(name: &'static str, prepare: fn(&Stage) -> Option<Call>) -> Case {
    Case { visits: Visits::New, ..case(name, prepare) }
}

const fn rare(name: &'static str, prepare: fn(&Stage) -> Option<Call>) -> Case {
    Case { visits: Visits::Rare, ..case(name, prepare) }
}

impl Visits {
    /// Whether such a call is interrupted by this handler at all.
    pub(crate) fn has(self, interruption: Interruption) -> bool {
        self != Self::Rare || interruption.must_be_borne()
    }

    /// Whether this handler comes to an instruction where it has been before.
    pub(crate) fn come_again(self, interruption: Interruption) -> bool {
        let takes_more = interruption == Interruption::TakesBlock;
        self == Self::Each && takes_more
            || matches!(self, Self::Each | Self::Long) && interruption.must_be_borne()
    }
}

/// All cases.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    CASES
        .iter()
        .chain(nolock::CASES)
        .chain(ladder::CASES)
        .chain(plug::CASES)
        .chain(states::CASES)
        .chain(ways::CASES)
        .chain(nodes::CASES)
        .chain(making::CASES)
        .chain(upkeep::CASES)
}

/// Allocs, frees and upkeep, the short ones first.
const CASES: &[Case] = &[
    case("alloc-hit", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(alloc(0, KERNEL))
    }),
    case("free-hit", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Free(*held.last()?, Order::ZERO))
    }),
    case("free-of-a-whole-group", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        held.iter().skip(1).for_each(|&pfn| stage.give(pfn));
        Some(Call::Free(*held.first()?, Order::ZERO))
    }),
    case("refill", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        held.into_iter().skip(30).for_each(|pfn| stage.spare(pfn));
        Some(alloc(0, KERNEL))
    }),
    case("refill-from-the-last-block", |stage| {
        let blocks = stage.hold_blocks();
        stage.give(*blocks.get(2)?);
        stage.spare(*blocks.get(1)?);
        Some(alloc(0, KERNEL))
    }),
    long("refill-of-another-kind", |stage| {
        let blocks = stage.hold_blocks();
        let parts = stage.split(*blocks.first()?, order(3));
        parts.iter().step_by(2).for_each(|&pfn| stage.give(pfn));
        parts.iter().skip(1).step_by(2).take(2).for_each(|&pfn| stage.spare(pfn));
        Some(alloc(0, MOVABLE))
    }),
    case("refill-of-the-last-eight", |stage| {
        let left = leave(stage, 64, 3)?;
        stage.spare(left.add(8));
        Some(alloc(0, KERNEL))
    }),
    case("free-to-a-row", |stage| {
        let (_, others) = fill_words(stage)?;
        stage.spare(*others.get(1)?);
        Some(Call::Free(*others.first()?, Order::ZERO))
    }),
    case("free-that-evicts", |stage| {
        let (beside, others) = fill_words(stage)?;
        stage.give(*others.first()?);
        beside.into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Free(*others.get(1)?, Order::ZERO))
    }),
    case("drain", |stage| {
        let (beside, _) = fill_words(stage)?;
        beside.into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::DrainCpu(0))
    }),
    case("drain-of-the-last-frames", |stage| {
        let left = leave(stage, 64, 3)?;
        let one = stage.take(Order::ZERO, KERNEL)?;
        stage.spare(one);
        stage.spare(left.add(8));
        Some(Call::DrainCpu(0))
    }),
    case("drain-of-a-range", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::DrainRange(stage.block(held.first()?.get() / 512 % 4)))
    }),
    long("close", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Close)
    }),
    case("reopen", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        stage.pages.close_caches(crate::stage::ZONE);
        Some(Call::Reopen)
    }),
    long("alloc-of-what-another-cpu-caches", |stage| {
        leave(stage, 64, 3)?;
        let one = stage.on_cpu(1, || stage.take(Order::ZERO, KERNEL))?;
        stage.spare(one);
        Some(alloc(0, KERNEL))
    }),
    long("alloc-that-is-refused", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.first()?);
        Some(alloc(0, KERNEL))
    }),
    case("alloc-3-hit", |stage| {
        stage.hold(2, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(alloc(3, KERNEL))
    }),
    case("alloc-3-refill", |stage| {
        let held = stage.hold(GROUP, KERNEL);
        stage.spare(*held.get(5)?);
        Some(alloc(3, KERNEL))
    }),
    case("alloc-3-of-the-last-eight", |stage| {
        let left = leave(stage, 64, 3)?;
        stage.spare(left.add(8));
        Some(alloc(3, KERNEL))
    }),
    case("free-3", |stage| {
        let (one, other) = (stage.take(order(3), KERNEL)?, stage.take(order(3), KERNEL)?);
        stage.pages.drain_all();
        stage.spare(other);
        Some(Call::Free(one, order(3)))
    }),
    case("alloc-7", |stage| {
        let held = stage.take(order(6), KERNEL)?;
        stage.spare(held);
        Some(alloc(7, KERNEL))
    }),
    case("alloc-7-of-the-last", |stage| {
        let left = leave(stage, 128, 7)?;
        stage.spare(left.add(128));
        Some(alloc(7, KERNEL))
    }),
    case("free-7", |stage| {
        let (one, other) = (stage.take(order(7), KERNEL)?, stage.take(order(6), KERNEL)?);
        stage.spare(other);
        Some(Call::Free(one, order(7)))
    }),
    case("alloc-9", |stage| {
        let held = stage.take(Order::BLOCK, KERNEL)?;
        stage.spare(held);
        Some(alloc(9, KERNEL))
    }),
    case("alloc-9-of-the-last-block", |stage| {
        let blocks = stage.hold_blocks();
        stage.give(*blocks.get(2)?);
        stage.spare(*blocks.first()?);
        Some(alloc(9, KERNEL))
    }),
    case("free-9", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.get(1)?);
        Some(Call::Free(*blocks.first()?, Order::BLOCK))
    }),
    Case {
        ground: Ground::marked(100),
        ..case("free-9-near-the-mark", |stage| {
            let (held, other) = (stage.take(Order::BLOCK, KERNEL)?, stage.take(Order::BLOCK, KERNEL)?);
            // The CPU keeps that one, so this one goes further.
            stage.give(other);
            Some(Call::Free(held, Order::BLOCK))
        })
    },
    case("split-9", |stage| {
        let blocks = stage.hold_blocks();
        stage.spare(*blocks.get(1)?);
        Some(Call::Split(*blocks.first()?, Order::BLOCK))
    }),
    case("alloc-10", |stage| {
        let held = stage.take(Order::ZERO, KERNEL)?;
        stage.spare(held);
        Some(alloc(10, KERNEL))
    }),
    case("alloc-10-of-the-last-pair", |stage| {
        let blocks = stage.hold_blocks();
        blocks.iter().skip(2).for_each(|&pfn| stage.give(pfn));
        // Half of the other two is free, so that a block of the pair can be claimed while the pair is.
        for &block in blocks.iter().take(2) {
            let parts = stage.split(block, order(3));
            parts.iter().step_by(2).for_each(|&pfn| stage.give(pfn));
            stage.spare(*parts.get(1)?);
        }
        stage.pages.drain_all();
        Some(alloc(10, KERNEL))
    }),
    case("free-10", |stage| {
        let pair = stage.take(order(10), KERNEL)?;
        let held = stage.take(Order::ZERO, KERNEL)?;
        stage.spare(held);
        Some(Call::Free(pair, order(10)))
    }),
    case("alloc-11", |_| Some(alloc(11, KERNEL))),
    long("alloc-at", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::AllocAt(request(Order::ZERO, KERNEL), held.first()?.add(9)))
    }),
    long("alloc-exact", |stage| {
        let held = stage.take(Order::ZERO, KERNEL)?;
        stage.spare(held);
        Some(Call::AllocExact(request(Order::ZERO, KERNEL), 37))
    }),
    case("alloc-bulk", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::AllocBulk(request(Order::ZERO, KERNEL), 70))
    }),
    case("free-bulk", |stage| {
        let held = stage.hold(2 * GROUP, KERNEL);
        let group = |from: usize, mask| held.get(from).map(|&base| Group { base, mask });
        stage.spare(*held.get(GROUP + 30)?);
        Some(Call::FreeBulk([group(0, 0xff)?, group(GROUP, 0xffff)?, Group::EMPTY, Group::EMPTY]))
    }),
    case("isolate", |stage| {
        let held = stage.hold(4, KERNEL);
        stage.spare(*held.first()?);
        Some(Call::Isolate(stage.block(held.first()?.get() / 512 % 4)))
    }),
    case("unisolate", |stage| {
        let held = stage.hold(4, KERNEL);
        let block = stage.block(held.first()?.get() / 512 % 4);
        stage.pages.isolate(block).ok()?;
        stage.spare(*held.first()?);
        Some(Call::Unisolate(block))
    }),
];

fn order(order: u8) -> Order {
    Order::new(order).unwrap_or(Order::ZERO)
}

fn alloc(by: u8, kind: Gfp) -> Call {
    Call::Alloc(request(order(by), kind), order(by))
}

/// Takes everything but one run of an order, `offset` frames into a block; its first frame. The run after it is held.
fn leave(stage: &Stage, offset: u64, by: u8) -> Option<Pfn> {
    let blocks = stage.hold_blocks();
    let block = *blocks.get(1)?;
    stage.split(block, order(by));
    let left = block.add(offset);
    stage.give(left);
    stage.pages.drain_all();
    Some(left)
}

/// Lets every slot word of the CPU hold a frame. Frames held beside those, one for each word; and the frames held of a
/// group that none of the words has.
fn fill_words(stage: &Stage) -> Option<(Vec<Pfn>, Vec<Pfn>)> {
    let held = stage.hold((WORDS + 4) * GROUP, KERNEL);
    let groups: Vec<&[Pfn]> = held.chunks(GROUP).collect();
    groups.iter().take(WORDS + 1).filter_map(|group| group.first()).for_each(|&pfn| stage.give(pfn));
    let beside = groups.iter().take(WORDS).filter_map(|group| group.get(1)).copied().collect();
    Some((beside, groups.get(WORDS + 2)?.to_vec()))
}
