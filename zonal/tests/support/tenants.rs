//! Owners of frames that can be moved: a platform whose `migrate` takes the content along.
//!
//! Each tenant has a run with a number of its own in every frame; single frames of tenants that are not pinned are moved.
//! A tenant may leave just when it is to be moved. Frames and tenants change hands under one lock, as the contract of
//! `Platform::migrate` asks.

#![allow(dead_code, reason = "each test program uses a part of this module")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use zonal::{
    AllocError, FrameRange, Gfp, MemoryEvent, MemoryStep, Migration, Naming, Order, Owner, PageAllocator,
    Pfn, Platform, RebuildStep, Request, Veto,
};

use crate::support::{Setup, audited};

/// What a tenant lets be done with its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Temper {
    Movable,
    Pinned,
    /// Frees its frame when it is to be moved.
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Tenant {
    name: u64,
    order: Order,
    temper: Temper,
}

#[derive(Debug, Default)]
struct Book {
    /// Who has which run, by its first frame.
    tenants: BTreeMap<Pfn, Tenant>,
    /// What the frames hold.
    contents: BTreeMap<Pfn, u64>,
    names: u64,
}

/// The tenants of one allocator.
#[derive(Default)]
pub(crate) struct Tenants {
    book: Mutex<Book>,
    notices: Mutex<Notices>,
    allocator: OnceLock<&'static Housed>,
    naming: OnceLock<Naming>,
}

/// What has been told of memory that comes and goes, and what is objected to.
#[derive(Default)]
struct Notices {
    told: Vec<MemoryEvent>,
    vetoed: Option<MemoryStep>,
    cancelled: bool,
    panics_at: Option<RebuildStep>,
    unisolates: Option<FrameRange>,
}

/// An allocator with tenants.
pub(crate) type Housed = PageAllocator<'static, &'static Tenants>;

impl Platform for Tenants {
    fn cpu(&self) -> usize {
        0
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        self.migrate_run(from, to, Order::ZERO)
    }

    fn run_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let book = self.book();
        let (&start, tenant) = book.tenants.range(..=pfn).next_back()?;
        (pfn < start.add(tenant.order.frames())).then_some((start, tenant.order))
    }

    fn memory_event(&self, event: &MemoryEvent) -> Result<(), Veto> {
        let mut notices = self.notices();
        notices.told.push(*event);
        if notices.vetoed == Some(event.step) { Err(Veto) } else { Ok(()) }
    }

    fn cancelled(&self) -> bool {
        self.notices().cancelled
    }

    fn rebuild_step(&self, step: RebuildStep) {
        let panics = self.notices().panics_at == Some(step);
        if let Some(range) = self.notices().unisolates.take_if(|_| panics) {
            assert_eq!(self.allocator().unisolate(range), Ok(range.frames()));
        }
        assert!(!panics, "the platform gives up");
    }

    fn migrate_run(&self, from: Pfn, to: Pfn, order: Order) -> Migration {
        let mut book = self.book();
        let Some(&tenant) = book.tenants.get(&from) else { return Migration::Refused };
        match tenant.temper {
            Temper::Movable if tenant.order == order => {
                book.tenants.remove(&from);
                book.tenants.insert(to, tenant);
                for at in 0..order.frames() {
                    book.contents.remove(&from.add(at));
                    let before = book.contents.insert(to.add(at), tenant.name);
                    assert_eq!(before, None, "a frame to move to is somebody's");
                }
                Migration::Moved
            }
            Temper::Leaving => {
                drop(book);
                self.leave(from);
                Migration::Refused
            }
            Temper::Movable | Temper::Pinned => Migration::Refused,
        }
    }
}

impl Tenants {
    /// An allocator for the setup, and its tenants.
    pub(crate) fn housed(setup: &Setup) -> (&'static Housed, &'static Self) {
        let tenants: &'static Self = Box::leak(Box::default());
        let memory = setup.lend().expect("the machine is a good one").leak();
        let allocator =
            PageAllocator::new(&setup.config(), tenants, memory).expect("the machine is a good one");
        let allocator = &*Box::leak(Box::new(allocator));
        assert!(tenants.allocator.set(allocator).is_ok());
        assert!(tenants.naming.set(setup.naming).is_ok());
        (allocator, tenants)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been told of memory since the last call.
    pub(crate) fn told(&self) -> Vec<MemoryEvent> {
        std::mem::take(&mut self.notices().told)
    }

    /// From now on this step is objected to.
    pub(crate) fn veto(&self, step: Option<MemoryStep>) {
        self.notices().vetoed = step;
    }

    /// From now on offlining is cancelled, or not.
    pub(crate) fn cancel(&self, cancelled: bool) {
        self.notices().cancelled = cancelled;
    }

    /// From now on the platform panics when a rebuild of the lists has come so far.
    /// Before the next panic these frames are handed out: somebody ends their isolation.
    pub(crate) fn unisolate_before(&self, range: FrameRange) {
        self.notices().unisolates = Some(range);
    }

    pub(crate) fn panic_at(&self, step: Option<RebuildStep>) {
        self.notices().panics_at = step;
    }

    fn allocator(&self) -> &'static Housed {
        self.allocator.get().expect("it was set when it was built")
    }

