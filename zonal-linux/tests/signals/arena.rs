//! What all workers share: the allocator, who owns which frame, and what went wrong.
//!
//! Never allocates or frees frames itself. Invariant: a frame's owner word holds the stamp of the run it is allocated in, and
//! 0 while it is free.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use zonal::{Gfp, Order, PageAllocator, Pfn, Platform, Request, ZoneId};

/// A promise that was broken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// An allocated frame still carried a stamp.
    Double,
    /// A held frame carried another stamp than its run's.
    Stolen,
    /// A held frame's first word was written by somebody else.
    Overwritten,
    /// A free or a split of what is held was refused.
    RefusedFree,
    /// A single frame was refused although far more were free than can be in flight.
    RefusedFrame,
    /// A run outside the machine or off its alignment was handed out.
    Foreign,
    /// The timer could not be armed again.
    Timer,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault::Double,
    Fault::Stolen,
    Fault::Overwritten,
    Fault::RefusedFree,
    Fault::RefusedFrame,
    Fault::Foreign,
    Fault::Timer,
];

/// A run that is held, as one word that is also its stamp: serial number, order, frame (24 bits: 64 GiB).
/// Never 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run(pub(crate) u64);

impl Run {
    pub(crate) fn new(serial: u64, pfn: Pfn, order: Order) -> Self {
        Self(serial << 29 | u64::from(order.get()) << 24 | pfn.get())
    }

    pub(crate) fn pfn(self) -> Pfn {
        Pfn::new(self.0 & 0xff_ffff)
    }

    pub(crate) fn order(self) -> Order {
        Order::new((self.0 >> 24 & 31) as u8).unwrap_or(Order::ZERO)
    }

    pub(crate) fn frames(self) -> impl Iterator<Item = Pfn> {
        (0..self.order().frames()).map(move |at| self.pfn().add(at))
    }
}

/// How tight a run is.
#[derive(Clone, Copy)]
pub(crate) enum Room {
    /// Frames for everybody: a single frame is never refused. Each worker holds at most so many.
    Plenty(u64),
    /// The workers hold all there is.
    Exhausted,
}

pub(crate) type Address<'a> = &'a (dyn Fn(Pfn) -> Option<NonNull<u8>> + Sync);

/// What all workers share: the allocator, who owns which frame, and what went wrong.
pub(crate) struct Arena<'a, P: Platform> {
    pub(crate) allocator: &'a PageAllocator<'a, P>,
    /// Where frames are, if they exist.
    address: Option<Address<'a>>,
    pub(crate) room: Room,
    pub(crate) zones: Vec<ZoneId>,
    pub(crate) requests: [Request; 2],
    owners: Vec<AtomicU64>,
    pub(crate) serials: AtomicU64,
    /// Runs left for whoever comes next, on whatever CPU; 0 is none.
    pub(crate) left: [AtomicU64; 8],
    pub(crate) faults: [AtomicU64; FAULTS.len()],
    /// The first fault: which + 1, the stamp expected, the stamp found.
    pub(crate) first: [AtomicU64; 3],
}

impl<'a, P: Platform> Arena<'a, P> {
    pub(crate) fn new(allocator: &'a PageAllocator<'a, P>, address: Option<Address<'a>>, room: Room) -> Self {
        let frames = allocator.zones().map(|zone| zone.span.end.get()).max().unwrap_or(0);
        let request = |gfp| Request::order(Order::ZERO).gfp(gfp).unwrap_or_else(|error| panic!("{error}"));
        Self {
            allocator,
            address,
            room,
            zones: allocator.zones().map(|zone| zone.id).collect(),
            requests: [request(Gfp::KERNEL), request(Gfp::HIGHUSER_MOVABLE)],
            owners: (0..frames).map(|_| AtomicU64::new(0)).collect(),
            serials: AtomicU64::new(1),
            left: Default::default(),
            faults: Default::default(),
            first: Default::default(),
        }
    }

    pub(crate) fn fault(&self, fault: Fault, expected: u64, found: u64) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
        if self.first[0].compare_exchange(0, fault as u64 + 1, Relaxed, Relaxed).is_ok() {
            self.first[1].store(expected, Relaxed);
            self.first[2].store(found, Relaxed);
        }
    }

    /// The first word of a frame that is real.
    pub(crate) fn word(&self, pfn: Pfn) -> Option<&AtomicU64> {
        let address = (self.address?)(pfn)?.cast::<u64>();
        // SAFETY: a frame is mapped writable and page-aligned as long as its pool, which this borrows; the tests reach frames
        // through this function only, so every access is atomic even if a frame is handed out twice.
        Some(unsafe { AtomicU64::from_ptr(address.as_ptr()) })
    }

    /// Puts the run's stamp on its frames, or says that they had one.
    pub(crate) fn stamp(&self, run: Run) {
        for pfn in run.frames() {
            match self.owners.get(pfn.get() as usize).map(|owner| owner.swap(run.0, Relaxed)) {
                Some(0) => {}
                Some(found) => self.fault(Fault::Double, run.0, found),
                None => self.fault(Fault::Foreign, run.0, pfn.get()),
            }
            if let Some(word) = self.word(pfn) {
                word.store(run.0, Relaxed);
            }
        }
    }

    /// Takes the run's stamp off its frames, or says that they had another.
    pub(crate) fn unstamp(&self, run: Run) {
        for pfn in run.frames() {
            if let Some(word) = self.word(pfn).map(|word| word.load(Relaxed)).filter(|&word| word != run.0) {
                self.fault(Fault::Overwritten, run.0, word);
            }
            let owner = self.owners.get(pfn.get() as usize);
            if let Some(Err(found)) = owner.map(|owner| owner.compare_exchange(run.0, 0, Relaxed, Relaxed)) {
                self.fault(Fault::Stolen, run.0, found);
            }
        }
    }

    pub(crate) fn claim(&self, pfn: Pfn, order: Order) -> Run {
        let run = Run::new(self.serials.fetch_add(1, Relaxed), pfn, order);
        if !pfn.is_aligned(order) || pfn.get() >= self.owners.len() as u64 {
            self.fault(Fault::Foreign, run.0, pfn.get());
        }
        self.stamp(run);
        run
    }
}
