//! An allocator built over what an earlier one left: nothing that is owned is free, nothing else is lost.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::mem::MaybeUninit;

use proptest::prelude::*;
use zonal::{
    Caching, Checking, Config, FrameRange, MemoryRange, NodeId, OneCpu, Order, PageAllocator, Pfn, Recovery,
    RecoveryError, Request, Topology,
};

/// 32 MiB above 4 GiB with a hole in its middle, on two nodes; some frames reserved.
const MEMORY: [MemoryRange; 3] = [
    MemoryRange::new(1 << 20, (1 << 20) + 3000, 0),
    MemoryRange::new((1 << 20) + 3600, (1 << 20) + 6144, 0),
    MemoryRange::new((1 << 20) + 6144, (1 << 20) + 8192, 1),
];
const RESERVED: [FrameRange; 1] = [FrameRange::new(Pfn::new((1 << 20) + 100), Pfn::new((1 << 20) + 170))];

fn config(checking: Checking) -> Config<'static> {
    let topology = Topology {
        memory: &MEMORY,
        reserved: &RESERVED,
        nodes: 2,
        distances: &[10, 20, 20, 10],
        cpus: &[NodeId(0), NodeId(1)],
    };
    Config { caching: Caching::All, checking, ..Config::new(topology) }
}

/// Page-aligned bytes that outlive any allocator in them.
struct Metadata(Vec<u64>);

impl Metadata {
    fn of(config: &Config<'_>) -> Self {
        Self(vec![0; zonal::metadata_size(config).unwrap().div_ceil(8) + 2 * 512])
    }

    fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        let (start, words) = (self.0.as_ptr().addr(), self.0.len());
        let skip = (4096 - start % 4096) % 4096 / 8;
        let words = &mut self.0[skip..words - 512 + skip];
        // SAFETY: the same bytes of the same borrow; uninitialised bytes are never written to them.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
    }

    /// The bytes as they are now, elsewhere.
    fn copy(&mut self) -> Self {
        let mut copy = Self(vec![0; self.0.len()]);
        copy.bytes().copy_from_slice(self.bytes());
        copy
    }
}

/// # Safety
/// As [`PageAllocator::recover`]; every byte of a `Metadata` is initialised.
unsafe fn recover<'m>(
    checking: Checking,
    metadata: &'m mut Metadata,
    owned: impl FnMut(FrameRange) -> bool,
) -> Result<(PageAllocator<'m, OneCpu>, Recovery), RecoveryError> {
    // SAFETY: the caller vouches.
    unsafe { PageAllocator::recover(&config(checking), OneCpu, metadata.bytes(), owned) }
}

/// Allocates and frees as the numbers say; the runs held in the end.
fn use_it(pages: &PageAllocator<'_, OneCpu>, steps: &[(u8, u8)]) -> Vec<(Pfn, Order)> {
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    for &(what, which) in steps {
        if what % 3 == 0 && !held.is_empty() {
            let (pfn, order) = held.swap_remove(usize::from(which) % held.len());
            // SAFETY: held since it was allocated with this order.
            unsafe { pages.free_raw(pfn, order) }.unwrap();
        } else {
            let order = Order::new(if which % 4 == 0 { which / 4 % 11 } else { which % 3 }).unwrap();
            held.extend(pages.alloc_raw(&Request::order(order)).map(|pfn| (pfn, order)));
        }
    }
    held
}

fn assert_clean(pages: &PageAllocator<'_, OneCpu>, allocated: u64) {
    let mut findings = Vec::new();
    let sums = pages.audit(&mut |finding| findings.push(finding.to_string()));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((sums.allocated, sums.in_flight, sums.cached), (allocated, 0, 0), "{sums:?}");
}