    /// Moves in: a run of the order for a new tenant.
    pub(crate) fn enter(&self, order: Order, temper: Temper) -> Result<Pfn, AllocError> {
        let movable = Request::order(order).gfp(Gfp::MOVABLE | Gfp::HIGHMEM)?;
        let pfn = self.allocator().alloc_raw(&movable)?;
        self.house(pfn, order, temper);
        Ok(pfn)
    }

    /// Gives a run that was just allocated to a new tenant.
    pub(crate) fn house(&self, pfn: Pfn, order: Order, temper: Temper) {
        let mut book = self.book();
        book.names += 1;
        let name = book.names;
        assert!(book.tenants.insert(pfn, Tenant { name, order, temper }).is_none(), "{pfn} is somebody's");
        for frame in 0..order.frames() {
            let before = book.contents.insert(pfn.add(frame), name);
            assert_eq!(before, None, "frame {} is somebody's", pfn.add(frame));
        }
        if let Some(owner) = self.owner(name) {
            assert_eq!(self.allocator().set_owner(pfn, order, owner), Ok(()));
        }
    }

    /// How the allocator knows the tenant with this number, if it names any.
    fn owner(&self, name: u64) -> Option<Owner> {
        let named = self.naming.get() == Some(&Naming::On);
        if named { Owner::new(name as u32) } else { None }
    }

    /// Ends a tenancy and frees its run; false if nobody has a run there.
    pub(crate) fn leave(&self, pfn: Pfn) -> bool {
        let mut book = self.book();
        let Some(tenant) = book.tenants.remove(&pfn) else { return false };
        for frame in 0..tenant.order.frames() {
            assert_eq!(book.contents.remove(&pfn.add(frame)), Some(tenant.name), "others wrote there");
        }
        drop(book);
        // SAFETY: the run was the tenant's, who is gone.
        assert_eq!(unsafe { self.allocator().free_raw(pfn, tenant.order) }, Ok(()));
        true
    }

    /// The first frames of all runs.
    pub(crate) fn runs(&self) -> Vec<Pfn> {
        self.book().tenants.keys().copied().collect()
    }

    /// The frames of all runs.
    pub(crate) fn frames(&self) -> Vec<Pfn> {
        self.book().contents.keys().copied().collect()
    }

    /// The run at this frame, or the next one behind it.
    pub(crate) fn run_near(&self, pfn: Pfn) -> Option<Pfn> {
        self.book().tenants.range(pfn..).next().map(|(&pfn, _)| pfn)
    }

    /// The frames of tenants that stay where they are.
    pub(crate) fn pinned(&self) -> Vec<Pfn> {
        let stays = |tenant: &Tenant| tenant.temper == Temper::Pinned || tenant.order > Order::ZERO;
        let book = self.book();
        let runs = book.tenants.iter().filter(|(_, tenant)| stays(tenant));
        runs.flat_map(|(pfn, tenant)| (0..tenant.order.frames()).map(|frame| pfn.add(frame))).collect()
    }

    /// Nothing is lost, nothing handed out twice: what is allocated is what tenants have, and each has its content and, where
    /// owners are named, its name.
    pub(crate) fn check(&self) {
        let book = self.book();
        for (pfn, tenant) in &book.tenants {
            for frame in 0..tenant.order.frames() {
                assert_eq!(book.contents.get(&pfn.add(frame)), Some(&tenant.name), "lost by its tenant");
                assert_eq!(self.allocator().owner(pfn.add(frame)), self.owner(tenant.name), "misnamed");
            }
        }
        let summary = audited(self.allocator());
        assert_eq!(
            summary.allocated,
            book.contents.len() as u64,
            "allocated, and in tenants' hands: {summary:?}"
        );
    }
}
