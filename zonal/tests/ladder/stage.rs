//! A small machine whose platform does what the test has written down for it, and writes down what is asked of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;

use crate::support::{audited, lent, order};
use zonal::{
    AllocError, Caching, Climb, Config, Context, Daemon, Demand, Gfp, HotRange, Marks, MemoryRange,
    Migration, NodeId, Oom, PageAllocator, Pfn, Platform, RebuildStep, Request, SECTION_FRAMES, Step, Task,
    Topology, Tuning, Verdict, ZoneId, ZoneInfo, metadata_size,
};

/// Frames of a block.
pub(crate) const BLOCK: u64 = 512;
/// The marks of every zone, unless the test says otherwise. GFP_ATOMIC leaves 375 frames.
pub(crate) const MARKS: Marks = Marks { min: 1000, low: 2000, high: 3000, promo: 4000 };

/// Something that the platform does when it is called; what it says it has freed.
pub(crate) type Deed = Box<dyn FnOnce(&Stage) -> u64>;

pub(crate) fn act(deed: impl FnOnce(&Stage) -> u64 + 'static) -> Deed {
    Box::new(deed)
}

/// Frees so many of the frames that can be had again.
pub(crate) fn give(frames: usize) -> Deed {
    act(move |stage| stage.give(frames))
}

/// Says so without doing it: others were faster.
pub(crate) fn lose(frames: u64) -> Deed {
    act(move |_| frames)
}

/// What the allocator asked of its platform.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Call {
    Reclaim(Demand),
    /// Of a near node, for a request that begins at this one.
    ReclaimNear(NodeId, Demand),
    Kill(Oom),
    Pause,
    Wake(Daemon, NodeId),
}

/// The platform.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) cpu: Cell<usize>,
    pub(crate) task: Cell<Task>,
    pub(crate) injected: Cell<&'static [Step]>,
    /// Whether the frames that can be given back can be moved, too.
    pub(crate) moves: Cell<bool>,
    /// What each zone could give back.
    pub(crate) reclaimable: Cell<u64>,
    /// What is done at the next calls, one after the other; then nothing.
    pub(crate) reclaims: RefCell<VecDeque<Deed>>,
    /// The same where near nodes are asked; then that is not done.
    pub(crate) near: RefCell<VecDeque<Deed>>,
    /// The node of which nothing more may be dirtied.
    pub(crate) dirty: Cell<Option<NodeId>>,
    pub(crate) now_ms: Cell<u64>,
    pub(crate) kills: RefCell<VecDeque<Deed>>,
    pub(crate) pauses: RefCell<VecDeque<Deed>>,
    /// What happens when the allocator asks how much is reclaimable.
    pub(crate) looks: RefCell<VecDeque<Deed>>,
    /// What happens when it asks who asks.
    pub(crate) asks: RefCell<VecDeque<Deed>>,
    /// What happens when it says that frames are short, at a rebuild's steps, when it tells something.
    pub(crate) wakes: RefCell<VecDeque<Deed>>,
    pub(crate) steps: RefCell<VecDeque<Deed>>,
    pub(crate) tellings: RefCell<VecDeque<Deed>>,
    pub(crate) told: RefCell<Vec<String>>,
    pub(crate) stepped: RefCell<Vec<RebuildStep>>,
    calls: RefCell<Vec<Call>>,
    climb: Cell<Climb>,
    stage: OnceCell<&'static Stage>,
}

impl Script {
    fn act(&self, deeds: &RefCell<VecDeque<Deed>>) -> Option<u64> {
        let deed = deeds.borrow_mut().pop_front()?;
        Some(deed(self.stage.get().expect("the stage is set")))
    }

    fn note(&self, call: Call) {
        self.calls.borrow_mut().push(call);
        assert!(self.calls.borrow().len() < 1000, "a request goes on for ever");
    }
}

impl Platform for Script {
    fn cpu(&self) -> usize {
        self.cpu.get()
    }

    fn task(&self) -> Task {
        self.act(&self.asks);
        self.task.get()
    }

    fn wake(&self, daemon: Daemon, node: NodeId) {
        self.note(Call::Wake(daemon, node));
        self.act(&self.wakes);
    }

    fn reclaim(&self, demand: &Demand) -> u64 {
        self.note(Call::Reclaim(*demand));
        self.act(&self.reclaims).unwrap_or(0)
    }

    fn reclaim_near(&self, from: NodeId, demand: &Demand) -> Option<u64> {
        let freed = self.act(&self.near)?;
        self.note(Call::ReclaimNear(from, *demand));
        Some(freed)
    }

