//! Lists of random operations while sections come and go, each compared with a table of which sections are there.
//!
//! Tenants that can be moved, that cannot, and that leave; drains, isolations of users, objections and cancellations. After
//! every operation the allocator recounts itself, each tenant has its content, and every zone has the frames that it must have.

mod support;
#[path = "support/tenants.rs"]
mod tenants;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::{Setup, audited, order, range};
use tenants::{Housed, Temper, Tenants};
use zonal::{
    FrameRange, HotRange, HotplugError, IsolateError, MemoryStep, OnlineType, Pfn, SECTION_FRAMES, ZoneKind,
};
use zonal_testkit::{BLOCK, Class, Machine, Plug, Plugged};

/// The sections that may be plugged in, and the blocks in front of them.
const HOT: [u64; 3] = [1, 2, 4];
const EARLY: u64 = 24;
/// Frames that tenants have at most: there is room for all of them in front.
const MOST: u64 = 6 * BLOCK;

#[derive(Clone, Copy, Debug)]
enum Op {
    Enter { order: u8, temper: Temper },
    Leave { near: u64 },
    Drain,
    Isolate { section: usize, block: u64 },
    Unisolate { section: usize, block: u64 },
    Add { section: usize, veto: bool },
    Online { section: usize, to: Class, veto: bool },
    Offline { section: usize, veto: bool, cancel: bool },
    Remove { section: usize, veto: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let section = || 0..HOT.len();
    let veto = || prop_oneof![6 => Just(false), 1 => Just(true)];
    let temper =
        prop_oneof![5 => Just(Temper::Movable), 1 => Just(Temper::Pinned), 1 => Just(Temper::Leaving)];
    let to = prop_oneof![1 => Just(Class::Normal), 2 => Just(Class::Movable)];
    prop_oneof![
        8 => (prop_oneof![3 => Just(0u8), 2 => 0..=10u8], temper).prop_map(|(order, temper)| Op::Enter { order, temper }),
        5 => (0..5 * SECTION_FRAMES).prop_map(|near| Op::Leave { near }),
        1 => Just(Op::Drain),
        1 => (section(), 0..64u64).prop_map(|(section, block)| Op::Isolate { section, block }),
        2 => (section(), 0..64u64).prop_map(|(section, block)| Op::Unisolate { section, block }),
        4 => (section(), veto()).prop_map(|(section, veto)| Op::Add { section, veto }),
        5 => (section(), to, veto()).prop_map(|(section, to, veto)| Op::Online { section, to, veto }),
        5 => (section(), veto(), veto()).prop_map(|(section, veto, cancel)| Op::Offline { section, veto, cancel }),
        2 => (section(), veto()).prop_map(|(section, veto)| Op::Remove { section, veto }),
    ]
}

/// The allocator, and what must be so.
struct World {
    allocator: &'static Housed,
    tenants: &'static Tenants,
    plugged: Plugged,
    /// First frames of the blocks that users have isolated.
    isolated: BTreeSet<u64>,
}

fn frames_of(section: usize) -> FrameRange {
    range(HOT[section] * SECTION_FRAMES, (HOT[section] + 1) * SECTION_FRAMES)
}

fn block_of(section: usize, block: u64) -> FrameRange {
    let start = HOT[section] * SECTION_FRAMES + block * BLOCK;
    range(start, start + BLOCK)
}

impl World {
    fn new(checked: bool) -> Self {
        let machine = Machine::one_node(1, &[(0, EARLY * BLOCK)]);
        let hot = HOT.map(|number| HotRange::new(number * SECTION_FRAMES, (number + 1) * SECTION_FRAMES, 0));
        let setup = Setup { dma_end: 0, dma32_end: 0, ..Setup::of(&machine) }.hotplug(&hot);
        let (allocator, tenants) = Tenants::housed(&if checked { setup.checked() } else { setup });
        let plugged = Plugged::new(SECTION_FRAMES, HOT);
        Self { allocator, tenants, plugged, isolated: BTreeSet::new() }
    }

    fn now(&self, section: usize) -> Plug {
        self.plugged.get(HOT[section]).expect("it is one of them")
    }

    /// Frames of a section that tenants have.
    fn held_in(&self, section: usize) -> usize {
        let frames = frames_of(section);
        self.tenants.frames().into_iter().filter(|&pfn| frames.contains(pfn)).count()
    }

    fn users_isolated(&self, section: usize) -> bool {
        self.isolated.iter().any(|&start| frames_of(section).contains(Pfn::new(start)))
    }

    /// A step that is refused or objected to changes nothing; else the table says whether it was allowed.
    fn turned<T>(
        &mut self,
        section: usize,
        to: Plug,
        veto: Option<MemoryStep>,
        done: Result<T, HotplugError>,
    ) {
        let before = self.now(section);
        match (self.plugged.turn(HOT[section], to), done) {
            (Ok(()), Ok(_)) => assert_eq!(veto, None, "somebody objected"),
            (Ok(()), Err(HotplugError::Vetoed { step })) => {
                assert_eq!(Some(step), veto, "nobody objected");
                self.plugged.turn(HOT[section], before).expect("it was so before");
            }
            (Err(_), Err(HotplugError::State { pfn, .. })) => assert_eq!(pfn, frames_of(section).start),
            (expected, done) => panic!("{expected:?}, but {:?}", done.err()),
        }
    }

