//! A tiny allocator: four blocks or a hundred, two CPUs, and the ledger of who holds what.
//!
//! Made anew for every trial and left until the program ends; where trials differ is what a case prepares. The call under test
//! touches the allocator only, and so does what its platform does for it.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;

use zonal::{
    AllocError, BLOCK_FRAMES, Caching, Checking, Config, ConfigError, FrameRange, Gfp, HotRange, Mark, Marks,
    MemoryRange, Naming, NodeId, Order, OwnWords, PageAllocator, Pfn, Request, SECTION_FRAMES, Topology,
    ZoneId, ZoneKind,
};

use crate::host::{Host, Lent, barrier};
use crate::ledger::Ledger;
use crate::violation::Violation;

/// The first frame: aligned for every order, above all zones but Normal.
const FIRST: u64 = 1 << 20;
/// Blocks of the machine: two pairs.
pub(crate) const BLOCKS: u64 = 4;
/// The same where a zone must be large enough to keep a block for atomic requests, or to let CPUs own their words.
const MANY: u64 = 104;
/// Its only zone, or the first.
pub(crate) const ZONE: ZoneId = ZoneId(0);

/// Frames of the section that may be plugged in.
const HOT: (u64, u64) = (FIRST + SECTION_FRAMES, FIRST + 2 * SECTION_FRAMES);

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
    /// Its blocks, those of the section left out.
    pub(crate) blocks: u64,
    /// Moves that the ledger knows of.
    moves: Cell<usize>,
    /// A frame that is poisoned, if one is.
    pub(crate) poisoned: Cell<Option<Pfn>>,
    pub(crate) host: &'static Host,
}

/// What a stage is built on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Frames that no request may take.
    mark: u64,
    blocks: u64,
    /// One, or two with half of the blocks and a CPU each.
    nodes: u16,
    checking: Checking,
    naming: Naming,
    /// Sections that may be plugged in: one or none.
    sections: usize,
    /// Whether CPUs own their words, as pinned ones.
    pinned: bool,
}

impl Ground {
    /// A node, no mark, unchecked, nothing to be plugged in.
    pub(crate) const PLAIN: Self = Self {
        mark: 0,
        blocks: BLOCKS,
        nodes: 1,
        checking: Checking::Off,
        naming: Naming::Off,
        sections: 0,
        pinned: false,
    };
    /// The same in checked mode.
    pub(crate) const CHECKED: Self = Self { checking: Checking::On, ..Self::PLAIN };
    /// The same with names for owners.
    pub(crate) const NAMED: Self = Self { naming: Naming::On, ..Self::PLAIN };
    /// The same with a section that may be plugged in.
    pub(crate) const PLUGGABLE: Self = Self { sections: 1, ..Self::PLAIN };
    /// The same on two nodes.
    pub(crate) const NODES: Self = Self { nodes: 2, ..Self::PLAIN };
    /// The same with words that CPUs own.
    pub(crate) const PINNED: Self = Self { blocks: MANY, pinned: true, ..Self::PLAIN };

    /// The same with a mark.
    pub(crate) const fn marked(mark: u64) -> Self {
        Self { mark, ..Self::PLAIN }
    }

    /// The same on a zone that may keep blocks.
    pub(crate) const fn keeping(mark: u64) -> Self {
        Self { mark, blocks: MANY, ..Self::PLAIN }
    }

    /// In checked mode, too.
    pub(crate) const fn checked(self) -> Self {
        Self { checking: Checking::On, ..self }
    }
}

