//! Bulk calls: what they take from where, and what a refused free leaves.

mod support;

use std::collections::BTreeSet;

use support::{Leaked, Setup, audited, built, order};
use zonal::{Caching, FreeError, Group, Order, Pfn, Request};
use zonal_testkit::{BLOCK, Machine};

const CACHINGS: [Caching; 3] = [Caching::Off, Caching::Local, Caching::All];
const FRAME: Request = Request::order(Order::ZERO);

fn setup(blocks: u64, caching: Caching) -> Setup {
    Setup::of(&Machine::one_node(2, &[(0, blocks * BLOCK)])).caching(caching)
}

fn take(allocator: &Leaked, frames: u64, room: usize) -> Vec<Group> {
    let mut groups = vec![Group::EMPTY; room];
    let filled = allocator.alloc_bulk(&FRAME, frames, &mut groups).expect("the machine has room");
    groups.truncate(filled);
    groups
}

fn give(allocator: &Leaked, groups: &[Group]) -> Result<(), FreeError> {
    // SAFETY: the tests free what they hold, or misuse is what is tested; no frame is touched.
    unsafe { allocator.free_bulk(groups) }
}

fn frames(groups: &[Group]) -> BTreeSet<Pfn> {
    groups.iter().flat_map(|group| group.iter()).collect()
}

#[test]
fn whole_rows_come_as_two_groups_and_counts_are_exact() {
    for (caching, wanted) in
        CACHINGS.into_iter().flat_map(|caching| [1, 31, 64, 100, 511, 512, 513, 1700].map(|n| (caching, n)))
    {
        let (allocator, _) = built(&setup(4, caching));
        let groups = take(&allocator, wanted, 64);
        assert_eq!(frames(&groups).len() as u64, wanted, "{caching:?}");
        assert_eq!(groups.len() as u64, wanted.div_ceil(32), "{caching:?}: an empty zone has whole groups");
        assert_eq!(audited(&allocator).allocated, wanted);
        assert_eq!(give(&allocator, &groups), Ok(()));
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn a_full_output_ends_a_call_in_the_middle_of_a_row() {
    for caching in CACHINGS {
        let (allocator, _) = built(&setup(2, caching));
        // Every second frame, so that a group holds 16 and room for 3 groups is 48 frames.
        let all: Vec<Pfn> = frames(&take(&allocator, 2 * BLOCK, 32)).into_iter().collect();
        for pfn in all.iter().filter(|pfn| pfn.get() % 2 == 1) {
            // SAFETY: held since just above, freed once.
            assert_eq!(unsafe { allocator.free_raw(*pfn, Order::ZERO) }, Ok(()));
        }
        allocator.drain_all();
        let groups = take(&allocator, 500, 3);
        assert_eq!((groups.len(), frames(&groups).len()), (3, 48), "{caching:?}");
        assert_eq!(audited(&allocator).allocated, BLOCK + 48);
        let rest = take(&allocator, 2 * BLOCK, 64);
        assert_eq!(frames(&rest).len() as u64, BLOCK - 48, "all that is left");
        assert!(frames(&rest).is_disjoint(&frames(&groups)));
        assert_eq!(audited(&allocator).free, 0);
    }
}

#[test]
fn a_frame_that_comes_twice_is_refused_and_what_was_before_it_is_free() {
    for caching in CACHINGS {
        let (allocator, _) = built(&setup(4, caching));
        let groups = take(&allocator, 3 * BLOCK, 64);
        let twice = Group { mask: 0x100, ..groups[4] };
        let mut call = groups[..6].to_vec();
        call.push(twice);
        call.extend(&groups[40..42]);
        let refused = FreeError::DoubleFree { pfn: twice.base, order: Order::ZERO };
        assert_eq!(give(&allocator, &call), Err(refused), "{caching:?}");
        assert_eq!(audited(&allocator).allocated, 3 * BLOCK - 6 * 32);
    }
}

#[test]
fn a_group_that_is_free_already_is_named() {
    for caching in CACHINGS {
        let (allocator, _) = built(&setup(4, caching));
        let groups = take(&allocator, 2 * BLOCK, 64);
        assert_eq!(give(&allocator, &groups[5..6]), Ok(()));
        let refused = FreeError::DoubleFree { pfn: groups[5].base, order: Order::ZERO };
        assert_eq!(give(&allocator, &groups[4..8]), Err(refused), "{caching:?}");
        // Its own block's other groups are free; the count is that of the bits.
        assert_eq!(audited(&allocator).allocated, 2 * BLOCK - 4 * 32);
    }
}

#[test]
fn groups_that_are_not_groups_are_refused() {
    for caching in CACHINGS {
        let (allocator, _) = built(&setup(4, caching));
        let groups = take(&allocator, 64, 8);
        let shifted = Group { base: groups[0].base.add(1), mask: 1 };
        let misaligned = FreeError::Misaligned { pfn: shifted.base, order: Order::GROUP };
        assert_eq!(give(&allocator, &[groups[1], shifted, groups[0]]), Err(misaligned));
        assert_eq!(audited(&allocator).allocated, 0, "the groups around it are free");
        let foreign = Group { base: Pfn::new(1 << 30), mask: 1 };
        assert_eq!(give(&allocator, &[foreign]), Err(FreeError::Foreign { pfn: foreign.base }));
        assert_eq!(give(&allocator, &[Group { mask: 0, ..foreign }]), Ok(()), "no frame, no mistake");
        let huge = allocator.alloc_raw(&Request::order(order(9))).expect("there is room");
        let part = Group { base: huge, mask: u32::MAX };
        assert_eq!(give(&allocator, &[part]), Err(FreeError::NotSplit { pfn: huge }));
        assert_eq!(audited(&allocator).allocated, BLOCK);
    }
}
