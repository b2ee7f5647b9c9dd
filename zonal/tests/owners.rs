//! Whom frames belong to: named by their owner, forgotten when they are freed, and known after a recovery.

mod support;

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use proptest::prelude::*;
use support::{Leaked, Setup, audited, built, order};
use zonal::{
    Caching, Config, FrameRange, Group, MemoryRange, Naming, NodeId, OneCpu, Order, Owner, OwnerError,
    PageAllocator, Pfn, Request, Topology,
};
use zonal_testkit::{BLOCK, Machine};

const BLOCKS: u64 = 24;

fn owner(number: u32) -> Owner {
    Owner::new(number).expect("owners in tests are not 0")
}

/// One node, two CPUs, names kept.
fn setup(caching: Caching) -> Setup {
    Setup::of(&Machine::one_node(2, &[(0, BLOCKS * BLOCK)])).caching(caching).named()
}

/// The runs held, by first frame, and whom each frame belongs to.
#[derive(Default)]
struct Book {
    runs: Vec<(Pfn, Order)>,
    owners: BTreeMap<Pfn, Owner>,
}

impl Book {
    fn note(&mut self, pfn: Pfn, order: Order, owner: Owner) {
        self.runs.push((pfn, order));
        (0..order.frames()).for_each(|frame| assert_eq!(self.owners.insert(pfn.add(frame), owner), None));
    }

    fn forget(&mut self, pfn: Pfn, order: Order) {
        (0..order.frames()).for_each(|frame| assert!(self.owners.remove(&pfn.add(frame)).is_some()));
    }

    /// Every frame has the owner that is written here, and no other.
    fn check(&self, allocator: &Leaked) {
        for pfn in (0..BLOCKS * BLOCK).map(Pfn::new) {
            assert_eq!(allocator.owner(pfn), self.owners.get(&pfn).copied(), "the owner of {pfn}");
        }
        assert_eq!(audited(allocator).allocated, self.owners.len() as u64);
    }
}

fn free(allocator: &Leaked, pfn: Pfn, by: Order) {
    // SAFETY: held since it was allocated with this order.
    assert_eq!(unsafe { allocator.free_raw(pfn, by) }, Ok(()));
}

/// Allocates, names and frees as the numbers say.
fn step(allocator: &Leaked, book: &mut Book, (what, which): (u8, u8), name: Owner) {
    match what % 6 {
        0 if !book.runs.is_empty() => {
            let (pfn, by) = book.runs.swap_remove(usize::from(which) % book.runs.len());
            book.forget(pfn, by);
            free(allocator, pfn, by);
        }
        1 if !book.runs.is_empty() => {
            let (pfn, by) = book.runs.swap_remove(usize::from(which) % book.runs.len());
            // SAFETY: held since it was allocated with this order.
            assert_eq!(unsafe { allocator.split_raw(pfn, by, Order::ZERO) }, Ok(()));
            // Every other frame goes, the others stay what they were.
            for frame in (0..by.frames()).map(|at| pfn.add(at)) {
                if frame.get() % 2 == 0 {
                    book.forget(frame, Order::ZERO);
                    free(allocator, frame, Order::ZERO);
                } else {
                    book.runs.push((frame, Order::ZERO));
                }
            }
        }
        2 => {
            let mut groups = [Group { base: Pfn::new(0), mask: 0 }; 8];
            let request = Request::order(Order::ZERO);
            let filled = allocator.alloc_bulk(&request, u64::from(which), &mut groups).unwrap_or(0);
            let frames = || groups.iter().take(filled).flat_map(|group| group.iter());
            for pfn in frames() {
                assert_eq!(allocator.owner(pfn), None, "a frame was handed out that belongs to somebody");
                assert_eq!(allocator.set_owner(pfn, Order::ZERO, name), Ok(()));
            }
            // SAFETY: allocated just now.
            assert_eq!(unsafe { allocator.free_bulk(&groups[..filled]) }, Ok(()));
        }
        _ => {
            let by = order(if which % 8 == 0 { which / 8 % 12 } else { which % 4 });
            let Ok(pfn) = allocator.alloc_raw(&Request::order(by)) else { return };
            (0..by.frames()).for_each(|frame| assert_eq!(allocator.owner(pfn.add(frame)), None));
            assert_eq!(allocator.set_owner(pfn, by, name), Ok(()));
            book.note(pfn, by, name);
        }
    }
}