/// Builds a stage and hands it to `body`.
pub(crate) fn with_stage<R>(ground: Ground, body: impl FnOnce(&Stage) -> R) -> Result<R, ConfigError> {
    let Ground { mark, blocks, nodes, checking, naming, sections, pinned } = ground;
    let share = blocks / u64::from(nodes) * BLOCK_FRAMES;
    let part = |node: u16| FIRST + u64::from(node) * share;
    let memory = [0, 1].map(|node| MemoryRange::new(part(node), part(node + 1), node));
    let nodes = usize::from(nodes);
    let distances: &[u8] = if nodes == 1 { &[10] } else { &[10, 20, 20, 10] };
    let cpus = [0, 1].map(|cpu| NodeId(if nodes == 1 { 0 } else { cpu }));
    let memory = memory.get(..nodes).unwrap_or(&memory);
    let topology = Topology { memory, reserved: &[], nodes, distances, cpus: &cpus };
    let marks = [Mark { node: NodeId(0), zone: ZoneKind::Normal, frames: mark }];
    let hotplug = [HotRange::new(HOT.0, HOT.1, 0)];
    let hotplug = hotplug.get(..sections).unwrap_or(&[]);
    // SAFETY: (1), (2) one thread plays both CPUs: to be on the other one is to interrupt this one. (3) The barrier is refused
    // while a call is under way, whose end it would have to wait for.
    let own_words = if pinned { unsafe { OwnWords::pinned(cpus.len(), barrier) } } else { None };
    let caching = if nodes == 1 { Caching::Local } else { Caching::All };
    let config =
        Config { marks: &marks, hotplug, checking, naming, own_words, caching, ..Config::new(topology) };
    let host: &'static Host = Box::leak(Box::default());
    let metadata = vec![MaybeUninit::uninit(); zonal::metadata_size(&config)?].leak();
    let pages = Box::leak(Box::new(PageAllocator::new(&config, host, metadata)?));
    host.serve(pages);
    Ok(body(&Stage {
        pages,
        ledger: Ledger::default(),
        spares: RefCell::default(),
        at_stake: Cell::new(0),
        is_closed: Cell::new(false),
        plugged: Cell::new(0),
        mark,
        blocks,
        moves: Cell::new(0),
        poisoned: Cell::new(None),
        host,
    }))
}

impl Stage {
    /// Runs `body` on another CPU and comes back.
    pub(crate) fn on_cpu<R>(&self, cpu: usize, body: impl FnOnce() -> R) -> R {
        let before = self.host.move_to(cpu);
        let result = body();
        self.host.move_to(before);
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
    pub(crate) fn explain(&self, order: Order, error: AllocError) {
        let isolated = self.pages.zones().map(|zone| zone.isolated).sum::<u64>();
        let known = self.ledger.frames() + self.at_stake.get() + isolated + self.mark;
        let free = (self.blocks * BLOCK_FRAMES).saturating_sub(known);
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
        self.hold_blocks_of(Gfp::KERNEL)
    }

    /// The same, of a kind.
    pub(crate) fn hold_blocks_of(&self, kind: Gfp) -> Vec<Pfn> {
        let mut blocks: Vec<_> = (0..self.blocks).filter_map(|_| self.take(Order::BLOCK, kind)).collect();
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
        self.blocks * BLOCK_FRAMES + self.plugged.get()
    }

    /// The section that may be plugged in.
    pub(crate) fn section() -> FrameRange {
        FrameRange::new(Pfn::new(HOT.0), Pfn::new(HOT.1))
    }

    /// From now on a frame, which is held, is reclaim's to give back, or that of whoever is killed.
    pub(crate) fn lend(&self, pfn: Pfn, to: Lent) {
        self.ledger.release(pfn);
        self.host.lend(pfn, to);
    }

    /// What has not been given back is held again.
    pub(crate) fn take_lent(&self) {
        let left = Lent::ALL.into_iter().filter_map(|from| self.host.take(from));
        left.for_each(|pfn| self.ledger.claim(pfn, Order::ZERO));
    }

    /// Writes into the ledger what has been moved since.
    pub(crate) fn note_moves(&self) {
        for (from, to) in self.host.moves(self.moves.get()) {
            self.moves.set(self.moves.get() + 1);
            let order = self.ledger.release(from);
            order.into_iter().for_each(|order| self.ledger.claim(to, order));
        }
    }

    /// Takes the marks away that somebody has set.
    pub(crate) fn unmark(&self) {
        for zone in self.pages.zones() {
            self.pages.set_marks(zone.id, Marks::at(0));
        }
    }

    /// All its own frames.
    pub(crate) fn all(&self) -> FrameRange {
        FrameRange::new(self.block(0).start, self.block(self.blocks - 1).end)
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
