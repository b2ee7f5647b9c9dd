//! A tiny allocator: four blocks, two CPUs, and the ledger of who holds what.
//!
//! Made anew for every trial and left until the program ends; where trials differ is what a case prepares. The call under test
//! touches the allocator only, and so does what its platform does for it.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use zonal::{
    AllocError, BLOCK_FRAMES, Checking, Config, ConfigError, Demand, FrameRange, Gfp, HotRange, Mark,
    MemoryRange, NodeId, Order, PageAllocator, Pfn, Platform, Request, SECTION_FRAMES, Topology, ZoneId,
    ZoneKind,
};

use crate::ledger::Ledger;
use crate::violation::Violation;

/// The first frame: aligned for every order, above all zones but Normal.
const FIRST: u64 = 1 << 20;
/// Blocks of the machine: two pairs.
pub(crate) const BLOCKS: u64 = 4;
/// Its only zone.
pub(crate) const ZONE: ZoneId = ZoneId(0);

/// Frames of the section that may be plugged in.
const HOT: (u64, u64) = (FIRST + SECTION_FRAMES, FIRST + 2 * SECTION_FRAMES);

/// A CPU's number, chosen by the test, and a frame that reclaim gives back.
#[derive(Default)]
pub(crate) struct Host {
    cpu: AtomicUsize,
    /// The frame, or 0.
    reclaimable: AtomicU64,
    /// To whom.
    pages: OnceLock<&'static Pages>,
}

impl Platform for Host {
    #[inline]
    fn cpu(&self) -> usize {
        self.cpu.load(Relaxed)
    }

    fn reclaim(&self, _demand: &Demand) -> u64 {
        let (frame, pages) = (self.reclaimable.swap(0, Relaxed), self.pages.get());
        // SAFETY: a case has put the frame here, which it held and has taken off the ledger; the swap gives it to one caller.
        let freed =
            pages.filter(|_| frame != 0).map(|pages| unsafe { pages.free_raw(Pfn::new(frame), Order::ZERO) });
        u64::from(freed.is_some_and(|freed| freed.is_ok()))
    }
}

/// The allocator under test.
pub(crate) type Pages = PageAllocator<'static, &'static Host>;

/// A tiny allocator and everything that is known of it.
pub(crate) struct Stage {
    pub(crate) pages: &'static Pages,
    pub(crate) ledger: Ledger,
    /// Runs a handler may free.
    pub(crate) spares: RefCell<Vec<Pfn>>,
    /// Frames that the call under test asks for, frees or moves: until it returns they may be anywhere.
    pub(crate) at_stake: Cell<u64>,
    /// Whether a handler has closed the caches.
    pub(crate) is_closed: Cell<bool>,
    /// Frames of the section that is plugged in, while it is.
    pub(crate) plugged: Cell<u64>,
    pub(crate) mark: u64,
    host: &'static Host,
}

/// What a stage is built on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Frames that no request may take.
    mark: u64,
    checking: Checking,
    /// Sections that may be plugged in: one or none.
    sections: usize,
}

impl Ground {
    /// No mark, unchecked, nothing to be plugged in.
    pub(crate) const PLAIN: Self = Self { mark: 0, checking: Checking::Off, sections: 0 };
    /// The same in checked mode.
    pub(crate) const CHECKED: Self = Self { checking: Checking::On, ..Self::PLAIN };
    /// The same with a section that may be plugged in.
    pub(crate) const PLUGGABLE: Self = Self { sections: 1, ..Self::PLAIN };

    /// The same with a mark.
    pub(crate) const fn marked(mark: u64) -> Self {
        Self { mark, ..Self::PLAIN }
    }
}

/// Builds a stage and hands it to `body`.
pub(crate) fn with_stage<R>(ground: Ground, body: impl FnOnce(&Stage) -> R) -> Result<R, ConfigError> {
    let Ground { mark, checking, sections } = ground;
    let memory = [MemoryRange::new(FIRST, FIRST + BLOCKS * BLOCK_FRAMES, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0); 2] };
    let marks = [Mark { node: NodeId(0), zone: ZoneKind::Normal, frames: mark }];
    let hotplug = [HotRange::new(HOT.0, HOT.1, 0)];
    let hotplug = hotplug.get(..sections).unwrap_or(&[]);
    let config = Config { marks: &marks, hotplug, checking, ..Config::new(topology) };
    let host: &'static Host = Box::leak(Box::default());
    let metadata = vec![MaybeUninit::uninit(); zonal::metadata_size(&config)?].leak();
    let pages = Box::leak(Box::new(PageAllocator::new(&config, host, metadata)?));
    host.pages.get_or_init(|| pages);
    Ok(body(&Stage {
        pages,
        ledger: Ledger::default(),
        spares: RefCell::default(),
        at_stake: Cell::new(0),
        is_closed: Cell::new(false),
        plugged: Cell::new(0),
        mark,
        host,
    }))
}

