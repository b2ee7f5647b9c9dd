//! Lists of random operations on small, awkward machines, each compared with the naive model after every operation.

#[path = "support/draw.rs"]
mod draw;
#[path = "support/op.rs"]
mod op;
mod support;
#[path = "support/world.rs"]
mod world;

use draw::op;
use op::{Near, Op, Place, Purpose, Want};
use proptest::prelude::*;
use support::{FakeCpu, Setup, order};
use world::World;
use zonal::Caching;
use zonal_testkit::{BLOCK, Machine};

/// Runs the list, then gives everything back.
fn compare(machine: &Machine, setup: Setup, ops: Vec<Op>) {
    let cpu = FakeCpu::default();
    let mut memory = setup.lend().expect("the machine is a good one");
    let mut world = World::new(machine, setup, &cpu, &mut memory);
    for op in ops {
        world.step(op);
    }
    world.wind_up();
}

fn machine() -> impl Strategy<Value = Machine> {
    prop_oneof![
        Just(Machine::one_block()),
        Just(Machine::ragged()),
        Just(Machine::two_nodes()),
        Just(Machine::one_node(2, &[(3 * BLOCK, 9 * BLOCK)])),
        Just(Machine::equal_nodes(2, 2, 100, 2 * BLOCK)),
    ]
}

fn caching() -> impl Strategy<Value = Caching> {
    prop_oneof![4 => Just(Caching::Local), 3 => Just(Caching::All), 1 => Just(Caching::Off)]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_one_the_model_accepts(
        machine in machine(),
        caching in caching(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        compare(&machine, Setup::of(&machine).caching(caching), ops);
    }

    #[test]
    fn every_answer_is_one_the_model_accepts_with_checked_frees(
        machine in machine(),
        caching in caching(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        compare(&machine, Setup::of(&machine).caching(caching).checked(), ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// CPUs that own their words, all of them played by one thread: a barrier is passed at once. Some machines have room for
    /// owned words, others have everybody's from the start.
    #[test]
    fn every_answer_is_one_the_model_accepts_where_cpus_own_their_words(
        machine in machine(),
        caching in caching(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        compare(&machine, Setup::of(&machine).caching(caching).owned(|_| true), ops);
    }
}

proptest! {
    // The model looks at every frame number from the first to the last, which takes long here.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_one_the_model_accepts_where_nodes_share_sections(
        caching in caching(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let machine = Machine::interleaved();
        compare(&machine, Setup::of(&machine).caching(caching), ops);
    }
}

const USER: Want = Want { purpose: Purpose::User, near: Near::Here, place: Place::Anywhere };

#[test]
fn every_frame_of_every_machine_can_be_had_one_by_one() {
    for machine in [Machine::one_block(), Machine::ragged(), Machine::two_nodes()] {
        for caching in [Caching::Off, Caching::Local, Caching::All] {
            let exhaust = Op::Exhaust { want: USER };
            let ops = vec![exhaust, Op::MoveTo { cpu: 1 }, exhaust, Op::FreeAll, exhaust, Op::FreeAll];
            compare(&machine, Setup::of(&machine).caching(caching), ops);
        }
    }
}

#[test]
fn frames_cached_elsewhere_are_had_before_a_request_fails() {
    let machine = Machine::one_block();
    let exhaust = Op::Exhaust { want: USER };
    for by in 0..=9 {
        let alloc = Op::Alloc { order: by, want: USER };
        let scatter = [exhaust, Op::MoveTo { cpu: 1 }, Op::FreeAll, Op::MoveTo { cpu: 0 }];
        let ops = scatter.into_iter().chain(vec![alloc; 1 << (9 - by)]).chain([alloc]).collect();
        compare(&machine, Setup::of(&machine), ops);
    }
}

#[test]
fn the_largest_orders_are_served_split_and_freed_in_parts() {
    let machine = Machine::gibibyte();
    let (setup, cpu) = (Setup::of(&machine), FakeCpu::default());
    let mut memory = setup.lend().expect("the machine is a good one");
    let mut world = World::new(&machine, setup, &cpu, &mut memory);
    for by in (9..=18).rev() {
        world.step(Op::Alloc { order: by, want: USER });
        world.step(Op::Alloc { order: by, want: USER });
        if by > 9 {
            world.step(Op::FreePart { pick: 0, order: 9, part: 1 });
        }
        world.step(Op::FreeAll);
    }
    let exact = order(18).frames() - 700;
    world.step(Op::Exact { frames: exact, want: USER });
    world.step(Op::Alloc { order: 9, want: USER });
    world.step(Op::Split { pick: 1, to: 3 });
    world.step(Op::FreeAll);
    world.step(Op::Alloc { order: 18, want: USER });
    world.wind_up();
}

/// Down to the mark, and then a request that is not atomic though its purpose would be.
#[test]
fn what_cannot_be_zeroed_leaves_the_whole_mark() {
    let machine = Machine::two_nodes();
    let want = |purpose| Want { purpose, near: Near::Here, place: Place::Anywhere };
    let ops =
        vec![Op::Exhaust { want: want(Purpose::Kernel) }, Op::Zeroed { order: 0, want: want(Purpose::Dma) }];
    compare(&machine, Setup::of(&machine).caching(Caching::Local).checked(), ops);
}
