//! The owned type: it knows its order, gives its frames back when dropped, splits, merges and leaks.

mod support;

use std::collections::BTreeSet;

use support::{Leaked, Setup, allocator, audited, built, order};
use zonal::{AllocError, Order, Pfn, Request};
use zonal_testkit::{BLOCK, Machine};

fn held(allocator: &Leaked) -> u64 {
    audited(allocator).allocated
}

#[test]
fn a_drop_gives_the_frames_back() -> Result<(), AllocError> {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    for by in 0..=11 {
        let frames = allocator.alloc(&Request::order(order(by)))?;
        assert_eq!(frames.order(), order(by));
        assert!(frames.pfn().is_aligned(order(by)));
        assert_eq!(held(&allocator), 1 << by);
        drop(frames);
        assert_eq!(held(&allocator), 0);
    }
    Ok(())
}

#[test]
fn owners_keep_their_frames_apart() -> Result<(), AllocError> {
    let (allocator, _) = allocator(&Machine::one_block());
    let owners: Vec<_> =
        (0..512).map(|_| allocator.alloc(&Request::order(Order::ZERO))).collect::<Result<_, _>>()?;
    let frames: BTreeSet<Pfn> = owners.iter().map(|owner| owner.pfn()).collect();
    assert_eq!(frames.len(), 512);
    assert!(allocator.alloc(&Request::order(Order::ZERO)).is_err());
    drop(owners);
    assert_eq!(held(&allocator), 0);
    assert_eq!(allocator.alloc(&Request::order(Order::BLOCK))?.pfn(), Pfn::new(0));
    Ok(())
}

/// Splits a run down to its last frame: at every step one half is dropped, the other split on.
fn splits_to_the_end(setup: &Setup) -> Result<(), AllocError> {
    let (allocator, _) = built(setup);
    let mut rest = allocator.alloc(&Request::order(order(11)))?;
    for by in (0..11).rev() {
        let (low, high) = rest.split().expect("an order above 0 splits");
        assert_eq!((low.order(), high.order()), (order(by), order(by)));
        assert_eq!(high.pfn(), low.pfn().add(1 << by));
        assert_eq!(held(&allocator), 2 << by);
        let (kept, dropped) = if by % 2 == 0 { (low, high) } else { (high, low) };
        drop(dropped);
        assert_eq!(held(&allocator), 1 << by);
        rest = kept;
    }
    let single = rest.split().expect_err("one frame does not split");
    assert_eq!(single.order(), Order::ZERO);
    assert_eq!(held(&allocator), 1);
    drop(single);
    assert_eq!(held(&allocator), 0);
    Ok(())
}

#[test]
fn a_run_splits_down_to_its_frames() -> Result<(), AllocError> {
    let machine = Machine::one_node(1, &[(0, 8 * BLOCK)]);
    splits_to_the_end(&Setup::of(&machine))?;
    splits_to_the_end(&Setup::of(&machine).checked())
}

/// Splits and merges at each order, then drops the merged run.
fn merges_what_was_split(setup: &Setup) -> Result<(), AllocError> {
    let (allocator, _) = built(setup);
    for by in 1..=11 {
        let whole = allocator.alloc(&Request::order(order(by)))?;
        let start = whole.pfn();
        let (low, high) = whole.split().expect("an order above 0 splits");
        // The halves find each other in either order.
        let merged = if by % 2 == 0 { low.merge(high) } else { high.merge(low) };
        let merged = merged.expect("halves of one run merge");
        assert_eq!((merged.pfn(), merged.order()), (start, order(by)));
        assert_eq!(held(&allocator), 1 << by);
        drop(merged);
        assert_eq!(held(&allocator), 0);
        drop(allocator.alloc(&Request::order(order(by)))?);
    }
    Ok(())
}

#[test]
fn halves_merge_again() -> Result<(), AllocError> {
    let machine = Machine::one_node(1, &[(0, 8 * BLOCK)]);
    merges_what_was_split(&Setup::of(&machine))?;
    merges_what_was_split(&Setup::of(&machine).checked())
}

#[test]
fn what_is_not_two_halves_does_not_merge_and_is_not_lost() -> Result<(), AllocError> {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    let request = Request::order(Order::ZERO);
    let mut frames: Vec<_> = (0..4).map(|_| allocator.alloc(&request)).collect::<Result<_, _>>()?;
    frames.sort_by_key(|owner| owner.pfn());
    assert_eq!(frames[0].pfn().get() + 3, frames[3].pfn().get(), "an empty machine gives frames in a row");
    assert!(frames[0].pfn().is_aligned(order(2)));
    let (two, one) = (frames.remove(2), frames.remove(1));
    // Neighbours, but no halves of an aligned run.
    let apart = one.merge(two);
    assert!(apart.is_err());
    drop(apart);
    drop(frames);
    let small = allocator.alloc(&request)?;
    let large = allocator.alloc(&request.with_order(order(1)))?;
    assert!(small.merge(large).is_err(), "two orders merged");
    assert_eq!(held(&allocator), 0);
    Ok(())
}

#[test]
fn what_is_leaked_stays_until_it_is_freed_by_number() -> Result<(), AllocError> {
    let (allocator, _) = allocator(&Machine::one_node(1, &[(0, 4 * BLOCK)]));
    let (pfn, by) = allocator.alloc(&Request::order(order(4)))?.leak();
    assert_eq!(by, order(4));
    assert_eq!(held(&allocator), 16);
    // SAFETY: the run was leaked above and is used by nobody.
    assert_eq!(unsafe { allocator.free_raw(pfn, by) }, Ok(()));
    assert_eq!(held(&allocator), 0);
    Ok(())
}

#[test]
fn owners_may_be_dropped_on_other_threads() -> Result<(), AllocError> {
    let (allocator, _) = allocator(&Machine::one_node(2, &[(0, 4 * BLOCK)]));
    let request = Request::order(order(3));
    let owners: Vec<_> = (0..100).map(|_| allocator.alloc(&request)).collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        scope.spawn(move || drop(owners));
    });
    assert_eq!(held(&allocator), 0);
    Ok(())
}