impl Stage {
    /// Runs `body` on another CPU and comes back.
    pub(crate) fn on_cpu<R>(&self, cpu: usize, body: impl FnOnce() -> R) -> R {
        let before = self.host.cpu.swap(cpu, Relaxed);
        let result = body();
        self.host.cpu.store(before, Relaxed);
        result
    }

    /// Takes a run if the allocator has one. A refusal must be explained by what is held, at stake or in flight.
    pub(crate) fn take(&self, order: Order, kind: Gfp) -> Option<Pfn> {
        match self.pages.alloc_raw(&request(order, kind)) {
            Ok(pfn) => {
                self.ledger.claim(pfn, order);
                Some(pfn)
            }
            Err(error) => {
                self.explain(order, error);
                None
            }
        }
    }

    /// A single frame is refused only if all that is free is at stake or in flight, and the error says how many are.
    fn explain(&self, order: Order, error: AllocError) {
        let isolated = self.pages.zones().map(|zone| zone.isolated).sum::<u64>();
        let known = self.ledger.frames() + self.at_stake.get() + isolated + self.mark;
        let free = (BLOCKS * BLOCK_FRAMES).saturating_sub(known);
        let (AllocError::NoMemory { in_flight, .. } | AllocError::NoRun { in_flight, .. }) = error else {
            return self.ledger.object(Violation::Unexplained { error, free });
        };
        if order == Order::ZERO && free > in_flight {
            self.ledger.object(Violation::Unexplained { error, free });
        }
    }

    /// Frees a run that is held.
    pub(crate) fn give(&self, pfn: Pfn) {
        let Some(order) = self.ledger.release(pfn) else { return };
        // SAFETY: the ledger says that the run was handed out with this order and not freed since.
        if let Err(error) = unsafe { self.pages.free_raw(pfn, order) } {
            self.ledger.object(Violation::RefusedFree { error });
        }
    }

    /// Takes single frames of a kind.
    pub(crate) fn hold(&self, frames: usize, kind: Gfp) -> Vec<Pfn> {
        (0..frames).filter_map(|_| self.take(Order::ZERO, kind)).collect()
    }

    /// Takes all blocks, whole; the first frame of each, ascending.
    pub(crate) fn hold_blocks(&self) -> Vec<Pfn> {
        let mut blocks: Vec<_> = (0..BLOCKS).filter_map(|_| self.take(Order::BLOCK, Gfp::KERNEL)).collect();
        blocks.sort();
        blocks
    }

    /// With all blocks held, splits one into runs of an order; the first frame of each.
    pub(crate) fn split(&self, block: Pfn, to: Order) -> Vec<Pfn> {
        // SAFETY: the block is held here, and its parts are from now on.
        if let Err(error) = unsafe { self.pages.split_raw(block, Order::BLOCK, to) } {
            self.ledger.object(Violation::RefusedFree { error });
        }
        self.ledger.split(block, Order::BLOCK, to);
        (0..BLOCK_FRAMES).step_by(to.frames() as usize).map(|at| block.add(at)).collect()
    }

    /// Lets handlers free a run that is held.
    pub(crate) fn spare(&self, pfn: Pfn) {
        self.spares.borrow_mut().push(pfn);
    }

    /// Frames that there are.
    pub(crate) fn frames(&self) -> u64 {
        BLOCKS * BLOCK_FRAMES + self.plugged.get()
    }

    /// The section that may be plugged in.
    pub(crate) fn section() -> FrameRange {
        FrameRange::new(Pfn::new(HOT.0), Pfn::new(HOT.1))
    }

    /// From now on a frame, which is held, is reclaim's to give back.
    pub(crate) fn lend_to_reclaim(&self, pfn: Pfn) {
        self.ledger.release(pfn);
        self.host.reclaimable.store(pfn.get(), Relaxed);
    }

    /// What reclaim has not given back is held again.
    pub(crate) fn take_from_reclaim(&self) {
        let frame = self.host.reclaimable.swap(0, Relaxed);
        if frame != 0 {
            self.ledger.claim(Pfn::new(frame), Order::ZERO);
        }
    }

    /// The frames of a block by its number.
    pub(crate) fn block(&self, number: u64) -> FrameRange {
        let start = Pfn::new(FIRST + number * BLOCK_FRAMES);
        FrameRange::new(start, start.add(BLOCK_FRAMES))
    }
}

/// A request for a run of a kind.
pub(crate) fn request(order: Order, kind: Gfp) -> Request {
    // Flags that exclude each other are refused; the kinds used here do not.
    Request::order(order).gfp(kind).unwrap_or(Request::order(order))
}