    fn may_dirty(&self, node: NodeId) -> bool {
        self.dirty.get() != Some(node)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn reclaimable(&self, _zone: ZoneId) -> u64 {
        self.act(&self.looks);
        self.reclaimable.get()
    }

    /// Whoever has a deed to do is killed; if nobody has, nobody can be.
    fn oom(&self, oom: &Oom) -> Verdict {
        self.note(Call::Kill(*oom));
        self.act(&self.kills).map_or(Verdict::GiveUp, |_| Verdict::Killed)
    }

    fn migrate(&self, from: Pfn, to: Pfn) -> Migration {
        if !self.moves.get() {
            return Migration::Unsupported;
        }
        let mut spare = self.stage.get().expect("the stage is set").spare.borrow_mut();
        spare.iter_mut().find(|pfn| **pfn == from).map_or(Migration::Refused, |pfn| {
            *pfn = to;
            Migration::Moved
        })
    }

    fn pause(&self) {
        self.note(Call::Pause);
        self.act(&self.pauses);
    }

    fn rebuild_step(&self, step: RebuildStep) {
        self.stepped.borrow_mut().push(step);
        self.act(&self.steps);
    }

    fn report(&self, report: &dyn std::fmt::Display) {
        self.told.borrow_mut().push(report.to_string());
        self.act(&self.tellings);
    }

    fn climbed(&self, climb: &Climb) {
        self.climb.set(*climb);
    }

    fn injects(&self, step: Step) -> bool {
        self.injected.get().contains(&step)
    }
}

/// The machine, and the frames that its platform can give back.
pub(crate) struct Stage {
    pub(crate) script: &'static Script,
    pub(crate) allocator: PageAllocator<'static, &'static Script>,
    spare: RefCell<Vec<Pfn>>,
}

/// What a stage is built from.
pub(crate) struct Plan {
    /// Blocks of each node, all Normal but for the first blocks of node 0, which are DMA32.
    pub(crate) blocks: &'static [u64],
    pub(crate) dma32_blocks: u64,
    /// So many nodes at the end are Movable.
    pub(crate) movable_nodes: usize,
    pub(crate) caching: Caching,
    pub(crate) tuning: Option<Tuning>,
    /// Sections of node 0 that may be plugged in, and are not.
    pub(crate) hot_sections: u64,
}

impl Plan {
    pub(crate) fn of(blocks: &'static [u64]) -> Self {
        Self {
            blocks,
            dma32_blocks: 0,
            movable_nodes: 0,
            caching: Caching::Off,
            tuning: None,
            hot_sections: 0,
        }
    }

    /// The stage, with [`MARKS`] where no tuning makes them; it lives as long as the program.
    pub(crate) fn build(self) -> &'static Stage {
        let nodes = self.blocks.len();
        let start = |node: usize| node as u64 * 1024 * BLOCK;
        let end = |node: usize| start(node) + self.blocks[node] * BLOCK;
        let memory = |node: usize| {
            let range = MemoryRange::new(start(node), end(node), node as u16);
            if node + self.movable_nodes < nodes { range } else { range.movable() }
        };
        let memory: Vec<_> = (0..nodes).map(memory).collect();
        let distances: Vec<u8> =
            (0..nodes * nodes).map(|at| 10 + 10 * (at / nodes).abs_diff(at % nodes) as u8).collect();
        let cpus: Vec<_> = (0..2 * nodes).map(|cpu| NodeId((cpu / 2) as u16)).collect();
        let topology = Topology { memory: &memory, reserved: &[], nodes, distances: &distances, cpus: &cpus };
        let hot = [HotRange::new(8 * SECTION_FRAMES, (8 + self.hot_sections) * SECTION_FRAMES, 0)];
        let config = Config {
            hotplug: &hot[..usize::from(self.hot_sections > 0)],
            caching: self.caching,
            tuning: self.tuning,
            dma_end: Pfn::new(0),
            dma32_end: Pfn::new(self.dma32_blocks * BLOCK),
            ..Config::new(topology)
        };
        let metadata = lent(metadata_size(&config).expect("a good machine")).leak();
        let script: &'static Script = Box::leak(Box::default());
        let allocator = PageAllocator::new(&config, script, metadata).expect("a good machine");
        let stage = Box::leak(Box::new(Stage { script, allocator, spare: RefCell::default() }));
        assert!(script.stage.set(stage).is_ok());
        if self.tuning.is_none() {
            stage.zones().iter().for_each(|zone| assert!(stage.allocator.set_marks(zone.id, MARKS)));
        }
        stage
    }
}

/// One node of 16 blocks.
pub(crate) fn one_node() -> &'static Stage {
    Plan::of(&[16]).build()
}

impl Stage {
    pub(crate) fn zones(&self) -> Vec<ZoneInfo> {
        self.allocator.zones().collect()
    }

    /// A zone's frames that are free, cached or not.
    pub(crate) fn free(&self, zone: u16) -> u64 {
        let zone = &self.zones()[usize::from(zone)];
        zone.free + zone.cached
    }

    /// Takes the lowest frames of a zone until so many are left: whole blocks, but two thousand frames singly, which can be
    /// given back.
    pub(crate) fn leave(&self, zone: u16, frames: u64) {
        let taken = self.free(zone).checked_sub(frames).expect("there are so many");
        let blocks = taken.saturating_sub(2000) / BLOCK * BLOCK;
        self.take(zone, 9, blocks);
        let taken = self.free(zone).checked_sub(frames).expect("there are so many");
        let singles = self.take(zone, 0, taken);
        self.spare.borrow_mut().extend(singles);
        assert_eq!(self.free(zone), frames);
    }