proptest! {
    #[test]
    fn a_frame_is_its_owners_until_it_is_freed(
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..120),
        caching in prop::sample::select(vec![Caching::Off, Caching::Local]),
        is_checked: bool,
    ) {
        let setup = setup(caching);
        let (allocator, cpu) = built(&if is_checked { setup.checked() } else { setup });
        let mut book = Book::default();
        for (at, &numbers) in steps.iter().enumerate() {
            cpu.move_to(usize::from(numbers.1 & 1));
            step(&allocator, &mut book, numbers, owner(at as u32 + 1));
        }
        book.check(&allocator);
    }
}

#[test]
fn what_cannot_be_named_is_refused() {
    let (unnamed, _) = built(&Setup::of(&Machine::one_node(1, &[(0, 2 * BLOCK)])));
    assert_eq!(unnamed.set_owner(Pfn::new(0), Order::ZERO, owner(1)), Err(OwnerError::Unnamed));
    assert_eq!(unnamed.owner(Pfn::new(0)), None);

    let (allocator, _) = built(&setup(Caching::Local).checked());
    let foreign = Pfn::new(BLOCKS * BLOCK);
    assert_eq!(
        allocator.set_owner(foreign, Order::ZERO, owner(1)),
        Err(OwnerError::Foreign { pfn: foreign })
    );
    let pfn = allocator.alloc_raw(&Request::order(order(3))).expect("there is room");
    let (odd, by) = (pfn.add(1), order(1));
    assert_eq!(allocator.set_owner(odd, by, owner(1)), Err(OwnerError::Misaligned { pfn: odd, order: by }));
    assert_eq!(allocator.set_owner(pfn, by, owner(1)), Err(OwnerError::NotAllocated { pfn, order: by }));
    assert_eq!(allocator.owner(pfn), None);
    assert_eq!(Owner::new(0), None);
}

#[test]
fn a_run_over_several_sections_is_named_whole() {
    let setup = Setup::of(&Machine::one_node(1, &[(0, 1 << 18)])).named();
    let (allocator, _) = built(&setup);
    let by = order(17);
    let pfn = allocator.alloc_raw(&Request::order(by)).expect("there is room");
    assert_eq!(allocator.set_owner(pfn, by, owner(7)), Ok(()));
    let last = pfn.add(by.frames() - 1);
    assert_eq!((allocator.owner(pfn), allocator.owner(last)), (Some(owner(7)), Some(owner(7))));
    free(&allocator, pfn, by);
    assert_eq!((allocator.owner(pfn), allocator.owner(last)), (None, None));
    audited(&allocator);
}

#[test]
fn owners_survive_their_process() {
    let memory = [MemoryRange::new(1 << 20, (1 << 20) + 4 * BLOCK, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let config = Config { naming: Naming::On, ..Config::new(topology) };
    let mut metadata = vec![MaybeUninit::new(0u8); zonal::metadata_size(&config).expect("a machine")];
    let (kept, gone) = {
        let pages = PageAllocator::new(&config, OneCpu, &mut metadata).expect("a machine");
        let name = |by, number| {
            let pfn = pages.alloc_raw(&Request::order(by)).expect("there is room");
            assert_eq!(pages.set_owner(pfn, by, owner(number)), Ok(()));
            pfn
        };
        ([name(Order::ZERO, 1), name(Order::BLOCK, 2)], [name(Order::ZERO, 3), name(Order::BLOCK, 4)])
    };
    let owned = |run: FrameRange| !gone.contains(&run.start);
    // SAFETY: zeroed at first, built above in the same bytes; that allocator is gone.
    let recovered = unsafe { PageAllocator::recover(&config, OneCpu, &mut metadata, owned) };
    let (pages, found) = recovered.expect("nothing is damaged");
    assert_eq!(found.disowned, 1 + BLOCK);
    assert_eq!(kept.map(|pfn| pages.owner(pfn)), [Some(owner(1)), Some(owner(2))]);
    assert_eq!(gone.map(|pfn| pages.owner(pfn)), [None, None]);
    audited(&pages);

    let plain = Config { naming: Naming::Off, ..config };
    // SAFETY: as above.
    let other = unsafe { PageAllocator::recover(&plain, OneCpu, &mut metadata, |_| true) };
    assert!(matches!(other.err(), Some(zonal::RecoveryError::OtherConfig { .. })));
}
