//! A pile whose contexts stop in the middle, and whose host panics.

use core::ptr::NonNull;
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

use super::{Collected, Pile, Queued, sheet_in};
use crate::deferred::head::Head;
use crate::deferred::host::{DeferredHost, FrameSource};
use crate::frame::{FRAME_SIZE, Pfn};

/// Where the host panics, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Panics {
    Nowhere,
    AtStart,
    WhenAsked,
    InFree,
}

/// A frame's bytes.
#[repr(C, align(4096))]
struct Bytes([u8; FRAME_SIZE as usize]);

/// A host of four frames whose grace periods end when the test says so.
struct Host {
    memory: NonNull<Bytes>,
    frames: RefCell<Vec<Pfn>>,
    started: Cell<u64>,
    over: Cell<u64>,
    freed: RefCell<Vec<NonNull<Head>>>,
    panics: Cell<Panics>,
}

impl Host {
    fn new() -> Self {
        let memory = Box::leak(Box::new([const { Bytes([0; FRAME_SIZE as usize]) }; 4]));
        Self {
            memory: NonNull::from(memory).cast(),
            frames: RefCell::new((0..4).map(Pfn::new).collect()),
            started: Cell::new(0),
            over: Cell::new(0),
            freed: RefCell::default(),
            panics: Cell::new(Panics::Nowhere),
        }
    }

    fn pass(&self) {
        self.over.set(self.started.get());
    }

    fn panics(&self, at: Panics) {
        if self.panics.get() == at {
            self.panics.set(Panics::Nowhere);
            panic!("{at:?}");
        }
    }

    fn freed(&self) -> usize {
        self.freed.borrow().len()
    }
}

// SAFETY: (1) the frames are a leaked array. (2) Nobody reads.
unsafe impl DeferredHost for Host {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        // SAFETY: frames 0 to 3 are in the array.
        Some(unsafe { self.memory.add(pfn.get() as usize) }.cast())
    }

    fn start(&self) -> u64 {
        self.panics(Panics::AtStart);
        self.started.set(self.started.get() + 1);
        self.started.get()
    }

    fn is_over(&self, cookie: u64) -> bool {
        assert!((1..=self.started.get()).contains(&cookie), "{cookie} was never named");
        self.panics(Panics::WhenAsked);
        cookie <= self.over.get()
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        self.freed.borrow_mut().push(object);
        self.panics(Panics::InFree);
        0
    }

    fn worth(&self, _objects: u64) -> u64 {
        0
    }
}

impl FrameSource for Host {
    fn take(&self) -> Option<Pfn> {
        self.frames.borrow_mut().pop()
    }

    fn give(&self, pfn: Pfn) {
        self.frames.borrow_mut().push(pfn);
    }
}

fn object() -> NonNull<Head> {
    NonNull::from(Box::leak(Box::new(Head::new())))
}

fn queue(pile: &Pile, host: &Host, limit: u64) -> Queued {
    // SAFETY: nobody else knows the object, which stays; the host is the pile's.
    unsafe { pile.put(object(), limit, (host, host)) }
}

fn collect(pile: &Pile, host: &Host) -> Collected {
    // SAFETY: the host is the pile's.
    unsafe { pile.collect((host, host)) }
}

/// Collects until all `objects` are freed, each once, and the frames are back.
#[track_caller]
fn assert_freed(pile: &Pile, host: &Host, objects: usize) {
    for _ in 0..3 {
        collect(pile, host);
        host.pass();
    }
    let mut freed = host.freed.borrow().clone();
    freed.sort_unstable();
    freed.dedup();
    assert_eq!((freed.len(), host.freed()), (objects, objects), "each once");
    assert_eq!((pile.is_empty(), pile.frames(), pile.objects()), (true, 0, 0));
    assert_eq!(host.frames.borrow().len(), 4, "frames are back");
}

#[test]
fn who_stops_between_claim_and_slot_keeps_a_frame_and_no_object_but_its_own() {
    let (pile, host) = (Pile::new(), Host::new());
    assert_eq!(queue(&pile, &host, 4), Queued::OnNewSheet);
    let open = pile.open.top();
    let leaf = open.claim().expect("the sheet has slots left");
    pile.open.exchange(open, leaf).expect("nobody else is there");
    assert!((0..3).all(|_| queue(&pile, &host, 4) == Queued::OnSheet));
    assert_eq!((pile.objects(), collect(&pile, &host)), (5, Collected::default()));
    host.pass();
    assert_eq!(collect(&pile, &host), Collected { objects: 4, frames: 0 }, "its slot is not written");
    assert_eq!(queue(&pile, &host, 4), Queued::OnNewSheet, "others get on");
    for _ in 0..2 {
        collect(&pile, &host);
        host.pass();
    }
    assert_eq!((host.freed(), pile.frames(), pile.objects()), (5, 1, 1));
    let sheet = leaf.pfn().and_then(|pfn| sheet_in(&host, pfn)).expect("it is still there");
    // SAFETY: a slot of it is claimed and not written.
    unsafe { sheet.as_ref() }.write(leaf, object());
    assert_freed(&pile, &host, 6);
}

#[test]
fn a_host_that_panics_ends_a_collection_and_loses_nothing() {
    for at in [Panics::AtStart, Panics::WhenAsked, Panics::InFree] {
        for limit in [0, 4] {
            let (pile, host) = (Pile::new(), Host::new());
            (0..700).for_each(|_| _ = queue(&pile, &host, limit));
            collect(&pile, &host);
            (0..700).for_each(|_| _ = queue(&pile, &host, limit));
            host.pass();
            host.panics.set(at);
            assert!(catch_unwind(AssertUnwindSafe(|| collect(&pile, &host))).is_err(), "{at:?}");
            assert_freed(&pile, &host, 1400);
        }
    }
}

#[test]
fn who_has_nothing_to_wait_for_names_no_grace_period() {
    let (pile, host) = (Pile::new(), Host::new());
    collect(&pile, &host);
    assert_eq!(host.started.get(), 0);
    queue(&pile, &host, 0);
    (0..3).for_each(|_| _ = collect(&pile, &host));
    assert_eq!(host.started.get(), 1, "one for the object by its head");
    queue(&pile, &host, 4);
    (0..3).for_each(|_| _ = collect(&pile, &host));
    assert_eq!(host.started.get(), 2, "one for the sheet");
    assert_freed(&pile, &host, 2);
}