    /// Takes the lowest free runs of a zone, so many frames in all if there are.
    fn take(&self, zone: u16, by: u8, frames: u64) -> Vec<Pfn> {
        let request =
            Request::order(order(by)).gfp(Gfp::MEMALLOC | Gfp::MOVABLE).expect("nothing is forbidden");
        let span = self.zones()[usize::from(zone)].span;
        let places = (span.start.get()..span.end.get()).step_by(1 << by).map(Pfn::new);
        let taken = places.filter(|&pfn| self.allocator.alloc_at(&request, pfn).is_ok());
        taken.take((frames >> by) as usize).collect()
    }

    /// Takes frames of the one zone until so many are left besides those kept for atomic requests.
    pub(crate) fn leave_unreserved(&self, frames: u64) {
        while self.free(0) > frames {
            let spare = self.again(Gfp::MEMALLOC | Gfp::MOVABLE, 0).expect("there are some");
            self.spare.borrow_mut().push(spare);
        }
    }

    /// Frees frames that can be given back, those that were taken last first.
    pub(crate) fn give(&self, frames: usize) -> u64 {
        let mut spare = self.spare.borrow_mut();
        let from = spare.len().checked_sub(frames).expect("there are so many");
        spare.drain(from..).for_each(|pfn| self.free_run(pfn, 0));
        frames as u64
    }

    /// Frees so many of the first frames taken: the first ones, with the same in between each time.
    pub(crate) fn scatter(&self, frames: usize, step: usize) {
        let mut at = 0;
        self.spare.borrow_mut().retain(|&pfn| {
            let free = at % step == 0 && at / step < frames;
            at += 1;
            if free {
                self.free_run(pfn, 0);
            }
            !free
        });
    }

    pub(crate) fn free_run(&self, pfn: Pfn, by: u8) {
        // SAFETY: the tests free what they hold, once, and nobody touches the frames.
        unsafe { self.allocator.free_raw(pfn, order(by)) }.expect("the run is held");
    }

    /// A request, with what was called before forgotten.
    pub(crate) fn ask(&self, gfp: Gfp, by: u8) -> Result<Pfn, AllocError> {
        self.forget();
        self.again(gfp, by)
    }

    /// A request of who asks in this context, with what was called before forgotten; the node that served it.
    pub(crate) fn ask_in(&self, context: &Context<'_>, gfp: Gfp, by: u8) -> Result<u16, AllocError> {
        self.forget();
        let pfn = self.allocator.alloc_raw_in(context, &Request::order(order(by)).gfp(gfp)?)?;
        Ok((pfn.get() / (1024 * BLOCK)) as u16)
    }

    fn forget(&self) {
        self.script.calls.borrow_mut().clear();
        self.script.climb.set(Climb::default());
    }

    /// A request in the midst of another one.
    pub(crate) fn again(&self, gfp: Gfp, by: u8) -> Result<Pfn, AllocError> {
        self.allocator.alloc_raw(&Request::order(order(by)).gfp(gfp)?)
    }

    /// The same until it fails; how often it was served.
    pub(crate) fn ask_all(&self, gfp: Gfp, by: u8) -> u64 {
        std::iter::from_fn(|| self.ask(gfp, by).ok()).count() as u64
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.script.calls.borrow().clone()
    }

    pub(crate) fn demands(&self) -> Vec<Demand> {
        let demand = |call: Call| if let Call::Reclaim(demand) = call { Some(demand) } else { None };
        self.calls().into_iter().filter_map(demand).collect()
    }

    /// What was asked of near nodes, for whom.
    pub(crate) fn near(&self) -> Vec<(NodeId, Demand)> {
        let near =
            |call| if let Call::ReclaimNear(from, demand) = call { Some((from, demand)) } else { None };
        self.calls().into_iter().filter_map(near).collect()
    }

    pub(crate) fn kills(&self) -> usize {
        self.calls().iter().filter(|call| matches!(call, Call::Kill(_))).count()
    }

    pub(crate) fn pauses(&self) -> usize {
        self.calls().iter().filter(|call| **call == Call::Pause).count()
    }

    /// Whether a daemon was woken; kcompactd is none of this stage's.
    pub(crate) fn woken(&self) -> Vec<NodeId> {
        let node = |call: Call| if let Call::Wake(Daemon::Kswapd, node) = call { Some(node) } else { None };
        self.calls().into_iter().filter_map(node).collect()
    }

    pub(crate) fn climb(&self) -> Climb {
        self.script.climb.get()
    }

    /// From now on reclaim does this.
    pub(crate) fn reclaims(&self, deeds: impl IntoIterator<Item = Deed>) {
        self.script.reclaims.borrow_mut().extend(deeds);
    }

    /// Writes down what kills free.
    pub(crate) fn kills_free(&self, frames: usize) {
        self.script.kills.borrow_mut().push_back(give(frames));
    }

    pub(crate) fn check(&self) {
        audited(&self.allocator);
    }
}