    fn offline(&mut self, section: usize, veto: bool, cancel: bool) {
        let step = veto.then_some(MemoryStep::GoingOffline);
        self.tenants.veto(step);
        self.tenants.cancel(cancel);
        let before = self.held_in(section);
        let done = self.allocator.offline_memory(frames_of(section), &mut |_| {});
        self.tenants.cancel(false);
        if !matches!(self.now(section), Plug::Online(_)) {
            return assert!(matches!(done, Err(HotplugError::State { .. })), "it is not online: {done:?}");
        }
        match done {
            Ok(_) => assert_eq!(self.held_in(section), 0, "somebody has frames there still"),
            Err(HotplugError::InTheWay { frames }) => {
                assert!(before > 0 && frames > 0, "nothing was in the way");
                return;
            }
            Err(HotplugError::Cancelled) => return assert!(cancel && before > 0, "nobody cancelled"),
            Err(HotplugError::Isolation(IsolateError::AlreadyIsolated { pfn })) => {
                return assert!(self.isolated.contains(&pfn.get()), "nobody had isolated {pfn}");
            }
            Err(_) => {}
        }
        assert!(done.is_err() || !self.users_isolated(section), "a user had isolated a block");
        self.turned(section, Plug::Offline, step, done);
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Enter { order: by, temper } => {
                if self.tenants.frames().len() as u64 + (1 << by) <= MOST {
                    let entered = self.tenants.enter(order(by), temper);
                    let pfn = entered.expect("there is room for all of them in front").get();
                    assert!(self.plugged.may_be_handed_out(pfn..pfn + (1 << by)), "{pfn:#x} is not online");
                }
            }
            Op::Leave { near } => {
                let run = self.tenants.run_near(Pfn::new(near));
                run.into_iter().for_each(|pfn| assert!(self.tenants.leave(pfn)));
            }
            Op::Drain => drop(self.allocator.drain_all()),
            Op::Isolate { section, block } => {
                let block = block_of(section, block);
                match self.allocator.isolate(block) {
                    Ok(_) => assert!(self.isolated.insert(block.start.get()), "it was isolated before"),
                    Err(IsolateError::AlreadyIsolated { .. }) => {
                        assert!(self.isolated.contains(&block.start.get()))
                    }
                    Err(IsolateError::NotBlocks { .. }) => {
                        assert!(!matches!(self.now(section), Plug::Online(_)), "the block is there");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Unisolate { section, block } => {
                let block = block_of(section, block);
                let near = self.isolated.range(block.start.get()..).next().copied();
                let start = near.filter(|&start| frames_of(section).contains(Pfn::new(start)));
                if let Some(start) = start {
                    assert!(self.allocator.unisolate(range(start, start + BLOCK)).is_ok());
                    self.isolated.remove(&start);
                }
            }
            Op::Add { section, veto } => {
                let step = veto.then_some(MemoryStep::GoingToBeAdded);
                self.tenants.veto(step);
                let done = self.allocator.add_memory(frames_of(section));
                if self.now(section) == Plug::Absent {
                    self.turned(section, Plug::Offline, step, done);
                } else {
                    assert!(matches!(done, Err(HotplugError::State { .. })), "it is there: {done:?}");
                }
            }
            Op::Online { section, to, veto } => {
                let step = veto.then_some(MemoryStep::GoingOnline);
                self.tenants.veto(step);
                let by = if to == Class::Movable { OnlineType::Movable } else { OnlineType::Kernel };
                let done = self.allocator.online_memory(frames_of(section), by);
                self.turned(section, Plug::Online(to), step, done);
            }
            Op::Offline { section, veto, cancel } => self.offline(section, veto, cancel),
            Op::Remove { section, veto } => {
                let step = veto.then_some(MemoryStep::GoingToBeRemoved);
                self.tenants.veto(step);
                let done = self.allocator.remove_memory(frames_of(section));
                self.turned(section, Plug::Absent, step, done);
            }
        }
        self.tenants.veto(None);
        self.check();
    }

    fn check(&self) {
        self.tenants.check();
        for (kind, class, early) in
            [(ZoneKind::Normal, Class::Normal, EARLY * BLOCK), (ZoneKind::Movable, Class::Movable, 0)]
        {
            let frames = early + self.plugged.frames_of(class);
            let managed: u64 =
                self.allocator.zones().filter(|zone| zone.kind == kind).map(|zone| zone.managed).sum();
            assert_eq!(managed, frames, "{class:?}");
        }
        if self.isolated.is_empty() {
            assert_eq!(audited(self.allocator).isolated, 0, "nobody has isolated anything");
        }
    }

    /// Everybody leaves, and every section goes.
    fn wind_up(mut self) {
        self.tenants.runs().into_iter().for_each(|pfn| assert!(self.tenants.leave(pfn)));
        for start in std::mem::take(&mut self.isolated) {
            assert!(self.allocator.unisolate(range(start, start + BLOCK)).is_ok());
        }
        for section in 0..HOT.len() {
            if matches!(self.now(section), Plug::Online(_)) {
                self.offline(section, false, false);
                assert_eq!(self.now(section), Plug::Offline, "nobody has anything there");
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_one_that_the_table_allows(checked: bool, ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(checked);
        for op in ops {
            world.step(op);
        }
        world.wind_up();
    }
}