proptest! {
    /// The owner dies at rest: what it held is held, all else is free, in whatever place it was.
    #[test]
    fn what_was_held_is_held(
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..300),
        is_checked: bool,
    ) {
        let checking = if is_checked { Checking::On } else { Checking::Off };
        let mut metadata = Metadata::of(&config(checking));
        let pages = PageAllocator::new(&config(checking), OneCpu, metadata.bytes()).unwrap();
        let held = use_it(&pages, &steps);
        let managed = pages.audit(&mut |_| {}).managed;
        let frames: BTreeSet<u64> =
            held.iter().flat_map(|&(pfn, order)| (0..order.frames()).map(move |at| pfn.get() + at)).collect();

        let mut asked = BTreeSet::new();
        // SAFETY: the allocator before is not used any more.
        let (pages, found) = unsafe {
            recover(checking, &mut metadata, |run| {
                asked.extend(run.start.get()..run.end.get());
                true
            })
        }.unwrap();
        prop_assert_eq!(&asked, &frames);
        prop_assert_eq!(found.managed, managed);
        prop_assert_eq!(found.free, managed - frames.len() as u64);
        prop_assert_eq!((found.claimed, found.tentative, found.disowned, found.twice, found.in_flight), (0, 0, 0, 0, 0));
        assert_clean(&pages, frames.len() as u64);
        for (pfn, order) in held {
            // SAFETY: held since it was allocated with this order.
            unsafe { pages.free_raw(pfn, order) }.unwrap();
        }
        pages.drain_all();
        assert_clean(&pages, 0);
    }

    /// What nobody owns any more is free, and can be had.
    #[test]
    fn what_is_disowned_is_free(
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..300),
        kept in 0u64..4,
        is_checked: bool,
    ) {
        let checking = if is_checked { Checking::On } else { Checking::Off };
        let mut metadata = Metadata::of(&config(checking));
        let pages = PageAllocator::new(&config(checking), OneCpu, metadata.bytes()).unwrap();
        let held = use_it(&pages, &steps);
        let is_kept = |&(pfn, _): &(Pfn, Order)| pfn.get() / 2048 % 4 < kept;
        let (held, gone): (Vec<_>, Vec<_>) = held.into_iter().partition(is_kept);
        let frames = |runs: &[(Pfn, Order)]| runs.iter().map(|(_, order)| order.frames()).sum::<u64>();
        let owns = |run: FrameRange| {
            let holds = |&(pfn, order): &(Pfn, Order)| pfn <= run.start && run.end <= pfn.add(order.frames());
            held.iter().any(holds)
        };
        // SAFETY: the allocator before is not used any more.
        let (pages, found) = unsafe { recover(checking, &mut metadata, owns) }.unwrap();
        prop_assert_eq!(found.disowned, frames(&gone));
        assert_clean(&pages, frames(&held));
        // Everything else can be had, and nothing that is held.
        let order = Order::ZERO;
        let mut had = 0;
        while let Ok(pfn) = pages.alloc_raw(&Request::order(order)) {
            prop_assert!(!owns(FrameRange::new(pfn, pfn.add(1))), "{} is held and was handed out", pfn);
            had += 1;
        }
        prop_assert_eq!(had, found.free);
    }
}

#[test]
fn what_is_no_such_metadata_is_refused() {
    let mut metadata = Metadata::of(&config(Checking::On));
    // SAFETY: nothing was built here.
    let none = unsafe { recover(Checking::Off, &mut metadata, |_| true) }.err();
    assert_eq!(none, Some(RecoveryError::NotBuilt));

    let pages = PageAllocator::new(&config(Checking::Off), OneCpu, metadata.bytes()).unwrap();
    pages.alloc_raw(&Request::order(Order::ZERO)).unwrap();
    // SAFETY: the allocator before is not used any more.
    let other = unsafe { recover(Checking::On, &mut metadata, |_| true) }.err();
    assert!(matches!(other, Some(RecoveryError::OtherConfig { .. })), "{other:?}");

    let marked = [zonal::Mark { node: NodeId(0), zone: zonal::ZoneKind::Normal, frames: 7 }];
    let config = Config { marks: &marked, ..config(Checking::Off) };
    // SAFETY: the allocator before is not used any more.
    let (_, found) = unsafe { PageAllocator::recover(&config, OneCpu, metadata.bytes(), |_| true) }.unwrap();
    assert_eq!(found.managed - found.free, 1, "marks may change");
}

#[test]
fn another_address_in_the_page_is_refused() {
    let config = config(Checking::Off);
    let mut metadata = Metadata::of(&config);
    PageAllocator::new(&config, OneCpu, metadata.bytes()).unwrap();
    let mut copy = Metadata(vec![0; metadata.0.len() + 512]);
    let length = metadata.bytes().len();
    let moved = &mut copy.bytes()[64..64 + length];
    moved.copy_from_slice(metadata.bytes());
    // SAFETY: a copy that nobody uses.
    let found = unsafe { PageAllocator::recover(&config, OneCpu, moved, |_| true) }.err();
    assert_eq!(found, Some(RecoveryError::Moved { from: 0, to: 64 }));
}

/// Any word of the metadata may hold anything: recovery says so or builds something whose audit is clean; it never
/// panics, and it writes nowhere else.
#[test]
fn damage_is_refused_or_repaired() {
    let config = config(Checking::Off);
    let mut metadata = Metadata::of(&config);
    let pages = PageAllocator::new(&config, OneCpu, metadata.bytes()).unwrap();
    use_it(&pages, &[(1, 1), (1, 2), (1, 36), (1, 0), (0, 0), (1, 40), (1, 5), (0, 2)]);
    let words = metadata.bytes().len() / 8;
    let (mut refused, mut repaired) = (0, 0);
    for at in (8..words).step_by(7) {
        let mut copy = metadata.copy();
        let damage = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes();
        copy.bytes()[at * 8..at * 8 + 8].copy_from_slice(&damage.map(MaybeUninit::new));
        // SAFETY: a copy that nobody uses; behind the first 64 bytes it may hold anything.
        match unsafe { recover(Checking::Off, &mut copy, |_| false) } {
            Err(RecoveryError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("word {at}: {other}"),
            Ok((pages, _)) => {
                assert_clean(&pages, 0);
                repaired += 1;
            }
        }
    }
    assert!(refused > 0 && repaired > 0, "{refused} refused, {repaired} repaired");
}
